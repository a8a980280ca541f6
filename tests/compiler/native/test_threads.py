"""Several threads compute what one does, to the last bit, and the pool of them survives what
processes do.
"""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.cells import beside, plain_cells
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from cellsearch import zoo
from cellsearch.compiler.backends.native import build, threads
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.module import CellModule, compile_cell
from cellsearch.errors import ArgumentTypeError, CellsearchError, ConfigError
from cellsearch.genome.graph import Genome

TESTS = Path(__file__).parents[2]
FEW = ("lstm", "fastgrnn", "qrnn_fo", "gru_d")
"""Sums in the loop, of scratch registers, before the loop and in blocks; a cell with dt."""
WIDE = """
a = sigmoid(linear(x[t]) + linear(h[t-1], bias=False))
h[t] = a * h[t-1] + sin(linear(a * h[t-1]) + linear(x[t])) + cos(h[t-1] * 1e5)
"""
"""Two products after one another in the loop, and sines of numbers that are far from 0."""


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as are asked for, however little there is to do."""
    monkeypatch.setattr(threads, "THREAD_WORK", 1)


def ways(genome: Genome, size: int) -> Iterator[tuple[str, dict[str, object]]]:
    """How a cell is run: plain, and where nothing else is read, packed, from tokens, rounded."""
    yield "plain", {"bidirectional": size == 17}
    yield "reset", {}
    if genome.inputs == ("x",):
        yield "packed", {"num_layers": 2}
        yield "tokens", {}
        yield "bf16", {"precision": "bf16"}


def results(module: CellModule, way: str, rows: int, steps: int, size: int) -> list[Tensor]:
    """Output, final states and all gradients."""
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    module.zero_grad()
    x = drawn(7 if way == "tokens" else steps, *(() if way == "tokens" else (rows,)), size)
    x.requires_grad_()
    more: dict[str, Tensor] = {}
    if way == "tokens":
        chosen = torch.randint(0, 7, (steps, rows), generator=generator)
        output, states = module.run_tokens(chosen, x)
    elif way == "packed":
        lengths = torch.arange(rows) % steps + 1
        packed, states = module(pack_padded_sequence(x, lengths, enforce_sorted=False))
        output = packed.data
    else:
        torch.manual_seed(2)
        more = beside(module.genome, x)
        more |= {"reset": drawn(steps, rows) > 0.5} if way == "reset" else {}
        output, states = module(x, **more)
    every = (output, *(states if isinstance(states, tuple) else (states,)))
    sum((part * drawn(*part.shape)).sum() for part in every).backward()  # type: ignore[union-attr]
    gradients = [x.grad, *(weight.grad for weight in module.parameters())]
    return [*(part.detach() for part in every), *gradients]  # type: ignore[list-item]


def difference(genome: Genome, rows: int, steps: int, size: int, numbers: tuple[int, ...]) -> str:
    """Where results of these numbers of threads differ from those of one; ``""``: nowhere."""
    for way, options in ways(genome, size):
        found = {}
        for number in (1, *numbers):
            torch.manual_seed(3)
            module = compile_cell(genome, size, size, backend="native", threads=number, **options)  # type: ignore[arg-type]
            found[number] = results(module, way, rows, steps, size)
        assert found[1][0].any(), "nothing is compared"
        assert all(part.isfinite().all() for part in found[1])
        for number in numbers:
            for k, (one, other) in enumerate(zip(found[1], found[number], strict=True)):
                if not torch.equal(one, other):
                    return f"{way}, {rows} rows, {number} threads, result {k}"
    return ""


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", FEW)
def test_any_number_of_threads_gives_the_same_bits(name: str) -> None:
    genome = zoo.load(name)
    for rows, steps, size in ((1, 3, 5), (3, 7, 17), (63, 9, 33), (65, 4, 9)):
        assert not difference(genome, rows, steps, size, (2, 3, 8))


@pytest.mark.usefixtures("eager")
def test_wide_weights_give_the_same_bits() -> None:
    """Of weights beyond the second-level cache each thread has some columns."""
    assert not difference(zoo.load("lstm"), 5, 2, 260, (2, 8))
    assert not difference(Genome.from_text(WIDE), 5, 2, 514, (2,))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("eager")
def test_every_cell_gives_the_same_bits() -> None:
    for name in plain_cells():
        for rows, steps, size in ((1, 3, 5), (3, 7, 17), (63, 9, 33), (65, 6, 130)):
            assert not difference(zoo.load(name), rows, steps, size, (2, 3, 8)), name


@pytest.mark.usefixtures("eager")
def test_the_comparison_finds_another_order_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    run = NativeKernel.__call__

    def other(self: NativeKernel, x: Tensor, *given: object, **more: object) -> object:
        return run(self, x * (1 + 2e-7 * (self.threads == 3)), *given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(NativeKernel, "__call__", other)
    assert difference(zoo.load("lstm"), 3, 7, 17, (2, 3)) == "plain, 3 rows, 3 threads, result 0"


def test_little_work_takes_one_thread() -> None:
    module = compile_cell(zoo.load("lstm"), 8, 8, backend="native", threads=2)
    large = compile_cell(zoo.load("lstm"), 128, 128, backend="native", threads=2)
    counts = []
    for cell, shape in ((module, (4, 4, 8)), (large, (64, 32, 128))):
        cell(torch.randn(shape))[0].sum().backward()
        kernel = cell._choose(torch.device("cpu"), torch.float32).kernel
        assert isinstance(kernel, NativeKernel)
        (sized,) = kernel.sized.values()
        counts.append({call.plan.job.threads for call in sized.plans.values()})
    assert counts == [{1}, {2}]


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_number_that_is_none_is_refused(wrong: int) -> None:
    with pytest.raises(ConfigError, match=f"threads is {wrong}"):
        compile_cell(zoo.load("gru"), 3, 4, threads=wrong)


@pytest.mark.parametrize("wrong", [True, "2", 2.0, None])
def test_another_type_is_refused(wrong: object) -> None:
    with pytest.raises((ArgumentTypeError, TypeError), match="threads") as found:
        compile_cell(zoo.load("gru"), 3, 4, threads=wrong)  # type: ignore[arg-type]
    assert isinstance(found.value, CellsearchError)


def test_one_thread_is_not_spoken_of() -> None:
    """What was written before there were threads reads as one, and one looks as it did."""
    one, two = (compile_cell(zoo.load("gru"), 3, 4, threads=number) for number in (1, 2))
    assert "threads" not in repr(one)
    assert "threads=2" in repr(two)
    old = one.__getstate__()
    del old["threads"]
    read = CellModule.__new__(CellModule)
    read.__setstate__(old)
    x = torch.randn(5, 2, 3)
    assert torch.equal(read(x)[0], one(x)[0])
    for again in (copy.deepcopy(two), pickle.loads(pickle.dumps(two))):
        assert again.threads == 2
        assert torch.equal(again(x)[0], two(x)[0])


@pytest.mark.usefixtures("eager")
def test_calls_at_the_same_time_have_threads_of_their_own() -> None:
    torch.manual_seed(0)
    module = compile_cell(zoo.load("lstm"), 16, 16, backend="native", threads=3)
    inputs = [torch.randn(9, rows, 16) for rows in (31, 32, 33, 34)]
    expected = [module(x)[0].detach() for x in inputs]
    wrong: list[int] = []

    def run(k: int) -> None:
        for _ in range(50):
            output = module(inputs[k])[0]
            output.sum().backward()
            if not torch.equal(output, expected[k]):
                wrong.append(k)

    runners = [threading.Thread(target=run, args=(k,)) for k in range(len(inputs))]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert not wrong


BEGIN = """
import os, signal, sys, threading, time
import torch
from cellsearch import zoo
from cellsearch.compiler.backends.native import threads
from cellsearch.compiler.module import compile_cell
threads.THREAD_WORK = 1
torch.manual_seed(0)
module = compile_cell(zoo.load("lstm"), 16, 16, backend="native", threads=3)
x = torch.randn(50, 32, 16)
def run():
    module.zero_grad()
    output = module(x)[0]
    output.sum().backward()
    return [output.detach(), *[weight.grad for weight in module.parameters()]]
