"""The shipped backends against the reference, and the registry."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cellsearch import ops, zoo
from cellsearch.compiler import backends, compile_cell
from cellsearch.compiler.backends.functions import FUNCTIONS, layer_norm, layer_norm_gradient
from cellsearch.compiler.backends.reference import Reference
from cellsearch.errors import BackendError, ConfigError
from cellsearch.genome.measures import gemm_depth
from cellsearch.testing.backends import BackendContract, Case, build, compare, run_module
from cellsearch.testing.genomes import random_genome


class TestAten(BackendContract):
    backend = "aten"
    tolerance = 1e-10


class TestAtenSingle(BackendContract):
    backend = "aten"
    dtype = torch.float32
    tolerance = 2e-4
    random_genomes = 20


@pytest.mark.slow
class TestAtenManyCells(BackendContract):
    backend = "aten"
    tolerance = 1e-9
    random_genomes = 1000


class TestReferenceSingle(BackendContract):
    backend = "reference"
    dtype = torch.float32
    tolerance = 2e-4
    random_genomes = 10


@pytest.mark.parametrize("seed", range(60))
def test_aten_agrees_on_cells_over_all_ops(seed):
    """Ops such as exp and sqrt reach NaN and infinity; where the reference stays finite the answers
    are equal.
    """
    genome = random_genome(np.random.default_rng([7, seed]), max_nodes=20)
    case = Case(steps=3, batch=2, input_size=4, hidden_size=4, seed=seed)
    reference = run_module(build(genome, case, "reference", torch.float64), case)
    if all(value.isfinite().all() for value in reference.values()):
        compare(
            run_module(build(genome, case, "aten", torch.float64), case),
            reference,
            1e-8,
            genome.to_text(),
        )


class Products(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.overloadpacket in (
            torch.ops.aten.mm,
            torch.ops.aten.addmm,
            torch.ops.aten.addmm_,
        )
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "levels"), [("lstm", 1), ("gru", 1), ("gru_cho", 2)])
def test_aten_runs_one_product_a_level_a_step(name, levels):
    """Forwards: the input once, then one product a level and step. Backwards: the same, and one
    product a source for all weights.
    """
    steps = 10
    genome = zoo.load(name)
    assert gemm_depth(genome) == levels
    module = compile_cell(genome, input_size=4, hidden_size=4, backend="aten")
    x = torch.randn(steps, 2, 4, requires_grad=True)
    with Products() as forward:
        output, _ = module(x)
    assert forward.count == 1 + levels * steps
    with Products() as backward:
        output.sum().backward()
    sources = len(
        {
            genome.nodes[spec.node - genome.first_node].inputs[spec.operand]
            for spec in genome.parameters
            if len(spec.shape) == 2
        }
    )
    assert (
        backward.count <= 1 + levels * steps + sources + 2
    )  # a source whose deltas do not lie side by side takes more than one


def test_aten_refuses_second_derivatives():
    module = compile_cell(zoo.load("lstm"), input_size=3, hidden_size=4, backend="aten")
    x = torch.randn(3, 2, 3, requires_grad=True)
    with pytest.raises(BackendError, match="second derivatives"):
        torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)


def test_reference_has_second_derivatives():
    module = compile_cell(
        zoo.load("gru"), input_size=2, hidden_size=3, backend="reference", dtype=torch.float64
    )
    x = torch.randn(2, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: module(x)[0], (x,))


def test_aten_notices_that_its_output_was_changed():
    module = compile_cell(zoo.load("lstm"), input_size=3, hidden_size=4, backend="aten")
    output, _ = module(torch.randn(3, 2, 3))
    output.mul_(2)
    with pytest.raises(RuntimeError, match="inplace"):
        output.sum().backward()


def test_aten_says_which_dtypes_it_runs():
    support = backends.get("aten").supports(
        compile_cell(zoo.load("gru"), input_size=2, hidden_size=2).program,
        torch.device("cpu"),
        torch.float16,
    )
    assert not support.ok
    assert "float16" in support.reason


def test_names_are_in_the_order_in_which_auto_tries_them():
    names = backends.names()
    assert names[-3:] == ("aten", "reference", "scan")
    assert all(backends.get(name).name == name for name in names)


def test_an_unknown_backend_is_named_with_those_there_are():
    with pytest.raises(ConfigError, match="no backend 'cuda'") as error:
        compile_cell(zoo.load("gru"), input_size=2, hidden_size=2, backend="cuda")
    assert "reference" in error.value.hint


def test_a_backend_can_be_added_from_outside(monkeypatch):
    class Mine(Reference):
        name = "mine"

    monkeypatch.setattr(backends, "_REGISTERED", {})
    backends.register(Mine())
    module = compile_cell(zoo.load("gru"), input_size=2, hidden_size=2)
    assert module.backend_report()["mine"] == "taken"
    assert "mine comes first" in module.backend_report()["reference"]


def test_functions_are_what_the_op_table_says():
    values = [
        torch.linspace(0.1, 1.5, 7, dtype=torch.float64),
        torch.linspace(-1, 2, 7, dtype=torch.float64),
        torch.ones(7, dtype=torch.float64),
    ]
    seen = 0
    for name, row in ops.OPS.items():
        if row.torch and name in ops.POINTWISE:
            function = FUNCTIONS[name]
            written = eval(
                row.torch.format(*(f"v[{k}]" for k in range(row.min_arity))),
                {"torch": torch, "v": values},
            )
            assert torch.equal(function(*values[: row.min_arity]), written), name
            seen += 1
    assert seen >= 20


def test_layer_norm_gradient_is_that_of_layer_norm():
    a = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    g = torch.randn(3, 5, dtype=torch.float64)
    (expected,) = torch.autograd.grad(layer_norm(a), a, g)
    assert torch.allclose(layer_norm_gradient(g, a.detach()), expected, rtol=1e-12, atol=1e-14)


def test_a_kernel_must_be_one(monkeypatch):
    class Mine(Reference):
        name = "mine"

        def build(self, program):
            return super().build(program).__call__

    monkeypatch.setattr(backends, "_REGISTERED", {})
    backends.register(Mine())
    with pytest.raises(TypeError, match=r"the backend mine built a method.*derive its class"):
        compile_cell(zoo.load("gru"), input_size=2, hidden_size=2)


def test_every_kernel_takes_tokens_cheaper_or_not():
    tokens, embedding = torch.tensor([[0, 2], [1, 1]]), torch.randn(3, 4)
    for name in ("native", "aten", "reference"):
        torch.manual_seed(0)
        module = compile_cell(zoo.load("gru"), input_size=4, hidden_size=5, backend=name)
        kernel = backends.get(name).build(module.program)
        weights = module.get_submodule("l0").weights()
        states = [torch.zeros(2, 5)]
        with torch.no_grad():
            output, _ = kernel.run_tokens(tokens, embedding, states, weights)
            assert torch.allclose(output, module(embedding[tokens])[0], rtol=1e-5, atol=1e-6)
