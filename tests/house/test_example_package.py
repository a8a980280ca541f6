"""A package of its own adds one part of each kind: it is built, installed beside the wheel into an
empty environment, holds the contracts, and searches with its parts on Ray workers.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import venv
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "tests" / "packages" / "cellsearch_example"

pytestmark = pytest.mark.slow


class Environment:
    """An environment with the two packages, and an empty folder to stand in. What they need is
    borrowed from the one that runs the tests.
    """

    def __init__(self, folder: Path) -> None:
        self.empty = folder / "empty"
        self.empty.mkdir()
        venv.create(folder / "venv", with_pip=False)
        self.python = folder / "venv" / "bin" / "python"
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
        (site / "borrowed.pth").write_text("\n".join(borrowed), "utf-8")
        for source in (ROOT, EXAMPLE):
            wheels = folder / f"wheel-{source.name}"
            self.outside("-m", "build", "--wheel", "--outdir", wheels, source)
            (wheel,) = wheels.glob("*.whl")
            self.outside(
                *("-m", "pip", "--python", self.python, "install", "--quiet"),
                *("--no-deps", "--no-index", "--disable-pip-version-check", wheel),
            )

    def outside(self, *arguments: str | Path) -> None:
        """Python as it runs the tests."""
        self._run(sys.executable, *arguments, cwd=ROOT)

    def __call__(self, *arguments: str | Path) -> str:
        """Python of the environment, in the empty folder: what it printed."""
        return self._run(self.python, *arguments, cwd=self.empty)

    def cellsearch(self, *arguments: str | Path) -> Any:
        """A command with ``--json``: what it printed."""
        return json.loads(self("-m", "cellsearch", *arguments, "--json"))

    @staticmethod
    def _run(*command: str | Path, cwd: Path) -> str:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-3000:])
        return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("example"))


def test_both_packages_are_those_of_the_environment(environment: Environment) -> None:
    code = "import cellsearch, cellsearch_example as e; print(cellsearch.__file__, e.__file__)"
    assert all(
        Path(place).is_relative_to(environment.python.parents[1])
        for place in environment("-c", code).split()
    )


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("ops", "arctan"),
        ("tasks", "majority"),
        ("strategies", "hill_climb"),
        ("schedules", "better_half"),
        ("spaces", "arctan"),
        ("experiments", "majority"),
        ("zoo", "arctan_rnn"),
    ],
)
def test_each_part_is_listed(environment: Environment, command: str, name: str) -> None:
    assert name in [row["name"] for row in environment.cellsearch(command)]


def test_the_parts_hold_the_contracts(environment: Environment) -> None:
    tests = environment.empty / "test_contracts.py"
    tests.write_text((EXAMPLE / "test_contracts.py").read_text("utf-8"), "utf-8")
    said = environment("-m", "pytest", "-q", "-p", "no:cacheprovider", tests)
    assert " passed" in said
    assert "skipped" not in said


def test_a_search_on_two_workers_uses_all_of_them(environment: Environment) -> None:
    environment("-m", "cellsearch", "search", "majority", "--run", "run", "--workers", "2")
    trials = environment.cellsearch("ls", "run", "--sort", "number")["trials"]
    assert [trial["origin"] for trial in trials[:2]] == ["baseline:arctan_rnn", "baseline:gru"]
    assert {trial["origin"] for trial in trials[2:]} == {"random", "mutate"}
    assert len(trials) == 8
    assert {trial["status"] for trial in trials} <= {"completed", "stopped"}
    with closing(sqlite3.connect(environment.empty / "run" / "store.sqlite")) as store:
        jobs = store.execute("select rung, granted, worker, score from rungs").fetchall()
        genomes = store.execute("select genome from trials").fetchall()
    assert {(rung, granted) for rung, granted, _, _ in jobs} == {(0, 10), (1, 20)}
    assert len({worker for _, _, worker, _ in jobs}) == 2
    assert all(0 <= score <= 1 for _, _, _, score in jobs)
    assert sum("arctan" in genome for (genome,) in genomes) >= 4


def test_what_it_found_is_shown_and_exported_and_runs_without_both(
    environment: Environment,
) -> None:
    environment("-m", "cellsearch", "show", "arctan_rnn", "--svg", "-o", "cell.svg")
    assert "arctan" in (environment.empty / "cell.svg").read_text("utf-8")
    environment("-m", "cellsearch", "export", "arctan_rnn", "--to", "source", "-o", "cell.py")
    without = "import sys; sys.modules['cellsearch'] = sys.modules['cellsearch_example'] = None"
    use = "import torch, cell; print(cell.Recurrent(4, 4)(torch.zeros(2, 1, 4))[0].shape)"
    assert "[2, 1, 4]" in environment("-c", f"{without}; {use}")
