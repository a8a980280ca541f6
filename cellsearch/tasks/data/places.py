"""Where the files of data sets lie on this machine."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from cellsearch.errors import EnvironmentFailure
from cellsearch.tasks.data.download import data_cache
from cellsearch.tasks.data.forms import DataFile, Source

__all__ = ["VARIABLE", "data_folder", "find", "find_source"]

VARIABLE = "CELLSEARCH_DATA"


def data_folder() -> Path | None:
    """The folder that ``CELLSEARCH_DATA`` names, or ``None``. Raises :class:`EnvironmentFailure` if
    it is not a folder.
    """
    value = os.environ.get(VARIABLE, "")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise EnvironmentFailure(
            f"{folder} is not a folder",
            where=VARIABLE,
            hint="set it to the folder that holds your data sets",
        )
    return folder


def _lying(path: str) -> Path | None:
    """A file in the data folder, else among the downloads."""
    folder = data_folder()
    for place in (data_cache(),) if folder is None else (folder, data_cache()):
        if (place / path).is_file():
            return place / path
    return None


def find(file: DataFile) -> Path | None:
    """The file, or its unpacked form."""
    return _lying(file.path) or _lying(file.plain)


def find_source(source: Source) -> tuple[Path, ...] | None:
    """The files of this form, none for what is made here; ``None`` if they are not there."""
    if source.remote is not None:
        path = _lying(source.remote.path)
        return None if path is None else (path,)
    if not source.package:
        return ()
    # Found without importing the package, which would take seconds.
    try:
        spec = find_spec(source.package)
    except (ImportError, ValueError):
        spec = None
    for folder in (spec and spec.submodule_search_locations) or ():
        paths = tuple(Path(folder, path) for path in source.paths)
        if all(path.is_file() for path in paths):
            return paths
    return None
