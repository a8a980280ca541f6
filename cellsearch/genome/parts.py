"""What a genome is made of: nodes and states, and the names and attributes that they may have."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from cellsearch import ops
from cellsearch.errors import GenomeError
from cellsearch.genome.sizes import SIZE_HINT, Width, canonical_size

__all__ = [
    "ATTRIBUTES",
    "INPUTS",
    "MAX_NODES",
    "MAX_STATES",
    "MODULE_NAMES",
    "RESERVED_NAMES",
    "Attribute",
    "Attributes",
    "Node",
    "State",
    "attributes",
    "check_attributes",
    "check_name",
    "check_written_name",
    "is_name",
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
MAX_PARTS = 4096
"""Most blocks or heads."""
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
Attributes = tuple[tuple[str, float | bool | int | str], ...]
"""Names and values, by name; see :data:`ATTRIBUTES`."""


@dataclass(frozen=True, slots=True)
class Node:
    """One vertex: ``op`` applied to the values ``inputs``."""

    name: str
    """``""`` for an anonymous node."""
    op: str
    inputs: tuple[int, ...]
    """Numbers of values, see :mod:`cellsearch.genome.graph`."""
    attrs: Attributes = ()
    """``(("bias", True),)`` for ``linear``, ``(("value", 0.5),)`` for ``const``; what
    :data:`ATTRIBUTES` gives a value for where it is another one."""

    @property
    def bias(self) -> bool:
        """Whether this ``linear`` adds a bias."""
        return ("bias", True) in self.attrs

    @property
    def value(self) -> float:
        """The number of this ``const``."""
        return float(dict(self.attrs)["value"])

    @property
    def number(self) -> float:
        """What a node without weights says as a number: the value of a ``const``, the heads of a
        ``head_norm``.
        """
        return float(self.attrs[0][1])

    @property
    def size(self) -> Width:
        """The size that this ``linear`` or ``bias`` has."""
        return "H" if self.is_plain else str(self._said("size", default="H"))

    @property
    def blocks(self) -> int:
        """The blocks of the matrices of this ``linear``, 1 where they are dense."""
        return 1 if self.is_plain else int(self._said("blocks", default=1))

    @property
    def parts(self) -> int:
        """How many equal parts this node cuts values into: its blocks or heads, else 1."""
        return int(self._said("heads", default=self._said("blocks", default=1)))

    @property
    def is_plain(self) -> bool:
        """Whether the node says no size, no blocks and no heads."""
        return not self.attrs or self.attrs[-1][0] in ("bias", "value")  # they stand by name

    def _said(self, name: str, *, default: float | str) -> float | str:
        for one, value in self.attrs:
            if one == name:
                return value
        return default


@dataclass(frozen=True, slots=True)
class State:
    """A recurrent state and the value that it has before the first step."""

    name: str
    initial: float = 0.0


@lru_cache(maxsize=4096)
def is_name(name: str) -> bool:
    """Whether :func:`check_name` lets it pass."""
    try:
        check_name(name, "node", "")
    except GenomeError:
        return False
    return True


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


@dataclass(frozen=True, slots=True)
class Attribute:
    """What the nodes of an op may say beside their operands."""

    name: str
    kind: Literal["flag", "number", "count", "size"]
    default: bool | int | str | None = None
    """What counts where a node says nothing, and is not written down; ``None``: it must be said."""
    positional: bool = False
    """It is written behind the operands, without its name: ``head_norm(a, 4)``."""


ATTRIBUTES: Mapping[str, tuple[Attribute, ...]] = {
    "linear": (
        Attribute("bias", "flag"),
        Attribute("blocks", "count", 1),
        Attribute("size", "size", "H"),
    ),
    "bias": (Attribute("size", "size", "H"),),
    "const": (Attribute("value", "number"),),
    "head_norm": (Attribute("heads", "count", positional=True),),
}
"""The attributes of the ops that have any, in the order of their names."""
_DENSE = ((("bias", True),), (("bias", False),))
"""The attributes of a linear of size H in one block."""


def attributes(op: str, given: Mapping[str, float | bool | int | str]) -> Attributes:
    """The attributes of a node from what was said of it: sorted, without those that say the
    default, sizes in lowest terms. What is illegal stays, for :func:`check_attributes` to refuse.
    """
    default = {attribute.name: attribute.default for attribute in ATTRIBUTES.get(op, ())}
    found: list[tuple[str, float | bool | int | str]] = []
    for name, value in sorted(given.items()):
        if name == "size" and isinstance(value, str):
            with suppress(ValueError):
                value = canonical_size(value)
        if isinstance(value, bool) or default.get(name) != value:
            found.append((name, value))
    return tuple(found)


def check_attributes(node: Node, where: Callable[[], str]) -> None:
    """Raise :class:`GenomeError` unless the node has the attributes of its op, as
    :func:`attributes` writes them. ``where`` says which node it is.
    """
    if node.op == "linear" and node.attrs in _DENSE and type(node.attrs[0][1]) is bool:
        return  # as nearly all are
    allowed = {attribute.name: attribute for attribute in ATTRIBUTES.get(node.op, ())}
    names = [name for name, _ in node.attrs]
    needed = [name for name, attribute in allowed.items() if attribute.default is None]
    if names != sorted(allowed.keys() & set(names)) or not set(needed) <= set(names):
        expected = tuple(needed if set(needed) == set(allowed) or not allowed else allowed)
        raise GenomeError(
            f"{node.op} takes the attributes {expected}, not {node.attrs!r}", where=where()
        )
    for name, value in node.attrs:
        _check_attribute(allowed[name], value, where)


def _check_attribute(attribute: Attribute, value: object, where: Callable[[], str]) -> None:
    name, kind = attribute.name, attribute.kind
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "flag":
        good, message = isinstance(value, bool), f"{name} is True or False, not {value!r:.60}"
    elif kind == "number":
        good = number and math.isfinite(value)  # type: ignore[arg-type]
        message = f"{value!r:.60} is not a finite number"
    elif kind == "count":
        good = number and isinstance(value, int) and 1 <= value <= MAX_PARTS
        message = f"{name} is a whole number from 1 to {MAX_PARTS}, not {value!r:.60}"
    else:
        good, message = False, f"{value!r:.60} is not a size"
        with suppress(ValueError):
            good = isinstance(value, str) and canonical_size(value) == value
    if not good:
        raise GenomeError(message, where=where(), hint=SIZE_HINT if kind == "size" else "")
    if attribute.default is not None and value == attribute.default:
        raise GenomeError(
            f"{name}={value} is what counts where nothing is said, and is not written down",
            where=where(),
            hint="leave it out",
        )
