"""Text, JSON and graph are exact forms of a genome."""

from __future__ import annotations

import json

import jsonschema
import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellsearch.errors import CellSyntaxError, GenomeError
from cellsearch.genome import Builder, Genome, Node, State
from cellsearch.genome import json as genome_json
from cellsearch.genome.builder import arrange
from cellsearch.genome.network import from_networkx, to_networkx
from cellsearch.genome.text import parse, render
from cellsearch.testing.genomes import random_genome

LSTM = """i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1]))
c[t] = f * c[t-1] + i * g
h[t] = o * tanh(c[t])
"""
genomes = st.builds(
    lambda seed, nodes: random_genome(np.random.default_rng(seed), max_nodes=nodes),
    st.integers(0, 2**32),
    st.integers(1, 40),
)
settings.register_profile("cells", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cells")


@given(genomes)
@settings(max_examples=150)
def test_every_form_reads_back_exactly(genome: Genome) -> None:
    assert arrange(genome) == genome
    assert Genome.from_text(genome.to_text()) == genome
    assert Genome.from_json(genome.to_json()) == genome
    assert Genome.from_networkx(genome.to_networkx()) == genome


@given(genomes)
@settings(max_examples=50)
def test_every_encoded_genome_satisfies_the_schema(genome: Genome) -> None:
    jsonschema.validate(json.loads(genome.to_json()), genome_json.schema())


def test_the_schema_is_a_schema_and_refuses_what_is_no_genome() -> None:
    jsonschema.Draft202012Validator.check_schema(genome_json.schema())
    document = json.loads(Genome.from_text(LSTM).to_json())
    for damage in (
        {"format": 3},
        {"inputs": ["x", "dt"]},
        {"output": -1},
        {"states": []},
        {"inputs": ["y"]},
        {"nodes": [{"op": "tanh"}]},
        {"extra": 1},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**document, **damage}, genome_json.schema())


@given(st.text(max_size=60))
@settings(max_examples=100)
def test_any_docstring_survives(doc: str) -> None:
    doc = doc.replace("\r", "").replace("\x00", "").encode("utf-8", "ignore").decode()
    genome = Genome.from_text(LSTM)
    read = parse(render(genome, doc))
    assert read.genome == genome
    assert read.doc == doc


def test_text_is_as_people_write_it() -> None:
    assert Genome.from_text(LSTM).to_text() == LSTM


def test_graph_has_the_documented_vertices_and_attributes() -> None:
    graph = to_networkx(
        Genome.from_text(
            "m[0] = -1\nn = tanh(linear(x[t], m[t-1], bias=False))\nm[t] = n\ny[t] = n - 0.5"
        )
    )
    assert dict(graph.nodes(data=True)) == {
        "x_t": {"kind": "input"},
        "m_<t-1>": {"kind": "state", "initial": -1.0},
        "n.1": {"kind": "node", "op": "linear", "attrs": {"bias": False}},
        "n": {"kind": "node", "op": "tanh", "attrs": {}},
        "y.1": {"kind": "node", "op": "const", "attrs": {"value": 0.5}},
        "y_t": {"kind": "node", "op": "sub", "attrs": {}},
        "m_t": {"kind": "alias"},
    }
    assert list(graph.edges(data="position")) == [
        ("x_t", "n.1", 0),
        ("m_<t-1>", "n.1", 1),
        ("n.1", "n", 0),
        ("n", "y_t", 0),
        ("n", "m_t", 0),
        ("y.1", "y_t", 1),
    ]
    assert graph.graph == {"states": ["m"], "output": "y"}


def test_a_value_read_twice_is_two_edges() -> None:
    genome = Genome.from_text("h[t] = linear(x[t], x[t], h[t-1])")
    assert to_networkx(genome).number_of_edges("x_t", "h_t") == 2
    assert from_networkx(to_networkx(genome)) == genome


def _broken(change: str) -> object:
    graph = to_networkx(Genome.from_text(LSTM))
    if change == "undirected":
        return graph.to_undirected()
    if change == "no graph":
        return {"x_t": {}}
    if change == "cycle":
        graph.add_edge("h_t", "i.1", position=2)
    if change == "no input":
        graph.remove_node("x_t")
    if change == "second input":
        graph.add_node("z_t", kind="input")
    if change == "number as vertex":
        graph.add_node(7, kind="node", op="bias", attrs={})
    if change == "no kind":
        graph.add_node("k")
    if change == "unknown op":
        graph.nodes["i"]["op"] = "eval"
    if change == "op is not text":
        graph.nodes["i"]["op"] = 3
    if change == "position missing":
        graph.add_edge("x_t", "i.1")
    if change == "position twice":
        graph.add_edge("x_t", "i.1", position=0)
    if change == "position left out":
        graph.add_edge("x_t", "i.1", position=7)
    if change == "operand of a state":
        graph.add_edge("x_t", "h_<t-1>", position=0)
    if change == "state without next":
        graph.remove_node("c_t")
    if change == "alias of itself":
        graph.add_node("a", kind="alias")
        graph.add_edge("a", "a", position=0)
    if change == "alias of two":
        graph.add_node("a", kind="alias")
    if change == "states in doubt":
        graph.graph["states"] = ["h", "k"]
    if change == "states no list":
        graph.graph["states"] = 5
    if change == "output no name":
        graph.graph["output"] = 5
    if change == "output missing":
        graph.graph["output"] = "w"
    if change == "bad attribute":
        graph.nodes["i.1"]["attrs"] = {"bias": "yes"}
    if change == "attrs no dict":
        graph.nodes["i.1"]["attrs"] = None
    if change == "initial not a number":
        graph.nodes["c_<t-1>"]["initial"] = "0"
    if change == "huge initial":
        graph.nodes["c_<t-1>"]["initial"] = 10**400
    if change == "state badly named":
        graph.add_node("r", kind="state")
    if change == "name of an op":
        return nx.relabel_nodes(graph, {"i": "tanh"})
    return graph


@pytest.mark.parametrize(
    "change",
    [
        "undirected",
        "no graph",
        "cycle",
        "no input",
        "second input",
        "number as vertex",
        "no kind",
        "unknown op",
        "op is not text",
        "position missing",
        "position twice",
        "position left out",
        "operand of a state",
        "state without next",
        "alias of itself",
        "alias of two",
        "states in doubt",
        "states no list",
        "output no name",
        "output missing",
        "bad attribute",
        "attrs no dict",
        "initial not a number",
        "huge initial",
        "state badly named",
        "name of an op",
    ],
)
def test_malformed_graphs_give_genome_error_only(change: str) -> None:
    with pytest.raises(GenomeError):
        from_networkx(_broken(change))  # type: ignore[arg-type]


def test_the_builder_names_shared_values_and_orders_states() -> None:
    b = Builder([State("c"), State("h")])
    shared = b.node("linear", b.x, b.state("h"))
    b.next_state("c", b.node("mul", shared, b.state("c")))
    b.next_state("h", b.node("tanh", shared))
    genome = b.build()
    assert genome.to_text() == "n1 = linear(x[t], h[t-1])\nc[t] = n1 * c[t-1]\nh[t] = tanh(n1)\n"
    assert genome.state_names == ("h", "c")


def test_a_genome_is_checked_however_it_is_made() -> None:
    with pytest.raises(GenomeError, match="anonymous"):
        Genome(("x",), (State("h"),), (Node("", "tanh", (1,)), Node("", "mul", (2, 2))), (3,), 3)
    with pytest.raises(CellSyntaxError, match="not known"):
        Genome.from_json('{"format": 3}')