first = run()
"""
ENDS = {
    # Children of a process whose threads exist, of one whose threads are at work, and their own.
    "fork": """
def work():
    while True:
        run()
def child(depth):
    same = all(map(torch.equal, first, run()))
    if depth and same:
        number = os.fork()
        if not number:
            child(depth - 1)
        same = os.waitpid(number, 0)[1] == 0
    os._exit(0 if same else 1)
for busy in (False, True):
    if busy:
        module = compile_cell(zoo.load("lstm"), 16, 16, backend="native", threads=3)
        torch.manual_seed(0)
        module.reset_parameters()
        with torch.no_grad():
            first = [module(x)[0]]
        def run():
            with torch.no_grad():
                return [module(x)[0]]
        threading.Thread(target=work, daemon=True).start()
    for _ in range(10):
        number = os.fork()
        if not number:
            child(1)
        assert os.waitpid(number, 0)[1] == 0
assert all(map(torch.equal, first, run()))
print("done", flush=True)
os._exit(0)
""",
    # The signal reaches Python, which stops between two calls; the next call works.
    "interrupt": """
try:
    print("ready", flush=True)
    while True:
        run()
except KeyboardInterrupt:
    assert all(map(torch.equal, first, run()))
    print("done", flush=True)
""",
    # The process ends while a thread of Python is in a run, a long one: Python ends threads that
    # come back, and the C++ of torch aborts the process if that happens in it.
    "exit": """
