"""Nodes that are called like what torch or our layers keep in a module."""

import inspect

import pytest
import torch
from torch import nn

from cellsearch import Genome, zoo
from cellsearch.compiler import compile_cell
from cellsearch.compiler.weights import Layer
from cellsearch.errors import CellSyntaxError
from cellsearch.export import to_source
from cellsearch.genome.parameters import bound_sizes
from cellsearch.genome.parts import MODULE_NAMES, RESERVED_NAMES

GRU = zoo.load("gru")


def exported(genome: Genome, precision: str = "float32") -> nn.Module:
    space: dict[str, object] = {}
    source = to_source(genome, precision=precision)
    exec(compile(source, "exported.py", "exec"), space)
    layer = space["Recurrent"](2, 2)
    assert isinstance(layer, nn.Module)
    return layer


def attributes() -> list[str]:
    """All that a module of torch, a compiled layer, and an exported cell and layer have."""
    plain = exported(GRU)
    layer = Layer(GRU, bound_sizes(GRU, 2, 2), device=None, dtype=torch.float32)
    whole = compile_cell(GRU, input_size=2, hidden_size=2)
    owners = (nn.Module(), layer, whole, plain, plain.get_submodule("l0"))
    names = {name for owner in owners for name in (*dir(owner), *vars(owner))}
    names |= set(inspect.signature(type(plain).__init__).parameters)
    return sorted(n for n in names if not n.startswith("__") and n not in RESERVED_NAMES)


def stored(name: str) -> Genome:
    """A genome with a node of this name, read as a store reads it."""
    text = "NAME = sigmoid(linear(x[t], h[t-1]))\nh[t] = blend(NAME, h[t-1], tanh(linear(x[t])))"
    genome = Genome.from_text(text.replace("NAME", "placeholder"))
    return Genome.from_json(genome.to_json().replace("placeholder", name))


@pytest.mark.parametrize("name", attributes())
def test_a_node_with_the_name_of_an_attribute_works_wherever_it_is_stored(name: str) -> None:
    genome = stored(name)
    module = compile_cell(genome, input_size=2, hidden_size=2, backend="reference")
    layer = exported(genome)
    layer.load_state_dict(module.state_dict(), strict=True)
    x = torch.randn(3, 2, 2)
    for mode in (True, False):
        assert torch.allclose(layer.train(mode)(x)[0], module.train(mode)(x)[0], atol=1e-6)
    small = exported(genome, "int8")
    small.train()(x)
    small.eval()(x)


@pytest.mark.parametrize("name", [n for n in attributes() if n in MODULE_NAMES])
def test_private_names_are_refused_where_a_cell_is_written(name: str) -> None:
    text = f"{name} = sigmoid(linear(x[t], h[t-1]))\nh[t] = tanh({name})"
    with pytest.raises(CellSyntaxError, match="something of their own under this name") as caught:
        Genome.from_text(text)
    assert caught.value.where == "<text>:1"
    assert "another name" in caught.value.hint
    with pytest.raises(CellSyntaxError, match="something of their own"):
        Genome.from_text(f"{name}[t] = tanh(linear(x[t], {name}[t-1]))")


def test_the_private_attributes_of_whatever_holds_nodes_are_in_the_list() -> None:
    plain = exported(GRU)
    layer = Layer(GRU, bound_sizes(GRU, 2, 2), device=None, dtype=torch.float32)
    owners = (nn.Module(), layer, plain, plain.get_submodule("l0"))
    private = {n for owner in owners for n in dir(owner) if n[0] == "_" and n[:2] != "__"}
    assert private <= MODULE_NAMES, sorted(private - MODULE_NAMES)
