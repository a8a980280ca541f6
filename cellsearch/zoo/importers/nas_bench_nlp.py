"""Recipes of NAS-Bench-NLP (Klyuchnikov et al. 2020, arXiv:2006.07116): read and write.

A recipe is a JSON object ``name -> {"op": ..., "input": [...]}``. ``x`` is the input,
``h_prev_<k>`` state k of the step before, ``h_new_<k>`` its new value; ``h_new_0`` is the output.
State 0 becomes ``h``, the others ``h1``, ``h2``, ...; nodes keep their names. ``linear`` always has
one bias. Of ``blend`` the first input is the gate: a*b + (1-a)*c.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from cellsearch.errors import CellSyntaxError, GenomeError
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import requires_square
from cellsearch.genome.parts import MAX_NODES, Node, State, check_name

__all__ = ["read_recipe", "write_recipe"]

_OPS = {
    "linear": ("linear", 1, None),
    "activation_tanh": ("tanh", 1, 1),
    "activation_sigm": ("sigmoid", 1, 1),
    "activation_leaky_relu": ("leaky_relu", 1, 1),
    "elementwise_sum": ("add", 2, 2),
    "elementwise_prod": ("mul", 2, 2),
    "blend": ("blend", 3, 3),
}
_WORDS = {op: word for word, (op, _, _) in _OPS.items()}
_PREVIOUS = re.compile(r"h_prev_(0|[1-9]\d{0,2})")
_NEW = re.compile(r"h_new_(0|[1-9]\d{0,2})")
_MAX_TEXT = 4_194_304


def read_recipe(text: str, *, square: bool = False) -> Genome:
    """The genome of a recipe, or of a record of the benchmark that holds one under ``recipe``.

    The published models have I != H, so a recipe in which anything but ``linear`` reads ``x`` is
    refused unless ``square``.
    """
    recipe = _load(text)
    names = _states(recipe)
    builder = Builder(State(name) for name in names)
    labels = _legal_names(recipe, names)
    numbers = {
        "x": builder.x,
        **{f"h_prev_{k}": builder.state(name) for k, name in enumerate(names)},
    }
    for n, key in enumerate(recipe):
        numbers[key] = 1 + len(names) + n
    for key, entry in recipe.items():
        builder.add(_node(key, entry, numbers, labels[key]))
    for k, name in enumerate(names):
        builder.next_state(name, numbers[f"h_new_{k}"])
    try:
        genome = builder.build()
    except GenomeError as error:
        raise CellSyntaxError(
            error.message, where=f"recipe: {error.where}", hint=error.hint
        ) from None
    place = requires_square(genome)
    if place and not square:
        raise CellSyntaxError(
            "x is read without a linear, which the benchmark's models (400 inputs, 600 "
            "units) cannot compute",
            where=f"recipe: {place}",
            hint="put a linear between, or import with square=True and use the cell with "
            "input_size = hidden_size",
        )
    return genome


def _load(text: str) -> dict[str, Any]:
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise CellSyntaxError(
            f"a recipe is JSON text of at most {_MAX_TEXT} characters", where="recipe"
        )
    try:
        recipe = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise CellSyntaxError(f"not JSON: {error.msg}", where=f"recipe:{error.lineno}") from None
    except (ValueError, RecursionError) as error:
        raise CellSyntaxError(f"not JSON: {str(error)[:200]}", where="recipe") from None
    if (
        isinstance(recipe, dict)
        and isinstance(recipe.get("recipe"), dict)
        and "op" not in recipe["recipe"]
    ):
        recipe = recipe["recipe"]
    if not isinstance(recipe, dict) or not recipe:
        raise CellSyntaxError(
            'a recipe is one JSON object: {"name": {"op": ..., "input": [...]}, ...}',
            where="recipe",
        )
    if len(recipe) > MAX_NODES:
        raise CellSyntaxError(
            f"{len(recipe)} nodes; at most {MAX_NODES} are allowed", where="recipe"
        )
    return recipe


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(name for name, _ in pairs)
    if counts and max(counts.values()) > 1:
        raise CellSyntaxError(f"{counts.most_common(1)[0][0]:.60} is defined twice", where="recipe")
    return dict(pairs)


def _states(recipe: dict[str, Any]) -> list[str]:
    """Names of the states 0, 1, ..., each of which has to have a new value."""
    found = {int(match[1]) for key in recipe if (match := _NEW.fullmatch(key))}
    if not found:
        raise CellSyntaxError("there is no state: no node is called h_new_0", where="recipe")
    if len(found) > 64 or max(found) != len(found) - 1:
        missing = next(k for k in range(len(found) + 1) if k not in found)
        raise CellSyntaxError(
            f"the states are numbered up to {max(found)}, but h_new_{missing} is missing",
            where="recipe",
        )
    return ["h" if k == 0 else f"h{k}" for k in range(len(found))]


def _legal_names(recipe: dict[str, Any], states: Iterable[str]) -> dict[str, str]:
    """For each key the name of its node: none for a new state, the key itself wherever it is a
    legal name.
    """
    taken = {*states, *(f"{name}_t" for name in states), "x_t"}
    names: dict[str, str] = {}
    for key in recipe:
        if _NEW.fullmatch(key):
            names[key] = ""
            continue
        name = re.sub(r"\W", "_", key, flags=re.ASCII)[:50]
        try:
            check_name(name, "node", key)
        except GenomeError:
            name = f"n_{name}"
        while name in taken:
            name += "_"
        taken.add(name)
        names[key] = name
    return names


def _node(key: str, entry: Any, numbers: dict[str, int], name: str) -> Node:
    where = f"recipe: {key:.60}"
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("op"), str)
        or not isinstance(entry.get("input"), list)
    ):
        raise CellSyntaxError('a node is {"op": ..., "input": [...]}', where=where)
    if key == "x" or _PREVIOUS.fullmatch(key):
        raise CellSyntaxError(
            "this name is an input of the step and cannot be computed", where=where
        )
    if entry["op"] not in _OPS:
        raise CellSyntaxError(
            f"unknown op {entry['op']:.60}", where=where, hint="allowed: " + ", ".join(_OPS)
        )
    op, least, most = _OPS[entry["op"]]
    operands = entry["input"]
    if len(operands) < least or (most is not None and len(operands) > most):
        count = f"at least {least}" if most is None else f"exactly {least}"
        raise CellSyntaxError(
            f"{entry['op']} takes {count} inputs, not {len(operands)}", where=where
        )
    for operand in operands:
        if not isinstance(operand, str) or operand not in numbers:
            state = isinstance(operand, str) and _PREVIOUS.fullmatch(operand)
            hint = (
                f"add a node h_new_{state[1]}"
                if state
                else "allowed: x, h_prev_<k>, and the names of the nodes"
            )
            raise CellSyntaxError(f"unknown input {operand!r:.60}", where=where, hint=hint)
    return Node(
        name,
        op,
        tuple(numbers[operand] for operand in operands),
        (("bias", True),) if op == "linear" else (),
    )


# -- writing ---------------------------------------------------------------------------------------


def write_recipe(genome: Genome) -> str:
    """The recipe of a genome, as JSON; ``identity`` is left out, longer sums and products become
    chains of two.

    Raises :class:`GenomeError` that names the node for which recipes have no word: another op, a
    linear without bias, a state that does not start at 0, a state that takes over a value with
    weights or one of the step before.
    """
    for state in genome.states:
        if state.initial:
            raise GenomeError("a state of a recipe starts at 0", where=f"state {state.name}")
    return json.dumps(_Writer(genome).recipe())


class _Writer:
    def __init__(self, genome: Genome) -> None:
        self.genome = genome
        self.words: dict[int, str] = {0: "x"}
        self.entries: dict[str, dict[str, Any]] = {}
        self.taken: set[str] = set()

    def recipe(self) -> dict[str, dict[str, Any]]:
        genome = self.genome
        put_out_is_state = (
            genome.output == genome.next_states[0] and genome.output_name == genome.state_names[0]
        )
        ends = (
            list(genome.next_states) if put_out_is_state else [genome.output, *genome.next_states]
        )
        for k in range(len(genome.states)):
            self.words[1 + k] = f"h_prev_{k + (not put_out_is_state)}"
        resolved = [self.resolved(value) for value in ends]
        self.taken = {f"h_new_{k}" for k in range(len(ends))} | {"x"}
        first_end = {value: f"h_new_{k}" for k, value in reversed(list(enumerate(resolved)))}
        for value, node in genome.numbered():
            if value not in genome.live or node.op == "identity":
                continue
            self.words[value] = first_end.get(value) or self.fresh(
                genome.labels[value].replace(".", "_")
            )
            self.write(self.words[value], value, node)
        for k, value in enumerate(resolved):
            if self.words[value] != f"h_new_{k}":
                self.write_copy(f"h_new_{k}", value)
        return self.entries

    def resolved(self, value: int) -> int:
        """The value behind identities."""
        node = self.genome.node(value)
        while node is not None and node.op == "identity":
            value = node.inputs[0]
            node = self.genome.node(value)
        return value

    def fresh(self, wish: str) -> str:
        name, n = wish, 1
        while name in self.taken or _PREVIOUS.fullmatch(name) or _NEW.fullmatch(name):
            n += 1
            name = f"{wish}_{n}"
        self.taken.add(name)
        return name

    def write(self, word: str, value: int, node: Node) -> None:
        where = f"node {self.genome.labels[value]}"
        if node.op not in _WORDS:
            raise GenomeError(
                f"recipes have no word for {node.op}",
                where=where,
                hint="allowed: " + ", ".join(sorted(_WORDS)),
            )
        if node.op == "linear" and not node.bias:
            raise GenomeError("a linear of a recipe always has a bias", where=where)
        operands = [self.words[self.resolved(v)] for v in node.inputs]
        while node.op in ("add", "mul") and len(operands) > 2:
            part = self.fresh(f"{word}_part1")
            self.entries[part] = {"op": _WORDS[node.op], "input": operands[:2]}
            operands = [part, *operands[2:]]
        self.entries[word] = {"op": _WORDS[node.op], "input": operands}

    def write_copy(self, word: str, value: int) -> None:
        """A second state that takes the same value: computed again, which only a value without
        weights can be.
        """
        node = self.genome.node(value)
        if node is None or node.op == "linear":
            raise GenomeError(
                "recipes have no word for a state that takes over another value", where=f"{word}"
            )
        self.write(word, value, node)
