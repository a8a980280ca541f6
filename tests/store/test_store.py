from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cellsearch import zoo
from cellsearch.errors import EnvironmentFailure, InputFileError, RunError
from cellsearch.job import Outcome
from cellsearch.store import Duplicate, Records, Store, database
from cellsearch.store.database import FILE_NAME, VERSION, migrate, network_file_system
from cellsearch.trial import Budget, Connection, Failure, Proposal, Result, Rung, Status, Trial

DATA = Path(__file__).parents[1] / "data"


def add(
    store: Store,
    number: int,
    cell: str = "lstm",
    *,
    key: str = "",
    proposal: Proposal | None = None,
    **options: object,
) -> Trial:
    """Record a trial that is about to be trained."""
    proposal = proposal or Proposal(zoo.load(cell), origin=f"baseline:{cell}")
    trial = Trial(number, proposal, Status.RUNNING, rungs=(Rung(Budget(100, 0)),))
    values = {
        "key": key or f"key {number}",
        "genome": proposal.genome.to_json(),
        "attempt": 0,
        "seed": 7,
        "horizon": number,
    } | options
    store.add_trial(trial, **values)  # type: ignore[arg-type]
    return trial


def result(score: float = 1.5) -> Result:
    return Result(
        score=score,
        metric=-score,
        steps=100,
        seconds=2.5,
        parameters=1000,
        cell_parameters=800,
        curve=((50, 2.0), (100, score)),
        metrics={"accuracy": 0.5, "loss": float("inf")},
        connections={"i.weight_x": Connection(0.1, 0.2), "n.scale": Connection(0.3, 0.4)},
        checkpoint="checkpoints/trial-00000.safetensors",
    )


