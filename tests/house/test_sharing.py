"""The share of the slow tests that CI has time for: another one at each commit, of all rooms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.sharing import commit, spread

NAMES = [
    *(f"tests/store/test_a.py::test[{n}]" for n in range(40)),
    *(f"tests/search/test_b.py::test_{n}" for n in range(5)),
    "tests/compiler/native/test_c.py::test[a/b::c]",
    "tests/zoo/test_d.py::test",
]


def order(seed: str, names: list[str] = NAMES) -> list[str]:
    return spread(names, seed=seed, name=str)


def test_a_share_is_that_of_its_commit() -> None:
    assert order("a") == order("a", NAMES[::-1])
    assert sorted(order("a")) == sorted(NAMES)
    assert order("a") != order("b")


def test_any_beginning_looks_at_all_folders() -> None:
    for seed in "abcdefgh":
        found = [name.partition("::")[0] for name in order(seed)]
        assert len(set(found[:4])) == 4
        assert found[4:12].count("tests/search/test_b.py") == 4  # in turn, as long as it has any


def test_every_test_has_its_turn() -> None:
    first = {order(str(seed))[k] for seed in range(300) for k in range(4)}
    assert first == set(NAMES)


def test_the_suite_is_run_in_this_order(tmp_path: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "slow or not slow",
         "--slow-seconds", "1", "tests/schedules", "tests/space"],
        capture_output=True, text=True, check=True, timeout=120, cwd=Path(__file__).parents[2],
    ).stdout.splitlines()  # fmt: skip
    assert f"in the order of {commit()}" in "\n".join(listed)
    names = [line for line in listed if "::" in line]
    folders = [name.rpartition("/")[0] for name in (line.partition("::")[0] for line in names)]
    assert len(names) > 100
    assert {*folders[:2]} == {*folders[2:4]} == {"tests/schedules", "tests/space"}
