"""Short searches that trackers are told of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cellsearch.executors import InProcess
from cellsearch.search import Search
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment

TRIALS = 9
FAILS = 3


@pytest.fixture(scope="session")
def _searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracked") / "run"
    experiment = small_experiment(
        "random",
        name="a *name* <b>",
        question="Which <script> wins?",
        trials=TRIALS,
        baselines=("lstm",),
        task_options={"fail": "nan", "trials": [FAILS]},
    )
    with Search.open(folder, experiment) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
    return folder


@pytest.fixture
def finished(_searched: Path, tmp_path: Path) -> Path:
    """The folder of a run of nine trials, the first of them LSTM, one of them failed."""
    return Path(shutil.copytree(_searched, tmp_path / "run"))


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which packages lie that declare trackers, also for processes started now."""
    folder = tmp_path / "site"
    info = folder / "odd_trackers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-trackers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[cellsearch.trackers]\nhanging = odd_trackers:Hanging\nmissing = odd_trackers:Missing\n"
        "listed = odd_trackers:Listed\n"
    )
    (folder / "odd_trackers.py").write_text(ODD)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


ODD = '''
import json, time
from cellsearch.tracking import Tracker

class Listed(Tracker):
    """Writes down what it is told, as it is told."""
    name, package = "listed", "json"
    def open(self, identity, known):
        self.file = open(self.run.path / "listed.txt", "a")
        self.where = "a list"
        self.say("open", known)
        return "listed"
    def say(self, *what):
        self.file.write(json.dumps(what) + "\\n")
    def trial(self, trial): self.say("trial", trial.step, trial.number)
    def best(self, cell): self.say("best", cell.trial.number)
    def winner(self, cell): self.say("winner", cell.trial.number)
    def flush(self): self.file.flush()
    def close(self, *, finished): self.say("close", finished); self.file.close()

class Hanging(Listed):
    name = "hanging"
    def trial(self, trial): time.sleep(1000)

class Missing(Listed):
    name, package, extra = "missing", "no_such_package", "none"
'''
