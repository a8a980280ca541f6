"""What lies on this machine: files that appear whole or not at all, the folder of what is kept for
this user, and what other installed packages declare.

Imports the standard library and :mod:`cellsearch.errors` only: the hook that builds the wheel and
exported packages load this file where there is nothing else.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import secrets
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar

from cellsearch.errors import ConfigError, EnvironmentFailure

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = [
    "Parts",
    "cache_folder",
    "declared",
    "declared_files",
    "failpoint",
    "file_state",
    "load_declared",
    "open_plain",
    "others_can_write",
    "passed",
    "private_cache",
    "read_plain",
    "refuse_existing",
    "remove_abandoned",
    "replacing",
    "write_atomically",
    "write_new",
]

Part = TypeVar("Part")

_TEMPORARY = re.compile(r".*\.([1-9]\d*)-[0-9a-f]{16}\.tmp", re.DOTALL)
ROOM = "check the folder, its permissions and the free space"


_KILL_AT = os.environ.get("CELLSEARCH_FAILPOINT", "")
passed: Counter[str] = Counter()
"""How often this process has passed which :func:`failpoint`."""


def failpoint(name: str) -> None:
    """A place where the process may die; tests choose which.

    ``CELLSEARCH_FAILPOINT="NAME@3"`` kills the process, as ``kill -9`` does, the third time that it
    passes the place of this name. Without it nothing happens.
    """
    passed[name] += 1
    if _KILL_AT and f"{name}@{passed[name]}" == _KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def cache_folder() -> Path:
    """What is built, measured, trained or downloaded once for this user: ``CELLSEARCH_CACHE``,
    else ``$XDG_CACHE_HOME/cellsearch``, else ``~/.cache/cellsearch``.
    """
    explicit = os.environ.get("CELLSEARCH_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cellsearch"


def private_cache(name: str) -> Path:
    """A folder in :func:`cache_folder` whose files become code in this process: made for this user
    alone (mode 0700) where it is missing.

    Raises :class:`EnvironmentFailure` where somebody else could have put something there, or where
    it cannot be made.
    """
    folder = cache_folder() / name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        reason = "it is not a folder" if not folder.is_dir() else others_can_write(folder)
    except OSError as error:
        reason = f"it cannot be made: {error.strerror or error}"
    if reason:
        raise EnvironmentFailure(
            f"the folder is not used for code: {reason}",
            where=str(folder),
            hint="set CELLSEARCH_CACHE to a folder of your own, or take this one away",
        )
    return folder


def others_can_write(path: Path) -> str:
    """Why somebody else than this user and root could have changed what lies there, as far as owner
    and mode say; ``""``: nobody could. A link counts as foreign. Raises :class:`OSError` where
    nothing is there.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return "it is a link"
    if found.st_uid not in (os.getuid(), 0):
        return f"it belongs to the user with number {found.st_uid}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write it (mode {stat.S_IMODE(found.st_mode):o})"
    return ""


def file_state(path: Path | str) -> tuple[object, ...]:
    """Which file lies there, and when it was changed; empty for a folder, and for nothing. Two that
    are equal spare reading a large file once more.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    if not stat.S_ISREG(found.st_mode):
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def open_plain(path: Path | str) -> BinaryIO:
    """A plain file, opened for reading; of what may be foreign, where anything may lie in the place
    of a file. Raises :class:`OSError` for whatever else is there, and never waits: a pipe keeps who
    opens it waiting for a writer.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path | str) -> bytes:
    """All bytes of a file by :func:`open_plain`."""
    with open_plain(path) as file:
        return file.read()


@contextmanager
def replacing(path: Path, *, what: str = "file", hint: str = ROOM) -> Iterator[Path]:
    """A new name beside ``path`` to write to; when the block ends, what was written takes the place
    of ``path`` in one step.

    Whoever looks, at any time and after a power cut too, sees the old file or the new one, whole.
    When the block is left by an error, ``path`` stays as it was and nothing is left beside it.

    path: the file; its folder is made where it is missing.
    what: what the file is called in an error.
    hint: what to do about one.

    Raises :class:`EnvironmentFailure`, also for an :class:`OSError` out of the block.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # made here: nobody can have put a link in its place
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        failpoint(f"{what}: written")
        os.replace(temporary, path)
        failpoint(f"{what}: in place")
    except OSError as error:
        raise EnvironmentFailure(
            f"the {what} cannot be written: {error.strerror or error}", where=str(path), hint=hint
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_atomically(
    path: Path, data: str | bytes, *, what: str = "file", hint: str = ROOM
) -> None:
    """Write a file by :func:`replacing`; text is written as UTF-8, its line ends as they are."""
    with replacing(path, what=what, hint=hint) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def remove_abandoned(folder: Path) -> None:
    """Remove what :func:`replacing` had begun in this folder when its process was killed."""
    for file in folder.glob("*.tmp"):
        match = _TEMPORARY.fullmatch(file.name)
        if match and not _is_alive(int(match[1])) and not file.is_dir():
            file.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # of another user
    return True


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise :class:`ConfigError` if the file is there and may not be overwritten."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", hint="name a file")
    if path.exists() and not force:
        raise ConfigError(
            f"{path} exists",
            hint="choose another name, or overwrite it with --force (in Python, force=True)",
        )


def write_new(path: Path, data: str | bytes, *, force: bool = False) -> None:
    """Write a file that a person asked for by :func:`write_atomically`. Raises
    :class:`ConfigError` if it is there, unless ``force``.
    """
    refuse_existing(path, force=force)
    write_atomically(path, data)


# -- parts of other packages -----------------------------------------------------------------------


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Those of a group, of every package that is installed on the path."""
    from importlib.metadata import entry_points  # 50 ms, which most commands need not spend

    return entry_points(group=group)


