"""Files that appear whole or not at all, and the folder of what is kept for this user.

Imports the standard library and :mod:`cellsearch.errors` only: the hook that builds the wheel and
exported packages load this file where there is nothing else.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cellsearch.errors import ConfigError, EnvironmentFailure

__all__ = ["cache_folder", "refuse_existing", "replacing", "write_atomically", "write_new"]

ROOM = "check the folder, its permissions and the free space"


def cache_folder() -> Path:
    """What is built, measured, trained or downloaded once for this user: ``CELLSEARCH_CACHE``,
    else ``$XDG_CACHE_HOME/cellsearch``, else ``~/.cache/cellsearch``.
    """
    explicit = os.environ.get("CELLSEARCH_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cellsearch"


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
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
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
