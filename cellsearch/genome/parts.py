"""What a genome is made of: nodes and states, and the names and attributes that they may have."""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cellsearch import ops
from cellsearch.errors import ConfigError, GenomeError

__all__ = [
    "ATTRIBUTES",
    "INPUTS",
    "MAX_NODES",
    "MAX_STATES",
    "MODULE_NAMES",
    "RESERVED_NAMES",
    "Attributes",
    "Node",
    "State",
    "check_attributes",
    "check_inputs",
    "check_name",
    "check_written_name",
]

INPUTS: Mapping[str, Literal["I", "1"]] = {"x": "I", "dt": "1", "mask": "I"}
"""What a step may be given, in this order, with its width: ``x``; ``dt``, the time since the step
before, one number a step; ``mask``, of the size of x, 1 where x was observed and 0 where it is
missing. A genome has ``x`` and those of the others that it reads. The names of the others are no
reserved ones: an older cell may have a node or a state of this name.
"""
MAX_NODES = 5000
MAX_STATES = 64
MAX_NAME = 64
RESERVED_NAMES = frozenset({"x", "t"}) | (frozenset(ops.OPS) - ops.LATER)
"""Names that no node may have; ops of other packages do not count, or installing one would make
stored cells illegal.
"""
MODULE_NAMES = frozenset(
    [
        "_apply",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_buffers",
        "_call_impl",
        "_called",
        "_compiled_call_impl",
        "_forward_hooks",
        "_forward_hooks_always_called",
        "_forward_hooks_with_kwargs",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_gate_start",
        "_get_backward_hooks",
        "_get_backward_pre_hooks",
        "_get_name",
        "_hidden_size",
        "_is_full_backward_hook",
        "_layers",
        "_load_from_state_dict",
        "_load_state_dict_post_hooks",
        "_load_state_dict_pre_hooks",
        "_maybe_warn_non_full_backward_hook",
        "_modules",
        "_named_members",
        "_names",
        "_non_persistent_buffers_set",
        "_packed",
        "_parameters",
        "_register_load_state_dict_pre_hook",
        "_register_state_dict_hook",
        "_replicate_for_data_parallel",
        "_run",
        "_save_to_state_dict",
        "_scripted",
        "_slow_forward",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_states",
        "_version",
        "_wrapped_call_impl",
    ]
)
"""Private attributes of ``torch.nn.Module``, of compiled layers and of exported classes: nobody may
write such a name. Stored genomes may have them, and public ones (``half``) are legal everywhere.
"""
Attributes = tuple[tuple[str, float | bool], ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One vertex: ``op`` applied to the values ``inputs``."""

    name: str
    """``""`` for an anonymous node."""
    op: str
    inputs: tuple[int, ...]
    """Numbers of values, see :mod:`cellsearch.genome.graph`."""
    attrs: Attributes = ()
    """``(("bias", True),)`` for ``linear``, ``(("value", 0.5),)`` for ``const``, empty for every
    other op."""

    @property
    def bias(self) -> bool:
        """Whether this ``linear`` adds a bias."""
        return bool(dict(self.attrs).get("bias", False))

    @property
    def value(self) -> float:
        """The number of this ``const``."""
        return float(dict(self.attrs)["value"])


@dataclass(frozen=True, slots=True)
class State:
    """A recurrent state and the value that it has before the first step."""

    name: str
    initial: float = 0.0


def check_name(name: str, what: str, where: str) -> None:
    """Raise :class:`GenomeError` unless ``name`` may stand in a text form and in generated
    source.
    """
    if (
        not isinstance(name, str)
        or not name.isascii()
        or not name.isidentifier()
        or keyword.iskeyword(name)
        or len(name) > MAX_NAME
    ):
        raise GenomeError(
            f"{name!r} cannot name a {what}",
            where=where,
            hint=f"use an ASCII identifier of at most {MAX_NAME} characters that is not a "
            f"Python keyword",
        )
    if name in RESERVED_NAMES or name.startswith("__"):
        raise GenomeError(
            f"{name!r} cannot name a {what}: it is the input or an op",
            where=where,
            hint="choose another name",
        )


def check_written_name(name: str, what: str, where: str) -> None:
    """As :func:`check_name`, for a name that somebody writes: what torch keeps in a module of that
    name is refused too.
    """
    check_name(name, what, where)
    if name in MODULE_NAMES:
        raise GenomeError(
            f"{name!r} cannot name a {what}: layers and exported files keep something of their own "
            "under this name",
            where=where,
            hint="choose another name, for example without the _ at its head",
        )


def check_inputs(inputs: tuple[str, ...], what: str) -> None:
    """Raise :class:`ConfigError` for a cell that reads more than x, which ``what`` cannot give it
    yet: "C", for example.
    """
    more = [f"{name}[t]" for name in inputs if name != "x"]
    if more:
        raise ConfigError(
            f"the cell reads {' and '.join(more)}, which {what} cannot give it",
            hint="compile_cell runs it",
        )


ATTRIBUTES: Mapping[str, tuple[str, ...]] = {"linear": ("bias",), "const": ("value",)}
"""Names of the attributes of the ops that have any."""


def check_attributes(node: Node, where: str) -> None:
    """Raise :class:`GenomeError` unless the node has the attributes of its op."""
    expected = ATTRIBUTES.get(node.op, ())
    if tuple(name for name, _ in node.attrs) != expected:
        raise GenomeError(
            f"{node.op} takes the attributes {expected}, not {node.attrs!r}", where=where
        )
    if node.op == "linear" and not isinstance(node.attrs[0][1], bool):
        raise GenomeError(f"bias is True or False, not {node.attrs[0][1]!r}", where=where)
    if node.op == "const" and (
        isinstance(node.attrs[0][1], bool) or not math.isfinite(node.attrs[0][1])
    ):
        raise GenomeError(f"{node.attrs[0][1]!r} is not a finite number", where=where)
