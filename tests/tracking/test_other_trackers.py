"""A run in MLflow, Weights & Biases and Trackio, read back by these libraries."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from cellsearch.errors import ConfigError
from cellsearch.runs import open_run
from cellsearch.tracking import names, send

TRIALS, FAILS = 9, 3
Points = list[tuple[str, int, float]]


def read_mlflow(run: Path) -> tuple[Points, str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("cellsearch")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["training.steps"] == "9"
    assert found.info.status == "FINISHED"
    assert "Which <script> wins?" in found.data.tags["mlflow.note.content"]
    names = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert names >= {"best.cell", "best.svg", "experiment.toml"}
    points = [
        (key, point.step, point.value)
        for key in found.data.metrics
        for point in client.get_metric_history(found.info.run_id, key)
    ]
    return points, client.download_artifacts(found.info.run_id, "best.cell")


def read_trackio(run: Path) -> tuple[Points, str]:
    import trackio

    (found,) = trackio.Api().runs("cellsearch")
    assert found.config["training.steps"] == "9"
    logs = trackio.SQLiteStorage.get_logs("cellsearch", found.name)
    points = [
        (key, log["step"], value)
        for log in logs
        for key, value in log.items()
        if isinstance(value, float | int) and key != "step"
    ]
    assert any("best cell" in log for log in logs)
    return points, str(run / "tracking" / "trackio" / "best.cell")


def read_wandb(run: Path) -> tuple[Points, str]:
    """Rows of all sittings; one row a step is left, as on the server."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows: dict[int, dict[str, float]] = {}
    artifacts = set()
    for file in sorted(run.glob("wandb/offline-run-*/run-*.wandb")):
        for data in records(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            if record.HasField("artifact"):
                artifacts.add(record.artifact.type)
            if not record.HasField("history"):
                continue
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            rows[int(items["_step"])] = {
                key: value for key, value in items.items() if key.startswith(("trial/", "search/"))
            }
    assert "cell" in artifacts
    return [(key, step, v) for step, row in rows.items() for key, v in row.items()], ""


def records(data: bytes) -> Iterable[bytes]:
    """The records of a file of wandb: after 7 bytes, LevelDB's log of blocks of 32 KiB, in which
    each piece has a checksum, its length and whether it is a whole (1), a beginning, middle or end.
    """
    place, begun = 7, b""
    while place + 7 <= len(data):
        left = 32_768 - place % 32_768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        begun += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield begun
            begun = b""


READERS: Mapping[str, Callable[[Path], tuple[Points, str]]] = {
    "mlflow": read_mlflow,
    "trackio": read_trackio,
    "wandb": read_wandb,
}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(params=READERS)
def tracker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    name = str(request.param)
    if find_spec(name) is None:
        pytest.skip(f"pip install 'cellsearch[{name}]'")
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    return name


def told(run: Path, name: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    """Told in a process of its own, as in a search: these libraries keep threads and settings."""
    program = (
        "from cellsearch.tracking import follow\nfollow.BATCH = 3\n"
        f"print('told', follow.send({str(run)!r}, {name!r})[0], flush=True)"
    )
    environment = os.environ | ({"CELLSEARCH_FAILPOINT": failpoint} if failpoint else {})
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def require_whole(run: Path, name: str) -> None:
    """What it shows is what the store holds, once."""
    points, cell = READERS[name](run)
    found = open_run(run)
    order = sorted(found.ended, key=lambda number: found.ended[number])
    assert series(points, "trial/score") == {
        step: pytest.approx(found.trials[number].score)
        for step, number in enumerate(order)
        if number != FAILS
    }
    best = series(points, "search/best_score")
    assert list(best) == list(range(TRIALS))
    assert best[TRIALS - 1] == pytest.approx(min(t.score for t in found.trials))
    if cell:
        assert Path(cell).read_text("utf-8") == found.trials.top(1)[0].genome.to_text()


def series(points: Iterable[tuple[str, int, float]], key: str) -> dict[int, float]:
    found = sorted((step, value) for name, step, value in points if name == key)
    assert len(dict(found)) == len(found), "a point is there twice"
    return dict(found)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [0, 1, 3])
def test_no_point_is_lost_or_shown_twice(finished: Path, tracker: str, kill: int) -> None:
    """Told at once, or killed when the library has its points and before that is written down."""
    if kill:
        assert told(finished, tracker, f"tracker: told@{kill}").returncode == -9
    done = told(finished, tracker)
    assert done.returncode == 0, done.stderr
    again = told(finished, tracker)
    assert "told 0" in again.stdout.splitlines(), again.stderr
    require_whole(finished, tracker)


def test_a_missing_library_is_said(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "tensorboard", "trackio", "wandb"):
        assert name in names()
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"cellsearch.tracking.{name}", raising=False)
        with pytest.raises(ConfigError, match=rf"the tracker {name} needs the package {name}"):
            send(finished, name)
