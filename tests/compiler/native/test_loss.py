"""The readout with its cross entropy by the runtime, against torch in float64."""

from __future__ import annotations

import ctypes
import math
import platform
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cellsearch.compiler.backends.native import build, loss
from cellsearch.compiler.backends.native.loss import LEFT_OUT, readout_loss, readout_runtime
from cellsearch.compiler.backends.native.plan import Pool
from cellsearch.compiler.backends.native.structures import CLoss, Refusal
from cellsearch.errors import BackendError
from cellsearch.training.fused import fused_linear_cross_entropy

SIZES = (1, 3, 63, 65)
WIDE = [(300, 130, 33), (513, 64, 96), (200, 5, 2000), (70, 340, 700)]
"""More blocks than one, a packed left factor, weights beyond the second-level cache, deep sums."""
IGNORED = -100
BOUND = 1e-5
"""Of the largest number of a part; sums of gradients nearly cancel."""


@pytest.fixture(autouse=True)
def one_thread_and_no_clean_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(Pool, "poison", True)


def given(rows: int, width: int, classes: int, bias: bool) -> tuple[list[Tensor], Tensor]:
    """Hidden rows, weight and bias, and targets, some of which do not count."""
    torch.manual_seed(rows + width + classes)
    parts = [torch.randn(rows, width), torch.randn(classes, width) * width**-0.5]
    parts += [torch.randn(classes)] if bias else []
    targets = torch.randint(0, classes, (rows,))
    targets[1::5] = IGNORED
    return [part.requires_grad_() for part in parts], targets


def exact(parts: Sequence[Tensor], targets: Tensor) -> list[Tensor]:
    """Loss and gradients by torch in float64."""
    parts = [part.detach().double().requires_grad_() for part in parts]
    logits = functional.linear(*parts)
    found = functional.cross_entropy(logits, targets, ignore_index=IGNORED)
    return [found.detach(), *torch.autograd.grad(3 * found, parts)]


