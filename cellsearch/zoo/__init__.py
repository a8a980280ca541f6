"""Named recurrent cells, one ``.cell`` file each, with paper, year, equations and pitfalls in the
docstring.

>>> load("lstm").state_names
('h', 'c')
>>> entry("gru").year
2014
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.zoo.entry import ZooEntry, read_entry

__all__ = ["ZooEntry", "entries", "entry", "import_cell", "load", "names"]


@cache
def names() -> tuple[str, ...]:
    """The names of all cells of the zoo, sorted."""
    found = (file.name for file in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".cell") for name in found if name.endswith(".cell")))


def load(name: str) -> Genome:
    """The genome of a zoo cell, by its name or one of its other names; raises :class:`ConfigError`
    for an unknown one.
    """
    return entry(name).genome


def entry(name: str) -> ZooEntry:
    """A zoo cell with what its docstring says; raises :class:`ConfigError` for an unknown name."""
    wanted = name.strip().lower() if isinstance(name, str) else ""
    if wanted not in names():
        wanted = _other_names().get(wanted, wanted)
    if wanted not in names():
        near = get_close_matches(wanted, (*names(), *_other_names()), n=4, cutoff=0.5)
        hint = "did you mean " + " or ".join(near) + "?" if near else "cells: " + ", ".join(names())
        raise ConfigError(f"there is no cell {name!r} in the zoo", hint=hint)
    return _entry(wanted)


def entries() -> tuple[ZooEntry, ...]:
    """All cells of the zoo, by family, then year, then name."""
    return tuple(
        sorted(
            (_entry(name) for name in names()), key=lambda e: (e.family_position, e.year, e.name)
        )
    )


def import_cell(text: str, format: str, **options: Any) -> Genome:
    """Read a cell from another project's notation: ``"nas-bench-nlp"``, ``"darts"``, ``"enas"``;
    ``options`` are the format's own.

    Raises :class:`ConfigError` for an unknown format and :class:`GenomeError` for a text that is
    not a cell.
    """
    from cellsearch.zoo import importers

    return importers.import_cell(text, format=format, **options)


@cache
def _entry(name: str) -> ZooEntry:
    text = (files(__name__) / f"{name}.cell").read_text(encoding="utf-8")
    return read_entry(text, name=name, source=f"{name}.cell")


@cache
def _other_names() -> dict[str, str]:
    """Other name -> name of the cell."""
    return {other: cell.name for cell in map(_entry, names()) for other in cell.also}
