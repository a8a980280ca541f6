"""The folder of a Ray cluster of our own: nobody else may enter it, and nothing of it stays."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["OwnFolder"]

_PREFIX = "cellsearch-"
_OURS = re.compile(re.escape(_PREFIX) + r"([0-9]{1,10})-[A-Za-z0-9_]+")
_LOCK = "lock"
_TOKEN = "token"


class OwnFolder:
    """``path``: a folder that only we may enter, because Ray makes what is inside writable for
    everybody; ``token``: a file in it with a token of its own.

    The path is short, because Ray puts sockets there, whose paths may have 107 characters. What
    killed processes of this user have left is removed: folders whose process is gone and whose lock
    nobody holds (another container has other process numbers).
    """

    def __init__(self) -> None:
        base = _base()
        for folder in base.iterdir():
            if _is_left_over(folder):
                shutil.rmtree(folder, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.token = self.path / _TOKEN
        self.token.touch(mode=0o600)
        self.token.write_text(secrets.token_hex(32), encoding="ascii")

    def remove(self) -> None:
        """Delete it with all that is in it."""
        os.close(self._lock)
        for _ in range(3):  # what is being killed may still write its logs
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                return


def _base() -> Path:
    return Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())


def _is_left_over(folder: Path) -> bool:
    """Whether a name in the temporary folder is a folder of ours that nobody uses any more."""
    name = _OURS.fullmatch(folder.name)
    if name is None or not Path("/proc/self").exists() or Path(f"/proc/{name[1]}").exists():
        return False
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # not a folder, not ours to read, or gone
        return False
    try:
        if os.fstat(directory).st_uid != os.getuid():
            return False
        with suppress(FileNotFoundError):  # of a version that made none
            lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(lock)
    except OSError:  # somebody holds it
        return False
    finally:
        os.close(directory)
    return True
