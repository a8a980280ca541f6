"""Simplification: a smaller genome that computes the same family of functions.

``RULES`` lists what is done, one small function a rule, in three kinds: ``structure`` (what is
never seen is dropped, what is alike is one), ``algebra`` (every weight stays as it is) and
``absorb`` (a weight takes in another). Equality is that of real numbers, and from the states'
initial values on. :func:`simplify_weights` carries trained weights over, which is also how the
rules are proven in tests.

A search deduplicates by the key of the simplified genome
(:func:`cellsearch.genome.identity.search_key`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, TypeVar

from cellsearch import ops
from cellsearch.errors import GenomeError
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import output_width, state_widths
from cellsearch.genome.parts import MAX_NODES
from cellsearch.genome.rewriting import value_rules, weight_rules
from cellsearch.genome.rewriting.graph import RewriteGraph
from cellsearch.genome.rewriting.sums_products import PRODUCT_OPS, SUM_OPS, is_odd_function
from cellsearch.genome.rewriting.weights import (
    blocks_of,
    column_weight,
    dense_of,
    evaluate_weight,
)
from cellsearch.genome.shapes import is_cut

__all__ = ["RULES", "Rule", "rewrite", "simplify", "simplify_weights"]

MAX_PASSES = 200
MAX_VISITS = 20_000
"""Values looked at, all passes together: about a second. What has taken longer stays as it is then,
equal to the cell that came in, if not as small as it might be.
"""
Apply = Callable[[RewriteGraph, int], int | None]
RuleKind = Literal["structure", "algebra", "absorb"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. The rule without ops orders what has two orders, once nothing else applies."""

    name: str
    kind: RuleKind
    ops: tuple[str, ...]
    """Of the values that it is about."""
    apply: Apply
    """``apply(graph, value)`` returns what may stand in the place of the value, or ``None``."""
    fact: Callable[[str], bool] | None = None
    """Whether an op has the fact that the rule is about; holds for ops registered later too."""

    @property
    def meaning(self) -> str:
        """What the rule does, in a line."""
        return (self.apply.__doc__ or "").strip().splitlines()[0]


def _about(
    name: str, apply: Callable[[RewriteGraph, int], int | None], fact: Callable[[str], bool]
) -> Rule:
    """An algebraic rule for all ops that have a fact."""
    return Rule(name, "algebra", tuple(sorted(filter(fact, ops.OPS))), apply, fact)


def alike_states(graph: RewriteGraph, value: int) -> int | None:
    """Two states that start and go on alike are one; a state that never changes is a number."""
    place, first = graph.place_of(value), len(graph.inputs)
    state = graph.states[place]
    following = graph.find(graph.next_states[place])
    if following == value or graph.number(following) == state.initial:
        return graph.const(state.initial)
    for k in range(place):
        if (
            first + k not in graph.replaced
            and graph.find(graph.next_states[k]) == following
            and graph.states[k].initial == state.initial
        ):
            return first + k
    return None


_SUMS = tuple(sorted(SUM_OPS))
_PRODUCTS = tuple(sorted(PRODUCT_OPS))
RULES: tuple[Rule, ...] = (
    Rule("alike states", "structure", ("state",), alike_states),
    _about(
        "function of a number", value_rules.constant, lambda op: ops.OPS[op].numeric is not None
    ),
    _about("odd function", value_rules.odd_function, is_odd_function),
    Rule("one head", "algebra", ("head_norm",), value_rules.one_head),
    _about("even function", value_rules.even_function, lambda op: ops.OPS[op].even),
    Rule(
        "complement of a sigmoid",
        "algebra",
        ("hard_sigmoid", "log_sigmoid", "sigmoid", "softplus"),
        value_rules.complement_of_sigmoid,
    ),
    _about("never negative", value_rules.nonnegative, lambda op: ops.OPS[op].keeps_positive),
    Rule(
        "function of a function",
        "algebra",
        ("exp", "sqrt", "square"),
        value_rules.function_of_function,
    ),
    Rule("within bounds", "algebra", ("hard_tanh",), value_rules.within_bounds),
    Rule("rotation", "algebra", ("rotate",), value_rules.turned),
    Rule("unit of a multiple", "algebra", ("unit",), value_rules.unit_of_multiple),
    Rule("extremum", "algebra", ("max", "min"), value_rules.extremum),
    Rule("degenerate blend", "algebra", ("blend",), value_rules.degenerate_blend),
    Rule("turned blend", "algebra", ("blend",), value_rules.turned_blend),
    Rule("flat sum", "algebra", _SUMS, value_rules.flat_sum),
    Rule("written blend", "algebra", _SUMS, value_rules.written_blend),
    Rule("opened blend", "algebra", _SUMS, value_rules.opened_blend),
    Rule("flat product", "algebra", _PRODUCTS, value_rules.flat_product),
    Rule("silu", "algebra", _PRODUCTS, value_rules.silu_product),
    Rule("repeated operand", "absorb", ("linear",), weight_rules.linear_of_repeated),
    Rule("linear of linear", "absorb", ("linear",), weight_rules.linear_of_linear),
    Rule("diag of weights", "absorb", ("diag",), weight_rules.diagonal_of_weighted),
    Rule("scale of weights", "absorb", ("scale",), weight_rules.scale_of_weighted),
    Rule("sum of linears", "absorb", _SUMS, weight_rules.sum_of_linears),
    Rule("sum of diagonals", "absorb", _SUMS, weight_rules.sum_of_diagonals),
    Rule("sign of weights", "absorb", _SUMS, weight_rules.absorbed_sign),
    Rule("complement of weights", "absorb", _SUMS, weight_rules.absorbed_complement),
    Rule("sign of weights in a product", "absorb", _PRODUCTS, weight_rules.absorbed_product_sign),
    Rule("order of a free blend", "absorb", (), weight_rules.turned_free_blend),
)


