"""The autograd node in C++ does what the function in Python does: the same bits, the same errors,
the same lives of tensors.
"""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable

import pytest
import torch
from support.cells import plain_cells
from support.native import BLOCKS, PAIRS
from support.node import WAYS, take
from torch import Tensor

from cellsearch import Genome, zoo
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.backends.native.plan import Pool
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.errors import BackendError
from cellsearch.genome.parameters import requires_square

CELLS = plain_cells()
Way = Callable[[str], None]


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Way:
    return lambda name: take(name, monkeypatch)


@pytest.fixture
def by_node(way: Way) -> None:
    way(WAYS[1])


def compiled(cell: Genome | str, hidden_size: int = 6, **options: object) -> CellModule:
    genome = zoo.load(cell) if isinstance(cell, str) else cell
    width = hidden_size if requires_square(genome) else 3
    torch.manual_seed(0)
    return compile_cell(genome, width, hidden_size, backend="native", **options)  # type: ignore[arg-type]


def kernel_of(module: CellModule) -> NativeKernel:
    found = module._choose(torch.device("cpu"), torch.float32).kernel
    assert isinstance(found, NativeKernel)
    return found


def results(module: CellModule, *, tokens: bool, wanted: bool, rows: int = 3) -> list[Tensor]:
    """Output, states and all gradients of a call, and the output without gradients."""
    torch.manual_seed(1)
    states = [torch.rand(1, rows, size).requires_grad_(wanted) for size in module.state_sizes]
    hx = states[0] if len(states) == 1 else tuple(states)
    lead = torch.randn(7 if tokens else 5, *(() if tokens else (rows,)), module.input_size)
    lead.requires_grad_(wanted)
    words = torch.randint(7, (5, rows))
    output, final = module.run_tokens(words, lead, hx) if tokens else module(lead, hx)
    final = (final,) if isinstance(final, Tensor) else final
    loss = (output * torch.randn_like(output)).sum() + final[-1].square().sum()
    leaves = [*module.parameters(), *([lead, *states] if wanted else [])]
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    with torch.no_grad():
        again, _ = module.run_tokens(words, lead, hx) if tokens else module(lead, hx)
    return [output, *final, *(gradient for gradient in found if gradient is not None), again]


@pytest.mark.parametrize("cell", [*CELLS, BLOCKS, PAIRS])
def test_both_ways_give_the_same_bits(cell: str, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "poison", True)
    genome = zoo.load(cell) if cell in CELLS else Genome.from_text(cell)
    for wanted in (True, False):
        for tokens in (True, False):
            found = []
            for name in WAYS:
                way(name)
                module = compiled(genome)
                assert (kernel_of(module).node is None) == (name == WAYS[0])
                found.append(results(module, tokens=tokens, wanted=wanted))
            assert len(found[0]) == len(found[1]) > 2
            assert found[0][0].any(), "nothing is compared"
            for python, node in zip(*found, strict=True):
                assert torch.equal(python, node), (wanted, tokens)


def test_the_node_is_what_runs(by_node: None) -> None:
    module = compiled("lstm")
    output, (h, c) = module(torch.randn(5, 2, 3))
    assert type(output.grad_fn).__name__ == "CppFunction"
    assert output.grad_fn is not None
    assert output.grad_fn.name() == "_SegmentBackward"
    assert [tensor.output_nr for tensor in (output, h, c)] == [0, 1, 2]
    with torch.inference_mode():
        assert module(torch.randn(5, 2, 3))[0].is_inference()


