"""Commands that are told to end: real processes, real signals. What was recorded is kept, nothing
that was started stays, the exit status names the signal.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from cellsearch.cli import signals
from cellsearch.cli.failures import guarded
from cellsearch.errors import ConfigError
from cellsearch.store import Store
from cellsearch.trial import Status

pytestmark = pytest.mark.alone

EXPERIMENT = """
question = "Does it end?"
space = "tiny"
strategy = "random"
task = "parity"
trials = 500
baselines = ["lstm", "gru"]
[task_options]
batch_size = 4
[training]
steps = {steps}
hidden_size = 4
evaluations = 1
"""
LONG, SHORT = 1_000_000, 3
SLOW = pytest.mark.slow
SIGNALS_AND_WORKERS = pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGTERM, 2),
        (signal.SIGHUP, 0),
        pytest.param(signal.SIGTERM, 0, marks=SLOW),
        pytest.param(signal.SIGHUP, 2, marks=SLOW),
    ],
)


class Command:
    """A process of ``cellsearch``, in a session of its own."""

    def __init__(
        self, *arguments: str | Path, grace: str = "1", before: Callable[[], None] | None = None
    ) -> None:
        self.seen: set[tuple[int, str]] = set()
        program = "from cellsearch.cli import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=before,
            env={**os.environ, "CELLSEARCH_GRACE_SECONDS": grace},
        )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not ready():
            assert time.monotonic() < end, "it did not come so far"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        self.look()

    def wait_until_torch_is_loaded(self) -> None:
        maps = Path(f"/proc/{self.process.pid}/maps")
        self.wait_until(lambda: "libtorch_python" in maps.read_text())
        time.sleep(2)

    def end(self, seconds: float = 60) -> tuple[int, str, str]:
        """Exit status, output and errors; then nothing may be left of it."""
        out, err = self.process.communicate(timeout=seconds)
        assert "Traceback" not in err
        end = time.monotonic() + 10
        while (left := self.left()) and time.monotonic() < end:
            time.sleep(0.1)
        assert left == []
        assert list(Path("/tmp").glob(f"cellsearch-{self.process.pid}-*")) == []
        return self.process.returncode, out, err

    def left(self) -> list[str]:
        """What lives of the processes that it was seen to have started."""
        alive = {(number, start): what for number, _, start, what in processes()}
        return [alive[one] for one in self.seen & alive.keys()]

    def look(self) -> None:
        """See which processes descend from it now."""
        family = {self.process.pid}
        for number, parent, start, _ in sorted(processes(), key=lambda one: int(one[2])):
            if parent in family:
                family.add(number)
                self.seen.add((number, start))


def processes() -> Iterator[tuple[int, int, str, str]]:
    """Number, parent, start and name of each process that is not dead."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                name, _, rest = (entry / "stat").read_text().rpartition(") ")
                fields = rest.split()
                if fields[0] != "Z":
                    yield int(entry.name), int(fields[1]), fields[19], name


@pytest.fixture
def begin() -> Iterator[Callable[..., Command]]:
    """Starts commands, and kills those that a failed test has left."""
    begun: list[Command] = []

    def start(*arguments: str | Path, **options: object) -> Command:
        begun.append(Command(*arguments, **options))  # type: ignore[arg-type]
        return begun[-1]

    yield start
    for command in begun:
        if command.process.poll() is None:
            command.process.kill()
            command.process.communicate()


def experiment(folder: Path, steps: int) -> Path:
    path = folder / "mine.toml"
    path.write_text(EXPERIMENT.format(steps=steps), "utf-8")
    return path


def statuses(run: Path) -> list[Status]:
    if not (run / "experiment.toml").is_file():
        return []
    with Store.read(run) as store:
        return [trial.status for trial in store.history()]


