"""Runtimes of every way to compute products of bfloat16, and what a product must be."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from torch import Tensor

from cellsearch import Genome
from cellsearch.compiler.backends.native import build
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.lower import lower
from cellsearch.compiler.program import Precision
from cellsearch.compiler.simplify import simplify_program
from support.rounded import nearest

__all__ = ["LINEAR", "PATHS", "QUICK", "check_products", "kernel_of", "product_results", "runtime"]

LINEAR = "s[t] = 0.5 * s[t-1]\ny[t] = linear(x[t], bias=False)"
"""A product, and a state that has nothing to do with it."""
PATHS = {
    "amx": (("-march=native",), {"amx_tile", "amx_bf16", "avx512_bf16"}),
    "avx512_bf16": (("-march=native", "-mno-amx-tile"), {"avx512_bf16"}),
    "avx512": (("-march=skylake-avx512",), {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    "avx2": (build.PORTABLE, {"avx2", "fma"}),
    "plain": (("-march=x86-64",), {"sse2"}),
}
"""By what ``Library.bf16`` says: flags of the compiler, and what the processor must have."""
QUICK = ("amx", "avx512_bf16", "plain")
"""Those that the default tests run: the others are slow tests."""


def runtime(path: str, sources: Path | None = None) -> build.Library:
    """The runtime of a path, skipped where the processor has not what it needs; ``sources``: a
    changed copy of them.
    """
    missing = PATHS[path][1] - set(build.processor().split())
    if missing:
        pytest.skip(f"the processor has no {', '.join(sorted(missing))}")
    made = _built(path, sources)
    if path == "amx" and made.bf16 == "avx512_bf16":
        pytest.skip("the kernel refuses AMX")
    assert made.bf16 == path
    return made


@cache
def _built(path: str, sources: Path | None) -> build.Library:
    output = Path(mkdtemp(prefix="cellsearch-bf16-")) / "runtime.so"
    before = build.SOURCES
    try:
        build.SOURCES = sources or before
        build.build(output, (*PATHS[path][0], "-O1"))  # quick to compile, the same instructions
        return build.Library(output)
    finally:
        build.SOURCES = before
        output.unlink(missing_ok=True)
        output.parent.rmdir()


def kernel_of(
    text: str | Genome, library: build.Library, precision: Precision = "bf16"
) -> NativeKernel:
    """The kernel of a cell on a runtime."""
    genome = Genome.from_text(text) if isinstance(text, str) else text
    return NativeKernel(simplify_program(lower(genome, precision)), library)


def product_results(
    kernel: NativeKernel, x: Tensor, weight: Tensor, gradient: Tensor
) -> dict[str, Tensor]:
    """Of :data:`LINEAR`: output with and without gradients, and the gradients."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    name = kernel.names[0]
    states = [torch.zeros(x.shape[1], len(weight))]
    output, _ = kernel(x, states, {name: weight})
    d_x, d_weight = torch.autograd.grad(output, (x, weight), gradient)
    with torch.no_grad():
        alone, _ = kernel(x, states, {name: weight})
    return {"output": output.detach(), "alone": alone, "x": d_x, "weight": d_weight}


def check_products(kernel: NativeKernel, x: Tensor, weight: Tensor, gradient: Tensor) -> None:
    """The results are the sums of products of rounded factors, up to the rounding of sums in
    float32: an absolute error of ``n * 2^-24 * sum |a b|`` for n terms at most.
    """
    found = product_results(kernel, x, weight, gradient)
    a, w, g = (nearest(value.numpy()) for value in (x, weight, gradient))
    rows = [value.reshape(-1, value.shape[-1]) for value in (a, g)]
    factors = {
        "output": (a, w.T),
        "alone": (a, w.T),
        "x": (g, w),
        "weight": (rows[1].T, rows[0]),
    }
    for name, (left, right) in factors.items():
        allowed = left.shape[-1] * 2.0**-24 * (np.abs(left) @ np.abs(right)) + 1e-37
        error = np.abs(found[name].double().numpy() - left @ right)
        assert (error <= allowed).all(), f"{name}: {error.max()} where {allowed.max()} is allowed"
