"""The compiled module: calling convention, errors, state dict, copies, backends, initial
weights.
"""

import copy
import io
import pickle

import pytest
import torch
from support.cells import beside, plain_cells
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence

from cellsearch import Genome, zoo
from cellsearch.compiler import CellModule, compile_cell
from cellsearch.errors import BackendError, ConfigError, GenomeError

BACKENDS = ["reference", "aten", "auto"]


def lstm(**options):
    return compile_cell(zoo.load("lstm"), **{"input_size": 3, "hidden_size": 4, **options})


def test_state_dict_keys_are_the_format():
    module = lstm(num_layers=2, bidirectional=True)
    keys = list(module.state_dict())
    assert keys[:3] == ["l0.i.weight_x", "l0.i.weight_h", "l0.i.bias"]
    assert {key.partition(".")[0] for key in keys} == {"l0", "l0_reverse", "l1", "l1_reverse"}
    assert module.state_dict()["l1.i.weight_x"].shape == (4, 8)
    assert len(keys) == 4 * 12


def test_only_live_nodes_have_weights():
    module = compile_cell(
        Genome.from_text("dead = linear(x[t])\nh[t] = tanh(linear(x[t], h[t-1]))"),
        input_size=3,
        hidden_size=4,
    )
    assert list(module.state_dict()) == ["l0.h.weight_x", "l0.h.weight_h", "l0.h.bias"]


