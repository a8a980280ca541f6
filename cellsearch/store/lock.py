"""One writer a run: an advisory lock of the kernel, which ends with its process, so that a dead
writer never blocks a run.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from cellsearch.errors import EnvironmentFailure, RunError

__all__ = ["RunLock", "holder"]

_FILE_NAME = "lock"


class RunLock:
    """Held from construction to :meth:`release` or the end of the process, however it ends.

    Raises :class:`RunError` if another writer holds the run. The file itself stays: the kernel's
    lock on it decides, not its existence.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / _FILE_NAME
        try:
            # os.open: the descriptor is not inherited by the processes that an executor starts (PEP
            # 446).
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise EnvironmentFailure(
                f"the run folder cannot be written: {error.strerror}", where=str(folder)
            ) from error
        if not _locked(self._descriptor):
            who = os.pread(self._descriptor, 200, 0).decode("utf-8", "replace").strip()
            self.release()
            raise RunError(
                f"another process is writing this run ({who or 'unknown process'})",
                where=str(folder),
                hint="wait for it, stop it, or choose another folder with --run; reading "
                "commands work meanwhile",
            )
        os.ftruncate(self._descriptor, 0)
        os.pwrite(
            self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0
        )

    def release(self) -> None:
        """Let the next writer in. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _locked(descriptor: int) -> bool:
    """Take the lock, or say that another has it. A few tries, because :func:`holder` has it for a
    moment when it looks.
    """
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def holder(folder: Path) -> str:
    """Who writes the run now, in words; ``""`` if nobody does."""
    try:
        descriptor = os.open(folder / _FILE_NAME, os.O_RDONLY)
    except OSError:  # no lock file, or no permission to look: nobody that we could know of
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "unknown process"
    else:
        return ""
    finally:
        os.close(descriptor)
