from __future__ import annotations

import subprocess
import sys

from cellsearch.training.environment import differences, fingerprint


def test_fingerprint_names_what_matters() -> None:
    found = fingerprint()
    assert found["torch"].startswith("2.")
    assert all(isinstance(value, str) and value for value in found.values())
    assert found == fingerprint()
    assert differences(found, fingerprint()) == {}


def test_differences_are_those_that_change_results() -> None:
    before = fingerprint()
    assert differences(before, {**before, "host": "elsewhere", "python": "3.99"}) == {}
    assert differences({**before, "torch": "1.0"}, before) == {"torch": ("1.0", before["torch"])}
    assert differences({}, {"torch": "2.0"}) == {"torch": ("unknown", "2.0")}


def test_fingerprint_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from cellsearch.training.environment import fingerprint; "
        "fingerprint(); print({'torch', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
