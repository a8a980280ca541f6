"""Step by step is the whole sequence; low precision; learning in a stream."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import numpy as np
import pytest
import torch
from support.cells import plain_cells
from torch import Tensor

from cellsearch import zoo
from cellsearch.compiler import backends
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.errors import BackendError, ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.streaming import OnlineLearner, Prequential, Stepper, drifting_filter
from cellsearch.streaming.stepper import PRECISIONS, Precision


def module(
    name: str, *, dtype: torch.dtype = torch.float64, layers: int = 2, size: int = 4
) -> CellModule:
    torch.manual_seed(0)
    genome = Genome.from_text(name) if "=" in name else zoo.load(name)
    return compile_cell(
        genome, input_size=size, hidden_size=size, num_layers=layers, dtype=dtype
    ).requires_grad_(False)


FIXED = (
    "b = bias()\nc[t] = 0.5 * c[t-1]\nk = linear(2.0)\nm[t] = tanh(b)\nh[t] = "
    "tanh(linear(h[t-1]) + k) + m[t-1] + c[t-1] + x[t]"
)

GIVEN = "c[t] = x[t]\nh[t] = tanh(linear(c[t-1], h[t-1]))"
OTHER_OUTPUT = "h[t] = tanh(linear(x[t], h[t-1]))\ny[t] = h[t] * x[t]"


def parts(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else state


@pytest.mark.parametrize("name", plain_cells())
def test_steps_are_the_sequence(name: str) -> None:
    cell = module(name)
    x = torch.randn(7, 3, 4, dtype=torch.float64)
    output, final = cell(x)
    state = None
    for t in range(7):
        y, state = cell.step(x[t], state)
        assert ((y - output[t]).abs() / (1 + output[t].abs())).max() <= 1e-12
    assert state is not None
    for a, b in zip(parts(state), parts(final), strict=True):
        assert ((a - b).abs() / (1 + b.abs())).max() <= 1e-12


@pytest.mark.parametrize("name", plain_cells())
def test_the_stepper_is_the_sequence(name: str) -> None:
    cell = module(name)
    x = torch.randn(7, 3, 4, dtype=torch.float64)
    output, final = cell(x)
    stepper = Stepper(cell, "float64")
    state = stepper.start(3)
    for t in range(7):
        y, state = stepper(x[t], state)
        assert ((y - output[t]).abs() / (1 + output[t].abs())).max() <= 1e-12
    for k, part in enumerate(parts(final)):
        for layer in range(2):
            assert ((state[layer][k] - part[layer]).abs() / (1 + part[layer].abs())).max() <= 1e-12


needs_native = pytest.mark.skipif(
    not backends.get("native")
    .supports(module("lstm").program, torch.device("cpu"), torch.float32)
    .ok,
    reason="no native runtime here",
)


@needs_native
@pytest.mark.parametrize("rows", [1, 17])
@pytest.mark.parametrize("name", [*plain_cells(), FIXED, GIVEN, OTHER_OUTPUT])
def test_the_native_stepper_is_the_torch_one(name: str, rows: int) -> None:
    """Over several positions, for few rows (weights used as they lie) and many (packed); states are
    values of their own. A cell may add large numbers that nearly cancel: then the torch stepper is
    itself as far from float64.
    """
    cell = module(name, dtype=torch.float32, size=9)
    native, plain = Stepper(cell, backend="native"), Stepper(cell, backend="torch")
    exact_cell = module(name, size=9)
    exact_cell.load_state_dict(cell.state_dict())
    exact = Stepper(exact_cell, "float64", backend="torch")
    assert (native.report["native"], plain.report["torch"]) == ("taken", "taken")
    x = torch.randn(5, rows, 9)
    states = [native.start(rows)]
    outputs = []
    for t in range(5):
        y, state = native(x[t], states[-1])
        outputs.append(y)
        states.append(state)
    state, exact_state = plain.start(rows), exact.start(rows)
    for t in range(5):
        y, state = plain(x[t], state)
        exact_y, exact_state = exact(x[t].double(), exact_state)
        assert close(outputs[t], y, off=(y - exact_y).abs().max())
        for layer, expected, right in zip(states[t + 1], state, exact_state, strict=True):
            assert all(
                close(a, b, off=(b - c).abs().max())
                for a, b, c in zip(layer, expected, right, strict=True)
            )
    assert native.weight_bytes == plain.weight_bytes


def close(a: Tensor, b: Tensor, off: float | Tensor = 0.0) -> bool:
    """off: how far b is from what it would be in float64."""
    return bool(((a - b).abs() <= 2e-5 * (1 + b.abs()) + 4 * off).all())


def test_close_finds_a_difference() -> None:
    a = torch.tensor([1.0, 2.0])
    assert close(a, a + 1e-6)
    assert not close(a, torch.tensor([1.0, 2.001]))
    assert not close(a, torch.tensor([1.0, float("nan")]))
    assert close(a, torch.tensor([1.0, 2.001]), off=3e-4)
    assert not close(a, torch.tensor([1.0, 2.001]), off=1e-4)
    assert not close(a, torch.tensor([1.0, float("nan")]), off=1.0)


@needs_native
def test_the_native_stepper_reads_only_what_fits() -> None:
    stepper = Stepper(module("lstm", dtype=torch.float32))
    ((h, c), other) = stepper.start(2)
    good = torch.randn(2, 4)
    for x, state in (
        (torch.randn(2, 5), (h, c)),
        (good.double(), (h, c)),
        (good, (h[:1], c)),
        (good, (h, c.double())),
    ):
        with pytest.raises(ValueError, match="takes float32"):
            stepper(x, (state, other))
    turned = torch.randn(4, 2).t()
    assert not turned.is_contiguous()
    assert torch.equal(
        stepper(turned, stepper.start(2))[0], stepper(turned.contiguous(), stepper.start(2))[0]
    )


@needs_native
def test_threads_may_share_a_stepper() -> None:
    stepper = Stepper(module("lstm", dtype=torch.float32, size=32))
    x = torch.randn(20, 40, 1, 32)

    def run(k: int) -> Tensor:
        state, outputs = stepper.start(), []
        for t in range(40):
            y, state = stepper(x[k, t], state)
            outputs.append(y)
        return torch.stack(outputs)

    alone = [run(k) for k in range(20)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, range(20)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_backends_of_a_stepper() -> None:
    cell = module("gru", dtype=torch.float32)
    assert Stepper(cell, "bfloat16").report["torch"] == "taken"
    assert "bfloat16" in Stepper(cell, "bfloat16").report["native"]
    with pytest.raises(BackendError, match="float64"):
        Stepper(cell, "float64", backend="native")
    with pytest.raises(ConfigError, match="cuda"):
        Stepper(cell, backend="cuda")


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_state_can_be_kept_and_gone_back_to(precision: Precision) -> None:
    stepper = Stepper(module("lstm"), precision)
    x = torch.randn(3, 1, 4, dtype=stepper.dtype)
    _, kept = stepper(x[0], stepper.start())
    first, _ = stepper(x[1], kept)
    stepper(x[2], kept)
    again, _ = stepper(x[1], kept)
    assert torch.equal(first, again)


def test_a_stepper_keeps_the_weights_that_it_was_made_with() -> None:
    cell = module("gru")
    stepper = Stepper(cell, "float64")
    x = torch.randn(1, 4, dtype=torch.float64)
    before, _ = stepper(x, stepper.start())
    with torch.no_grad():
        for weight in cell.parameters():
            weight.zero_()
    after, _ = stepper(x, stepper.start())
    assert torch.equal(before, after)


def test_fixed_values_and_numbers_as_states() -> None:
    cell = module(FIXED)
    x = torch.randn(4, 2, 4, dtype=torch.float64)
    output, _ = cell(x)
    stepper = Stepper(cell, "float64")
    state = stepper.start(2)
    for t in range(4):
        y, state = stepper(x[t], state)
        assert ((y - output[t]).abs() / (1 + output[t].abs())).max() <= 1e-12
        assert all(part.shape == (2, 4) for layer in state for part in layer)


BOUNDS: dict[Precision, float] = {"float32": 1e-6, "float16": 5e-3, "bfloat16": 5e-2, "int8": 5e-2}


@pytest.mark.parametrize("precision", list(BOUNDS))
@pytest.mark.parametrize("name", ["lstm", "gru", "mingru", "slstm"])
def test_low_precision_is_near_but_not_equal(name: str, precision: Precision) -> None:
    cell = module(name, dtype=torch.float32, size=32)
    x = torch.randn(20, 4, 32)
    output, _ = cell(x)
    stepper = Stepper(cell, precision)
    state = stepper.start(4)
    worst = 0.0
    for t in range(20):
        y, state = stepper(x[t].to(stepper.dtype), state)
        assert y.dtype == stepper.dtype
        worst = max(worst, float((y.float() - output[t]).abs().max()))
    assert worst < BOUNDS[precision]
    assert precision == "float32" or worst > 1e-5


def test_low_precision_takes_less_memory() -> None:
    cell = module("lstm", dtype=torch.float32, size=64, layers=1)
    size = {precision: Stepper(cell, precision).weight_bytes for precision in PRECISIONS}
    weights = sum(p.numel() for p in cell.parameters())
    assert size["float32"] == 4 * weights
    assert size["float16"] == size["bfloat16"] == 2 * weights
    # Dense weights in a byte each, with a scale in 4 bytes a row of each of the 8 products; the
    # biases stay in 4 bytes.
    assert size["int8"] == 8 * 64 * 64 + 8 * 64 * 4 + 4 * 64 * 4


def test_precisions_are_those_of_the_type_and_others_are_refused() -> None:
    assert get_args(Precision) == PRECISIONS
    with pytest.raises(ConfigError, match="int4"):
        Stepper(module("gru"), "int4")  # type: ignore[arg-type]
    both = compile_cell(zoo.load("gru"), input_size=2, hidden_size=2, bidirectional=True)
    with pytest.raises(ConfigError, match="bidirectional"):
        Stepper(both)


# -- learning --------------------------------------------------------------------------------------


def test_prequential_error_is_the_faded_mean() -> None:
    losses = [3.0, 1.0, 2.0, 5.0]
    mean, faded = Prequential(1.0), Prequential(0.5)
    assert math.isnan(mean.error)
    for loss in losses:
        mean.add(loss), faded.add(loss)
    assert mean.error == pytest.approx(np.mean(losses))
    weights = [0.125, 0.25, 0.5, 1.0]
    assert faded.error == pytest.approx(np.average(losses, weights=weights))
    with pytest.raises(ConfigError, match="fading"):
        Prequential(1.5)


def test_the_stream_drifts_where_it_says() -> None:
    x, y = drifting_filter(2000, drift=1000, noise=0.0)
    delayed = [torch.cat([torch.zeros(k, 1), x[:-k]]) for k in (1, 3)]
    expected = torch.tanh(0.8 * delayed[0] - 0.5 * delayed[1])
    assert torch.allclose(y[:1000], expected[:1000], atol=1e-6)
    assert torch.allclose(y[1000:], -expected[1000:], atol=1e-6)
    assert torch.equal(
        drifting_filter(50, drift=20, seed=4)[1], drifting_filter(50, drift=20, seed=4)[1]
    )
    with pytest.raises(ConfigError, match="drift"):
        drifting_filter(10, drift=10)


def follow(learner: OnlineLearner, x: Tensor, y: Tensor) -> list[float]:
    losses = []
    for x_t, y_t in zip(x, y, strict=True):
        learner.predict(x_t[None])
        losses.append(learner.learn(y_t[None]))
    return losses


@pytest.mark.parametrize(
    "name",
    ["gru", "h[t] = blend(sigmoid(linear(x[t], h[t-1])), h[t-1], tanh(linear(x[t], h[t-1])))"],
)
def test_the_error_falls_and_recovers_after_the_drift(name: str) -> None:
    x, y = drifting_filter(2400, drift=1200, seed=1)
    genome = Genome.from_text(name) if "=" in name else zoo.load(name)
    learner = OnlineLearner(genome, input_size=1, outputs=1, hidden_size=16, learning_rate=1e-2)
    losses = follow(learner, x, y)
    variance = float(y.var())
    before, after, end = (
        float(np.mean(losses[a:b])) for a, b in ((1000, 1200), (1200, 1230), (2200, 2400))
    )
    assert before < 0.3 * variance
    assert after > 3 * before
    assert end < 0.3 * variance
    assert learner.prequential.error < 0.3 * variance


def test_without_a_state_it_cannot_be_learned() -> None:
    x, y = drifting_filter(1200, drift=1199, seed=1)
    memoryless = Genome.from_text("h[t] = tanh(linear(x[t])) + 0.0 * h[t-1]")
    losses = follow(
        OnlineLearner(memoryless, input_size=1, outputs=1, hidden_size=16, learning_rate=1e-2), x, y
    )
    assert np.mean(losses[-300:]) > 0.8 * float(y.var())


def test_a_prediction_never_sees_its_answer() -> None:
    x, y = drifting_filter(60, drift=30)
    changed = y.clone()
    changed[40:] += 5
    predictions = []
    for targets in (y, changed):
        learner = OnlineLearner(zoo.load("gru"), input_size=1, outputs=1, hidden_size=8)
        found = []
        for x_t, y_t in zip(x, targets, strict=True):
            found.append(learner.predict(x_t[None]))
            learner.learn(y_t[None])
        predictions.append(torch.cat(found))
    assert torch.equal(predictions[0][:41], predictions[1][:41])
    assert not torch.equal(predictions[0][41:], predictions[1][41:])


def test_the_window_bounds_what_is_kept_and_the_order_is_checked() -> None:
    learner = OnlineLearner(
        zoo.load("lstm"), input_size=2, outputs=3, hidden_size=4, window=5, every=2, num_layers=2
    )
    with pytest.raises(RuntimeError, match="predict"):
        learner.learn(torch.zeros(1, 3))
    for _ in range(12):
        assert learner.predict(torch.randn(1, 2)).shape == (1, 3)
        with pytest.raises(RuntimeError, match="answer"):
            learner.predict(torch.randn(1, 2))
        learner.learn(torch.zeros(1, 3))
    assert len(learner._window) == 5
    assert learner.seen == 12
    with pytest.raises(ConfigError, match="window"):
        OnlineLearner(zoo.load("lstm"), input_size=1, outputs=1, window=4, every=5)


def test_equal_seeds_learn_equally_and_torchs_generator_is_left_alone() -> None:
    x, y = drifting_filter(40, drift=20)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    runs = [
        follow(OnlineLearner(zoo.load("gru"), input_size=1, outputs=1, seed=seed), x, y)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.rand(1), expected)
    assert runs[0] == runs[1] != runs[2]


def test_a_window_longer_than_every_learns_as_batches_do() -> None:
    """With window = every, the updates are those of plain truncated BPTT over consecutive
    segments.
    """
    x, y = drifting_filter(24, drift=12)
    learner = OnlineLearner(
        zoo.load("gru"),
        input_size=1,
        outputs=1,
        hidden_size=4,
        window=8,
        every=8,
        clip_norm=1e9,
        backend="reference",
    )
    plain = OnlineLearner(
        zoo.load("gru"), input_size=1, outputs=1, hidden_size=4, backend="reference"
    )
    follow(learner, x, y)
    optimizer = torch.optim.Adam(plain.parameters, lr=5e-3)
    state = None
    for segment in (
        itertools.batched(range(24), 8)
        if hasattr(itertools, "batched")
        else (range(8), range(8, 16), range(16, 24))
    ):
        chosen = list(segment)
        output, state = plain.cell(x[chosen].unsqueeze(1), state)
        state = state.detach()
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(plain.readout(output), y[chosen].unsqueeze(1)).backward()
        optimizer.step()
    for a, b in zip(learner.parameters, plain.parameters, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
