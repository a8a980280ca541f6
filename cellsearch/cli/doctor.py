"""``cellsearch doctor``: what this machine has, what it lacks, and what that means."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellsearch.cli.output import emit_json, print_table, table_option
from cellsearch.errors import BackendError
from cellsearch.later import Later

if TYPE_CHECKING:
    import torch

    from cellsearch.compiler.module import CellModule
    from cellsearch.compiler.program import Precision
else:
    torch = Later("torch")

__all__ = ["COMMANDS", "Check"]

MIN_RAY = (2, 59)
LOW_DISK = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    """What was looked for."""
    ok: bool
    """Whether it is there and good enough."""
    needed: bool
    """Whether cellsearch does not work without it."""
    detail: str
    """Its version, or why not and what to do."""


@click.command("doctor")
@table_option
def doctor(as_json: bool) -> int:
    """Say what is available here and why not: versions, compiler, GPU, Ray, disk. Exit code 6 if
    something needed is missing.
    """
    checks = list(run_checks())
    if as_json:
        emit_json([asdict(check) for check in checks])
    else:
        words = {
            (True, True): "ok",
            (True, False): "ok",
            (False, False): "missing",
            (False, True): "MISSING",
        }
        print_table((), [(c.name, words[c.ok, c.needed], c.detail) for c in checks], wrap=2)
    return 6 if any(check.needed and not check.ok for check in checks) else 0


def run_checks() -> Iterator[Check]:
    """All findings, in the order in which they are shown."""
    version = platform.python_version()
    yield Check("python", sys.version_info >= (3, 11), True, f"{version} ({sys.executable})")
    yield Check(
        "machine",
        True,
        False,
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {_memory()}",
    )
    for package in ("torch", "numpy", "networkx", "safetensors", "click", "rich"):
        yield _package(package, needed=True)
    yield _ray()
    yield _compiler()
    yield _gpu()
    yield from _native()
    yield _bf16()
    yield _backends()
    yield Check(
        "sqlite",
        sqlite3.sqlite_version_info >= (3, 31),
        True,
        f"{sqlite3.sqlite_version}: the store of a run",
    )
    yield _disk(Path.cwd())
    yield _package("tensorboard", needed=False, use="search --track tensorboard")
    yield _package("sacrebleu", needed=False, use="BLEU of translation (there is one of our own)")


def _package(name: str, *, needed: bool, use: str = "") -> Check:
    suffix = f": {use}" if use else ""
    try:
        return Check(name, True, needed, importlib.metadata.version(name) + suffix)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, needed, f"not installed (pip install {name}){suffix}")


def _ray() -> Check:
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "ray",
            False,
            True,
            "not installed (pip install ray); --workers 0 trains in the calling process without it",
        )
    numbers = tuple(int(part) for part in version.split(".")[:2])
    address = os.environ.get("RAY_ADDRESS")
    where = (
        f"joins the cluster of RAY_ADDRESS={address}"
        if address
        else "starts a local cluster of its own"
    )
    if numbers < MIN_RAY:
        return Check(
            "ray",
            False,
            True,
            f"{version} is older than {MIN_RAY[0]}.{MIN_RAY[1]} (no token "
            f"authentication): pip install -U ray",
        )
    return Check("ray", True, True, f"{version}, {where}")


def _compiler() -> Check:
    compiler = (
        os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    )
    use = "native CPU kernels"
    if not compiler:
        return Check(
            "C compiler",
            False,
            False,
            f"none of cc, gcc, clang found ({use}); the torch backends work without it",
        )
    try:
        done = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Check("C compiler", False, False, f"{compiler} does not run: {error}")
    return Check("C compiler", True, False, done.stdout.splitlines()[0] + f": {use}")


def _gpu() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("GPU", False, False, "torch is not installed")
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count()))
        return Check("GPU", True, False, f"{names} (CUDA {torch.version.cuda})")
    why = (
        "this torch is built for CPUs only"
        if torch.version.cuda is None
        else "CUDA finds no device (driver missing, or none visible)"
    )
    return Check("GPU", False, False, f"{why}; everything runs on the CPU")


def _native() -> Iterator[Check]:
    """The native runtime, and how a segment of it meets torch's autograd."""
    names = ("native runtime", "autograd node")
    if importlib.util.find_spec("torch") is None:
        yield from (Check(name, False, False, "torch is not installed") for name in names)
        return
    from cellsearch.compiler.backends.native import build, node

    try:
        found = build.library()
    except BackendError as error:
        hint = f" ({error.hint})" if error.hint else ""
        said = f"{error.message}{hint}; cells run several times slower, by torch (backend aten)"
        yield Check(names[0], False, False, said)
        yield Check(names[1], False, False, "there is no native runtime")
        return
    said = f"{found.instructions}, {found.origin}: {found.path}"
    yield Check(names[0], True, False, said)
    ok, said = node.state()
    said = f"compiled here: {said}" if ok else f"{said}; segments run by Python, slower"
    yield Check(names[1], ok, False, said)


_BF16 = {"amx": "AMX", "avx512_bf16": "AVX512-BF16"}
"""The instructions that are made for products of bfloat16, as their makers write them."""


def _bf16() -> Check:
    """How products in bf16 are computed (``training.precision``)."""
    if importlib.util.find_spec("torch") is None:
        return Check("products in bf16", False, False, "torch is not installed")
    from cellsearch.compiler.backends.native.build import library

    try:
        path = library().bf16
    except BackendError:
        said = "there is no native runtime, and torch computes them many times slower than float32"
        return Check("products in bf16", False, False, said)
    said = f"an LSTM of {_UNITS} units {_gain_of_bf16():.1f} times as fast as in float32 here"
    if path in _BF16:
        return Check("products in bf16", True, False, f"{_BF16[path]}: {said}")
    said = f"no instructions for them: rounded, then multiplied as float32 ({path}): {said}"
    return Check("products in bf16", False, False, said)


_UNITS = 128
_PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")


def _gain_of_bf16() -> float:
    """The time of a forward pass in float32 over that in bf16, the best of some in turn."""
    layers = [_lstm(_UNITS, precision) for precision in _PRECISIONS]
    x, best = torch.randn(8, 32, _UNITS), [math.inf] * len(layers)
    with torch.no_grad():
        for _ in range(20):
            for k, layer in enumerate(layers):
                start = time.perf_counter()
                layer(x)
                best[k] = min(best[k], time.perf_counter() - start)
    return best[0] / best[1]


def _lstm(size: int, precision: Precision = "float32") -> CellModule:
    from cellsearch import zoo
    from cellsearch.compiler.module import compile_cell

    return compile_cell(zoo.load("lstm"), input_size=size, hidden_size=size, precision=precision)


def _backends() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("backends", False, True, "torch is not installed")
    report = ", ".join(f"{name}: {state}" for name, state in _lstm(8).backend_report().items())
    return Check("backends", True, True, f"for an LSTM here: {report}")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.1f} GiB free in {folder}"
    return Check(
        "disk",
        free >= LOW_DISK,
        False,
        text if free >= LOW_DISK else f"only {text}: a run keeps checkpoints",
    )


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return "memory unknown"
    return f"{total / 2**30:.0f} GiB memory"


COMMANDS = (doctor,)
