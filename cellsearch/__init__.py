"""Discovers recurrent neural-network cells: search, inspect, export to plain PyTorch.

Importing this package is light: each public name is loaded on first use. The names, and where each
one lives, are stated once, in ``__init__.pyi``, which type checkers read too (as SPEC 1 of the
Scientific Python project has it: https://scientific-python.org/specs/spec-0001/).
"""

from __future__ import annotations

from importlib import import_module

from cellsearch import _moved

__version__ = "0.1.0"


def _homes() -> dict[str, str]:
    """Name -> module. A line of the stub is ``from MODULE import NAME as NAME``."""
    with open(f"{__path__[0]}/__init__.pyi", encoding="utf-8") as stub:
        lines = [line.split() for line in stub if line.startswith("from ")]
    return {words[-1]: words[1] for words in lines}


_HOME = _homes()

__all__ = sorted([*_HOME, "__version__"])

_moved.install()


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'cellsearch' has no attribute {name!r}")
    home = _HOME[name]
    # What the package itself gives is a package inside it.
    value = (
        import_module(f"{home}.{name}") if home == __name__ else getattr(import_module(home), name)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
