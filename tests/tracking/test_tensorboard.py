"""A run in TensorBoard, read by TensorBoard's own reader of events."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from cellsearch.runs import open_run
from cellsearch.tracking import send

pytest.importorskip("tensorboard", reason="pip install 'cellsearch[tensorboard]'")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what TensorBoard carries with it
    from tensorboard.plugin_util import markdown_to_safe_html

TRIALS, FAILS = 9, 3
Call = Callable[..., tuple[int, str, str]]


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def series(events: EventAccumulator, tag: str) -> dict[int, float]:
    """The points of a series by step, each there once."""
    points = [(event.step, event.value) for event in events.Scalars(tag)]
    assert len(dict(points)) == len(points), points
    return dict(points)


def in_order(run: Path) -> list[int]:
    """The numbers of the trials as they ended."""
    ended = open_run(run).ended
    return sorted(ended, key=lambda number: ended[number])


def require_whole(run: Path) -> None:
    """What TensorBoard shows is what the store holds, once."""
    events, trials = read(run / "tensorboard"), open_run(run).trials
    scores = {step: trials[number].score for step, number in enumerate(in_order(run))}
    failed = {step for step, number in enumerate(in_order(run)) if number == FAILS}
    shown = series(events, "trial/score")
    assert shown == {k: pytest.approx(v, rel=1e-6) for k, v in scores.items() if k not in failed}
    best = series(events, "search/best_score")
    assert list(best) == list(range(TRIALS))
    assert best[TRIALS - 1] == pytest.approx(min(scores.values()), rel=1e-6)
    assert list(best.values()) == sorted(best.values(), reverse=True)
    assert series(events, "search/failed")[TRIALS - 1] == 1


def test_scores_curves_settings_and_the_best_cell_are_there(finished: Path) -> None:
    told, where = send(finished, "tensorboard")
    assert (told, where) == (TRIALS, str(finished / "tensorboard"))
    require_whole(finished)
    events, run = read(finished / "tensorboard"), open_run(finished)
    (settings,) = events.Tensors("settings")
    text = settings.tensor_proto.string_val[0].decode()
    assert "    steps = 9" in text
    assert "<script>" not in markdown_to_safe_html(text)
    assert "&lt;script&gt; wins?" in markdown_to_safe_html(text)
    *_, best = events.Tensors("best cell")
    top = run.trials.top(1)[0]
    text = best.tensor_proto.string_val[0].decode()
    assert top.name in text
    assert f"    {top.genome.to_text().splitlines()[0]}" in text
    curves = sorted((finished / "tensorboard" / "curves").iterdir())
    assert [path.name for path in curves][:2] == ["00000 LSTM", "00001 trial 1"]
    assert len(curves) == TRIALS - 1
    shown = series(read(curves[1]), "learning curve")
    result = run.trials[1].result
    assert result is not None
    assert shown == {step: pytest.approx(score, rel=1e-6) for step, score in result.curve}
    assert (finished / "tensorboard" / "best.svg").read_text("utf-8").startswith("<svg")


def test_what_is_known_is_not_told_again(finished: Path) -> None:
    send(finished, "tensorboard")
    assert send(finished, "tensorboard")[0] == 0
    require_whole(finished)
    shutil.rmtree(finished / "tensorboard")
    assert send(finished, "tensorboard")[0] == TRIALS
    require_whole(finished)


@pytest.mark.parametrize("kill", [1, 3, 4])
def test_no_point_is_lost_or_shown_twice_after_kill_9(finished: Path, kill: int) -> None:
    """Killed when TensorBoard has its file, and before that is written down."""
    program = (
        "import sys\nfrom cellsearch.tracking import follow\nfollow.BATCH = 3\n"
        f"follow.send({str(finished)!r}, 'tensorboard')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "CELLSEARCH_FAILPOINT": f"tracker: told@{kill}"},
        check=False,
    )
    assert done.returncode == -9
    send(finished, "tensorboard")
    require_whole(finished)


def test_a_search_writes_it_while_it_runs_and_goes_on_with_it(tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    search = ["search", "quickstart", "--run", str(run), "--workers", "0"]
    search += ["--set", "training.steps=2", "--track", "tensorboard"]
    for trials in ("2", "3"):
        code, _, err = call(*search, "--trials", trials)
        assert code == 0
        assert "tracker" not in err
    shown = series(read(run / "tensorboard"), "trial/score")
    assert sorted(shown) == [0, 1, 2]
    assert (run / "tensorboard" / "best.cell").exists()