@SIGNALS_AND_WORKERS
def test_a_search_finishes_what_is_under_way(
    begin: Callable[..., Command], tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    run = tmp_path / "run"
    file = experiment(tmp_path, SHORT)
    command = begin("search", file, "--run", run, "--workers", str(workers), grace="30")
    command.wait_until(lambda: statuses(run).count(Status.COMPLETED) >= 3)
    os.kill(command.process.pid, number)
    code, out, err = command.end()
    assert (code, "the same command goes on" in err) == (128 + number, True)
    assert "trained of 500 asked for" in out
    assert {Status.COMPLETED} == set(statuses(run))


@SIGNALS_AND_WORKERS
def test_a_search_does_not_wait_for_long_trials(
    begin: Callable[..., Command], tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    """To the whole group, as service managers and terminals send it."""
    run = tmp_path / "run"
    command = begin(
        "search", experiment(tmp_path, LONG), "--run", run, "--workers", str(workers), "--plain"
    )
    command.wait_until(lambda: statuses(run).count(Status.RUNNING) == max(1, workers))
    if not workers:  # a search with workers does without torch
        command.wait_until_torch_is_loaded()
    os.killpg(command.process.pid, number)
    code, _, err = command.end()
    assert (code, "nothing recorded is lost" in err) == (128 + number, True)
    assert Status.FAILED not in statuses(run)


def test_the_same_signal_again_does_not_wait_for_the_grace(
    begin: Callable[..., Command], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = ("search", experiment(tmp_path, LONG), "--run", run, "--workers", "0")
    command = begin(*arguments, grace="1000")
    command.wait_until(lambda: Status.RUNNING in statuses(run))
    command.wait_until_torch_is_loaded()
    for _ in range(3):
        with suppress(ProcessLookupError):
            os.kill(command.process.pid, signal.SIGTERM)
        time.sleep(0.3)
    assert command.end(30)[0] == 143


def test_a_terminal_that_goes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["search", str(experiment(tmp_path, SHORT)), "--run", str(run), "--workers", "0"]
    process, terminal = pty.fork()
    if process == 0:
        program = "from cellsearch.cli import main; main()"
        os.execv(sys.executable, [sys.executable, "-c", program, *arguments])
    end = time.monotonic() + 120
    while statuses(run).count(Status.COMPLETED) < 3 and time.monotonic() < end:
        os.read(terminal, 65536)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert {Status.COMPLETED} == set(statuses(run))


@pytest.mark.parametrize(
    ("number", "arguments"),
    [
        (signal.SIGTERM, ["evaluate", "gru", "--task", "parity", "--steps", str(LONG)]),
        *(
            pytest.param(number, arguments, marks=SLOW)
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
            for arguments in (
                ["diagnose", "gru", "--task", "parity", "--steps", str(LONG)],
                ["evaluate", "gru", "--suite", "standard"],
            )
        ),
    ],
)
def test_trainings_without_a_run_end_at_once(
    begin: Callable[..., Command], arguments: list[str], number: signal.Signals
) -> None:
    command = begin(*arguments)
    command.wait_until_torch_is_loaded()
    os.kill(command.process.pid, number)
    code, out, err = command.end(30)
    assert (code, out, err.strip()) == (128 + number, "", "error: interrupted")


@pytest.mark.parametrize("workers", [pytest.param(0, marks=SLOW), 2])
def test_finals_end_with_their_workers(
    begin: Callable[..., Command], tmp_path: Path, workers: int
) -> None:
    run = tmp_path / "run"
    file = experiment(tmp_path, SHORT)
    made = begin("search", file, "--run", run, "--workers", "0", "--trials", "6")
    assert made.end(120)[0] == 0
    arguments = ("finals", run, "--steps", str(LONG), "--hidden", "128", "--top", "1")
    command = begin(*arguments, "--workers", str(workers))
    assert command.process.stderr is not None
    assert "trainings of" in command.process.stderr.readline()
    command.wait_until(lambda: not workers or any("_Worker" in p[3] for p in processes()))
    time.sleep(2)
    command.look()
    assert bool(command.seen) == bool(workers)
    os.kill(command.process.pid, signal.SIGTERM)
    code, out, err = command.end()
    assert (code, out, err) == (143, "", "stopped: the same command goes on with these finals\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_was_ignored_at_the_start_stays_ignored(
    begin: Callable[..., Command], tmp_path: Path, number: signal.Signals
) -> None:
    """``nohup cellsearch search &`` in a script: its shell's Ctrl-C and end are not for it."""
    run = tmp_path / "run"
    command = begin(
        *("search", experiment(tmp_path, SHORT), "--run", run, "--workers", "0"),
        *("--trials", "8"),
        before=lambda: signal.signal(number, signal.SIG_IGN) and None,
    )
    command.wait_until(lambda: statuses(run).count(Status.COMPLETED) >= 1)
    for _ in range(3):
        os.kill(command.process.pid, number)
        time.sleep(0.1)
    assert command.end(120)[0] == 0


def test_what_does_not_give_back_is_ended_hard() -> None:
    program = """
import os, signal, sys, time
from cellsearch.cli import signals
signals._HARD_END_SECONDS = 0.5
with signals.signals_handled():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        print("giving back", flush=True)
        time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "giving back\n", "")


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(number) for number in signals._SIGNALS]
    with signals.signals_handled():
        during = [signal.getsignal(number) for number in signals._SIGNALS]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
    assert during != before
    assert signals.exit_code() == 129
    assert [signal.getsignal(number) for number in signals._SIGNALS] == before


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_grace_that_is_no_number_of_seconds(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("CELLSEARCH_GRACE_SECONDS", text)
    code, _, err = call("zoo")
    assert code == 2
    assert err.startswith(f"error: CELLSEARCH_GRACE_SECONDS: {text!r} is out of range")


def test_an_interruption_stays_one_whatever_a_library_makes_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """numpy makes a ValueError of one that comes while it interprets a type."""

    @click.command()
    def swallowing() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except KeyboardInterrupt:
            raise ValueError("cannot create an OBJECT array from memory buffer") from None

    @click.command()
    def failing() -> None:
        raise ConfigError("something else")

    assert guarded(swallowing, []) == 128 + signal.SIGTERM
    assert capsys.readouterr().err.strip() == "error: interrupted"
    assert guarded(failing, []) == 2
    assert "something else" in capsys.readouterr().err