@pytest.mark.parametrize("name", WAYS)
def test_a_pass_may_be_repeated_where_the_graph_is_kept(name: str, way: Way) -> None:
    way(name)
    module = compiled("lstm")
    output, _ = module(torch.randn(5, 2, 3))
    first = torch.autograd.grad(output.sum(), [*module.parameters()], retain_graph=True)
    module(torch.randn(5, 2, 3))[0].sum().backward()  # which could take the memory of the other
    second = torch.autograd.grad(output.sum(), [*module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(output.sum(), [*module.parameters()])


def grows(output: Tensor, module: CellModule) -> None:
    torch.autograd.grad(output.sum(), [*module.parameters()], create_graph=True)


def batches(output: Tensor, module: CellModule) -> None:
    many = torch.ones(2, *output.shape)
    torch.autograd.grad(output, [*module.parameters()], many, is_grads_batched=True)


def exchanges(output: Tensor, module: CellModule) -> None:
    weight = next(module.parameters())
    weight.data = torch.zeros_like(weight)
    output.sum().backward()


def changes(output: Tensor, module: CellModule) -> None:
    with torch.no_grad():
        next(module.parameters()).add_(1.0)
    output.sum().backward()


@pytest.mark.parametrize(
    ("does", "error"),
    [
        (grows, RuntimeError),
        (batches, BackendError),
        (exchanges, RuntimeError),
        (changes, RuntimeError),
    ],
)
def test_both_ways_refuse_with_the_same_words(
    does: Callable[[Tensor, CellModule], None], error: type[Exception], way: Way
) -> None:
    said = []
    for name in WAYS:
        way(name)
        module = compiled("gru")
        output, _ = module(torch.randn(5, 2, 3))
        with pytest.raises(error) as caught:
            does(output, module)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


@pytest.mark.parametrize("name", WAYS)
def test_a_weight_of_another_size_is_refused(name: str, way: Way) -> None:
    way(name)
    module = compiled("lstm")
    module(torch.randn(5, 2, 3))
    weight = next(module.parameters())
    weight.data = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="has 6 elements, not 18"):
        module(torch.randn(5, 2, 3))


@pytest.mark.parametrize("backward", [True, False])
def test_nothing_outlives_its_use(backward: bool, by_node: None) -> None:
    module = compiled("lstm")
    x = torch.randn(5, 2, 3, requires_grad=True)
    output, _ = module(x)
    if backward:
        output.sum().backward()
    gone = [weakref.ref(x), weakref.ref(output), weakref.ref(module)]
    gc.collect()
    del x, output, module, _
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_a_graph_outlives_its_module(by_node: None) -> None:
    module = compiled("lstm")
    weights = [*module.parameters()]
    x = torch.randn(5, 2, 3)
    expected = torch.autograd.grad(module(x)[0].sum(), weights)
    output, _ = module(x)
    del module
    gc.collect()
    assert all(map(torch.equal, expected, torch.autograd.grad(output.sum(), weights)))


def test_hooks_and_anomaly_mode(by_node: None) -> None:
    module = compiled("lstm")
    seen: list[str] = []
    weight = next(module.parameters())
    weight.register_hook(lambda gradient: seen.append("weight"))
    packed: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output, _ = module(torch.randn(5, 2, 3))
    assert len(packed) == 1
    output.register_hook(lambda gradient: seen.append("output"))
    with torch.autograd.set_detect_anomaly(True, check_nan=True):
        output.sum().backward()
        assert seen == ["output", "weight"]
        output, _ = module(torch.randn(5, 2, 3))
        with (
            pytest.warns(UserWarning, match="Error detected in _SegmentBackward"),
            pytest.raises(RuntimeError, match="'_SegmentBackward' returned nan values"),
        ):
            output.backward(torch.full_like(output, float("nan")))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compiled_autograd_runs_each_node_with_what_it_kept(by_node: None) -> None:
    from torch._dynamo import compiled_autograd

    module = compiled("lstm")
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(5, 2, 3)
        expected = torch.autograd.grad(module(x)[0].sum(), [*module.parameters()])
        module.zero_grad()
        output, _ = module(x)
        with compiled_autograd._enable(lambda graph: graph):
            output.sum().backward()
        for gradient, weight in zip(expected, module.parameters(), strict=True):
            assert weight.grad is not None
            assert torch.equal(gradient, weight.grad)


def test_threads_have_calls_of_their_own(by_node: None) -> None:
    module = compiled("lstm", 16)
    x = [torch.randn(9, 2, 3) for _ in range(4)]
    expected = [torch.autograd.grad(module(k)[0].sum(), [*module.parameters()]) for k in x]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(50):
            found = torch.autograd.grad(module(x[k])[0].sum(), [*module.parameters()])
            if not all(map(torch.equal, found, expected[k])):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_goes_on(by_node: None) -> None:
    module = compiled("lstm")
    x = torch.randn(5, 2, 3)
    expected = torch.autograd.grad(module(x)[0].sum(), [*module.parameters()])
    child = os.fork()
    if not child:
        found = torch.autograd.grad(module(x)[0].sum(), [*module.parameters()])
        os._exit(0 if all(map(torch.equal, expected, found)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
