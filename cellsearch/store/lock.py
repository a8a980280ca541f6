"""One writer a run: advisory locks of the kernel, which end with their process, so that a dead
writer never blocks a run; and what a folder that comes from elsewhere may not hold.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

from cellsearch.errors import EnvironmentFailure, InputFileError, RunError

__all__ = ["RunLock", "holder", "require_plain"]

_FILE_NAME = "lock"
_WRITTEN = (
    *(_FILE_NAME, "store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "store.sqlite-journal"),
    *("log.txt", "experiment.toml", "best.cell", "report.html", "finals.json"),
    "finals.partial.json",
)
"""The files of a run that its writer writes."""
_FOLDERS = ("checkpoints", "told")
"""The folders that it writes and deletes in."""


class RunLock:
    """Held from construction to :meth:`close` or the end of the process, however it ends.

    Two locks: on the folder itself, which nobody can remove from under a writer, and on the file
    ``lock``, at which version 0.1 looks and which says who it is. The file stays: the kernel's
    locks decide, not its existence.

    doing: what the process does, for others to read; ``""`` for a search.

    Raises :class:`RunError` if another writer holds the run, :class:`InputFileError` if something
    else than a plain file or folder is where the writer would write.
    """

    def __init__(self, folder: Path, doing: str = "") -> None:
        self._descriptors: list[int] = []
        try:
            self._take(folder, doing)
        except OSError as error:
            self.close()
            raise EnvironmentFailure(
                f"the run folder cannot be written: {error.strerror}", where=str(folder)
            ) from error
        except BaseException:
            self.close()
            raise

    def _take(self, folder: Path, doing: str) -> None:
        # os.open: the descriptors are not inherited by the processes that an executor starts (PEP
        # 446).
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._descriptors.append(place)
        if not _locked(place):
            raise _refusal(folder)
        require_plain(folder, _WRITTEN, _FOLDERS, alone=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.open(_FILE_NAME, flags, 0o644, dir_fd=place)
        self._descriptors.append(file)
        if not _locked(file):
            raise _refusal(folder)
        os.ftruncate(file, 0)
        who = f"process {os.getpid()} on {socket.gethostname()}{', ' if doing else ''}{doing}\n"
        os.pwrite(file, who.encode(), 0)

    def close(self) -> None:
        """Let the next writer in. May be called twice."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def require_plain(
    folder: Path, files: tuple[str, ...], folders: tuple[str, ...] = (), *, alone: bool = False
) -> None:
    """Raise :class:`InputFileError` unless each of these files, where it is there, is a plain one,
    and each folder a real one: a link could lead anywhere, and a pipe keeps who opens it waiting.

    alone: a file may not have another name elsewhere (a hard link).
    """
    for name in (*files, *folders):
        try:
            found = os.lstat(folder / name)
        except FileNotFoundError:
            continue
        kind = stat.S_ISDIR if name in folders else stat.S_ISREG
        wanted = "folder" if name in folders else "file"
        if not kind(found.st_mode):
            raise InputFileError(
                f"{name} in the run folder is {_kind(found.st_mode)}, not a plain {wanted}",
                where=str(folder / name),
                hint="remove it; a run folder from elsewhere may hold links that lead out of it",
            )
        if alone and wanted == "file" and found.st_nlink > 1:
            raise InputFileError(
                f"{name} in the run folder has another name elsewhere (a hard link), and writing "
                f"it would change that file",
                where=str(folder / name),
                hint="copy the folder (cp -r) and use the copy",
            )


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for test, name in kinds if test(mode)), "a device")


def _refusal(folder: Path) -> RunError:
    return RunError(
        f"another process is writing this run ({holder(folder) or 'unknown process'})",
        where=str(folder),
        hint="wait for it, stop it, or choose another folder with --run; reading "
        "commands work meanwhile",
    )


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
    with suppress(OSError, InputFileError):
        # no lock file, no permission to look, or not a file: the folder's own lock may still tell
        require_plain(folder, (_FILE_NAME,))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(folder / _FILE_NAME, flags)
        try:
            if _held(descriptor):
                text = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
                return text or "unknown process"
        finally:
            os.close(descriptor)
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return _by_kernel(descriptor) if _held(descriptor) else ""
        finally:
            os.close(descriptor)
    return ""


def _held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _by_kernel(descriptor: int) -> str:
    """Who holds the lock on a file that does not say it itself."""
    inode = os.fstat(descriptor).st_ino
    with suppress(OSError):  # not every Linux tells
        for line in Path("/proc/locks").read_text(encoding="ascii", errors="replace").splitlines():
            fields = line.split()
            # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF
            if "FLOCK" in fields[:2] and fields[5].rpartition(":")[2] == str(inode):
                return f"process {fields[4]} on {socket.gethostname()}"
    return "unknown process"
