"""What a layer is given beside x: shapes, directions, layers, defaults, resets, and what is
wrong.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from cellsearch import Genome, compile_cell, zoo
from cellsearch.errors import ConfigError
from cellsearch.export.source import to_source
from cellsearch.streaming.stepper import Stepper

CELL = Genome.from_text("""\
g = exp(-softplus(linear(dt[t])))
z = sigmoid(linear(x[t], h[t-1], mask[t]))
h[t] = blend(z, g * h[t-1], tanh(linear(x[t] * dt[t], h[t-1])))
""")
LENGTHS = torch.tensor([4, 6, 1])


def layer(genome: Genome = CELL, **options: Any) -> Any:
    torch.manual_seed(1)
    options = {"input_size": 5, "hidden_size": 7, "dtype": torch.float64, **options}
    return compile_cell(genome, **options)


@pytest.fixture
def given() -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(2)
    x = torch.randn(6, 3, 5, dtype=torch.float64)
    more = {"dt": torch.rand(6, 3), "mask": torch.rand(6, 3, 5) > 0.5, "reset": torch.zeros(6, 3)}
    more["reset"] = torch.rand(6, 3) > 0.7
    return x, more


def packed(value: Tensor) -> PackedSequence:
    return pack_padded_sequence(value, LENGTHS, enforce_sorted=False)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_packed_is_each_sequence_alone(
    given: tuple[Tensor, dict[str, Tensor]], layers: int, both: bool
) -> None:
    x, more = given
    module = layer(num_layers=layers, bidirectional=both)
    output, final = module(packed(x), **{name: packed(value) for name, value in more.items()})
    padded, _ = pad_packed_sequence(output)
    for b, n in enumerate(LENGTHS):
        alone, last = module(x[:n, b], **{name: value[:n, b] for name, value in more.items()})
        torch.testing.assert_close(padded[:n, b], alone)
        torch.testing.assert_close(final[:, b], last)


def test_batch_first(given: tuple[Tensor, dict[str, Tensor]]) -> None:
    x, more = given
    output, final = layer()(x, **more)
    turned = {name: value.transpose(0, 1) for name, value in more.items()}
    other, last = layer(batch_first=True)(x.transpose(0, 1), **turned)
    torch.testing.assert_close(other.transpose(0, 1), output)
    torch.testing.assert_close(last, final)


def test_a_step_is_a_sequence_of_one(given: tuple[Tensor, dict[str, Tensor]]) -> None:
    x, more = given
    module = layer(num_layers=2)
    output, final = module(x, **more)
    state = None
    for t in range(len(x)):
        y, state = module.step(x[t], state, **{name: value[t] for name, value in more.items()})
        torch.testing.assert_close(y, output[t])
    torch.testing.assert_close(state, final)


def test_what_is_not_given_is_a_time_of_one_and_all_observed() -> None:
    x = torch.randn(6, 3, 5, dtype=torch.float64)
    module = layer(num_layers=2, bidirectional=True)
    expected, _ = module(x)
    for more in (
        {"dt": 1.0},
        {"dt": 1, "mask": torch.ones(6, 3, 5, dtype=torch.bool)},
        {"dt": torch.ones(6, 3), "reset": torch.zeros(6, 3, dtype=torch.bool)},
    ):
        torch.testing.assert_close(module(x, **more)[0], expected)


def test_a_backward_direction_reads_the_gap_that_it_crosses() -> None:
    """It is the forward direction over the reversed sequence, whose gaps lie between its steps."""
    cell = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]) * dt[t])")
    times = torch.tensor([0.0, 0.3, 1.0, 1.1, 4.0], dtype=torch.float64)
    first = torch.tensor([0.5], dtype=torch.float64)
    x = torch.randn(5, 5, dtype=torch.float64)
    module = layer(cell, bidirectional=True)
    output, _ = module(x, dt=torch.cat([first, times.diff()]))
    forward = layer(cell)
    forward.load_state_dict(
        {
            name.replace("_reverse", ""): value
            for name, value in module.state_dict().items()
            if "_reverse" in name
        }
    )
    mirrored, _ = forward(x.flip(0), dt=torch.cat([first, (-times.flip(0)).diff()]))
    torch.testing.assert_close(output[:, 7:], mirrored.flip(0))


@pytest.mark.parametrize("name", ["lstm", "gru", "slstm"])
@pytest.mark.parametrize("both", [False, True])
def test_a_reset_cuts_the_sequence(name: str, both: bool) -> None:
    x = torch.randn(7, 2, 5, dtype=torch.float64)
    reset = torch.zeros(7, 2, dtype=torch.bool)
    reset[3, 0] = reset[1, 1] = True
    module = layer(zoo.load(name), num_layers=1, bidirectional=both)
    output, _ = module(x, reset=reset)
    for b, cut in ((0, 3), (1, 1)):
        parts = [module(part)[0] for part in (x[:cut, b], x[cut:, b])]
        torch.testing.assert_close(output[:, b], torch.cat(parts))


def test_a_reset_of_the_first_step_forgets_what_is_given() -> None:
    x = torch.randn(4, 2, 5, dtype=torch.float64)
    reset = torch.zeros(4, 2, dtype=torch.bool)
    reset[0, 0] = True
    module = layer(zoo.load("gru"))
    output, _ = module(x, torch.full((1, 2, 7), 0.5, dtype=torch.float64), reset=reset)
    fresh, _ = module(x)
    torch.testing.assert_close(output[:, 0], fresh[:, 0])
    assert not torch.allclose(output[:, 1], fresh[:, 1])


def test_an_initial_value_beyond_half_precision_stays_finite() -> None:
    cell = zoo.load("slstm")
    assert any(state.initial == -1e30 for state in cell.states)
    module = layer(cell, dtype=torch.float16, backend="reference")
    x = torch.randn(3, 1, 5).half()
    reset = torch.ones(3, 1, dtype=torch.bool)
    torch.testing.assert_close(module(x, reset=reset)[0][0], module(x)[0][0])
    assert module(x, reset=reset)[0].isfinite().all()


def test_tokens(given: tuple[Tensor, dict[str, Tensor]]) -> None:
    _, more = given
    tokens, embedding = torch.randint(0, 4, (6, 3)), torch.randn(4, 5, dtype=torch.float64)
    module = layer()
    torch.testing.assert_close(
        module.run_tokens(tokens, embedding, **more), module(embedding[tokens], **more)
    )
    wrapped = {name: packed(value) for name, value in more.items()}
    a, _ = module.run_tokens(packed(tokens), embedding, **wrapped)
    b, _ = module(packed(embedding[tokens]), **wrapped)
    torch.testing.assert_close(a.data, b.data)


def test_autocast_and_variational_dropout(given: tuple[Tensor, dict[str, Tensor]]) -> None:
    x, more = given
    module = layer(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = module(x.float(), **more)
    assert output.dtype is torch.bfloat16
    torch.testing.assert_close(output, module(x.float(), **more)[0].bfloat16())
    dropped = layer(variational_dropout=0.5)
    torch.manual_seed(3)
    a, _ = dropped(x, **{**more, "reset": torch.zeros(6, 3)})
    torch.manual_seed(3)
    b, _ = dropped(x, dt=more["dt"], mask=more["mask"])
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"dt": torch.ones(6)}, RuntimeError, r"Expected dt size \(6, 3\), got \[6\]"),
        ({"dt": torch.ones(3, 6)}, RuntimeError, "Expected dt size"),
        ({"mask": torch.ones(6, 3)}, RuntimeError, "Expected mask size"),
        ({"reset": torch.ones(6, 3, 1)}, RuntimeError, "Expected reset size"),
        ({"dt": packed(torch.ones(6, 3))}, ConfigError, "dt is packed, but the input is not"),
    ],
)
def test_wrong_shapes(more: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer()(torch.randn(6, 3, 5, dtype=torch.float64), **more)


def test_what_the_cell_does_not_read_is_refused() -> None:
    x = torch.randn(6, 3, 5, dtype=torch.float64)
    for more in ({"dt": torch.ones(6, 3)}, {"mask": torch.ones(6, 3, 5)}):
        with pytest.raises(ConfigError, match=f"the cell does not read {next(iter(more))}"):
            layer(zoo.load("lstm"))(x, **more)


def test_packed_needs_packed_alike() -> None:
    x = packed(torch.randn(6, 3, 5, dtype=torch.float64))
    with pytest.raises(ConfigError, match="dt is not packed, but the input is"):
        layer()(x, dt=torch.ones(6, 3))
    for lengths in (torch.tensor([6, 4, 1]), torch.tensor([6, 6, 1])):
        other = pack_padded_sequence(torch.ones(6, 3), lengths, enforce_sorted=False)
        with pytest.raises(ConfigError, match="packed in another way"):
            layer()(x, dt=other)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_stepper_is_given_the_same(given: tuple[Tensor, dict[str, Tensor]], layers: int) -> None:
    x, more = given
    module = layer(num_layers=layers)
    output, _ = module(x, **more)
    plain, _ = module(x)
    stepper = Stepper(module, "float64")
    state = bare = stepper.start(3)
    for t in range(len(x)):
        y, state = stepper(x[t], state, **{name: value[t] for name, value in more.items()})
        torch.testing.assert_close(y, output[t])
        y, bare = stepper(x[t], bare)
        torch.testing.assert_close(y, plain[t])


def test_a_stepper_of_any_cell_starts_afresh() -> None:
    module = layer(zoo.load("lstm"), dtype=torch.float32)
    stepper = Stepper(module)
    x = torch.randn(2, 5)
    spoiled = tuple(
        tuple(torch.full_like(s, float("nan")) for s in row) for row in stepper.start(2)
    )
    y, _ = stepper(x, spoiled, reset=torch.tensor([True, False]))
    fresh, _ = stepper(x, stepper.start(2))
    torch.testing.assert_close(y[0], fresh[0])
    assert y[1].isnan().all()
    with pytest.raises(ConfigError, match="does not read dt"):
        stepper(x, stepper.start(2), dt=1.0)
    with pytest.raises(RuntimeError, match="Expected reset size"):
        stepper(x, stepper.start(2), reset=torch.ones(3))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("text", [
    CELL.to_text(),
    "h[t] = tanh(linear(x[t], h[t-1])) * exp(-dt[t])",
    "m[0] = -1e30\nm[t] = max(m[t-1], linear(mask[t]))\nh[t] = tanh(linear(x[t], h[t-1]) - m[t])",
    "m[0] = -1e30\nm[t] = max(m[t-1], linear(x[t]))\nh[t] = tanh(linear(x[t], h[t-1]) - m[t])",
])  # fmt: skip
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_exported_source_computes_the_same(
    given: tuple[Tensor, dict[str, Tensor]], text: str, layers: int, both: bool
) -> None:
    x, every = given
    genome = Genome.from_text(text)
    more = {name: every[name] for name in (*genome.inputs[1:], "reset")}
    module = layer(genome, num_layers=layers, bidirectional=both)
    space: dict[str, Any] = {}
    exec(to_source(genome, resets=True), space)
    exported = space["Recurrent"](5, 7, layers, bidirectional=both, dtype=torch.float64)
    exported.load_state_dict(module.state_dict())
    wrapped = {name: packed(value) for name, value in more.items()}
    for given_x, beside in ((x, {}), (x, more), (x[:, 0], {n: v[:, 0] for n, v in more.items()})):
        torch.testing.assert_close(exported(given_x, **beside), module(given_x, **beside))
    (a, last), (b, end) = exported(packed(x), **wrapped), module(packed(x), **wrapped)
    torch.testing.assert_close(a.data, b.data)
    torch.testing.assert_close(last, end)
    with pytest.raises(RuntimeError, match="cannot read a layer that is given more than x"):
        torch.jit.script(exported)
    with pytest.raises(RuntimeError, match="Expected reset size"):
        exported(x, reset=torch.ones(2, 3))


def test_states_of_other_sizes_are_given_and_reset_too() -> None:
    cell = Genome.from_text(
        "i = sigmoid(linear(x[t], h[t-1]))\n"
        "c[t] = exp(-dt[t]) * c[t-1] + i * tanh(linear(x[t], h[t-1], dt[t]))\n"
        "d[t] = dt[t] * linear(c[t], size=P) + 0.5 * d[t-1]\n"
        "h[t] = linear(c[t], size=P) + d[t]"
    )
    module = layer(cell, sizes={"P": 3})
    x, reset = torch.randn(6, 2, 5, dtype=torch.float64), torch.zeros(6, 2, dtype=torch.bool)
    reset[4, 0] = True
    dt = torch.rand(6, 2, dtype=torch.float64)
    output, _ = module(x, dt=dt, reset=reset)
    parts = [module(x[part, 0], dt=dt[part, 0])[0] for part in (slice(4), slice(4, None))]
    torch.testing.assert_close(output[:, 0], torch.cat(parts))
    torch.testing.assert_close(output[:, 1], module(x[:, 1], dt=dt[:, 1])[0])