def test_initial_weights_are_those_of_torch():
    torch.manual_seed(0)
    text = "a = scale(linear(x[t], h[t-1]))\nb = a * h[t-1]\nh[t] = tanh(scale(b) + diag(h[t-1]))"
    module = compile_cell(Genome.from_text(text), input_size=30, hidden_size=25)
    for name, weight in module.named_parameters():
        if name.endswith("scale"):
            assert weight.item() == (
                1.0 if name == "l0.a.scale" else 0.5
            )  # a gate in a sum of two starts as their mean
        else:
            assert weight.abs().max() <= 0.2
            assert weight.abs().max() > 0.15
    before = {name: weight.clone() for name, weight in module.named_parameters() if weight.dim()}
    module.reset_parameters()
    assert all(
        not torch.equal(before[name], dict(module.named_parameters())[name]) for name in before
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_shapes(backend):
    module = lstm(num_layers=2, bidirectional=True, backend=backend)
    output, (h, c) = module(torch.randn(5, 2, 3))
    assert output.shape == (5, 2, 8)
    assert h.shape == c.shape == (4, 2, 4)
    output, (h, c) = module(torch.randn(5, 3))
    assert output.shape == (5, 8)
    assert h.shape == (4, 4)
    single = compile_cell(
        zoo.load("gru"), input_size=3, hidden_size=4, batch_first=True, backend=backend
    )
    output, h = single(torch.randn(2, 5, 3))
    assert output.shape == (2, 5, 4)
    assert h.shape == (1, 2, 4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_initial_states_are_those_of_the_cell(backend):
    genome = Genome.from_text(
        "h[0] = 0.5\nm[0] = -3\nh[t] = tanh(linear(x[t], h[t-1])) + m[t-1]\nm[t] = 0.5 * m[t-1]"
    )
    module = compile_cell(genome, input_size=2, hidden_size=3, backend=backend)
    x = torch.randn(4, 2, 2)
    given = (torch.full((1, 2, 3), 0.5), torch.full((1, 2, 3), -3.0))
    assert torch.equal(module(x)[0], module(x, given)[0])
    assert not torch.equal(module(x)[0], module(x, (given[0], torch.zeros(1, 2, 3)))[0])


@pytest.mark.parametrize(
    ("dtype", "start"),
    [(torch.float16, -65504.0), (torch.float32, -3.4028234663852886e38), (torch.float64, -1e40)],
)
def test_initial_states_that_the_dtype_cannot_hold_are_its_largest(dtype, start):
    genome = Genome.from_text("h[0] = -1e40\nh[t] = identity(h[t-1])")
    module = compile_cell(genome, input_size=2, hidden_size=3, backend="reference").to(dtype)
    assert module(torch.zeros(4, 1, 2, dtype=dtype))[1].unique().tolist() == [start]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["lstm", "gru", "slstm"])
def test_steps_equal_the_sequence(name, backend):
    module = compile_cell(
        zoo.load(name), input_size=3, hidden_size=4, num_layers=2, backend=backend
    )
    x = torch.randn(6, 2, 3)
    output, final = module(x)
    state = None
    for t in range(6):
        y, state = module.step(x[t], state)
        assert torch.allclose(y, output[t], atol=1e-6)
    for a, b in zip(
        state if isinstance(state, tuple) else (state,),
        final if isinstance(final, tuple) else (final,),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sequence_in_two_parts_with_carried_state(backend):
    module = lstm(backend=backend)
    x = torch.randn(7, 2, 3)
    whole, _ = module(x)
    first, state = module(x[:3])
    second, _ = module(x[3:], state)
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-6)


def test_dropout_is_between_layers_in_training_only():
    torch.manual_seed(0)
    module = lstm(num_layers=2, dropout=0.5)
    x = torch.randn(5, 2, 3)
    assert not torch.equal(module(x)[0], module(x)[0])
    module.eval()
    assert torch.equal(module(x)[0], module(x)[0])
    one = lstm(dropout=0.5)
    assert torch.equal(one(x)[0], one(x)[0])
    all_gone = lstm(num_layers=2, dropout=1.0)
    below = lstm(num_layers=2)
    below.load_state_dict(all_gone.state_dict())
    with torch.no_grad():
        below.get_parameter("l1.i.weight_x").zero_(), below.get_parameter("l1.f.weight_x").zero_()
        below.get_parameter("l1.g.weight_x").zero_(), below.get_parameter("l1.o.weight_x").zero_()
    assert torch.allclose(all_gone(x)[0], below(x)[0])


def raises_the_same(ours, theirs, *arguments):
    with pytest.raises((ValueError, RuntimeError)) as expected:
        theirs(*arguments)
    with pytest.raises(type(expected.value)) as got:
        ours(*arguments)
    return str(got.value), str(expected.value)


def test_wrong_arguments_raise_what_torch_raises():
    ours, theirs = lstm(), nn.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    got, expected = raises_the_same(ours, theirs, torch.randn(5, 2, 9))
    assert got == expected
    got, expected = raises_the_same(ours, theirs, x.double())
    assert got == expected
    got, expected = raises_the_same(ours, theirs, x, (torch.zeros(1, 3, 4), torch.zeros(1, 2, 4)))
    assert got == expected
    got, expected = raises_the_same(ours, theirs, x, (torch.zeros(1, 2, 4), torch.zeros(1, 2, 5)))
    assert got == expected
    raises_the_same(ours, theirs, torch.randn(2))
    raises_the_same(ours, theirs, torch.randn(0, 2, 3))
    raises_the_same(ours, theirs, x, (torch.zeros(1, 4), torch.zeros(1, 4)))
    raises_the_same(ours, theirs, torch.randn(5, 3), (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))
    with pytest.raises(RuntimeError, match=r"states \(h, c\), got 1"):
        ours(x, torch.zeros(1, 2, 4))


def test_bad_options_are_refused():
    for option, value in (
        ("input_size", 0),
        ("hidden_size", -1),
        ("num_layers", 1.5),
        ("dropout", 1.5),
        ("dropout", True),
    ):
        with pytest.raises(ConfigError, match=option):
            lstm(**{option: value})
    with pytest.raises(ConfigError, match="floating-point"):
        lstm(dtype=torch.int64)
    with pytest.raises(ConfigError, match="genome is 'lstm', of type str"):
        compile_cell("lstm", input_size=2, hidden_size=3)


@pytest.mark.parametrize(
    "text",
    ["h[t] = sigmoid(linear(x[t], h[t-1])) * x[t]", "h[t] = tanh(linear(h[t-1]))\ny[t] = x[t]"],
)
def test_a_cell_that_needs_equal_sizes_says_so(text):
    genome = Genome.from_text(text)
    with pytest.raises(GenomeError, match="without a linear between"):
        compile_cell(genome, input_size=3, hidden_size=4)
    with pytest.raises(GenomeError, match="without a linear between"):
        compile_cell(genome, input_size=4, hidden_size=4, num_layers=2, bidirectional=True)
    assert compile_cell(genome, input_size=4, hidden_size=4, num_layers=2)(torch.randn(2, 1, 4))[
        0
    ].shape == (2, 1, 4)


def test_a_bidirectional_module_has_no_steps():
    with pytest.raises(ConfigError, match="bidirectional"):
        lstm(bidirectional=True).step(torch.randn(2, 3))


def test_backend_report_says_what_was_taken_and_why():
    report = lstm(backend="reference").backend_report()
    assert report["reference"] == "taken"
    assert "not asked for" in report["aten"]
    report = lstm(dtype=torch.bfloat16).backend_report()
    assert report["reference"] == "taken"
    assert "bfloat16" in report["aten"]
    assert list(lstm().backend_report().values()).count("taken") == 1
    moved = lstm(backend="auto").to(torch.bfloat16)
    assert moved.backend_report()["reference"] == "taken"


def test_a_named_backend_never_falls_back():
    with pytest.raises(BackendError, match="float16") as error:
        lstm(backend="aten", dtype=torch.float16)
    assert "auto" in error.value.hint
    module = lstm(backend="aten").to(torch.float16)
    with pytest.raises(BackendError, match="float16"):
        module(torch.randn(2, 1, 3, dtype=torch.float16))


@pytest.mark.parametrize("backend", BACKENDS)
def test_copies_and_pickles(backend):
    module = lstm(backend=backend, num_layers=2)
    x = torch.randn(4, 2, 3)
    expected = module(x)[0]
    for made in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(made(x)[0], expected)
        with torch.no_grad():
            next(made.parameters()).zero_()
        assert not torch.equal(made(x)[0], expected)
    assert torch.equal(module(x)[0], expected)


def test_state_dict_round_trip_through_a_file():
    module, other = lstm(), lstm()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    x = torch.randn(4, 2, 3)
    assert torch.equal(module(x)[0], other(x)[0])


def test_changing_dtype_changes_everything():
    module = lstm().double()
    assert module(torch.randn(2, 1, 3, dtype=torch.float64))[0].dtype is torch.float64


@pytest.mark.parametrize("backend", BACKENDS)
def test_parametrizations_apply(backend):
    module = lstm(backend=backend)
    parametrizations.weight_norm(module.get_submodule("l0.i"), "weight_h")
    total = module(torch.randn(3, 2, 3))[0].sum()
    total.backward()
    parameter = dict(module.named_parameters())["l0.i.parametrizations.weight_h.original0"]
    assert parameter.grad.abs().sum() > 0


def test_any_node_name_is_legal():
    text = (
        "training = sigmoid(linear(x[t], h[t-1]))\nforward = tanh(linear(x[t]) + "
        "scale(training))\nhalf = linear(h[t-1])\n"
    )
    text += (
        "weights = linear(half)\nparameters = linear(weights)\nh[t] = blend(training, "
        "forward, parameters)"
    )
    module = compile_cell(Genome.from_text(text), input_size=3, hidden_size=4)
    x = torch.randn(3, 2, 3)
    expected = module(x)[0]
    for made in (
        module.eval().train(),
        module.half().float(),
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
    ):
        assert torch.allclose(made(x)[0], expected, atol=1e-2)
    assert "l0.training.weight_x" in module.state_dict()
    assert not module.eval().training
    module.zero_grad()
    module.requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", plain_cells())
def test_every_weight_gets_a_gradient_and_moves(name, backend):
    torch.manual_seed(1)
    module = compile_cell(zoo.load(name), input_size=4, hidden_size=4, backend=backend)
    before = {key: weight.clone() for key, weight in module.named_parameters()}
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        x = torch.randn(5, 6, 4)
        output, final = module(x, **beside(module.genome, x))
        states = (final,) if isinstance(final, torch.Tensor) else final
        loss = output.square().sum() + sum(state.square().sum() for state in states)
        loss.backward()
        optimizer.step()
    for key, weight in module.named_parameters():
        assert weight.grad is not None, key
        assert not torch.equal(weight, before[key]), key


@pytest.mark.parametrize("backend", BACKENDS)
def test_frozen_weights_and_inputs(backend):
    module = lstm(backend=backend)
    module.get_parameter("l0.i.weight_x").requires_grad_(False)
    x = torch.randn(3, 2, 3)
    module(x)[0].sum().backward()
    assert module.get_parameter("l0.i.weight_x").grad is None
    assert module.get_parameter("l0.f.weight_x").grad is not None
    module.requires_grad_(False)
    x.requires_grad_()
    module(x)[0].sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_noncontiguous_inputs(backend):
    module = lstm(backend=backend)
    x = torch.randn(2, 5, 6)[:, :, ::2].transpose(0, 1)
    hx = tuple(torch.randn(1, 4, 2).transpose(1, 2) for _ in range(2))
    assert torch.allclose(
        module(x, hx)[0], module(x.contiguous(), tuple(h.contiguous() for h in hx))[0], atol=1e-6
    )


def test_an_empty_batch():
    for backend in ("reference", "aten"):
        output, (h, _) = lstm(backend=backend)(torch.randn(3, 0, 3))
        assert output.shape == (3, 0, 4)
        assert h.shape == (1, 0, 4)


def test_packed_output_is_packed_alike():
    packed = pack_padded_sequence(
        torch.randn(5, 3, 3), torch.tensor([2, 5, 3]), enforce_sorted=False
    )
    output, _ = lstm()(packed)
    assert torch.equal(output.batch_sizes, packed.batch_sizes)
    assert torch.equal(output.sorted_indices, packed.sorted_indices)
    assert torch.equal(output.unsorted_indices, packed.unsorted_indices)


def test_it_prints_what_it_is():
    text = repr(lstm(num_layers=2, bidirectional=True))
    assert "3, 4, states=h, c" in text
    assert "num_layers=2" in text
    assert isinstance(lstm(), CellModule)
    lstm().flatten_parameters()