def simplify(genome: Genome, *, rules: Sequence[Rule] = RULES) -> Genome:
    """The simplified genome; ``rules`` limits what is done. Dead nodes, dead states and
    ``identity`` always go.

    Nodes that remain keep their names. A state that the output never depends on goes too.
    """
    return _written(genome, rules, RewriteGraph.genome)


def tidied(genome: Genome) -> Genome:
    """:func:`simplify` of a genome that is laid out (:mod:`cellsearch.genome.builder`): the genome
    itself where nothing is simpler. Both remember what is simple, for
    :func:`cellsearch.genome.identity.search_key`.
    """
    graph = rewrite(genome)
    if graph.is_unchanged:
        genome.found_simple()
        if graph.is_whole(genome):
            return genome
    simple = _written(genome, RULES, RewriteGraph.genome, graph)
    if simple.is_known_simple and not genome.is_known_simple:
        genome.found_simple(simple)
    return simple


def simplify_weights(
    genome: Genome, weights: Mapping[str, Any], *, rules: Sequence[Rule] = RULES
) -> tuple[Genome, dict[str, Any]]:
    """The simplified genome, and weights with which it computes what ``genome`` does with
    ``weights`` (numpy or torch, by name).
    """
    missing = [
        spec.name
        for spec in genome.parameters
        if spec.node in genome.live and spec.name not in weights
    ]
    if missing:
        raise GenomeError(
            f"there is no weight {missing[0]}", hint="give an array for each of Genome.parameters"
        )
    own = {
        (spec.node, spec.operand): dense_of(weights[spec.name])
        for spec in genome.parameters
        if spec.name in weights
    }
    simple, expressions = _written(genome, rules, RewriteGraph.with_weights)
    carried = {}
    for spec in simple.parameters:
        weight = expressions[spec.node, spec.operand]
        column = len(spec.shape) == 2 and spec.shape[1] == "1"
        found = evaluate_weight(column_weight(weight) if column else weight, own)
        carried[spec.name] = blocks_of(found, int(spec.shape[0])) if len(spec.shape) == 3 else found
    return simple, carried


Written = TypeVar("Written")


def _written(
    genome: Genome,
    rules: Sequence[Rule],
    write: Callable[[RewriteGraph], Written],
    graph: RewriteGraph | None = None,
) -> Written:
    """The simplified genome, or that with its weights, as ``write`` gives it; ``graph``:
    :func:`rewrite`, if it is known. A number is written wherever it is read, so a cell of thousands
    of nodes can grow beyond what is allowed, and a number cannot be cut into heads or pairs, which
    what has become one was; then nothing but dead nodes goes.
    """
    try:
        return write(graph or rewrite(genome, rules))
    except GenomeError:
        if 2 * len(genome.nodes) < MAX_NODES and not (genome.sized or is_cut(genome.nodes)):
            raise
        return write(rewrite(genome, ()))


def _around(rule: Rule) -> Collection[str]:
    if rule.ops is _SUMS:
        return SUM_OPS
    return PRODUCT_OPS if rule.ops is _PRODUCTS else ()


