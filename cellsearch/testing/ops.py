"""What every op of another package must do. Subclass :class:`OpContract` in a test file and name
the row.

::

    class TestSoftsign(OpContract):
        op = SOFTSIGN
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from cellsearch import ops
from cellsearch.compiler.backends.aten.actions import in_place
from cellsearch.compiler.backends.functions import FUNCTIONS
from cellsearch.compiler.module import compile_cell
from cellsearch.export.source import to_source
from cellsearch.genome.drawing.latex import to_latex
from cellsearch.genome.graph import Genome
from cellsearch.genome.rewriting.simplify import simplify_weights
from cellsearch.testing.backends import Case, build, compare, run_module

__all__ = ["OpContract", "false_facts", "registered"]

_FAR = 1e4
_TOLERANCE = 1e-9


@contextmanager
def registered(row: ops.Op) -> Iterator[ops.Op]:
    """The op is there inside, and gone afterwards, unless it was there before."""
    before = ops.find(row.name) is not None
    try:
        yield ops.register(row)
    finally:
        if not before and row.name in ops.OPS:
            for table in (ops.OPS, ops.POINTWISE, FUNCTIONS):
                table.pop(row.name, None)
            for names in (ops.COMMUTATIVE, ops.WEIGHT_FREE):
                names.discard(row.name)


def false_facts(row: ops.Op) -> list[str]:
    """The facts of a pointwise row that its meaning in torch contradicts at some number."""
    function = FUNCTIONS[row.name]
    line = torch.cat([torch.linspace(-3, 3, 121), torch.tensor([-_FAR, _FAR])]).double()
    a, one = line[line >= 0] if row.half_line else line, row.max_arity == 1
    unit, zero = torch.linspace(0, 1, 41).double(), torch.zeros(1).double()

    def of(*values: Tensor) -> Tensor:
        return function(*values[: row.min_arity])

    def same(left: Tensor, right: Tensor) -> bool:
        return bool(torch.allclose(left, right, rtol=_TOLERANCE, atol=_TOLERANCE))

    b, c = a.flip(0), a.roll(7)
    y, in_unit = of(a, b, c), of(unit, unit.flip(0), unit.roll(7))
    holds = {
        "commutative": not one and same(y, function(*(a, b, c)[: row.min_arity][::-1])),
        "additive": same(of(a + b, b + c, c + a), y + of(b, c, a)),
        "squashing": bool((y.abs() < 10).all()),
        "gate": bool(((y >= 0) & (y <= 1)).all()),
        "nonnegative": bool((y >= 0).all()),
        "odd": one and same(of(-a), -y),
        "even": one and same(of(-a), y),
        "keeps_zero": same(of(zero, zero, zero), zero),
        "keeps_positive": one and same(of(a[a >= 0]), a[a >= 0]),
        "keeps_unit": bool(((in_unit >= 0) & (in_unit <= 1)).all()),
        "superlinear": bool((y.abs() > _FAR * math.sqrt(_FAR)).any()),
        "half_line": one and bool(of(line[line < 0]).isnan().all()),
    }
    return [fact for fact, true in holds.items() if getattr(row, fact) and not true]


class OpContract:
    """Tests that hold for every op."""

    op: ClassVar[ops.Op]
    """The row."""

    @pytest.fixture(autouse=True)
    def _registered(self) -> Iterator[None]:
        with registered(self.op):
            yield

    def cells(self) -> Iterator[Genome]:
        """Cells in which it reads a sum, a state, a number, itself, and what is never negative."""
        name, more = self.op.name, ", sigmoid(linear(x[t]))" * (self.op.min_arity - 1)
        for inner in ("linear(x[t], h[t-1])", "-diag(h[t-1])", "2", f"{name}(x[t]{more})"):
            if self.op.half_line:
                inner = f"square({inner})"
            yield Genome.from_text(f"h[t] = tanh(linear(h[t-1])) * {name}({inner}{more}) + x[t]\n")

    def test_its_name_is_its_entry_and_it_has_a_source(self) -> None:
        """It is found by name, and says where it comes from."""
        assert ops.get(self.op.name) == self.op
        assert self.op.source

    @pytest.mark.parametrize("size", [1, 3, 63, 65])
    def test_its_gradient_is_that_of_autograd(self, size: int) -> None:
        """The gradient of the row, which ``aten`` runs, against autograd through its meaning."""
        for genome in self.cells():
            case = Case(steps=3, batch=2, input_size=size, hidden_size=size)
            got, expected = (
                run_module(build(genome, case, backend, torch.float64), case)
                for backend in ("aten", "reference")
            )
            compare(got, expected, 1e-9, genome.to_text())

    def test_its_facts_are_true(self) -> None:
        """What the row says of the function is so, wherever it was tried."""
        assert not false_facts(self.op)

    def test_its_function_in_python_is_that_in_torch(self) -> None:
        """``numeric`` gives the number that ``torch`` gives."""
        if self.op.numeric is None:
            return
        for number in (0.0, 0.25, 1.0, 2.5, *(() if self.op.half_line else (-0.25, -1.0, -2.5))):
            expected = FUNCTIONS[self.op.name](torch.tensor(number, dtype=torch.float64))
            assert self.op.numeric(number) == pytest.approx(float(expected), rel=1e-12, abs=1e-15)

    def test_what_writes_into_memory_means_the_same(self) -> None:
        """``out`` and ``in_place`` against ``torch``."""
        values = [torch.linspace(0.1, 2, 9).double() for _ in range(self.op.min_arity)]
        expected = FUNCTIONS[self.op.name](*values)
        if self.op.out:
            written = torch.empty_like(expected)
            FUNCTIONS[self.op.name](*values, out=written)
            assert torch.equal(written, expected)
        overwrite = in_place(self.op.name)
        if overwrite is not None:
            overwrite(values[0])
            assert torch.equal(values[0], expected)

    def test_it_is_written_read_and_drawn(self) -> None:
        """As text, JSON, LaTeX and a picture."""
        for genome in self.cells():
            for again in (Genome.from_text(genome.to_text()), Genome.from_json(genome.to_json())):
                assert again.key == genome.key
            assert to_latex(genome)
            assert genome.to_svg()

    def test_simplifying_keeps_the_function(self) -> None:
        """The facts of the row are used in cells that compute the same afterwards."""
        for genome in self.cells():
            case = Case(steps=4, batch=2, input_size=3, hidden_size=3)
            module = build(genome, case, "reference", torch.float64)
            weights = {
                spec.name: module.get_parameter(f"l0.{spec.name}") for spec in genome.parameters
            }
            simple, carried = simplify_weights(genome, {n: w.detach() for n, w in weights.items()})
            smaller = compile_cell(
                simple, input_size=3, hidden_size=3, backend="reference", dtype=torch.float64
            )
            with torch.no_grad():
                for name, weight in carried.items():
                    smaller.get_parameter(f"l0.{name}").copy_(weight)
                x = torch.randn(4, 2, 3, dtype=torch.float64)
                assert torch.allclose(smaller(x)[0], module(x)[0], rtol=1e-9, atol=1e-12)

    def test_the_exported_source_computes_the_same(self) -> None:
        """It needs torch only."""
        for genome in self.cells():
            case = Case(steps=3, batch=2, input_size=3, hidden_size=3)
            module = build(genome, case, "reference", torch.float64)
            scope: dict[str, type[torch.nn.Module]] = {}
            source = to_source(genome, input_size=3, hidden_size=3)
            exec(compile(source, "exported", "exec"), scope)  # noqa: S102  (what was just written)
            exported = scope["Recurrent"]().double()
            exported.load_state_dict(module.state_dict())
            x = torch.randn(3, 2, 3, dtype=torch.float64)
            assert torch.allclose(exported(x)[0], module(x)[0], rtol=1e-12, atol=1e-14)

    def test_a_backend_says_why_it_cannot_run_it(self) -> None:
        """``auto`` takes one that can, and reports the others."""
        genome = next(self.cells())
        report = compile_cell(genome, input_size=3, hidden_size=3).backend_report()
        assert "taken" in report.values()
        assert report["native"] == "taken" or report["native"]
