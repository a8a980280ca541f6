"""Run folders that come from elsewhere: nothing in them leads out of them, or keeps anybody
waiting; and the lock of a run, which nothing in the folder takes away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cellsearch.errors import CellsearchError, InputFileError, RunError
from cellsearch.executors.in_process import InProcess
from cellsearch.files import write_atomically
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.store.lock import RunLock
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment

EXPERIMENT = small_experiment(trials=3)
FILES = (
    *("lock", "store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "store.sqlite-journal"),
    *("log.txt", "experiment.toml", "best.cell", "report.html", "finals.json"),
    *("finals.partial.json", "experiment.toml.tmp", "best.cell.tmp"),
)
VICTIM = "not to be touched"


def search(folder: Path, trials: int = 3) -> None:
    experiment = small_experiment(trials=trials)
    with Search.open(folder, experiment) as found, InProcess(evaluation=EVALUATION) as executor:
        found.run(executor)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "run"
    search(folder)
    (folder / "checkpoints").mkdir()
    return folder


def symbolic(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def dangling(place: Path, victim: Path) -> None:
    place.symlink_to(victim.with_name("made"))


def hard(place: Path, victim: Path) -> None:
    place.hardlink_to(victim)


def folder(place: Path, victim: Path) -> None:
    place.mkdir()
    (place / "inside").write_text(VICTIM)


def pipe(place: Path, victim: Path) -> None:
    os.mkfifo(place)


def everything(path: Path) -> None:
    """All that people do with a run, each with whatever error it declares."""
    codes = set()
    for do in (
        lambda: search(path, 5),
        lambda: Store.writer(path),
        lambda: Store.read(path).close(),
        lambda: RunLock(path).close(),
        lambda: write_atomically(path / "report.html", "a report"),
    ):
        try:
            do()
        except CellsearchError as error:
            codes.add(error.exit_code)
    assert codes <= {3, 4, 6}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("put", [symbolic, dangling, hard, folder, pipe])
@pytest.mark.parametrize("name", [*FILES, "checkpoints"])
def test_nothing_outside_the_folder_changes(
    name: str, put: Callable[[Path, Path], None], run: Path, tmp_path: Path
) -> None:
    here = Path(shutil.copytree(run, tmp_path / "run"))
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "trial-00000.safetensors.tmp"
    victim.write_text(VICTIM)
    place = here / name
    if place.is_dir():
        place.rmdir()
    place.unlink(missing_ok=True)
    put(place, outside if name == "checkpoints" and put is symbolic else victim)
    everything(here)
    assert [path.name for path in outside.iterdir()] == [victim.name]
    assert victim.read_text() == VICTIM


@pytest.mark.parametrize(
    ("name", "put"), [("lock", symbolic), ("store.sqlite", hard), ("checkpoints", dangling)]
)
def test_what_is_in_the_way_is_said(
    name: str, put: Callable[[Path, Path], None], run: Path, tmp_path: Path
) -> None:
    here = Path(shutil.copytree(run, tmp_path / "run"))
    victim = tmp_path / "victim"
    victim.write_text(VICTIM)
    shutil.rmtree(here / name) if name == "checkpoints" else (here / name).unlink()
    put(here / name, victim)
    with pytest.raises(InputFileError, match=f"{name} in the run folder"):
        Search.open(here, EXPERIMENT)


def test_a_run_that_its_owner_reaches_by_a_link_is_one(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    search(tmp_path / "link", 5)
    with Store.read(tmp_path / "link") as store:
        assert len(store.history()) >= 5


@pytest.mark.parametrize("named", ["the folder", "a link to it"])
def test_no_second_writer_when_the_lock_is_removed(named: str, tmp_path: Path) -> None:
    here = tmp_path / "run"
    code = (
        f"from cellsearch.store import Store; s = Store.open({str(here)!r}); "
        f"print('open', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        (here / "lock").unlink()
        if named == "a link to it":
            (tmp_path / "link").symlink_to(here)
            here = tmp_path / "link"
        for _ in range(2):
            assert Store.writer(here) == f"process {process.pid} on {os.uname().nodename}"
            with pytest.raises(RunError, match=f"process {process.pid} on"):
                Store.open(here)
        process.kill()
    assert Store.writer(here) == ""
    Store.open(here).close()


def test_a_writer_of_version_0_1_is_seen(tmp_path: Path) -> None:
    """It locks the file alone."""
    import fcntl

    with Store.open(tmp_path):
        pass
    with open(tmp_path / "lock", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another process is writing"):
            Store.open(tmp_path)
    Store.open(tmp_path).close()
