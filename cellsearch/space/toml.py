"""A search space as a table of plain values, which is how TOML holds it.

::

    name = "lstm_gru"
    description = "..."
    states = ["h", "c"]
    constants = [1.0]                # numbers that a cell may hold
    initial = [0.0]                  # values that a state may start with
    inputs = ["x", "dt"]             # what a cell may read of a step: x alone where it is left out
    seeds = ["lstm", "gru"]          # zoo names; or a table [seeds] of names and cell texts
    # parts that no edit may change, see Frozen; the cell by zoo name or as text
    frozen = {cell = "lstm", nodes = ["f"]}

    [ops]                            # each op with the weight with which it is chosen
    linear = 3
    [limits]                         # see SizeLimits
    [constraints]                    # see Constraints; ``class`` is the field ``recurrence``
    [full_cell]                      # see FullCell
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cellsearch import zoo
from cellsearch.errors import CellsearchError, ConfigError, GenomeError, SpaceError
from cellsearch.genome.device import DeviceLimits
from cellsearch.genome.graph import Genome
from cellsearch.options import keys, parse_toml, read_options, table_of, unknown
from cellsearch.space.declaration import (
    Constraints,
    Declaration,
    Frozen,
    FullCell,
    LayerSizes,
    SizeLimits,
)

__all__ = ["constrained", "from_table", "from_toml", "sized", "to_table"]

_Space = TypeVar("_Space", bound=Declaration)
_Rules = TypeVar("_Rules", Constraints, SizeLimits)


@dataclass(frozen=True)
class _Parts:
    """The table ``frozen``: see :class:`Frozen`; the cell by zoo name or as text."""

    cell: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Document:
    """The table of a search space: its fields, with cells as text or zoo names."""

    name: str
    description: str = Declaration.description
    states: tuple[str, ...]
    constants: tuple[float, ...] = Declaration.constants
    initial: tuple[float, ...] = Declaration.initial
    inputs: tuple[str, ...] | None = None
    ops: Mapping[str, float]
    limits: SizeLimits = field(default_factory=SizeLimits)
    constraints: Constraints = field(default_factory=Constraints)
    full_cell: FullCell = field(default_factory=FullCell)
    frozen: _Parts | None = None
    seeds: tuple[str, ...] | Mapping[str, str] | None = None


_SAME = (
    "name",
    "description",
    "states",
    "constants",
    "initial",
    "limits",
    "constraints",
    "full_cell",
)
"""Fields that a space and its table have alike."""


def from_toml(kind: type[_Space], text: str, source: str) -> _Space:
    """See :meth:`SearchSpace.from_toml`; ``kind`` is that class."""
    with _space_errors():
        table = parse_toml(text, source)
    return from_table(kind, table, source)


def from_table(kind: type[_Space], table: Mapping[str, Any], source: str) -> _Space:
    """See :meth:`SearchSpace.from_table`; ``kind`` is that class."""
    with _space_errors():
        document = read_options(_Document, table, source=source)
    return kind(
        **{key: getattr(document, key) for key in _SAME},
        ops=document.ops,
        inputs=Declaration.inputs if document.inputs is None else document.inputs,
        seeds=_seeds(document.seeds or (), source),
        frozen=_frozen(document.frozen, source) if document.frozen is not None else None,
        source=source,
    )


def to_table(space: Declaration) -> dict[str, Any]:
    """See :meth:`SearchSpace.to_table`."""
    frozen = space.frozen
    document = _Document(
        **{key: getattr(space, key) for key in _SAME},
        inputs=None if space.inputs == Declaration.inputs else space.inputs,
        ops={op: float(weight) for op, weight in space.ops.items()},
        seeds={name: genome.to_text() for name, genome in space.seeds.items()} or None,
        frozen=_Parts(frozen.cell.to_text(), frozen.nodes) if frozen is not None else None,
    )
    return table_of(document)


def constrained(space: _Space, table: Mapping[str, Any], source: str) -> _Space:
    """See :meth:`SearchSpace.constrained`."""
    if not table:
        return space
    rules, limits = keys(Constraints), keys(SizeLimits)
    frozen = space.frozen
    with _space_errors():
        for key in table:
            if key not in (*rules, *limits, "frozen"):
                raise unknown("key", key, (*rules, *limits, "frozen"), where=f"{source}: {key}")
        if "frozen" in table:
            part = read_options(_Parts, table["frozen"], source=source, path="frozen")
            frozen = _frozen(part, source)
        bare: _Space = replace(
            space,
            constraints=_changed(space.constraints, table, source),
            limits=_changed(space.limits, table, source),
            frozen=frozen,
            seeds={},
            source=source,
        )
    return replace(_with_seeds(bare, space.seeds), source=space.source)


def sized(space: _Space, most: int, sizes: tuple[LayerSizes, ...], device: DeviceLimits) -> _Space:
    """See :meth:`SearchSpace.sized`."""
    limits = replace(space.limits, max_parameters=most) if most else space.limits
    bare = replace(space, limits=limits, sizes=sizes, device=device, seeds={})
    return _with_seeds(bare, space.seeds)


def _with_seeds(bare: _Space, seeds: Mapping[str, Genome]) -> _Space:
    """The space with those of the seed genomes that it holds; it remembers why not the others."""
    why = {name: bare.contains(genome) for name, genome in seeds.items()}
    legal = {name: genome for name, genome in seeds.items() if why[name] is None}
    dropped = {
        name: f"{found.what}{f' at {found.node}' * (found.node != 'cell')}, {found.allowed} allowed"
        for name, found in why.items()
        if found is not None
    }
    return replace(bare, seeds=legal, dropped={**bare.dropped, **dropped})


def _changed(part: _Rules, table: Mapping[str, Any], source: str) -> _Rules:
    """The constraints or limits with those values of the table that are theirs."""
    mine = {key: value for key, value in table.items() if key in keys(type(part))}
    return read_options(type(part), table_of(part) | mine, source=source)


def _frozen(part: _Parts, source: str) -> Frozen:
    place = f"{source}: frozen.cell"
    cell = _from_text(part.cell, place) if "=" in part.cell else _from_zoo(part.cell, place)
    return Frozen(cell, part.nodes)


def _seeds(seeds: tuple[str, ...] | Mapping[str, str], source: str) -> dict[str, Genome]:
    if isinstance(seeds, tuple):
        return {name: _from_zoo(name, f"{source}: seeds") for name in seeds}
    return {name: _from_text(text, f"{source}: seeds.{name}") for name, text in seeds.items()}


def _from_text(text: str, place: str) -> Genome:
    with _space_errors():
        return Genome.from_text(text, source=place)


def _from_zoo(name: str, place: str) -> Genome:
    try:
        return zoo.load(name)
    except CellsearchError as error:
        raise SpaceError(str(error), where=place, hint=error.hint) from error


@contextmanager
def _space_errors() -> Iterator[None]:
    """Whatever is wrong with a space is a :class:`SpaceError`."""
    try:
        yield
    except SpaceError:
        raise
    except (ConfigError, GenomeError) as error:
        raise SpaceError(error.message, where=error.where, hint=error.hint) from None
