"""Downloading one file from its public home: announced, checked, one process at a time, and either
complete or not there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cellsearch.errors import EnvironmentFailure, InputFileError
from cellsearch.files import cache_folder
from cellsearch.tasks.data.transfer import Unfinished, fetch

__all__ = ["OFFLINE", "data_cache", "difference", "download", "offline"]

OFFLINE = "CELLSEARCH_OFFLINE"
TIMEOUT = 30.0
"""Seconds without an answer after which an attempt is given up."""
LONGEST = 600.0
"""Seconds that one file may take in all, attempts and pauses included."""
LARGEST = 1 << 29
"""Bytes that a file of unknown size may have."""
Accept = Callable[[Path], object]


def offline() -> bool:
    """Whether downloads are forbidden: ``CELLSEARCH_OFFLINE`` is set to anything but ``0``."""
    return os.environ.get(OFFLINE, "") not in ("", "0")


def data_cache() -> Path:
    """Where downloads are kept: ``data`` in :func:`cellsearch.files.cache_folder`."""
    return cache_folder() / "data"


def download(
    urls: str | Sequence[str],
    target: Path,
    *,
    what: str,
    size: int = 0,
    most: int = LARGEST,
    checksum: str = "",
    accept: Accept | None = None,
    timeout: float = TIMEOUT,
    longest: float = LONGEST,
) -> None:
    """Fetch a file into ``target``; one line on standard error says what is fetched from where to
    where.

    The file appears under its name only when size, checksum and ``accept`` say that it is right.
    What a cut attempt has fetched stays beside it (``.part``) where the server names a version of
    the file; a later call goes on there. Of two processes that want the same file, one fetches it
    and the other waits.

    urls: the same file at one or more places, tried in this order.
    what: its name and licence.
    size: its exact bytes; 0: unknown.
    most: where the size is unknown, it has not more bytes than this.
    checksum: ``"sha256:..."`` or ``"sha1:..."`` of the file; ``""``: ``accept`` decides alone.
    accept: raises :class:`InputFileError` for a file with wrong content.
    timeout: seconds without an answer.
    longest: seconds in all.

    Raises :class:`EnvironmentFailure` if no place sends the whole file, or it cannot be written;
    :class:`InputFileError` if it is another file.
    """
    urls = (urls,) if isinstance(urls, str) else tuple(urls)
    _say(f"downloading {what}{f', {size / 1e6:.1f} MB' * bool(size)}, from {urls[0]} to {target}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + longest
        with _claimed(target, end, longest) as path:
            part = Unfinished(path, size, size or most, timeout, end)
            if target.is_file():  # the process that was waited for has brought it
                path.unlink()
                return
            _from_one_of(urls, part, target, checksum, accept)
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
            part.note.unlink(missing_ok=True)
            os.replace(path, target)
    except OSError as error:
        raise EnvironmentFailure(
            f"the download cannot be written: {error.strerror or error}",
            where=str(target),
            hint="make room, or set CELLSEARCH_CACHE to another folder",
        ) from error


@contextmanager
def _claimed(target: Path, end: float, longest: float) -> Iterator[Path]:
    """The unfinished file of ``target``, which no other process writes to meanwhile."""
    path = target.with_name(target.name + ".part")
    waiting = False
    while (descriptor := _locked(path)) is None:
        if time.monotonic() > end:
            raise EnvironmentFailure(
                f"another process downloads it, and is not done after {longest:g} s",
                where=str(target),
                hint="wait for it or stop it, then try again",
            )
        if not waiting:
            _say(f"waiting for another process that downloads {target.name}")
        waiting = True
        time.sleep(0.1)
    try:
        yield path
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int | None:
    """A descriptor that holds the lock of the file; ``None`` while another process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have given the file its final name, or thrown it away.
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _from_one_of(
    urls: Sequence[str], part: Unfinished, target: Path, checksum: str, accept: Accept | None
) -> None:
    """Fill the unfinished file from the first place that has the right one; if none has, raise what
    was wrong at the first.
    """
    errors: list[EnvironmentFailure | InputFileError] = []
    for url in urls:
        if errors:
            _say(f"that failed ({errors[-1].message}); trying {url}")
        try:
            fetch(url, part)
            _check(url, part.path, checksum, accept)
        except InputFileError as error:
            part.restart()
            errors.append(error)
        except EnvironmentFailure as error:
            errors.append(error)
        else:
            return
    kept = part.note.exists()
    if not kept:
        part.path.unlink()
    first = errors[0]
    first.hint += f"{' (it goes on where it stopped)' * kept}, or put the file there yourself: "
    first.hint += str(target)
    raise first


def difference(path: Path, checksum: str) -> str:
    """How the file's digest differs from ``"sha256:..."``, in words; ``""`` if it does not."""
    kind, _, expected = checksum.partition(":")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, kind).hexdigest()
    if digest == expected:
        return ""
    return f"{kind} {digest[:12]}..., expected {expected[:12]}..."


def _check(url: str, path: Path, checksum: str, accept: Accept | None) -> None:
    """Raise :class:`InputFileError` for another file than the expected one."""
    hint = "the file there has changed, or something stands between; take it from elsewhere"
    if checksum and (differs := difference(path, checksum)):
        raise InputFileError(
            f"the downloaded file is not the expected one: {differs}; it was thrown away",
            where=url,
            hint=hint,
        )
    if accept is not None:
        try:
            accept(path)
        except InputFileError as error:
            raise InputFileError(
                f"the downloaded file is not the expected one: {error.message}; it was thrown away",
                where=url,
                hint=hint,
            ) from error


def _say(text: str) -> None:
    print(f"cellsearch: {text}", file=sys.stderr, flush=True)