class _ByOp(dict[str, tuple[tuple[Apply, Collection[str]], ...]]):
    """What the rules about each op do, in order, each with the ops inside of which it is not asked,
    because the sum or product around takes the value apart; found when a cell first has the op.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules

    def __missing__(self, op: str) -> tuple[tuple[Apply, Collection[str]], ...]:
        found = self[op] = tuple(
            (rule.apply, _around(rule))
            for rule in self.rules
            if op in rule.ops or (rule.fact is not None and op in ops.OPS and rule.fact(op))
        )
        return found


_ALL_BY_OP = _ByOp(RULES)


def rewrite(genome: Genome, rules: Sequence[Rule] = RULES) -> RewriteGraph:
    """The genome taken apart after the rules were applied, operands first, until none applies (or
    ``MAX_VISITS`` is reached).
    """
    graph = RewriteGraph(genome)
    by_op = _ALL_BY_OP if rules is RULES else _ByOp(rules)
    visits = 0
    for _ in range(MAX_PASSES):
        order = graph.live_order()
        visits += len(order)
        changed = _one_pass(graph, order, by_op)
        if not changed or visits > MAX_VISITS:
            if rules is RULES or any(not rule.ops for rule in rules):
                _order_free_blends(graph)
            if graph.replaced and genome.sized and not _keeps_sizes(graph, genome):
                return RewriteGraph(genome)
            # A free blend in its other order is no simpler, so what came to an end stays there.
            graph.is_simple = rules is RULES and not changed
            return graph
    raise GenomeError(
        f"the cell was not simple after {MAX_PASSES} passes",
        hint="report this cell: two rules undo one another",
    )


def _keeps_sizes(graph: RewriteGraph, genome: Genome) -> bool:
    """Whether states and output still have their sizes. They have not where a number took the place
    of what said the size, as in ``h[t-1] * (0 * bias(size=P))``; such a cell stays as it is.
    """
    try:
        simple = graph.genome()
        found = simple.widths
    except GenomeError:
        return False
    before = dict(zip(genome.state_names, state_widths(genome), strict=True))
    after = dict(zip(simple.state_names, state_widths(simple), strict=True))
    numbers = [
        node
        for _, node in simple.numbered()
        if node.op in ("diag", "layer_norm", "head_norm") and found[node.inputs[0]] == "1"
    ]
    return (
        not numbers
        and all(before[name] == width for name, width in after.items())
        and output_width(simple) == output_width(genome)
    )


def _order_free_blends(graph: RewriteGraph) -> None:
    """Turn each blend whose gate may as well be its own complement into the one order that is kept:
    a previous state first.

    Otherwise the content below the two sides decides, in which such blends count alike in both
    orders.
    """
    if not any(vertex.op == "blend" for vertex in graph.vertices):
        return
    order = graph.live_order()
    if not any(
        graph.op(value) == "blend" and weight_rules.free_gate(graph, graph.at(value).operands[0])
        for value in order
    ):
        return
    content: dict[int, str] = {}
    for value in order:
        vertex = graph.at(value)
        below = [content[v] for v in vertex.operands]
        detail = f"{vertex.number.hex()} {vertex.bias is not None}"
        if vertex.size != "H" or vertex.blocks > 1:
            detail += f" {vertex.size} {vertex.blocks}"
        if vertex.op == "state":
            place = graph.place_of(value)
            put_out = graph.find(graph.next_states[place]) == graph.find(graph.output)
            detail = f"{graph.states[place].initial + 0.0} {put_out}"
        elif vertex.op == "blend" and weight_rules.free_gate(graph, vertex.operands[0]):
            turned = weight_rules.turned_free_blend(graph, value) if below[2] < below[1] else None
            if turned is not None:
                graph.replace(value, turned)
            below[1:] = sorted(below[1:])
        elif not graph.is_given(value) and vertex.op != "const" and ops.OPS[vertex.op].commutative:
            below.sort()
        digest = blake2b(f"{vertex.op} {detail} {below}".encode(), digest_size=16).hexdigest()
        content[value] = content[graph.find(value)] = (
            "state " if vertex.op == "state" else "value "
        ) + digest


def _one_pass(graph: RewriteGraph, order: Sequence[int], by_op: _ByOp) -> bool:
    changed = False
    vertices, replaced = graph.vertices, graph.replaced
    for value in order:
        if value in replaced:
            continue
        # Until something is replaced, all that is alike is one value.
        if replaced and graph.unify(value):
            changed = True
            continue
        for apply, around in by_op[vertices[value].op]:
            if around and graph.inside(value, around):
                continue
            new = apply(graph, value)
            if new is not None and graph.find(new) != value:
                graph.replace(value, graph.find(new))
                changed = True
                break
    return changed
