"""Named recurrent cells, one ``.cell`` file each, with paper, year, equations and pitfalls in the
docstring. Other packages add cells in folders that they declare in the group ``cellsearch.zoo`` of
entry points.

>>> load("lstm").state_names
('h', 'c')
>>> entry("gru").year
2014
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.files import declared_files
from cellsearch.genome.graph import Genome
from cellsearch.zoo.entry import ZooEntry, read_entry
from cellsearch.zoo.found_card import FoundCard, read_card

__all__ = [
    "FoundCard",
    "ZooEntry",
    "card",
    "earlier_forms",
    "entries",
    "entry",
    "files",
    "found",
    "import_cell",
    "load",
    "names",
]


def names() -> tuple[str, ...]:
    """The names of all cells of the zoo, sorted, those of other installed packages included."""
    return tuple(sorted((*files(), *_others())))


@cache
def files() -> Mapping[str, Path]:
    """The cells of this package, those that it found itself included: name -> ``.cell`` file."""
    folder = Path(__file__).parent
    return {path.stem: path for path in sorted([*folder.glob("*.cell"), *_found().values()])}


@cache
def _found() -> Mapping[str, Path]:
    return {p.stem: p for p in sorted((Path(__file__).parent / "found").glob("*.cell"))}


def _others() -> Mapping[str, Path]:
    """Those of other packages."""
    return declared_files(
        "cellsearch.zoo",
        "cell",
        "*.cell",
        lambda: {*files(), *_other_names(tuple(files().items()))},
    )


@checked_arguments
def load(name: str) -> Genome:
    """The genome of a zoo cell, by its name or one of its other names; raises :class:`ConfigError`
    for an unknown one.
    """
    return entry(name).genome


def found() -> tuple[str, ...]:
    """The names of the cells that searches of this program found, sorted; :func:`card` says how."""
    return tuple(_found())


@checked_arguments
def card(name: str) -> FoundCard:
    """Where a found cell comes from and how it was judged. Raises :class:`ConfigError` for a cell
    that is not among :func:`found`.
    """
    wanted = entry(name).name
    if wanted not in _found():
        raise ConfigError(
            f"{wanted} was not found by a search of this program",
            hint=f"found were: {', '.join(found()) or 'none'}",
        )
    path = _found()[wanted].with_suffix(".toml")
    return read_card(path.read_text(encoding="utf-8"), source=path.name)


@checked_arguments
def entry(name: str) -> ZooEntry:
    """A zoo cell with what its docstring says; raises :class:`ConfigError` for an unknown name."""
    wanted = name.strip().lower() if isinstance(name, str) else ""
    if wanted in files():
        return _entry(wanted, files()[wanted])
    places = {**files(), **_others()}
    aliases = _other_names(tuple(places.items()))
    wanted = wanted if wanted in places else aliases.get(wanted, wanted)
    if wanted not in places:
        near = get_close_matches(wanted, (*places, *aliases), n=4, cutoff=0.5)
        hint = "did you mean " + " or ".join(near) + "?" if near else "cells: " + ", ".join(names())
        raise ConfigError(f"there is no cell {name!r} in the zoo", hint=hint)
    return _entry(wanted, places[wanted])


def entries() -> tuple[ZooEntry, ...]:
    """All cells of the zoo, by family, then year, then name."""
    return tuple(sorted(map(entry, names()), key=lambda e: (e.family_position, e.year, e.name)))


@cache
def earlier_forms() -> Mapping[str, Genome]:
    """Cells as an earlier version wrote them, by what to call them; simplification does not see
    that they compute what the cell does now.
    """
    return {
        "minlstm (as in 0.1.0)": Genome.from_text(
            "f = sigmoid(linear(x[t]))\ni = sigmoid(linear(x[t]))\ns = f + i\n"
            "h[t] = f / s * h[t-1] + i / s * linear(x[t])"
        ),
        "rg_lru (as in 0.1.0)": Genome.from_text(
            "r = sigmoid(linear(x[t]))\ni = sigmoid(linear(x[t]))\n"
            "a = exp(8 * r * log_sigmoid(bias()))\n"
            "h[t] = a * h[t-1] + sqrt(1 - square(a)) * (i * x[t])"
        ),
    }


@checked_arguments
def import_cell(text: str, format: str, **options: Any) -> Genome:
    """Read a cell from another project's notation: ``"nas-bench-nlp"``, ``"darts"``, ``"enas"``;
    ``options`` are the format's own.

    Raises :class:`ConfigError` for an unknown format and :class:`GenomeError` for a text that is
    not a cell.
    """
    from cellsearch.zoo import importers

    return importers.import_cell(text, format=format, **options)


@cache
def _entry(name: str, place: Path) -> ZooEntry:
    return read_entry(place.read_text(encoding="utf-8"), name=name, source=place.name)


@cache
def _other_names(places: tuple[tuple[str, Path], ...]) -> Mapping[str, str]:
    """Other name -> name of the cell, for cells with their files."""
    return {other: name for name, place in places for other in _entry(name, place).also}
