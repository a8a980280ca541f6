"""The JSON form: the exact machine form, with a format number and a published schema
(``genome.schema.json`` beside this file).

Values are referred to by their numbers (inputs, then states, then nodes), so that the form is exact
whatever the names are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from cellsearch.errors import CellSyntaxError, GenomeError
from cellsearch.genome.builder import arrange
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import ATTRIBUTES, MAX_NODES, Node, State, attributes

__all__ = ["FORMATS", "decode", "encode", "format_of", "schema"]

FORMATS = (1, 2)
"""Those that are read."""
_OPS_OF_2 = frozenset({"unit", "rotate"})
MAX_JSON = 4_194_304
_MAX_DEPTH = 8
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_BRACKETS = re.compile(r"[\[\]{}]")
_NODE_FIELDS = {"name", "op", "inputs", "attrs"}
_KINDS = {a.name: a.kind for row in ATTRIBUTES.values() for a in row}
"""What each attribute is."""
_FIELDS = {"format", "inputs", "states", "nodes", "next_states", "output", "output_name"}


def format_of(genome: Genome) -> int:
    """The format that a genome is written in: the lowest that has all of its features. 2 has the
    inputs ``dt`` and ``mask``, sizes, blocks and heads, and the ops ``unit``
    and ``rotate``.
    """
    cut = any(node.op == "head_norm" or node.parts > 1 for node in genome.nodes if node.attrs)
    new = any(node.op in _OPS_OF_2 for node in genome.nodes)
    return 2 if genome.inputs != ("x",) or genome.sized or cut or new else 1


def encode(genome: Genome) -> str:
    """The JSON form of a genome, on one line, keys sorted."""
    document = {
        "format": format_of(genome),
        "inputs": list(genome.inputs),
        "states": [{"name": s.name, "initial": s.initial} for s in genome.states],
        "nodes": [
            {"name": n.name, "op": n.op, "inputs": list(n.inputs), "attrs": dict(n.attrs)}
            for n in genome.nodes
        ],
        "next_states": list(genome.next_states),
        "output": genome.output,
        "output_name": genome.output_name,
    }
    return _ENCODER.encode(document)


def schema() -> dict[str, Any]:
    """The published JSON Schema of all formats."""
    text = resources.files(__package__).joinpath("genome.schema.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def decode(
    text: str | bytes | Mapping[str, Any], *, source: str = "<json>", arranged: bool = False
) -> Genome:
    """Read the JSON form; a byte order mark at the head of a text is skipped. Raises
    :class:`CellSyntaxError`, whatever the text is.

    arranged: it is what this program wrote of a genome, so that its statements are in order: saves
        more than half of the time.
    """
    document = dict(text) if isinstance(text, Mapping) else _load(text, source)
    reader = _Reader(source)
    try:
        found = reader.genome(document)
        return found if arranged else arrange(found)
    except CellSyntaxError:
        raise
    except GenomeError as error:
        raise CellSyntaxError(
            error.message, where=f"{source}: {error.where}".rstrip(": "), hint=error.hint
        ) from None


def _load(text: str | bytes, source: str) -> dict[str, Any]:
    if not isinstance(text, str | bytes):
        raise CellSyntaxError(f"expected text, not {type(text).__name__}", where=source)
    if len(text) > MAX_JSON:
        raise CellSyntaxError(
            f"{len(text)} characters; at most {MAX_JSON} are allowed", where=source
        )
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        decoded = decoded.removeprefix("\ufeff")  # the mark that some editors write
        if _depth(decoded) > _MAX_DEPTH:
            raise CellSyntaxError(f"nested more than {_MAX_DEPTH} deep", where=source)
        document = json.loads(decoded)
    except json.JSONDecodeError as error:
        raise CellSyntaxError(
            f"not JSON: {error.msg}",
            where=f"{source}:{error.lineno}",
            hint="a genome is one JSON object",
        ) from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # undecodable bytes, integers of thousands of digits
        raise CellSyntaxError(f"not JSON: {str(error)[:200]}", where=source) from None
    if not isinstance(document, dict):
        raise CellSyntaxError("a genome is one JSON object", where=source)
    return document


def _depth(text: str) -> int:
    """An upper bound of the nesting: brackets inside strings count, names of a genome hold none."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(text):
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _written_node(value: object) -> Node | None:
    """The node, where it is as :func:`encode` writes one; ``None`` for what has to be looked at
    more closely.
    """
    if type(value) is not dict or value.keys() != _NODE_FIELDS:
        return None
    name, op, inputs, attrs = value["name"], value["op"], value["inputs"], value["attrs"]
    if type(name) is not str or type(op) is not str or type(inputs) is not list:
        return None
    if type(attrs) is not dict or len(attrs) > 1 or any(type(v) is not int for v in inputs):
        return None
    for key, number in attrs.items():
        if type(number) is not {"bias": bool, "value": float}.get(key):
            return None
    return Node(name, op, tuple(inputs), tuple(attrs.items()))


