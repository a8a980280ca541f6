"""What is known of a data set, and in which forms it exists: as files of our own form, inside an
installed package, as its home publishes it, or made here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

__all__ = ["Content", "DataFile", "DataSet", "Remote", "Source"]

Content = bytes | dict[str, NDArray[Any]]
"""What a file of our own form holds."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file as it is published."""

    path: str
    """Where it is kept, below the data folder or the cache."""
    urls: tuple[str, ...]
    """Its home, and other places of the same file."""
    size: int = 0
    """Its exact bytes; 0: the home does not say, and ``most`` bounds it."""
    most: int = 1 << 24
    checksum: str = ""
    """``"sha256:..."`` or ``"sha1:..."`` of the file as somebody published it; ``""``: the checksum
    of the content decides."""
    published: str = ""
    """Who published the checksum."""


@dataclass(frozen=True, slots=True)
class Source:
    """A form from which a file's content can be had."""

    read: Callable[..., Content]
    """From the paths of the files of this form; raises :class:`InputFileError`."""
    remote: Remote | None = None
    package: str = ""
    """The package that holds ``paths`` in its folder."""
    paths: tuple[str, ...] = ()
    same: bool = True
    """Whether the content has the checksum of our own form; else that of the remote file decides
    alone."""
    differs: str = ""
    """In words, how the content differs so that figures cannot be compared."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of our own form.

    ``path``: below the data folder; ``sha256``: of its content, unpacked bytes or arrays, computed
    from the copies with which cellsearch is tested; ``sources``: other forms, the first one that is
    there counts.
    """

    path: str
    sha256: str
    sources: tuple[Source, ...] = ()

    @property
    def plain(self) -> str:
        """The path of the unpacked file."""
        return self.path.removesuffix(".xz")


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set. ``origin``: the canonical place; ``content``: what the files of our own form
    hold, for who makes them by hand.
    """

    name: str
    files: tuple[DataFile, ...]
    origin: str
    licence: str
    content: str
