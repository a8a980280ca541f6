from __future__ import annotations

from pathlib import Path

import pytest

from cellsearch import zoo
from cellsearch.history import History
from cellsearch.job import JobId
from cellsearch.search.run_files import Checkpoints, inheritable
from cellsearch.trial import Budget, Proposal, Result, Rung, Status, Trial


def trial(number: int, score: float, *, rungs: int = 1, status: Status = Status.COMPLETED) -> Trial:
    """A trial whose rungs have checkpoints under the names that jobs give them."""
    names = [
        f"checkpoints/trial-{number:05d}{f'.r{k}' if k else ''}.safetensors" for k in range(rungs)
    ]
    done = tuple(
        Rung(Budget(9 * (k + 1), k), Result(score, score, 9, 0.0, 1, 1, checkpoint=name))
        for k, name in enumerate(names)
    )
    return Trial(number, Proposal(zoo.load("gru")), status, done)


def touch(run: Path, history: History) -> None:
    for one in history:
        for rung in one.rungs:
            if rung.result is not None:
                path = run / rung.result.checkpoint
                path.parent.mkdir(exist_ok=True)
                path.write_text("weights")


def kept(run: Path) -> list[int]:
    return sorted(int(path.name[6:11]) for path in (run / "checkpoints").iterdir())


def test_the_best_and_the_newest_are_kept(tmp_path: Path) -> None:
    # Scores fall and rise again: the best thirty are trials 50 to 79.
    history = History([trial(n, abs(n - 64.6)) for n in range(200)])
    touch(tmp_path, history)
    Checkpoints(tmp_path).sweep(history, ["checkpoints/trial-00003.safetensors"])
    assert kept(tmp_path) == [3, *range(50, 80), *range(136, 200)]


def test_unfinished_trials_keep_what_they_go_on_from(tmp_path: Path) -> None:
    trials = [trial(n, float(n)) for n in range(100, 250)]
    waiting = trial(0, 1e9, status=Status.RUNNING)
    history = History([waiting, *(trial(n, float(n)) for n in range(1, 100)), *trials])
    touch(tmp_path, history)
    Checkpoints(tmp_path).sweep(history, [])
    assert 0 in kept(tmp_path)
    assert 120 not in kept(tmp_path)


def test_files_of_lower_rungs_go(tmp_path: Path) -> None:
    history = History([trial(0, 1.0, rungs=3), trial(1, 2.0, rungs=2, status=Status.RUNNING)])
    touch(tmp_path, history)
    Checkpoints(tmp_path).sweep(history, [])
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [
        "trial-00000.r2.safetensors",
        "trial-00001.r1.safetensors",
        "trial-00001.safetensors",
    ]


def test_foreign_files_stay(tmp_path: Path) -> None:
    history = History([trial(n, float(n)) for n in range(200)])
    touch(tmp_path, history)
    for name in ("mine.safetensors", "trial-00050.txt", "trial-x.safetensors"):
        (tmp_path / "checkpoints" / name).write_text("mine")
    checkpoints = Checkpoints(tmp_path)
    (tmp_path / "checkpoints" / "trial-00001.safetensors.77.tmp").write_text("half")
    checkpoints.clean()
    checkpoints.sweep(history, [])
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names >= {"mine.safetensors", "trial-00050.txt", "trial-x.safetensors"}
    assert not any(name.endswith(".tmp") for name in names)


def test_what_can_be_inherited_is_kept(tmp_path: Path) -> None:
    """Whatever later histories allow to inherit is there after a sweep with an earlier one."""
    scores = [(n * 37) % 101 / 10 for n in range(150)]
    whole = [trial(n, score) for n, score in enumerate(scores)]
    touch(tmp_path, History(whole))
    for known in range(70, 150, 10):
        Checkpoints(tmp_path).sweep(History(whole[:known]), [])
        for later in range(known, 150, 7):
            history = History(whole[:later])
            wanted = [n for n in range(later) if inheritable(history, n)]
            assert set(wanted) <= set(kept(tmp_path))
            assert len(wanted) >= 64


def test_only_what_has_a_checkpoint_is_inherited() -> None:
    running = Trial(1, Proposal(zoo.load("gru")), Status.RUNNING, (Rung(Budget(9)),))
    history = History([trial(0, 1.0), running])
    assert inheritable(history, 0)
    assert not inheritable(history, 1)
    assert not inheritable(history, 7)


def test_paths_are_relative_to_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints(Path("runs/a"))
    path = checkpoints.path(JobId(12, 0))
    assert path == str(tmp_path / "runs/a/checkpoints/trial-00012.safetensors")
    assert checkpoints.relative(path) == "checkpoints/trial-00012.safetensors"
    assert checkpoints.absolute("checkpoints/trial-00012.safetensors") == path
    assert checkpoints.relative("") == checkpoints.absolute("") == ""