def test_everything_comes_back(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.describe('name = "a"\n')
        store.add_environment({"torch": "2.13.0"})
        store.add_event("opened", "for the first time")
        trial = add(store, 0)
        child = Proposal(zoo.load("gru"), (0, 0), "crossover", inherit=0)
        add(
            store,
            1,
            proposal=child,
            inherit="checkpoints/trial-00000.safetensors",
            duplicates=(Duplicate(1, 0, 0),),
            attempt=1,
        )
        store.add_outcome(
            Outcome(0, 0, result(), worker="host:1", wall_seconds=3.0), Status.COMPLETED
        )
        store.add_outcome(Outcome(1, 0, failure=Failure("nan", "at step 3")), Status.FAILED)
    with Store.read(tmp_path) as store:
        first, second = store.history()
        assert first == trial.with_(
            status=Status.COMPLETED, rungs=(Rung(Budget(100, 0), result()),)
        )
        assert second.proposal == child
        assert second.status is Status.FAILED
        assert second.failure == Failure("nan", "at step 3")
        assert second.result is None
        assert store.trial(0) == first
        assert store.experiment == 'name = "a"\n'
        assert abs(store.created - time.time()) < 60
        assert [e.fingerprint for e in store.environments()] == [{"torch": "2.13.0"}]
        assert [(e.kind, e.text) for e in store.events()] == [("opened", "for the first time")]
        assert store.duplicates() == (Duplicate(1, 0, 0),)
        assert store.inherited() == {(1, 0): "checkpoints/trial-00000.safetensors"}
        assert [(d.position, d.trial, d.rung, d.horizon) for d in store.decisions()] == [
            (0, 0, 0, 0),
            (1, 1, 0, 1),
        ]
        assert store.keys() == {0: "key 0", 1: "key 1"}
        timing = store.timings()[0]
        assert timing.worker == "host:1"
        assert timing.started is not None
        assert timing.ended is not None
        assert timing.ended >= timing.started


def test_not_a_number_comes_back(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        add(store, 0)
        store.add_outcome(Outcome(0, 0, result(float("nan"))), Status.COMPLETED)
        score = store.history()[0].score
    assert score != score


def test_higher_rungs(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        add(store, 0)
        store.add_outcome(Outcome(0, 0, result(2.0)), Status.RUNNING)
        store.add_rung(0, Budget(300, 1), horizon=1)
        assert store.trial(0).status is Status.RUNNING
        assert [r.budget.steps for r in store.trial(0).rungs] == [100, 300]
        store.add_outcome(Outcome(0, 1, result(1.0)), Status.RUNNING)
        store.stop(0)
        trial = store.trial(0)
    assert trial.status is Status.STOPPED
    assert [r.result.score for r in trial.rungs if r.result] == [2.0, 1.0]


def test_an_outcome_is_final(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        add(store, 0)
        store.add_outcome(Outcome(0, 0, result(2.0)), Status.COMPLETED)
        with pytest.raises(RunError, match="no outcome is awaited"):
            store.add_outcome(Outcome(0, 0, result(1.0)), Status.COMPLETED)
        with pytest.raises(RunError, match="no outcome is awaited"):
            store.add_outcome(Outcome(0, 1, result(1.0)), Status.COMPLETED)
        assert store.trial(0).score == 2.0


def test_the_database_refuses_a_second_trial_of_a_cell(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        add(store, 0, key="same")
        with pytest.raises(Exception, match="UNIQUE"):
            add(store, 1, key="same")
        assert len(store.history()) == 1
        assert store.decisions() == store.decisions()[:1]
        duplicate = Trial(
            1, Proposal(zoo.load("gru"), origin="x"), Status.DUPLICATE, duplicate_of=0
        )
        store.add_trial(
            duplicate, key="same", genome=duplicate.genome.to_json(), attempt=0, seed=1, horizon=1
        )
        assert store.history()[1].rungs == ()
        store.add_outcome(Outcome(0, 0, result(2.0)), Status.COMPLETED)
        assert store.history()[1].score == 2.0


def test_requeue(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for number in range(3):
            add(store, number)
        store.add_outcome(Outcome(1, 0, result()), Status.COMPLETED)
        assert store.requeue() == 2
        assert [t.status for t in store.history()] == [
            Status.WAITING,
            Status.COMPLETED,
            Status.WAITING,
        ]
        store.start(2, 0)
        assert store.trial(2).status is Status.RUNNING


def test_one_writer(tmp_path: Path) -> None:
    with Store.open(tmp_path):
        assert f"process {os.getpid()} on" in Store.writer(tmp_path)
        with pytest.raises(RunError, match=f"process {os.getpid()}") as caught:
            Store.open(tmp_path)
        assert caught.value.exit_code == 4
    assert Store.writer(tmp_path) == ""
    Store.open(tmp_path).close()


def test_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    code = (
        f"from cellsearch.store import Store; s = Store.open({str(tmp_path)!r}); "
        f"print('open', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(RunError, match=f"process {process.pid}"):
            Store.open(tmp_path)
        process.kill()
    assert (tmp_path / "lock").exists()
    Store.open(tmp_path).close()


def test_readers_see_what_a_writer_has_committed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as writer:
        add(writer, 0)
        with Store.read(tmp_path) as reader:
            assert len(reader.history()) == 1
            add(writer, 1)
            assert len(reader.history()) == 2
            with pytest.raises(RunError, match="for reading"):
                reader.describe("")
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader._connection.execute("DELETE FROM trials")


def test_reading_changes_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        add(store, 0)
    before = (tmp_path / FILE_NAME).read_bytes()
    with Store.read(tmp_path) as reader:
        reader.history()
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user to read as")
def test_reading_as_somebody_who_may_not_write(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Store.open(run) as store:
        add(store, 0)
    target = Path("/tmp") / f"cellsearch-test-{os.getpid()}"
    shutil.copytree(run, target)
    try:
        target.chmod(0o555)
        # Read once before, because the other user may not be able to import anything.
        code = f"""
import os
from cellsearch.store import Store
Store.read({str(run)!r}).history()
os.setuid(65534)
print(len(Store.read({str(target)!r}).history()))
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.stdout == "1\n", done.stderr
    finally:
        target.chmod(0o755)
        shutil.rmtree(target)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here") as caught:
        Store.read(tmp_path)
    assert caught.value.exit_code == 4
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="in the way"):
        Store.open(tmp_path / "file")
    with Store.open(tmp_path / "run") as store, pytest.raises(RunError, match="no trial 3"):
        store.trial(3)


@pytest.mark.parametrize(
    "content",
    [
        b"no database at all, but long enough to look like one" * 20,
        b"SQLite format 3\0" + b"\xff" * 5000,
    ],
)
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    for attempt in (Store.read, Store.open):
        with pytest.raises(InputFileError) as caught:
            attempt(tmp_path)
        assert caught.value.exit_code == 3


def test_foreign_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("CREATE TABLE trials (a)")
    connection.close()
    for attempt in (Store.read, Store.open):
        with pytest.raises(InputFileError, match="not the store"):
            attempt(tmp_path)


@pytest.mark.parametrize("put", [None, b"another file"])
def test_a_store_that_is_taken_away_is_noticed(put: bytes | None, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Store.open(folder) as store:
        add(store, 0)
        shutil.rmtree(folder)
        if put is not None:
            folder.mkdir()
            (folder / FILE_NAME).write_bytes(put)
        with pytest.raises(RunError, match="deleted or replaced"):
            add(store, 1)


def test_damaged_genome_is_an_input_error(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        add(store, 0)
        store._connection.execute("UPDATE trials SET genome = ?", ('{"format": 1',))
        with pytest.raises(InputFileError, match="trial 0"):
            _ = store.history()[0].genome  # read when it is asked for


def test_the_first_trial_of_a_cell_is_found_however_often_one_asks(tmp_path: Path) -> None:
    key = zoo.load("lstm").key
    with Store.open(tmp_path) as store:
        assert store.lookup.with_cell(key) is None  # which may change
        add(store, 0, "gru")
        add(store, 1)
        add(store, 2)
        assert [store.lookup.with_cell(key) for _ in range(3)] == [1, 1, 1]
        assert store.lookup.with_cell("another") is None
    with Store.read(tmp_path) as reader:
        assert reader.lookup.with_cell(key) == 1


def add_many(store: Store, count: int) -> None:
    for number in range(1, count):
        add(store, number)


def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        add(store, 0)
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(EnvironmentFailure, match="full") as caught:
            add_many(store, 1000)
        assert caught.value.exit_code == 6
        recorded = len(store.history())
        assert 1 < recorded < 1000
        assert len(store.decisions()) == recorded
        store._connection.execute("PRAGMA max_page_count = 100000")
        add(store, recorded)
    with Store.read(tmp_path) as reader:
        assert len(reader.history()) == recorded + 1


def test_full_disk_of_the_file_system(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow; what was committed is there afterwards."""
    code = f"""
import resource, signal
from cellsearch.errors import EnvironmentFailure
from cellsearch.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open({str(tmp_path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
written = 0
try:
    while True:
        store.add_event("test", "x" * 1000)
        written += 1
except EnvironmentFailure:
    print(written)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert int(done.stdout) > 10, done.stderr
    with Store.open(tmp_path) as store:
        assert len(store.events()) == int(done.stdout)
        store.add_event("test", "there is room again")


def test_commits_survive_kill(tmp_path: Path) -> None:
    code = f"""
from cellsearch.store import Store
store = Store.open({str(tmp_path)!r})
number = 0
while True:
    store.add_event("test", str(number))
    print(number, flush=True)
    number += 1
"""
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            for _ in range(200):
                process.stdout.readline()
            process.kill()
            last = [199, *(int(line) for line in process.stdout if line.endswith(b"\n"))][-1]
        with Store.open(tmp_path) as store:
            texts = [int(event.text) for event in store.events()]
            assert texts == list(range(len(texts)))
            assert len(texts) >= last + 1
            store._connection.execute("DELETE FROM events")


def test_first_version_opens(tmp_path: Path) -> None:
    """A store that version 1 of the format wrote is read, continued and not changed by reading."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(DATA / "store_v1.sqlite", run / FILE_NAME)
    with Store.read(run) as store:
        history = store.history()
        assert [t.status.value for t in history] == [
            "completed",
            "completed",
            "failed",
            "duplicate",
            "stopped",
            "running",
        ]
        assert [t.score for t in history[:2]] == [1.5, 1.25]
        assert history[3].score == 1.25
        assert [t.genome.key for t in history[:2]] == [zoo.load("lstm").key, zoo.load("gru").key]
        assert history[1].result is not None
        assert history[1].result.connections["n.scale"] == Connection(0.3, 0.4)
        assert history[2].failure == Failure("nan", "at step 3")
        assert store.experiment.startswith("name = ")
        assert len(store.decisions()) == 7
    with Store.open(run) as store:
        assert store.requeue() == 1
        store.add_outcome(Outcome(5, 0, result(1.0)), Status.COMPLETED)
        assert store.trial(5).score == 1.0
        assert store._connection.execute("PRAGMA user_version").fetchone()[0] == VERSION


def test_migrations_are_steps() -> None:
    steps = ["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y", "CREATE TABLE b (z)"]
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, steps[:1], where="here")
    connection.execute("INSERT INTO a VALUES (1)")
    migrate(connection, steps, where="here")
    migrate(connection, steps, where="here")
    assert connection.execute("SELECT x, y FROM a").fetchall() == [(1, None)]
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 3
    with pytest.raises(RunError, match="version 3"):
        migrate(connection, steps[:2], where="here")
    connection.close()


def test_a_failed_migration_changes_nothing(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a", isolation_level=None)
    migrate(connection, ["CREATE TABLE a (x)"], where="here")
    with pytest.raises(sqlite3.OperationalError):
        migrate(
            connection,
            ["CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABLE a (x)"],
            where="here",
        )
    connection.close()
    connection = sqlite3.connect(tmp_path / "a", isolation_level=None)
    assert [row[0] for row in connection.execute("SELECT name FROM sqlite_schema")] == ["a"]
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
    connection.close()


def test_network_file_systems() -> None:
    mounts = (
        "/dev/vda / ext4 rw 0 0\nserver:/x /home nfs4 rw 0 0\n/dev/vdb /home/me ext4 rw 0 "
        "0\n//host/share /mnt/my\\040share cifs rw 0 0\n"
    )
    assert network_file_system(Path("/home/you/run"), mounts) == "nfs4"
    assert network_file_system(Path("/home/me/run"), mounts) == ""
    assert network_file_system(Path("/var/run2"), mounts) == ""
    assert network_file_system(Path("/mnt/my share/run"), mounts) == "cifs"
    assert network_file_system(Path("/homestead"), mounts) == ""


def test_a_reader_is_closed_with_the_last_one_who_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.13 warns of one that is not: a run, its trials and their lists all are readers."""
    gc.collect()  # readers of tests before are closed now, not below
    with Store.open(tmp_path) as writer:
        writer.describe("name = 'a'\n")
        add(writer, 0)
        history = Records(writer.lookup).view()
    closed: list[sqlite3.Connection] = []
    really = database._Reader.close

    def close(connection: sqlite3.Connection) -> None:
        really(connection)
        closed.append(connection)

    monkeypatch.setattr(database._Reader, "close", close)
    history.top(1)  # the writer is closed: a reader answers
    del history, writer
    gc.collect()
    assert len(closed) == 1
    store = Store.read(tmp_path)
    trials = Records(store.lookup).view()[:1]
    del store
    gc.collect()
    assert len(closed) == 2
    assert trials[0].genome == zoo.load("lstm")


def test_a_store_that_cannot_be_opened_leaves_no_reader(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"")
    with pytest.raises(InputFileError):
        Store.read(tmp_path)
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(tmp_path / "no" / "folder", factory=database._Reader)
    gc.collect()
