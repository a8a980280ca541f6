"""Products of rounded factors by every kernel: AMX, AVX512-BF16, those that round by integers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.bf16 import LINEAR, PATHS, QUICK, check_products, kernel_of, product_results, runtime
from support.rounded import nearest

from cellsearch.compiler.backends.native import build
from cellsearch.compiler.backends.native.plan import Pool

TESTS = Path(__file__).parents[2]

each_path = pytest.mark.parametrize(
    "path", [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PATHS]
)


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is padded must be written: all memory begins as NaN."""
    monkeypatch.setattr(Pool, "poison", True)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


SIZES = (1, 3, 16, 17, 31, 33, 63, 65)


@each_path
def test_products_are_those_of_rounded_factors_at_every_size(path: str) -> None:
    """Rows from 1 to 65, and every pair of ugly sizes; more rows than are taken at once."""
    kernel = kernel_of(LINEAR, runtime(path))
    shapes = [(1, rows, SIZES[rows % 8], SIZES[rows // 8 % 8]) for rows in range(1, 66)]
    shapes += [(1, 5, i, o) for i in SIZES for o in SIZES]
    shapes += [(3, 200, 17, 33), (1, 300, 65, 31), (2, 33, 700, 130), (2, 20, 33, 1100)]
    for steps, rows, inputs, outputs in shapes:
        x, weight = draw(steps, rows, inputs), draw(outputs, inputs)
        check_products(kernel, x, weight, draw(steps, rows, outputs, seed=1))


@each_path
def test_every_number_is_rounded_to_the_nearest_halfway_to_even(path: str) -> None:
    """Each factor of each product, beside ones and zeros, so that the result is the rounded number
    bit by bit. What is below the normal range counts as zero, NaN stays NaN.
    """
    kernel = kernel_of(LINEAR, runtime(path))
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 1 << 32, 65 * 64, dtype=np.uint64).astype(np.uint32)
    bits[::3] = bits[::3] & np.uint32(0xFFFF0000) | np.uint32(0x8000)  # halfway
    bits[1::97] = bits[1::97] & np.uint32(0x807FFFFF)  # subnormal
    special = np.array([0, -0.0, np.inf, -np.inf, 3.4e38, -3.4e38, 1.17e-38], np.float32)
    numbers = bits.view(np.float32).reshape(65, 64)
    numbers[~np.isfinite(numbers)] = 1.0
    numbers[:1, : len(special)] = special
    given = torch.from_numpy(numbers)
    expected = nearest(numbers)
    expected[np.abs(numbers) < 2.0**-126] = 0
    identity, zero = torch.eye(64), torch.zeros(65, 64)
    finite = np.isfinite(expected).all(1)

    def same(found: torch.Tensor, wanted: np.ndarray, rows: np.ndarray) -> None:
        assert np.array_equal(found.numpy().reshape(wanted.shape)[rows], wanted[rows])

    for rows in (65, 3):
        part, want, clean = given[None, -rows:], expected[-rows:], finite[-rows:]
        found = product_results(kernel, part, identity, part)
        for name in ("output", "alone", "x"):
            same(found[name], want, clean)
    for chosen in range(0, 64, 7):
        one = zero.clone()
        one[chosen, chosen] = 1
        found = product_results(kernel, one[None, :64], given[1:], one[None, :64])
        same(found["output"][0, chosen], expected[1:, chosen], np.full(64, True))
        same(found["x"][0, chosen], expected[1 + chosen], np.full(64, True))
        one = torch.zeros(65, 64)
        one[1 + chosen, 3] = 1
        found = product_results(kernel, given[None, 1:], torch.zeros(64, 64), one[None, 1:])
        same(found["weight"][3], expected[1 + chosen], np.full(64, True))
        found = product_results(kernel, one[None, 1:], torch.zeros(64, 64), given[None, 1:])
        same(found["weight"][:, 3], expected[1 + chosen], np.full(64, True))


@each_path
@pytest.mark.parametrize("rows", [2, 37])
def test_nan_and_infinity_stay_in_their_rows(path: str, rows: int) -> None:
    kernel = kernel_of(LINEAR, runtime(path))
    x, weight = draw(1, rows, 33), draw(17, 33).abs() + 0.1
    x[0, 0, 5], x[0, 1, 7] = float("nan"), float("inf")
    found = product_results(kernel, x, weight, draw(1, rows, 17))
    for name in ("output", "alone"):
        assert found[name][0, 0].isnan().all()
        assert (found[name][0, 1] == float("inf")).all()
        assert found[name][0, 2:].isfinite().all()
    weight[3, 2] = float("nan")
    found = product_results(kernel, draw(1, rows, 33), weight, draw(1, rows, 17))
    assert found["output"][0].isnan().any(0).nonzero().flatten().tolist() == [3]


def test_what_rounds_in_another_way_is_seen(tmp_path: Path) -> None:
    """Towards zero, up at halfway, and not at all: the checks above must be able to fail."""
    shape = (draw(1, 20, 33), draw(17, 33), draw(1, 20, 17))
    with pytest.raises(AssertionError, match="allowed"):
        check_products(kernel_of(LINEAR, build.library(), "float32"), *shape)
    for name, replaced in (
        ("cut", "(b & 0xffff0000)"),
        ("up", "((b + 0x8000) & 0xffff0000)"),
    ):
        changed = tmp_path / name
        shutil.copytree(build.SOURCES, changed)
        text = (changed / "bf16.h").read_text()
        rule = "(b + 0x7fff + ((b >> 16) & 1)) & 0xffff0000"
        assert text.count(rule) == 2
        (changed / "bf16.h").write_text(text.replace(rule, replaced))
        kernel = kernel_of(LINEAR, runtime("plain", changed))
        if name == "up":  # differs at halfway only
            halfway = (torch.arange(66).view(1, 2, 33).to(torch.int32) << 16) + 0x3F808000
            shape = (halfway.view(torch.float32), torch.eye(33), draw(1, 2, 33))
        with pytest.raises(AssertionError):
            check_products(kernel, *shape)


REFUSED = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(2048)  # too small for a signal while tiles are in use
stack = Stack(ctypes.addressof(memory), 0, 2048)
assert libc.sigaltstack(ctypes.byref(stack), None) == 0
from support.bf16 import LINEAR, check_products, kernel_of
from cellsearch.compiler.backends.native import build
import torch
library = build.library()
check_products(
    kernel_of(LINEAR, library),
    torch.randn(2, 20, 33), torch.randn(17, 33), torch.randn(2, 20, 17),
)
print(library.bf16)
"""


def test_where_the_kernel_refuses_amx_the_vectors_do_it() -> None:
    """A process with a small stack for signals must not use tiles, and Linux says so."""
    if build.library().bf16 != "amx":
        pytest.skip("no AMX here")
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["avx512_bf16"]
