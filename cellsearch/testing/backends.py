"""What every backend must do, as a class of tests.

The author of a backend writes::

    class TestMine(BackendContract):
        backend = Mine
        dtype = torch.float32
        tolerance = 1e-4

Every test runs the backend against the reference backend in float64 with the same weights: outputs,
final states, and the gradients with respect to the input, the initial states and every weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from cellsearch import zoo
from cellsearch.compiler import backends
from cellsearch.compiler.backends import Backend
from cellsearch.compiler.backends.choice import support_of
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import fits_any_size
from cellsearch.testing.comparison import (
    Case,
    build,
    compare,
    differences,
    gradient_of,
    run_module,
    size_of,
)
from cellsearch.testing.genomes import SMOOTH_OPS, random_genome

__all__ = ["BackendContract", "Case", "build", "compare", "differences", "run_module"]

_LARGEST = 1e3
_HUGE = 1e12  # beyond, single precision overflows on the way

_SIZED = ("lstmp", "fastgrnn_low_rank", "slstm_heads", "gru_dreamer")
_HEADS = "h[t] = head_norm(tanh(linear(x[t]) + linear(h[t-1], bias=False, blocks=4)), 2)"
_SIZES_MEET = """
a[t] = tanh(linear(x[t], h[t-1], size=H/2) + bias(size=H/2)) * exp(-dt[t])
c[t] = exp(-dt[t]) * c[t-1] + tanh(linear(linear(x[t], a[t-1], size=2*H), blocks=4))
h[t] = sigmoid(linear(a[t], x[t], a[t-1])) * h[t-1] + linear(head_norm(c[t], 2), bias=False)
y[t] = linear(h[t], a[t], size=3*H/2)
"""
"""A state and the output are of other sizes, products of several widths meet in one sum."""
_AFFINE_SIZES = """
u = linear(linear(x[t], size=2*H), bias=False, size=H/2, blocks=4)
c[t] = sigmoid(linear(x[t], size=H/2)) * c[t-1] + u
h[t] = blend(sigmoid(linear(x[t], c[t-1])), h[t-1], linear(head_norm(c[t], 2), bias=False))
y[t] = linear(h[t], c[t], size=3*H/2)
"""
"""Affine and elementwise in each state given those before."""


def _numbers(genome: Genome) -> list[float]:
    return [state.initial for state in genome.states] + [
        node.value for node in genome.nodes if node.op == "const"
    ]


class BackendContract:
    """Subclass it in a test file; see the module docstring."""

    backend: ClassVar[str | type[Backend]]
    """The backend, or its name."""
    dtype: ClassVar[torch.dtype] = torch.float64
    device: ClassVar[str] = "cpu"
    tolerance: ClassVar[float] = 1e-10
    more_gradients: ClassVar[bool] = True
    """Whether it gives gradients with respect to times and masks."""
    random_genomes: ClassVar[int] = 40
    """How many random cells are compared."""

    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A class is known by its name while it is tested."""
        if not isinstance(self.backend, str):
            made = self.backend()
            monkeypatch.setitem(backends._REGISTERED, made.name, made)

    @property
    def name(self) -> str:
        """What ``compile_cell`` calls the backend."""
        return self.backend if isinstance(self.backend, str) else self.backend.name

    def check(self, genome: Genome, case: Case, what: str) -> None:
        """Compare one cell with the reference, unless its numbers are too large for any
        comparison. Gradients of times and masks are asked for where the backend gives them.
        """
        case = replace(case, more_gradients=case.more_gradients and self.more_gradients)
        if any(abs(number) > _LARGEST for number in _numbers(genome)):
            return  # sin(1e30) and the like amplify the last bit beyond all bounds
        if not backends.get(self.name).more_inputs and (case.resets or len(genome.inputs) > 1):
            return  # "auto" never asks such a backend
        reference = run_module(build(genome, case, "reference", torch.float64), case)
        got = run_module(build(genome, case, self.name, self.dtype, self.device), case, self.dtype)
        largest = float("inf") if self.dtype is torch.float64 else _HUGE
        if not all(
            value.isfinite().all() and size_of(value) < largest for value in reference.values()
        ):
            return
        if differences(got, reference, self.tolerance) and not self.is_ill_conditioned(
            genome, case, reference
        ):
            compare(got, reference, self.tolerance, f"{what}, {case}\n{genome.to_text()}")

    def is_ill_conditioned(
        self, genome: Genome, case: Case, reference: Mapping[str, Tensor]
    ) -> bool:
        """Whether the reference itself, in single precision, is off by so much that rounding alone
        explains the tolerance.
        """
        single = run_module(build(genome, case, "reference", torch.float32), case, torch.float32)
        share = torch.finfo(self.dtype).eps / torch.finfo(torch.float32).eps
        return bool(differences(single, reference, 0.1 * self.tolerance / share))

    def cells(self) -> Iterator[tuple[str, Genome]]:
        """The cells of the zoo that every H fits."""
        for name in zoo.names():
            if fits_any_size(zoo.load(name)):
                yield name, zoo.load(name)

    def test_zoo(self) -> None:
        """Every cell of the zoo, sequences of one length."""
        for name, genome in self.cells():
            self.check(genome, Case(), name)

    def test_zoo_with_different_lengths(self) -> None:
        """Every cell of the zoo, packed sequences in no order."""
        for name, genome in self.cells():
            self.check(genome, Case(steps=5, batch=4, lengths=(2, 5, 1, 5)), name)

    def test_random_cells(self) -> None:
        """Random cells over the ops that stay moderate, at sizes that fit no vector width."""
        sizes = (1, 3, 5, 17)
        for seed in range(self.random_genomes):
            rng = np.random.default_rng([20260, seed])
            genome = random_genome(rng, op_names=SMOOTH_OPS)
            size = int(rng.choice(sizes))
            lengths = (4, 1, 3) if seed % 4 == 0 else None
            case = Case(
                steps=4,
                input_size=size,
                hidden_size=size,
                lengths=lengths,
                given_states=seed % 3 != 0,
                seed=seed,
            )
            self.check(genome, case, f"random cell {seed}")

    def test_more_inputs(self) -> None:
        """Random cells that read the time between steps and what was observed."""
        every = (("x", "dt"), ("x", "mask"), ("x", "dt", "mask"))
        for seed in range(self.random_genomes):
            rng = np.random.default_rng([18, seed])
            genome = random_genome(rng, op_names=SMOOTH_OPS, inputs=every[seed % 3])
            size = int(rng.choice((1, 3, 5, 17)))
            case = Case(
                steps=4,
                input_size=size,
                hidden_size=size,
                lengths=(4, 1, 3) if seed % 4 == 0 else None,
                given_states=seed % 3 != 0,
                seed=seed,
                resets=seed % 5 == 0,
            )
            self.check(genome, case, f"random cell {seed} of {', '.join(genome.inputs)}")

    def test_resets(self) -> None:
        """States that start afresh within a sequence, also packed, stacked and backwards."""
        for name in ("lstm", "gru_cho", "slstm", "mingru", "indrnn_relu"):
            for lengths in (None, (2, 4, 1)):
                for layers in (1, 2):
                    case = Case(
                        4,
                        3,
                        5,
                        5,
                        num_layers=layers,
                        bidirectional=layers == 2,
                        lengths=lengths,
                        resets=True,
                    )
                    self.check(zoo.load(name), case, name)

    def test_what_is_not_finite_ends_at_a_reset(self) -> None:
        """A NaN or infinity in a state stays before the reset, and no gradient passes it."""
        if not backends.get(self.name).more_inputs:
            return
        module = build(zoo.load("lstm"), Case(), self.name, self.dtype, self.device)
        x = torch.randn(4, 2, 7, dtype=self.dtype, device=self.device)
        reset = torch.zeros(4, 2, dtype=torch.bool, device=self.device)
        reset[2, 0] = reset[0, 1] = True
        h = torch.full((1, 2, 7), float("nan"), dtype=self.dtype, device=self.device)
        output, _ = module(x, (h, torch.full_like(h, float("inf"))), reset=reset)
        assert output[:2, 0].isnan().any(), "the NaN was not there"
        assert output[2:, 0].isfinite().all(), "the NaN passed the reset"
        assert output[:, 1].isfinite().all(), "infinity passed the reset"
        c = torch.ones_like(h).requires_grad_()
        output, _ = module(x, (torch.zeros_like(h), c), reset=reset)
        output[2:].sum().backward()
        assert gradient_of(c).count_nonzero() == 0, "a gradient passed the reset"
        assert any(gradient_of(p).count_nonzero() for p in module.parameters())

    def test_sizes(self) -> None:
        """Sizes around powers of two, one row, one position, many positions."""
        shapes = [(1, 1, 1, 1), (3, 1, 63, 65), (2, 3, 65, 63), (1, 5, 3, 1), (50, 2, 3, 4)]
        for name in ("lstm", "gru", "gru_cho", "rnn_layer_norm"):
            for steps, batch, input_size, hidden_size in shapes:
                self.check(zoo.load(name), Case(steps, batch, input_size, hidden_size), name)

    def test_sizes_and_blocks(self) -> None:
        """States and values of other sizes than H, block products, heads: run as the reference
        does, or refused with the reason.
        """
        written = (_HEADS, _SIZES_MEET, _AFFINE_SIZES)
        cells = [(name, zoo.load(name)) for name in _SIZED]
        cells += [(text, Genome.from_text(text)) for text in written]
        shapes = [(1, 1, 1, 8), (4, 3, 63, 24), (3, 2, 16, 16)]
        for name, genome in cells:
            module = compile_cell(genome, 3, 8, backend="reference")
            device = torch.device(self.device)
            support = support_of(self.name, module.program, device, self.dtype)
            if not support.ok:
                assert support.reason, f"{self.name} refuses {name} and does not say why"
                continue
            for steps, batch, input_size, hidden_size in shapes:
                self.check(genome, Case(steps, batch, input_size, hidden_size), name)
            for lengths, resets in (((2, 4, 1), False), (None, True), ((2, 4, 1), True)):
                case = Case(
                    4,
                    3,
                    5,
                    8,
                    num_layers=2,
                    bidirectional=True,
                    lengths=lengths,
                    resets=resets,
                )
                self.check(genome, case, name)

    def test_layers_and_directions(self) -> None:
        """Stacked and bidirectional, with and without different lengths."""
        for name in ("lstm", "gru"):
            for lengths in (None, (2, 4, 1)):
                self.check(
                    zoo.load(name),
                    Case(4, 3, 5, 6, num_layers=2, bidirectional=True, lengths=lengths),
                    name,
                )

    def test_gradients_add_up(self) -> None:
        """Two backward passes of two forward passes, run in between each other, add their
        gradients.
        """
        case = Case()
        genome = zoo.load("lstm")
        module = build(genome, case, self.name, self.dtype, self.device)
        x = torch.randn(4, 2, case.input_size, dtype=self.dtype, device=self.device)
        z = torch.randn(6, 3, case.input_size, dtype=self.dtype, device=self.device)
        apart = [self.weight_gradients(module, [inputs]) for inputs in (x, z)]
        together = self.weight_gradients(module, [x, z])
        compare(
            together,
            {name: apart[0][name] + apart[1][name] for name in together},
            max(self.tolerance, 1e-6),
            "two passes",
        )

    def weight_gradients(self, module: CellModule, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Gradients of the sum of all outputs; all forward passes run first, then the backward
        passes in the same order.
        """
        module.zero_grad()
        outputs = [module(x)[0].sum() for x in inputs]
        for output in outputs:
            output.backward()
        return {
            f"gradient of {name}": gradient_of(p).double() for name, p in module.named_parameters()
        }

    def test_second_backward_raises(self) -> None:
        """The saved values are gone after the first backward pass, and that is said."""
        module = build(zoo.load("lstm"), Case(), self.name, self.dtype, self.device)
        total = module(torch.randn(3, 2, 7, dtype=self.dtype, device=self.device))[0].sum()
        total.backward()
        try:
            total.backward()
        except RuntimeError:
            return
        raise AssertionError("a second backward pass over freed values did not raise")

    def test_same_without_gradients(self) -> None:
        """With and without recording for gradients the results are equal."""
        module = build(zoo.load("lstm"), Case(), self.name, self.dtype, self.device)
        x = torch.randn(5, 3, 7, dtype=self.dtype, device=self.device)
        with torch.no_grad():
            plain, (h, c) = module(x)
        recorded, (h2, c2) = module(x)
        compare(
            {"output": plain, "h": h, "c": c},
            {"output": recorded.detach(), "h": h2.detach(), "c": c2.detach()},
            1e-6,
            "without gradients",
        )

    def test_nan_and_infinity_propagate(self) -> None:
        """A NaN in the input reaches the output: divergence must be seen."""
        module = build(zoo.load("lstm"), Case(), self.name, self.dtype, self.device)
        for bad in (float("nan"), float("inf")):
            x = torch.zeros(3, 2, 7, dtype=self.dtype, device=self.device)
            x[1, 0, 0] = bad
            output = module(x)[0]
            assert output[0].isfinite().all(), "a NaN travelled back in time"
            assert output[:, 1].isfinite().all(), "a NaN travelled to another sequence"
            if bad != bad:
                assert output[1:, 0].isnan().any(), "a NaN was swallowed"

    def test_deterministic(self) -> None:
        """The same call gives the same bits."""
        case = Case(steps=20, batch=5)
        module = build(zoo.load("gru"), case, self.name, self.dtype, self.device)
        first, second = run_module(module, case), run_module(module, case)
        assert all(torch.equal(first[name], second[name]) for name in first)
