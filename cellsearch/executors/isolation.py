"""What a job may not leave behind in its process: settings of torch; and a signal that ends the
program, told from an interrupt that a job raises itself.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cellsearch.errors import TrainingError

__all__ = ["Alarm", "Interrupts", "isolated"]

_GRACE, _GRACE_SECONDS = 1.1, 0.5
"""The evaluation looks at the clock itself, between two steps; the alarm is for what does not."""
_LONGEST = 1e8
"""Seconds, about three years, that the timer takes."""

_ENDING = (int(signal.SIGINT), int(signal.SIGTERM), int(signal.SIGHUP))
# What lies below the functions that Python documents: those make enums of numbers and handlers,
# which takes ten times as long, once a job.
_below = sys.modules.get("_signal", signal)
_handler_of: Callable[[int], Any] = _below.getsignal
_set_handler: Callable[[int, Any], Any] = _below.signal


@contextmanager
def isolated() -> Iterator[None]:
    """Put torch's settings (default dtype and device, gradients, threads) back when the block ends.

    Training draws all that is random from generators of its own, so the state of the common ones is
    no setting of it.
    """
    before = _torch_settings()
    try:
        yield
    finally:
        if before != (now := _torch_settings()) and now is not None:
            _restore_torch(before)


def _torch_settings() -> tuple[Any, ...] | None:
    """Settings of torch, if it is loaded: a worker without it is not made to load it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    # torch.get_default_device() takes four times as long.
    device = torch.empty(0).device
    return torch.get_default_dtype(), torch.is_grad_enabled(), device, torch.get_num_threads()


def _restore_torch(before: tuple[Any, ...] | None) -> None:
    torch = sys.modules["torch"]
    cpu = torch.device("cpu")
    if before is None:  # the job loaded it: what torch begins with
        before = (torch.float32, True, cpu, None)
    dtype, gradients, device, threads = before
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(gradients)
    if torch.get_default_device() != device:
        # A default device that is set, be it the CPU, slows every call.
        torch.set_default_device(None if device == cpu else device)
    if threads is not None:
        torch.set_num_threads(threads)


class Alarm:
    """While entered, raises :class:`TrainingError` of kind ``"timeout"`` in a job that is over its
    time and does not look at the clock itself: between two instructions of Python, so not within
    one call of native code. Again each second, in case the job catches it. Not while the job loads
    a module (torch loads hundreds with its first optimizer), but once that is loaded: halves of
    modules stay in the process, and would fail all jobs after this one.

    Only where signals may be handled: in the main thread, where nobody else uses this timer (as
    pytest-timeout does); elsewhere nothing happens, and a job that hangs in process goes on.
    seconds: the job's limit; 0: none.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stands = False
        self._outside: FrameType | None = None

    def __enter__(self) -> Alarm:
        """Set the timer, where this thread may."""
        self._stands = (
            0 < self._seconds < _LONGEST
            and hasattr(signal, "setitimer")
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
            and signal.getitimer(signal.ITIMER_REAL)[0] == 0
        )
        if self._stands:
            self._outside = sys._getframe(1)
            signal.signal(signal.SIGALRM, self._on_signal)
            signal.setitimer(signal.ITIMER_REAL, self._seconds * _GRACE + _GRACE_SECONDS, 1.0)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the timer."""
        self.stop()

    def stop(self) -> None:
        """Stop the timer; again, where the alarm itself has struck while it was being stopped."""
        if self._stands:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            self._stands, self._outside = False, None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not _loads_a_module(frame, self._outside):
            raise TrainingError(f"did not end within {self._seconds:g} seconds", kind="timeout")


def _loads_a_module(frame: FrameType | None, outside: FrameType | None) -> bool:
    """Whether an import is under way between these two, the inner and the outer one."""
    while frame is not None and frame is not outside:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


class Interrupts:
    """While entered, remembers what the handler of a signal that ends programs (Ctrl-C, SIGTERM,
    SIGHUP) raised. ``raised``: that exception, or ``None``.
    """

    def __init__(self) -> None:
        self.raised: BaseException | None = None
        self._before: dict[int, Callable[[int, FrameType | None], object]] = {}

    def __enter__(self) -> Interrupts:
        """Stand before the present handlers, where this thread may."""
        if threading.current_thread() is threading.main_thread():
            for number in _ENDING:
                handler = _handler_of(number)
                if callable(handler):
                    self._before[number] = handler
                    _set_handler(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            _set_handler(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        try:
            self._before[number](number, frame)
        except BaseException as error:
            self.raised = error
            raise
