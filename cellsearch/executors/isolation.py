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

__all__ = ["Interrupts", "isolated"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_default_device(),
        torch.get_num_threads(),
    )


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
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        try:
            self._before[number](number, frame)
        except BaseException as error:
            self.raised = error
            raise
