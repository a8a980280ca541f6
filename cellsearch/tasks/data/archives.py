"""Reading single files out of packed ones: by name, into memory, never more than is expected, and
nothing is unpacked to disk.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cellsearch.errors import InputFileError

__all__ = ["DAMAGE", "of_gzip", "of_tar", "of_xz", "of_zip"]

DAMAGE = (
    *(ValueError, OSError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    # unknown compression, an encrypted member, sizes beyond memory
    *(NotImplementedError, RuntimeError, SyntaxError, RecursionError, MemoryError),
)
"""What the readers of the standard library, and those of numpy, raise for damaged files."""


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    """Whatever is wrong with the packed file becomes one error."""
    try:
        yield
    except DAMAGE as error:
        raise InputFileError(
            f"the {kind} file is damaged or another one: {error or type(error).__name__}",
            where=str(path),
            hint="delete it and get it again",
        ) from error


def of_zip(path: Path, member: str, most: int) -> bytes:
    """The member of a zip file, of ``most`` bytes at most. Raises :class:`InputFileError`, also for
    a link or a name that is there twice.
    """
    with _reading(path, "zip"), zipfile.ZipFile(path) as archive:
        found = [info for info in archive.infolist() if info.filename == member]
        if len(found) != 1:
            raise ValueError(f"{len(found)} members are called {member!r}")
        if stat.S_ISLNK(found[0].external_attr >> 16):
            raise ValueError(f"{member!r} is a link")
        with archive.open(found[0]) as file:
            return _bounded(file, most, member)


def of_gzip(path: Path, most: int) -> bytes:
    """The content of a gzip file, of ``most`` bytes at most. Raises :class:`InputFileError`."""
    with _reading(path, "gzip"), gzip.open(path) as file:
        if not path.stat().st_size:
            raise ValueError("it is empty")
        return _bounded(file, most, "its content")


def of_xz(path: Path, most: int) -> bytes:
    """The content of an xz file, of ``most`` bytes at most. Raises :class:`InputFileError`."""
    with _reading(path, "xz"):
        unpacker = lzma.LZMADecompressor()
        data = unpacker.decompress(path.read_bytes(), max_length=most + 1)
        if not unpacker.eof or len(data) > most:
            raise ValueError("it is cut off, or far too large")
        return data


def of_tar(path: Path, pattern: str, most: int, total: int) -> dict[str, bytes]:
    """The members of a tar.gz file whose whole name matches ``pattern``, by what its group holds.

    most: bytes that one of them may have.
    total: bytes that the unpacked archive may have.

    Raises :class:`InputFileError`, also for a link or a name that is there twice.
    """
    found: dict[str, bytes] = {}
    with _reading(path, "tar.gz"), gzip.open(path) as unpacked:
        stream = _Bounded(unpacked, total)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for info in archive:
                match = re.fullmatch(pattern, info.name)
                if match is None:
                    continue
                if not info.isreg():
                    raise ValueError(f"{info.name!r:.200} is not a plain file")
                file = archive.extractfile(info)
                if file is None or match[1] in found:
                    raise ValueError(f"{info.name!r:.200} is there twice")
                found[match[1]] = _bounded(file, most, info.name)
        while stream.read(1 << 16):  # gzip compares its checksum at the end
            pass
    return found


def _bounded(file: IO[bytes] | gzip.GzipFile, most: int, name: str) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{name!r:.200} has more than {most:,} bytes")
    return data


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than so many bytes."""

    def __init__(self, file: gzip.GzipFile, most: int) -> None:
        self._file, self._left, self._most = file, most, most

    def read(self, size: int = -1) -> bytes:
        """See the class."""
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"it holds more than {self._most:,} bytes")
        return data