class _Reader:
    """Checks types before a value reaches the genome's own checks."""

    def __init__(self, source: str) -> None:
        self.source = source

    def fail(self, message: str, place: str, hint: str = "") -> CellSyntaxError:
        return CellSyntaxError(
            message, where=f"{self.source}: {place}" if place else self.source, hint=hint
        )

    def genome(self, document: dict[str, Any]) -> Genome:
        version = document.get("format")
        if version not in FORMATS or isinstance(version, bool):
            raise self.fail(
                f"format {version!r:.40} is not known",
                "format",
                hint=f"this version reads format {' and '.join(map(str, FORMATS))}",
            )
        unknown = sorted(set(document) - _FIELDS)
        if unknown:
            raise self.fail(
                f"unknown field {unknown[0]!r:.40}",
                "",
                hint="allowed: " + ", ".join(sorted(_FIELDS)),
            )
        nodes = self.array(document, "nodes")
        if len(nodes) > MAX_NODES:
            raise self.fail(f"{len(nodes)} nodes; at most {MAX_NODES} are allowed", "nodes")
        genome = Genome(
            inputs=tuple(
                self.text(v, f"inputs[{k}]") for k, v in enumerate(self.array(document, "inputs"))
            ),
            states=tuple(
                self.state(v, f"states[{k}]") for k, v in enumerate(self.array(document, "states"))
            ),
            nodes=tuple(
                _written_node(v) or self.node(v, f"nodes[{k}]") for k, v in enumerate(nodes)
            ),
            next_states=self.numbers(document.get("next_states"), "next_states"),
            output=self.integer(document.get("output"), "output"),
            output_name=self.text(document.get("output_name", "h"), "output_name"),
        )
        if version < format_of(genome):
            raise self.fail(
                f"format {version} does not have what this cell uses",
                "format",
                hint=f'write "format": {format_of(genome)}',
            )
        return genome

    def state(self, value: object, place: str) -> State:
        fields = self.fields(value, place, {"name", "initial"})
        return State(
            self.text(fields.get("name"), f"{place}.name"),
            self.number(fields.get("initial", 0.0), f"{place}.initial"),
        )

    def node(self, value: object, place: str) -> Node:
        fields = self.fields(value, place, _NODE_FIELDS)
        attrs = self.fields(fields.get("attrs", {}), f"{place}.attrs", set(_KINDS))
        pairs = {
            name: self.attribute(v, _KINDS[name], f"{place}.attrs.{name}")
            for name, v in sorted(attrs.items())
        }
        name = fields.get("name", "")
        op = self.text(fields.get("op"), f"{place}.op")
        return Node(
            self.text(name, f"{place}.name"),
            op,
            self.numbers(fields.get("inputs"), f"{place}.inputs"),
            attributes(op, pairs),
        )

    def attribute(self, value: object, kind: str, place: str) -> float | bool | int | str:
        if kind == "size":
            return self.text(value, place)
        if kind == "count":
            return self.integer(value, place)
        return value if kind == "flag" and isinstance(value, bool) else self.number(value, place)

    def array(self, document: dict[str, Any], name: str) -> list[Any]:
        value = document.get(name)
        if not isinstance(value, list):
            raise self.fail("a list is required", name)
        return value

    def fields(self, value: object, place: str, allowed: set[str]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise self.fail("an object is required", place)
        unknown = sorted(set(value) - allowed)
        if unknown:
            raise self.fail(
                f"unknown field {unknown[0]!r:.40}",
                place,
                hint="allowed: " + ", ".join(sorted(allowed)),
            )
        return dict(value)

    def text(self, value: object, place: str) -> str:
        if not isinstance(value, str):
            raise self.fail(f"text is required, not {type(value).__name__}", place)
        return value

    def integer(self, value: object, place: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.fail(f"a whole number is required, not {value!r:.40}", place)
        return value

    def number(self, value: object, place: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.fail(f"a number is required, not {value!r:.40}", place)
        try:
            return float(value)
        except OverflowError:
            raise self.fail("the number is too large", place) from None

    def numbers(self, value: object, place: str) -> tuple[int, ...]:
        if not isinstance(value, list):
            raise self.fail("a list of whole numbers is required", place)
        return tuple(self.integer(v, f"{place}[{k}]") for k, v in enumerate(value))
