"""Whether what a search space declares makes sense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from cellsearch import ops
from cellsearch.errors import ConfigError, GenomeError, SpaceError
from cellsearch.genome.parts import check_name
from cellsearch.options import check_options
from cellsearch.space.declaration import Declaration, Frozen, FullCell, SizeLimits
from cellsearch.space.legality import violation

__all__ = ["check_space", "without_forbidden"]


def without_forbidden(space: Declaration) -> tuple[Mapping[str, float], FullCell]:
    """The ops of the space, and what its full cell is made of, without the forbidden ones."""
    forbidden = frozenset(space.constraints.forbid_ops)
    if not forbidden:
        return space.ops, space.full_cell

    def kept(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(op for op in names if op not in forbidden)

    full = space.full_cell
    complements = full.complements and not forbidden & {"sub", "const"}
    fewer = replace(
        full,
        sums=kept(full.sums),
        gates=kept(full.gates),
        complements=complements,
        direct=kept(full.direct),
    )
    return {op: weight for op, weight in space.ops.items() if op not in forbidden}, fewer


_INPUTS = (("x",), ("x", "dt"), ("x", "mask"), ("x", "dt", "mask"))


def check_space(space: Declaration) -> None:
    """Raise :class:`SpaceError` for a space that contradicts itself or does not hold its own seed
    genomes.
    """

    def fail(key: str, message: str, hint: str = "") -> SpaceError:
        return SpaceError(message, where=f"{space.source}: {key}", hint=hint)

    if not space.states or len(set(space.states)) < len(space.states):
        raise fail("states", "name at least one state, each once", hint='states = ["h", "c"]')
    for state in space.states:
        try:
            check_name(state, "state", "")
        except GenomeError as error:
            raise fail("states", error.message, error.hint) from None
    if space.inputs not in _INPUTS:
        allowed = "; ".join(", ".join(names) for names in _INPUTS)
        raise fail(
            "inputs",
            f"{', '.join(space.inputs) or 'nothing'} is not what a cell may read",
            hint=f"allowed: {allowed}",
        )
    for op, weight in space.ops.items():
        if ops.find(op) is None:
            raise fail(f"ops.{op}", f"unknown op {op!r}", hint="allowed: " + ", ".join(ops.names()))
        if not 0 <= weight < float("inf"):
            raise fail(f"ops.{op}", f"the weight {weight} is not a finite number >= 0")
    if "linear" not in space.ops or not _squashers(space):
        raise fail(
            "ops",
            "a space needs linear and at least one function of one value",
            hint="for example linear = 1 and tanh = 1",
        )
    for key in ("limits", "constraints", "full_cell"):
        try:
            check_options(getattr(space, key))
        except ConfigError as error:
            raise fail(f"{key}.{error.where}", error.message, error.hint) from None
    _check_limits(space.limits, fail)
    _check_constraints(space, fail)
    _check_full(space, fail)
    if space.frozen is not None:
        _check_frozen(space, space.frozen, fail)
    for name, genome in space.seeds.items():
        found = violation(space, genome)
        if found is not None:
            raise fail(
                f"seeds.{name}",
                f"this seed genome is not in the space: {found}",
                "drop the seed, or allow what it needs",
            )


def _squashers(space: Declaration) -> list[str]:
    return [op for op in space.ops if ops.OPS[op].unary]


def _check_limits(limits: SizeLimits, fail: Callable[..., SpaceError]) -> None:
    if limits.min_nodes > limits.max_nodes:
        raise fail(
            "limits.min_nodes",
            f"min_nodes {limits.min_nodes} is greater than max_nodes {limits.max_nodes}",
        )


def _check_constraints(space: Declaration, fail: Callable[..., SpaceError]) -> None:
    rules = space.constraints
    for op in rules.forbid_ops:
        if ops.find(op) is None:
            raise fail(
                "constraints.forbid_ops", f"unknown op {op!r}", "allowed: " + ", ".join(ops.names())
            )
    for op in rules.require_ops:
        if op not in space.ops:
            raise fail(
                "constraints.require_ops",
                f"{op!r} is not an op of the space",
                "allowed: " + ", ".join(space.ops),
            )
    if not space.dense and not {"mul", "add"} <= space.ops.keys():
        raise fail(
            "constraints.class",
            "a diagonal recurrence a * state + b needs mul and add",
            "mul = 1 and add = 1 under [ops]",
        )


def _check_frozen(space: Declaration, frozen: Frozen, fail: Callable[..., SpaceError]) -> None:
    if not frozen.nodes:
        raise fail("frozen.nodes", "name at least one node", 'for example nodes = ["f"]')
    try:
        found = violation(space, frozen.cell)
    except SpaceError as error:
        raise fail("frozen.nodes", error.message, error.hint) from None
    if found is not None:
        raise fail(
            "frozen.cell",
            f"the cell is not in the space: {found}",
            "take another cell, or allow what it needs",
        )


def _check_full(space: Declaration, fail: Callable[..., SpaceError]) -> None:
    full = space.full_cell
    for key in ("sums", "gates", "direct"):
        for op in getattr(full, key):
            row = ops.find(op)
            if row is None or not row.unary:
                allowed = ", ".join(name for name, row in ops.OPS.items() if row.unary)
                raise fail(
                    f"full_cell.{key}",
                    f"{op!r} is not a function of one value",
                    hint="allowed: " + allowed,
                )
    if not full.sums:
        raise fail("full_cell.sums", "name at least one op", hint='sums = ["sigmoid", "tanh"]')
