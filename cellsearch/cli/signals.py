"""How a command ends when it is told to: Ctrl-C (SIGINT), SIGTERM, and SIGHUP when its terminal
goes.

All three raise :class:`KeyboardInterrupt` in the main thread, so that everything is given back that
was taken. A command that can end in order says how (:func:`orderly`): then the first signal calls
that, and the next one interrupts. A person presses Ctrl-C again; who sends one of the others waits
for a time and then kills, so that is not waited for: after ``CELLSEARCH_GRACE_SECONDS`` (5) the
signal counts as sent again. Where giving back hangs as well, the process is ended hard.

A signal that was ignored when the process started stays ignored: nohup, and jobs that a shell has
put into the background.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cellsearch.errors import ConfigError

__all__ = [
    "exit_code",
    "leave_in_peace",
    "orderly",
    "signals_handled",
    "was_interrupted",
    "was_told",
]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HARD_END_SECONDS = 20.0


class _Ending:
    """What has been said to the command that runs."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.number = 0
        self.interrupted = False
        self.stop: Callable[[int], None] | None = None
        self.over = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        first, self.number = not self.number, self.number or number
        if number == signal.SIGHUP:
            _let_terminal_go()
        if self.interrupted:
            return  # what was taken is being given back
        if first and self.stop is not None:
            if number != signal.SIGINT:
                self.after(self.grace, lambda: os.kill(os.getpid(), number))
            self.stop(number)
            return
        self.interrupted = True
        self.after(_HARD_END_SECONDS, lambda: os._exit(128 + self.number))
        raise KeyboardInterrupt

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        def wait() -> None:
            time.sleep(seconds)
            if not self.over:
                do()

        # Not a Thread: its locks may be held by what the signal has interrupted.
        _thread.start_new_thread(wait, ())


_ending = _Ending(0.0)


@contextmanager
def signals_handled() -> Iterator[None]:
    """While entered, signals end the command as the module says, where this thread may decide."""
    global _ending
    _ending = _Ending(_grace())
    before: dict[signal.Signals, object] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    before[number] = signal.signal(number, _ending.on_signal)
        yield
    finally:
        _ending.over = True
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def orderly(stop: Callable[[int], None]) -> Iterator[None]:
    """While entered, the first signal calls ``stop`` with its number instead of interrupting."""
    ending = _ending
    ending.stop = stop
    try:
        yield
    finally:
        ending.stop = None


def was_told() -> bool:
    """Whether a signal has told the command to end."""
    return bool(_ending.number)


def was_interrupted() -> bool:
    """Whether it was interrupted then, and not asked to end in order."""
    return _ending.interrupted


def leave_in_peace() -> None:
    """Let nothing that is sent once more spoil the exit status of a process that is ending as it
    was told.
    """
    if was_told() and threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def exit_code() -> int:
    """What a command exits with that was told to end: 128 and the signal, as shells have it."""
    return 128 + (_ending.number or signal.SIGINT)


def _grace() -> float:
    text = os.environ.get("CELLSEARCH_GRACE_SECONDS", "5")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise ConfigError(
            f"{text!r} is out of range",
            where="CELLSEARCH_GRACE_SECONDS",
            hint="allowed: a number of seconds, at least 0",
        )
    return seconds


def _let_terminal_go() -> None:
    """Point the output elsewhere if its terminal is gone: every write to it would fail."""
    for descriptor in (1, 2):
        try:
            if not stat.S_ISCHR(os.fstat(descriptor).st_mode):
                continue
            poll = select.poll()
            poll.register(descriptor, 0)
            if any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        except OSError:  # closed by the caller
            continue
