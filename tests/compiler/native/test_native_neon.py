"""ARM NEON: the runtime is cross-compiled, and runs whole cells in an emulator, forward and
backward.

Needs a cross compiler and QEMU's user mode: on Debian and Ubuntu ``apt-get install
gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static``. AVX-512 has no such emulator (QEMU's
translator knows AVX2 at most): that path is compiled in ``test_native_build.py`` everywhere, and
run where the processor has it.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from support.native import BLOCKS, PAIRS

from cellsearch import Genome, zoo
from cellsearch.compiler import backends
from cellsearch.compiler.backends.native import build
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.backends.native.structures import (
    CBuffer,
    CCall,
    CCarried,
    CCommand,
    CCopy,
    CInstruction,
    CJob,
    COperand,
    CPiece,
)
from cellsearch.compiler.lower import lower
from cellsearch.compiler.program import Precision
from cellsearch.compiler.simplify import simplify_program

COMPILER = "aarch64-linux-gnu-gcc"
EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
FUNCTIONS = """
a = linear(x[t], h[t-1])
b = silu(a) + gelu(a) * softplus(a) - leaky_relu(a) / (2 + exp(-abs(a)))
c = max(sin(a), cos(b)) + min(square(tanh(b)), sqrt(abs(a) + 1)) + log_sigmoid(relu(b) - a)
h[t] = blend(sigmoid(a), layer_norm(c) * 0.5, diag(h[t-1]) + scale(b))
"""
WRITTEN = {"functions": FUNCTIONS, "blocks": BLOCKS, "pairs": PAIRS}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runtime with a main function around it, for 64-bit ARM."""
    compiler = shutil.which(COMPILER)
    if compiler is None:
        pytest.skip(f"there is no cross compiler {COMPILER}: NEON is not checked")
    program = tmp_path_factory.mktemp("arm") / "replay"
    flags = [flag for flag in build.FLAGS if flag != "-shared"]
    sources = [
        str(build.SOURCES / "runtime.c"),
        str(Path(__file__).parent / "emulated" / "replay.c"),
    ]
    command = [
        compiler,
        *flags,
        "-static",
        "-Wall",
        "-Wextra",
        "-Wno-psabi",
        f"-I{build.SOURCES}",
        *sources,
        "-o",
        str(program),
        "-lm",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return program


def rows(kind: type[ctypes.Structure], address: int | None, count: int) -> np.ndarray:
    """The rows of a table at an address."""
    array = (kind * count).from_address(address) if address and count else (kind * 0)()
    return np.frombuffer(array, dtype=np.dtype(kind))


def numbers(address: int, count: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_int64 * count).from_address(address))


