"""Options of tasks: frozen dataclasses whose fields are the options, checked when they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cellsearch import options as declared
from cellsearch.errors import ConfigError
from cellsearch.files import open_plain

__all__ = ["DataPath", "TaskOptions", "at_least", "contents_digest", "one_of", "parse_options"]


def contents_digest(path: Path) -> str:
    """A digest of the bytes of a file; of a folder, of the names and bytes of all files in it."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listed = "".join(f"{f.relative_to(path).as_posix()}\0{contents_digest(f)}" for f in files)
        return sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    sha = sha256()
    with open_plain(path) as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class DataPath:
    """In the annotation of an option: a text that is the path of a file or folder with data of the
    user's own, ``path: Annotated[str, DataPath()] = ""`` (``""``: none).

    A run remembers such data by their digest; where they lie may change.
    """

    words: tuple[str, ...] = ()
    """Values that are not paths, such as the name of a text that is shipped."""
    digest: Callable[[Path], str] = contents_digest
    """A digest of what lies at a path: equal for equal data, in whatever form they are packed."""
    stated: str = ""
    """Name of the option that may state this digest; ``""``: there is none."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Options that every task has. Annotations say what a field allows, see
    :mod:`cellsearch.options`; what else must hold a subclass checks in :meth:`check`.
    """

    batch_size: Annotated[int, declared.at_least(1)] = 32
    """B, sequences in a training batch."""

    def __post_init__(self) -> None:
        declared.check_options(self)
        self.check()

    def check(self) -> None:
        """Raise :class:`ConfigError` for what annotations cannot say; here nothing."""


T = TypeVar("T", bound=TaskOptions)


def parse_options(
    kind: type[T], options: Mapping[str, Any], task: str = "", *, source: str = ""
) -> T:
    """The options of a task from plain data.

    task: not used; tasks that were written for version 0.1 give their name.
    source: the file that says so.

    Raises :class:`ConfigError` for an unknown name, a wrong type or an illegal value.
    """
    return declared.read_options(kind, options, source=source, path="task_options")


def at_least(least: float, **values: float) -> None:
    """In :meth:`TaskOptions.check`: raise :class:`ConfigError` for a value below ``least``."""
    for name, value in values.items():
        if not value >= least:
            raise ConfigError(
                f"{value} is out of range", where=name, hint=f"allowed: at least {least}"
            )


def one_of(allowed: tuple[str, ...], **values: str) -> None:
    """In :meth:`TaskOptions.check`: raise :class:`ConfigError` for a value that is not among the
    allowed ones.
    """
    for name, value in values.items():
        if value not in allowed:
            hint = "allowed: " + ", ".join(allowed)
            raise ConfigError(f"unknown value {value!r}", where=name, hint=hint)
