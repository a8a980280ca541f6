"""Old module names keep working, with a warning that names the new one."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import cellsearch
from cellsearch._moved import MOVED, MOVED_NAMES


@pytest.mark.parametrize(("old", "new"), sorted(MOVED.items()))
def test_the_old_name_gives_what_the_new_module_holds(old: str, new: str) -> None:
    sys.modules.pop(f"cellsearch.{old}", None)
    with pytest.warns(DeprecationWarning, match=rf"cellsearch\.{new}; the old name"):
        before = importlib.import_module(f"cellsearch.{old}")
    after = importlib.import_module(f"cellsearch.{new}")
    assert after.__all__
    assert all(getattr(before, name) is getattr(after, name) for name in after.__all__)


@pytest.mark.parametrize(
    ("old", "name", "new"),
    [(old, name, new) for old, names in MOVED_NAMES.items() for name, new in names.items()],
)
def test_a_name_is_still_found_in_the_module_that_it_has_left(
    old: str, name: str, new: str
) -> None:
    home = importlib.import_module(f"cellsearch.{new}")
    before = importlib.import_module(f"cellsearch.{old}")
    assert name in home.__all__
    assert name not in before.__all__
    with pytest.warns(DeprecationWarning, match=rf"{old}\.{name} has moved to .*{new}\.{name}"):
        assert getattr(before, name) is getattr(home, name)
    pickled = f"ccellsearch.{old}\n{name}\n.".encode()  # by reference, as 0.1 wrote it
    with pytest.warns(DeprecationWarning, match=rf"{old}\.{name} has moved"):
        assert pickle.loads(pickled) is getattr(home, name)
    with pytest.raises(ImportError, match="nosuch"):
        exec(f"from cellsearch.{old} import nosuch")


def test_no_old_name_is_a_new_one() -> None:
    folder = Path(cellsearch.__file__).parent
    for old in MOVED:
        path = folder.joinpath(*old.split("."))
        assert not path.with_suffix(".py").exists(), old
        assert not (path / "__init__.py").exists(), old


def test_the_warning_points_at_the_import(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom cellsearch.catalog import load_space\nload_space('tiny')\n"
        "from cellsearch.trial import History\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", str(script)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "script.py:2: DeprecationWarning: cellsearch.catalog has moved" in done.stderr
    assert "script.py:4: DeprecationWarning: cellsearch.trial.History has moved" in done.stderr


def test_a_name_that_never_was_is_still_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"cellsearch\.nosuch"):
        importlib.import_module("cellsearch.nosuch")