class Emulated(build.Library):
    """The runtime as another processor runs it: each job is written down, run there, and its memory
    read back.
    """

    def __init__(self, emulator: str, program: Path) -> None:
        self.command, self.file = [emulator, str(program)], program.with_suffix(".job")
        sizes, path, bf16, opcodes = subprocess.run(
            [*self.command, "sizes"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        numbers, names = [int(n) for n in sizes.split()], opcodes.split()
        self.describe(numbers.__getitem__, names.__getitem__)
        self.instructions, self.rounding, self.runs = path, bf16, 0

    def call(self, address: int) -> int:  # type: ignore[override]
        """As ``cellsearch_call`` does it: addresses filled in and results copied here, the run
        there.
        """
        call = CCall.from_address(address)
        job = CJob.from_address(call.job)
        areas, places = numbers(call.area, job.buffers), numbers(call.place, job.buffers)
        copied = rows(CCopy, call.copy, call.copies)
        listed = max([*areas.tolist(), *copied["to"].tolist()]) + 1
        addresses = numbers(address + ctypes.sizeof(CCall), listed)
        rows(CBuffer, job.buffer, job.buffers)["base"] = addresses[areas] + places
        job.scratch, job.packed = int(addresses[0]), int(addresses[0]) + call.packed
        code = self.run(call.job)
        for area, place, to, size in copied.tolist():
            if code == 0 and addresses[to]:
                ctypes.memmove(int(addresses[to]), int(addresses[area]) + place, size)
        return code

    def run(self, address: int) -> int:  # type: ignore[override]
        """As ``cellsearch_run`` does it, there."""
        job = CJob.from_address(address)
        assert ctypes.sizeof(CJob) == self.job_bytes
        tables = (
            (job.buffer, CBuffer, job.buffers),
            (job.operand, COperand, job.operands),
            (job.instruction, CInstruction, job.instructions),
            (job.command, CCommand, job.commands),
            (job.piece, CPiece, job.pieces),
            (job.carry, CCarried, job.carried),
        )
        parts = [(address, ctypes.sizeof(CJob))]
        parts += [(start, ctypes.sizeof(kind) * count) for start, kind, count in tables]
        parts += [(job.tokens, 8 * job.steps * job.rows), (job.active, 8 * job.steps)]
        parts = [part for part in parts if all(part)]
        memory = [(job.scratch, 4 * job.scratch_floats), (job.packed, 4 * job.packed_floats)]
        for row in rows(CBuffer, job.buffer, job.buffers):
            memory.append((int(row["base"]), 4 * int(row["floats"])))
        areas = merged(memory)
        header = [
            len(parts) + len(areas),
            *(n for part in parts for n in (*part, 0)),
            *(n for area in areas for n in (*area, 1)),
        ]
        contents = b"".join(ctypes.string_at(start, size) for start, size in (*parts, *areas))
        self.file.write_bytes(np.array(header, dtype=np.int64).tobytes() + contents)
        code = int(
            subprocess.run(
                [*self.command, "run", str(self.file)], capture_output=True, text=True, check=True
            ).stdout
        )
        changed, at = self.file.read_bytes(), 0
        for start, size in areas:
            ctypes.memmove(start, changed[at : at + size], size)
            at += size
        self.runs += 1
        return code


def merged(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pieces of memory (address, bytes) that overlap, as one."""
    result: list[tuple[int, int]] = []
    for start, size in sorted(piece for piece in pieces if piece[1]):
        if result and start < sum(result[-1]):
            result[-1] = (result[-1][0], max(sum(result[-1]), start + size) - result[-1][0])
        else:
            result.append((start, size))
    return result


@pytest.fixture(scope="module")
def neon(replay: Path) -> Emulated:
    emulator = next((found for name in EMULATORS if (found := shutil.which(name))), None)
    if emulator is None:
        pytest.skip(f"none of {', '.join(EMULATORS)} is there: NEON compiles, but is not run")
    return Emulated(emulator, replay)


def test_it_is_the_path_for_neon(neon: Emulated) -> None:
    assert neon.instructions == neon.rounding == "neon"


@pytest.mark.parametrize("name", ["lstm", "gru_cho", "lstm_ln", "sru", "darts_v2", *WRITTEN])
@pytest.mark.parametrize("lengths", [None, (5, 5, 3, 3, 2, 1)])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_cells_compute_the_same_there(
    neon: Emulated, name: str, lengths: tuple[int, ...] | None, precision: Precision
) -> None:
    genome = Genome.from_text(WRITTEN[name]) if name in WRITTEN else zoo.load(name)
    size = 18 if name in ("blocks", "pairs") else 17
    torch.manual_seed(4)
    weights = {
        spec.name: (torch.randn(spec.sizes(size, size)) / 4).requires_grad_()
        for spec in genome.parameters
    }
    x = torch.randn(6, 5, size, requires_grad=True)
    states = [torch.rand(5, size) for _ in genome.states]
    program = simplify_program(lower(genome, precision))
    results = []
    tolerance = 1 if precision == "float32" else 50  # a number may be rounded to another side
    before = neon.runs
    for kernel in (NativeKernel(program, neon), backends.get("reference").build(program)):
        output, final = kernel(x, states, weights, lengths)
        loss = output.square().sum() + sum(state.sum() for state in final)
        results.append([output, *final, *torch.autograd.grad(loss, (x, *weights.values()))])
    assert neon.runs == before + 2, "forward and backward"
    for got, expected in zip(*results, strict=True):
        assert torch.allclose(
            got, expected, rtol=1e-3, atol=tolerance * 1e-4 * float(expected.detach().abs().max())
        )


def test_a_malformed_job_is_refused_there_too(neon: Emulated) -> None:
    program = simplify_program(lower(zoo.load("lstm")))
    kernel = NativeKernel(program, neon)
    weights = {name: torch.randn([4 for _ in shape]) for name, shape in program.parameters}
    call = (torch.randn(3, 2, 4), [torch.zeros(2, 4) for _ in program.states], weights)
    kernel(*call)
    for plan in kernel.at(4, 4).plans.values():
        plan.plan.code.commands["kind"][0] = 99
    with pytest.raises(build.BackendError, match="its commands do not fit"):
        kernel(*call)