def computed(parts: Sequence[Tensor], targets: Tensor) -> list[Tensor]:
    """The same by the fused loss."""
    assert readout_runtime(*parts) is not None
    hidden, weight, *bias = parts
    found = fused_linear_cross_entropy(hidden, weight, bias[0] if bias else None, targets)
    return [found.detach(), *torch.autograd.grad(3 * found, parts)]


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest one, relative to the largest number of each part; infinite where a number is
    none.
    """
    assert [part.shape for part in found] == [part.shape for part in expected]
    largest = 0.0
    for one, other in zip(found, expected, strict=True):
        assert other.isfinite().all()
        if not one.isfinite().all():
            return math.inf
        largest = max(largest, float((one - other).abs().max() / (other.abs().max() + 1e-30)))
    return largest


def test_loss_and_gradients_at_ugly_sizes() -> None:
    shapes = [(n, h, v) for n in SIZES for h in SIZES for v in (*SIZES, 2, 17)] + WIDE
    for shape in shapes:
        for bias in (False, True):
            parts, targets = given(*shape, bias)
            found = difference(computed(parts, targets), exact(parts, targets))
            assert found < BOUND, (shape, bias)
            with torch.no_grad():
                alone = fused_linear_cross_entropy(
                    parts[0], parts[1], parts[2] if bias else None, targets
                )
            assert float(alone) == float(computed(parts, targets)[0])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other instruction sets")
@pytest.mark.parametrize("flags", [("-mavx2", "-mfma"), ("-march=x86-64",)], ids=["avx2", "plain"])
def test_other_instruction_sets(
    flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "-mavx2" in flags and not {"avx2", "fma"} <= set(build.processor().split()):
        pytest.skip("this processor has no AVX2")
    path = tmp_path / "runtime.so"
    build.build(path, flags)
    runtime = build.Library(path)
    assert runtime.instructions == ("avx2" if "-mavx2" in flags else "plain")
    monkeypatch.setattr(loss, "_runtime", lambda: runtime)
    for shape in ((1, 3, 17), (63, 65, 3), (65, 63, 65), (300, 130, 33)):
        parts, targets = given(*shape, True)
        assert readout_runtime(*parts) is runtime
        assert difference(computed(parts, targets), exact(parts, targets)) < BOUND


def test_the_comparison_finds_a_wrong_answer() -> None:
    parts, targets = given(65, 63, 17, True)
    right, found = exact(parts, targets), computed(parts, targets)
    for k in range(4):
        wrong = [part.clone() for part in found]
        wrong[k].view(-1)[-1] += 1e-4 * wrong[k].abs().max()
        assert difference(wrong, right) > 3 * BOUND
        wrong[k].view(-1)[-1] = math.nan
        assert difference(wrong, right) == math.inf
        wrong[k] = torch.zeros_like(right[k])
        assert difference(wrong, right) > 3 * BOUND


def test_a_row_that_is_left_out_gives_nothing() -> None:
    parts, targets = given(9, 4, 3, True)
    hidden = parts[0].detach().clone()
    hidden[1] = 1e30
    changed = [hidden.requires_grad_(), *parts[1:]]
    one, other = computed(parts, targets), computed(changed, targets)
    assert torch.equal(one[0], other[0])
    assert not other[1][1].any()
    assert other[1][0].any()
    nothing = torch.full((9,), IGNORED)
    assert computed(parts, nothing)[0].isnan()


def test_no_rows() -> None:
    parts, targets = given(0, 4, 3, True)
    found = computed(parts, targets)
    assert found[0].isnan()
    assert [part.shape for part in found] == [(), (0, 4), (3, 4), (3,)]
    assert all(part.isnan().all() for part in found[2:])  # 0 times the mean of nothing


def test_large_small_and_endless_logits() -> None:
    """As torch has them: a probability of exp(-300), a class that never is, no number."""
    weight, bias = torch.zeros(5, 2), torch.tensor([0.0, 300.0, 1.0, -math.inf, -1e30])
    parts = [torch.ones(4, 2), weight, bias]
    for part in parts:
        part.requires_grad_()
    targets = torch.tensor([0, 1, 2, 1])
    assert difference(computed(parts, targets), exact(parts, targets)) < BOUND
    assert computed(parts, torch.tensor([3, 1, 1, 1]))[0] == math.inf
    for bad in (math.nan, math.inf):
        with torch.no_grad():
            bias[2] = bad
        assert all(part.isnan().any() for part in computed(parts, targets))


def test_rows_add_up_across_blocks() -> None:
    """A block ends somewhere; the sum of losses of two halves is that of the whole."""
    parts, targets = given(700, 8, 200, True)
    count = int((targets != IGNORED).sum())
    expected = float(exact(parts, targets)[0]) * count
    weights = [part.detach() for part in parts]
    targets = targets.masked_fill(targets == IGNORED, LEFT_OUT)
    runtime = build.library()
    whole, whole_gradients = readout_loss(runtime, *weights, targets, gradients=True)
    halves = [
        readout_loss(runtime, weights[0][part], *weights[1:], targets[part], gradients=True)
        for part in (slice(0, 301), slice(301, 700))
    ]
    assert whole == pytest.approx(sum(total for total, _ in halves), rel=1e-6)
    assert whole == pytest.approx(expected, rel=1e-6)
    assert whole_gradients is not None
    for k in (1, 2):
        added = sum(found[k] for _, found in halves if found is not None)
        assert torch.allclose(whole_gradients[k], added, atol=1e-4)
        assert whole_gradients[k].any()


def test_what_the_runtime_does_not_take() -> None:
    """Another dtype, another class of tensors, more threads, no runtime: then torch computes it."""
    plain = torch.ones(2, 3)
    assert isinstance(readout_runtime(plain, torch.nn.Parameter(plain)), build.Library)
    assert readout_runtime(plain.double()) is None
    assert readout_runtime(plain.to("meta")) is None
    assert readout_runtime(plain.as_subclass(type("Other", (Tensor,), {}))) is None


def test_two_threads_are_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, targets = given(65, 63, 17, True)
    expected = exact(parts, targets)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert readout_runtime(*parts) is None
    found = fused_linear_cross_entropy(*parts, targets)
    assert difference([found.detach(), *torch.autograd.grad(3 * found, parts)], expected) < BOUND


def test_without_a_runtime_torch_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise BackendError("there is no C compiler")

    monkeypatch.setattr(loss, "library", none)
    loss._runtime.cache_clear()
    try:
        parts, targets = given(65, 63, 17, True)
        assert readout_runtime(*parts) is None
        found = fused_linear_cross_entropy(*parts, targets)
        gradients = torch.autograd.grad(3 * found, parts)
        assert difference([found.detach(), *gradients], exact(parts, targets)) < BOUND
    finally:
        monkeypatch.undo()
        loss._runtime.cache_clear()


def test_a_malformed_loss_is_refused_and_writes_nothing() -> None:
    runtime = build.library()
    hidden, weight, targets = torch.ones(3, 2), torch.ones(4, 2), torch.tensor([0, 3, -1])
    scratch = torch.zeros(int(runtime.loss_floats(2, 4)))
    total = ctypes.c_double(7.0)
    right = {
        "format": build.FORMAT,
        "rows": 3,
        "depth": 2,
        "classes": 4,
        "hidden": hidden.data_ptr(),
        "weight": weight.data_ptr(),
        "target": targets.data_ptr(),
        "total": ctypes.addressof(total),
        "scratch": scratch.data_ptr(),
        "scratch_floats": scratch.numel(),
    }
    for refusal, changed in (
        (Refusal.FORMAT, {"format": 1}),
        (Refusal.SIZE, {"rows": -1}),
        (Refusal.SIZE, {"depth": 0}),
        (Refusal.SIZE, {"classes": 0}),
        (Refusal.SIZE, {"depth": 1 << 31, "classes": 1 << 31}),
        (Refusal.BUFFER, {"hidden": None}),
        (Refusal.BUFFER, {"weight": None}),
        (Refusal.BUFFER, {"total": None}),
        (Refusal.BUFFER, {"d_hidden": hidden.data_ptr()}),
        (Refusal.BUFFER, {"d_bias": hidden.data_ptr()}),
        (Refusal.SCRATCH, {"scratch": None}),
        (Refusal.SCRATCH, {"scratch_floats": scratch.numel() - 1}),
        (Refusal.SCRATCH, {"classes": 400}),
        (Refusal.TOKEN, {"classes": 3}),
    ):
        job = CLoss(**{**right, **changed})
        assert runtime.loss(ctypes.addressof(job)) == refusal, changed
        assert total.value == 7.0
    assert runtime.loss(ctypes.addressof(CLoss(**right))) == 0
    assert total.value == pytest.approx(2 * math.log(4))
    with pytest.raises(BackendError, match="refuses a loss: token"):
        readout_loss(runtime, hidden, weight, None, targets + 2, gradients=False)