def declared(group: str, what: str, own: Collection[str]) -> dict[str, EntryPoint]:
    """What other packages declare in a group of entry points, by name; nothing is imported.

    Raises :class:`ConfigError` for a name that is among ``own``, or that two packages declare.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(_entry_points(group, tuple(sys.path))):
        other = found.setdefault(entry.name, entry)
        rival = "cellsearch" if entry.name in own else _package(other) if other != entry else ""
        if rival:
            raise _taken(what, entry.name, entry, rival)
    return found


def _taken(what: str, name: str, entry: EntryPoint, rival: str) -> ConfigError:
    """The error for a name that a package declares, and a rival as well."""
    package = _package(entry)
    return ConfigError(
        f"the package {package} declares the {what} {name!r}, and so does {rival}",
        where=_place(entry),
        hint=f"give it another name there, or uninstall {package}",
    )


def load_declared(entry: EntryPoint, what: str, is_one: Callable[[object], bool]) -> Any:
    """What an entry point names. Raises :class:`ConfigError` with package, entry and reason where
    it cannot be imported, or is something else.
    """
    package, hint = _package(entry), f"repair or uninstall {_package(entry)}"
    try:
        found = entry.load()
    except Exception as error:
        raise ConfigError(
            f"the {what} {entry.name!r} of the package {package} cannot be imported: "
            f"{type(error).__name__}: {error}",
            where=_place(entry),
            hint=hint,
        ) from error
    if not is_one(found):
        raise ConfigError(
            f"the package {package} names no {what} called {entry.name!r}, but {found!r:.80}",
            where=_place(entry),
            hint=hint,
        )
    return found


def declared_files(
    group: str, what: str, pattern: str, own: Callable[[], Collection[str]]
) -> dict[str, Path]:
    """The files in the folders that other packages declare in a group, by name without suffix.

    An entry point names a package, whose folder it is, or a module in it. ``own`` gives the names
    that cellsearch has itself; it is asked only where there is something to compare with.

    Raises :class:`ConfigError` for a folder that is not there and a name that is taken.
    """
    found: dict[str, Path] = {}
    for entry in declared(group, f"folder of {what} files", ()).values():
        for path in sorted(_folder(entry, what).glob(pattern)):
            other = found.setdefault(path.stem, path)
            if path.stem in own() or other != path:
                rival = "cellsearch" if path.stem in own() else str(other)
                raise _taken(what, path.stem, entry, rival)
    return found


def _folder(entry: EntryPoint, what: str) -> Path:
    try:
        spec = find_spec(entry.module)
    except (ImportError, ValueError):
        spec = None
    places = [] if spec is None else [*(spec.submodule_search_locations or ())]
    if spec is not None and not places and spec.origin is not None:
        places = [str(Path(spec.origin).parent)]
    if not places or not Path(places[0]).is_dir():
        raise ConfigError(
            f"the package {_package(entry)} declares a folder of {what} files that is not there",
            where=_place(entry),
            hint="the entry point names a package, or a module, in whose folder the files are",
        )
    return Path(places[0])


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "?"


def _place(entry: EntryPoint) -> str:
    return f"entry point {entry.name} = {entry.value} of {entry.group}"


@dataclass(frozen=True, slots=True)
class Parts(Generic[Part]):
    """The classes of one family by name: cellsearch's own, and those of other packages."""

    what: str
    """What one is called in messages."""
    group: str
    """The group of entry points in which other packages declare theirs."""
    base: type
    """Every one is a subclass of this."""
    own: Mapping[str, str]
    """Name -> ``"module:class"``."""
    registered: dict[str, type] = field(default_factory=dict)
    """Those of this process alone, by name."""

    def names(self) -> tuple[str, ...]:
        """All names: cellsearch's own in their order, then the others."""
        return (*self.own, *declared(self.group, self.what, self.own), *self.registered)

    def register(self, part: type[Part]) -> type[Part]:
        """Let this process know a class by its ``name``: enough for trying it out without workers,
        which know entry points only. Raises :class:`ConfigError` for a name that is taken.
        """
        name = str(getattr(part, "name", ""))
        if name in (*self.own, *declared(self.group, self.what, self.own)) or not name:
            raise ConfigError(
                f"there is a {self.what} {name!r} already"
                if name
                else f"a {self.what} needs a name",
                where=self.what,
                hint=f"give the class another name, which is none of {', '.join(self.own)}",
            )
        self.registered[name] = part
        return part

    def get(self, name: str) -> type[Part]:
        """The class of this name. Raises :class:`ConfigError` for an unknown or a broken one."""
        place = self.own.get(name)
        if place is not None:
            module, _, attribute = place.partition(":")
            found: type[Part] = getattr(import_module(module), attribute)
            return found
        if name in self.registered:
            return self.registered[name]
        others = declared(self.group, self.what, self.own)
        if name in others:
            loaded: type[Part] = load_declared(others[name], self.what, self._is_one(name))
            return loaded
        near = difflib.get_close_matches(str(name), self.names(), n=2)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        listed = f"{self.group.partition('.')[2]}: {', '.join(self.names())}"
        raise ConfigError(f"there is no {self.what} {name!r}", where=self.what, hint=guess + listed)

    def _is_one(self, name: str) -> Callable[[object], bool]:
        """Experiments and stores know a class by its own ``name``, so that must be the entry's."""
        return lambda found: (
            isinstance(found, type)
            and issubclass(found, self.base)
            and getattr(found, "name", None) == name
        )
