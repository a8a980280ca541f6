"""The backends of the compiler: each turns a program into a kernel that runs a whole sequence.

A backend is one module that defines a :class:`~cellsearch.compiler.backends.base.Backend`. Another
package declares its own as an entry point of the group ``cellsearch.backends``; :func:`register`
adds one to this process. Modules are loaded when they are asked for.
"""

from __future__ import annotations

from functools import cache

from cellsearch.compiler.backends.base import Backend, Kernel, Support
from cellsearch.errors import ConfigError
from cellsearch.files import Parts

__all__ = ["Backend", "Kernel", "Support", "check_name", "get", "names", "register"]

# In the order in which "auto" tries them: fastest first, the one that runs everything last.
_TABLE = {
    "native": "cellsearch.compiler.backends.native.backend:Native",
    "aten": "cellsearch.compiler.backends.aten:Aten",
    "reference": "cellsearch.compiler.backends.reference:Reference",
    # never taken by "auto": it pays on long sequences on a GPU only
    "scan": "cellsearch.compiler.backends.scan:Scan",
}
_BACKENDS: Parts[Backend] = Parts("backend", "cellsearch.backends", Backend, _TABLE)
_REGISTERED: dict[str, Backend] = {}


def names() -> tuple[str, ...]:
    """The names of the backends that ``"auto"`` tries, in that order. One that another package
    declares is taken where it is asked for by name.
    """
    return tuple(dict.fromkeys((*_REGISTERED, *_TABLE)))


def get(name: str) -> Backend:
    """The backend of this name. Raises :class:`ConfigError` for a name that is not there."""
    return _REGISTERED.get(name) or _made(name)


def check_name(name: str, *, where: str = "") -> None:
    """Raise :class:`ConfigError` for a name that is not there; ``where``: what says it."""
    if name not in names() and name not in _BACKENDS.names():
        allowed = "allowed: " + ", ".join(dict.fromkeys(("auto", *names(), *_BACKENDS.names())))
        raise ConfigError(f"there is no backend {name!r}", where=where, hint=allowed)


def register(backend: Backend) -> None:
    """Add a backend to this process, or replace one; ``"auto"`` tries it before the others."""
    _REGISTERED[backend.name] = backend


@cache
def _made(name: str) -> Backend:
    check_name(name)
    return _BACKENDS.get(name)()