long = torch.zeros(1, 32, 16).expand(100_000, 32, 16).contiguous()
def work():
    with torch.no_grad():
        module(long)
threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
print("done", flush=True)
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_pool_survives(end: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", BEGIN + ENDS[end]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    try:
        if end == "interrupt":
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=100)
    finally:
        process.kill()
    assert said == "done\n", errors
    assert process.returncode == 0, errors


THREAD_SANITIZER = ("-march=native", "-fsanitize=thread", "-g", "-O1")


def under_the_thread_sanitizer(library: Path, *cells: str) -> subprocess.CompletedProcess[str]:
    """Zoo cells with three threads; a race is an error."""
    build.build(library, THREAD_SANITIZER)
    runtime = subprocess.run(
        [str(build.compiler()), "-print-file-name=libtsan.so"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    command = [sys.executable, "-m", "support.native", "--library", str(library), "--threads", "3"]
    quiet = {"LD_PRELOAD": runtime, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *cells],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        env={**os.environ, **quiet},
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_thread_sanitizer_finds_nothing(tmp_path: Path) -> None:
    result = under_the_thread_sanitizer(tmp_path / "threads.so", *plain_cells())
    assert result.returncode == 0, result.stderr[-3000:]
    assert "ThreadSanitizer" not in result.stderr


@pytest.mark.slow
def test_the_thread_sanitizer_would_find_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check above can fail: where threads do not wait for the end of a round, it says so."""
    broken = tmp_path / "src"
    broken.mkdir()
    for path in build.SOURCES.iterdir():
        text = path.read_text("utf-8")
        if path.name == "threads.h":
            waiting = "    wait_until(&team->finished, is_reached,"
            changed = text.replace(
                waiting, "    if (!team) wait_until(&team->finished, is_reached,"
            )
            assert changed != text
            text = changed
        (broken / path.name).write_text(text, "utf-8")
    monkeypatch.setattr(build, "SOURCES", broken)
    result = under_the_thread_sanitizer(tmp_path / "broken.so", "lstm")
    assert "data race" in result.stderr
    assert result.returncode != 0
