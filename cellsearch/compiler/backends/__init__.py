"""The backends of the compiler: each turns a program into a kernel that runs a whole sequence.

A backend is one module that defines a :class:`~cellsearch.compiler.backends.base.Backend`; adding
it to the table below (or calling :func:`register`) is all that another one takes. Modules are
loaded when they are asked for.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec

from cellsearch.compiler.backends.base import Backend, Kernel, Support
from cellsearch.errors import ConfigError

__all__ = ["Backend", "Kernel", "Support", "check_name", "get", "names", "register"]

# In the order in which "auto" tries them: fastest first, the one that runs everything last.
_TABLE: dict[str, str] = {
    "native": "cellsearch.compiler.backends.native:Native",
    "aten": "cellsearch.compiler.backends.aten:Aten",
    "reference": "cellsearch.compiler.backends.reference:Reference",
    # never taken by "auto": it pays on long sequences on a GPU only
    "scan": "cellsearch.compiler.backends.scan:Scan",
}
_REGISTERED: dict[str, Backend] = {}


def names() -> tuple[str, ...]:
    """The names of the backends that are there, in the order in which ``"auto"`` tries them."""
    return (
        *_REGISTERED,
        *(
            name
            for name, place in _TABLE.items()
            if name not in _REGISTERED and _exists(place.partition(":")[0])
        ),
    )


def get(name: str) -> Backend:
    """The backend of this name. Raises :class:`ConfigError` for a name that is not there."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    check_name(name)
    return _load(_TABLE[name])


def check_name(name: str, *, where: str = "") -> None:
    """Raise :class:`ConfigError` for a name that is not there; ``where``: what says it."""
    if name not in names():
        allowed = "allowed: auto, " + ", ".join(names())
        raise ConfigError(f"there is no backend {name!r}", where=where, hint=allowed)


def register(backend: Backend) -> None:
    """Add a backend of one's own, or replace one; ``"auto"`` tries it before the others."""
    _REGISTERED[backend.name] = backend


@cache
def _exists(module: str) -> bool:
    spec = find_spec(module)
    return (
        spec is not None and spec.origin is not None
    )  # a folder without __init__.py is not a backend


@cache
def _load(place: str) -> Backend:
    module, _, name = place.partition(":")
    backend = getattr(import_module(module), name)()
    if not isinstance(backend, Backend):
        raise TypeError(f"{place} is not a Backend")
    return backend
