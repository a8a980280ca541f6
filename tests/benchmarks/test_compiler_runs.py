"""What benchmarks/compiler.py times can be run for every cell of the zoo that reads x alone."""

from __future__ import annotations

import pytest
from support.scripts import benchmark

from cellsearch import zoo

runs = benchmark("compiler_runs")


@pytest.mark.parametrize("name", [n for n in zoo.names() if zoo.load(n).inputs == ("x",)])
def test_a_segment_of_each_cell_runs(name: str) -> None:
    shape = (2, 3, 8, 8)  # also cells whose output is not as wide as their state
    for backend in ("native", "aten"):
        layer = runs.compiled(name, shape, backend)
        runs.segment(layer, shape)()
        gradients = [weight.grad for weight in layer.parameters()]
        assert all(gradient is not None for gradient in gradients)
        assert any(gradient.any() for gradient in gradients)
