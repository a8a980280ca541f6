"""An audit hook (PEP 578) for a process that reads foreign files: whatever would let them do
something ends in :class:`ForbiddenError`, and is remembered even where that is swallowed.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

__all__ = ["ForbiddenError", "seen", "watch"]

_PROJECT = Path(__file__).resolve().parents[2]
_MAKES_CODE = str(_PROJECT / "cellsearch/compiler/backends/functions.py")
"""The one file of cellsearch that makes code of text: of the program of a cell that was checked."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NEVER = frozenset(
    {
        *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"),
        *("pty.spawn", "os.startfile", "subprocess.Popen", "pickle.find_class"),
        *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname"),
        *("socket.sendto", "socket.sendmsg", "urllib.Request", "os.putenv"),
        *("sqlite3.enable_load_extension", "sqlite3.load_extension", "code.__new__"),
    }
)
_PROGRAMS = ("subprocess.Popen", "os.posix_spawn")
"""What starting an allowed program raises; from Python 3.13 on subprocess does the latter too."""
_CHANGES = {
    **dict.fromkeys(("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod"), 1),
    **dict.fromkeys(("os.chown", "os.utime", "shutil.rmtree"), 1),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink", "shutil.move"), 2),
}
"""Events whose first arguments are paths that change."""


_OF_THE_NAME = frozenset({"os.remove", "os.rename", "os.link", "os.symlink"})
"""Those that change a link itself, not what it leads to."""


class ForbiddenError(BaseException):
    """Something happened that no foreign file may bring about."""


seen: list[str] = []
"""What was forbidden, in words."""


def watch(writable: Sequence[Path], programs: Sequence[str] = ()) -> None:
    """From now on, and for the rest of this process, forbid: running code that lies outside the
    standard library, the installed packages and this project; making code of text, but for the
    libraries' own; pickles; processes, but for these ``programs``; sockets; loading libraries from
    elsewhere; writing outside the ``writable`` folders.
    """
    trusted = _trusted()
    folders = tuple(os.path.realpath(path) for path in writable)
    rules: dict[str, Callable[[tuple[Any, ...]], str]] = {
        "exec": lambda args: _foreign_code(args[0], trusted),
        "compile": lambda args: _text_made_code(trusted),
        "marshal.loads": lambda args: _text_made_code(trusted),
        "import": lambda args: _outside(args[1], trusted) if args[1] else "",
        "ctypes.dlopen": lambda args: _foreign_library(args[0], (*trusted, *folders)),
        "open": lambda args: _writes(*args, folders=folders),
        "sqlite3.connect": lambda args: _database(args[0], folders),
    }

    def hook(event: str, args: tuple[Any, ...]) -> None:
        why = ""
        if event in _NEVER:
            if not (event in _PROGRAMS and _program(args[0]) in programs):
                why = "never allowed"
        elif event in rules:
            why = rules[event](args)
        elif event in _CHANGES:
            paths = args[: _CHANGES[event]]
            if event in _OF_THE_NAME:
                paths = tuple(map(_itself, paths))
            why = next(filter(None, (_outside(path, folders) for path in paths)), "")
        if why:
            seen.append(f"{event}: {why} {args!r:.200}")
            raise ForbiddenError(seen[-1])

    sys.addaudithook(hook)


def _trusted() -> tuple[str, ...]:
    """Where code may lie."""
    stdlib = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    packages = [path for path in sys.path if path.endswith(("-packages", "lib-dynload"))]
    own = [str(_PROJECT / name) for name in ("cellsearch", "tests/support", "tests/attacks")]
    return tuple({os.path.realpath(path) for path in (*stdlib, *packages, *own)})


def _outside(path: object, folders: Sequence[str]) -> str:
    if isinstance(path, int) or path is None:  # a file that is open already
        return ""
    named = isinstance(path, _Name)
    text = str(path) if named else os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
    inside = any(text == folder or text.startswith(folder + os.sep) for folder in folders)
    return "" if inside else f"{text} lies outside"


class _Name(str):
    """A path whose last part is not followed where it is a link."""

    __slots__ = ()


def _itself(path: object) -> _Name:
    folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))  # type: ignore[arg-type]
    return _Name(os.path.join(os.path.realpath(folder), name))


def _caller() -> str:
    """The file of the Python code that did what the hook is told of."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame.f_code.co_filename


def _text_made_code(trusted: Sequence[str]) -> str:
    """Libraries parse (``ast``) and make code of templates of their own (``dataclasses``), and
    importing does; cellsearch in one place.
    """
    caller = _caller()
    if caller.startswith("<frozen ") or caller == _MAKES_CODE:
        return ""
    if caller.startswith(str(_PROJECT)) and "-packages" not in caller:
        return f"{caller} makes code of text"
    return _outside(caller, trusted)


def _foreign_code(code: object, trusted: Sequence[str]) -> str:
    if not isinstance(code, CodeType):
        return "not code"
    name = code.co_filename
    if name.startswith("<frozen "):
        return ""
    return _text_made_code(trusted) if name.startswith("<") else _outside(name, trusted)


def _foreign_library(name: object, folders: Sequence[str]) -> str:
    if not isinstance(name, str | bytes) or os.sep not in os.fsdecode(name):
        return ""  # this process, or a library of the system by its bare name
    return _outside(name, folders)


def _writes(path: object, mode: object, flags: object, *, folders: Sequence[str]) -> str:
    writing = any(sign in str(mode or "") for sign in "wax+")
    if not writing and isinstance(flags, int):
        writing = bool(flags & _WRITING)
    return _outside(path, (*folders, os.devnull)) if writing else ""


def _database(name: object, folders: Sequence[str]) -> str:
    text = os.fsdecode(name)  # type: ignore[arg-type]
    if text == ":memory:":
        return ""
    return _outside(text.removeprefix("file://").partition("?")[0], folders)


def _program(executable: object) -> str:
    return os.path.basename(os.fsdecode(executable)) if executable else ""  # type: ignore[arg-type]
