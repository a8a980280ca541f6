"""Reading ``.npz`` files that others wrote: no code in them runs, their sizes are checked before
memory is taken, and whatever is wrong with them is one error.
"""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import InputFileError
from cellsearch.files import open_plain
from cellsearch.tasks.data.archives import DAMAGE

__all__ = ["kind_of_file", "read_npz"]

_DAMAGE = (*DAMAGE, tokenize.TokenError)
"""What zipfile and numpy raise for damaged files."""
_MOST_PACKED = 1100
"""So many times smaller than its content a member may be; deflate reaches 1,032."""
_END = 22
"""Bytes of the end of a zip archive, which states how many members it has."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path: Path, *, hint: str = "") -> dict[str, NDArray[Any]]:
    """The arrays of a file by name, in the byte order of this machine.

    path: a regular file.
    hint: what to do about a damaged one.

    Raises :class:`InputFileError` for whatever is not a whole ``.npz`` file of plain arrays.
    """
    try:
        with open_plain(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_whole(file, archive)
            _check_sizes(members)
            return {
                member.filename.removesuffix(".npy"): _array(archive, member) for member in members
            }
    except _DAMAGE as error:
        raise InputFileError(
            f"the file is damaged or not an .npz file: {error or type(error).__name__}",
            where=str(path),
            hint=hint,
        ) from error


def kind_of_file(path: Path) -> str:
    """What a file that holds no ``.npz`` seems to be, in words; ``""`` if it could be one, or
    nothing that is known.
    """
    with open_plain(path) as file:
        head = file.read(4096)
    if head.startswith(np.lib.format.MAGIC_PREFIX):
        return "one array (.npy), not an .npz file"
    if head.startswith(b"PAR1"):
        return "a Parquet table, not an .npz file"
    if head.startswith(b"PK") or not head:
        return ""
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < 4096 else "ignore")
    except UnicodeDecodeError:
        return ""
    if not all(character.isprintable() or character in "\t\r\n\ufeff" for character in text):
        return ""
    return "text, such as a table (CSV), not an .npz file"


def _check_whole(file: IO[bytes], archive: zipfile.ZipFile) -> None:
    """Refuse a list of contents that is cut: what is left of it would be taken for all."""
    file.seek(-_END, os.SEEK_END)
    end = file.read(_END)
    count = int.from_bytes(end[10:12], "little")
    if end.startswith(b"PK\x05\x06") and count not in (len(archive.infolist()), 0xFFFF):
        raise ValueError(f"it lists {len(archive.infolist())} of {count} arrays")


def _check_sizes(members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        if member.file_size > _MOST_PACKED * max(member.compress_size, 1):
            raise ValueError(f"{member.filename!r:.60} cannot hold {member.file_size} bytes")
    total = sum(member.file_size for member in members)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total > memory:
        raise ValueError(f"its arrays take {total >> 20} MiB, this machine has {memory >> 20}")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    if not member.filename.endswith(".npy"):
        raise ValueError(f"{member.filename!r:.60} is not an array")
    with archive.open(member) as file:
        _check_header(file, member)
    with archive.open(member) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_header(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """Refuse an array of other than plain values, and one whose size is not that of its member:
    numpy takes the memory before it reads.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"{member.filename!r:.60} has format {version}, which is not read")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject or dtype.names is not None:
        raise ValueError(
            f"{member.filename!r:.60} holds {'Python objects' if dtype.hasobject else 'records'}, "
            "not plain numbers or strings"
        )
    wanted, held = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
    if wanted != held:
        raise ValueError(f"{member.filename!r:.60} needs {wanted} bytes and has {held}")
