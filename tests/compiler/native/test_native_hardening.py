"""No program, however malformed, crashes the process or touches memory that it was not given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cells import plain_cells

from cellsearch.compiler.backends.native import build

SANITIZE = (
    "-march=native",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-g",
    "-O1",
)

TESTS = Path(__file__).parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "support.native", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1", **environment},
    )


def counts(output: str) -> tuple[int, int]:
    words = output.split()
    return int(words[1]), int(words[3])


def test_malformed_programs_do_not_crash() -> None:
    result = run("--rounds", "60")
    assert result.returncode == 0, result.stderr[-2000:]
    refused, ran = counts(result.stdout)
    assert refused > 300, "spoiled programs should mostly be refused"
    assert ran > 10, "some spoiled numbers do not matter, so some programs should run"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    library = tmp_path / "sanitized.so"
    build.build(library, SANITIZE)
    runtimes = [
        subprocess.run(
            [str(build.compiler()), f"-print-file-name={name}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    for first in range(0, len(plain_cells()), 20):
        cells = plain_cells()[first : first + 20]
        result = run(
            "--library",
            str(library),
            "--rounds",
            "25",
            "--seed",
            str(first),
            *("--threads", "3"),  # what one thread does is a part of it
            *cells,
            LD_PRELOAD=":".join(runtimes),
            ASAN_OPTIONS="detect_leaks=0",
            UBSAN_OPTIONS="print_stacktrace=1",
        )
        assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_the_sanitizer_would_find_something(tmp_path: Path) -> None:
    """The check above must be able to fail: a runtime that writes past a buffer is caught."""
    source = (build.SOURCES / "pointwise.h").read_text()
    broken = tmp_path / "src"
    broken.mkdir()
    for path in build.SOURCES.iterdir():
        (broken / path.name).write_text(path.read_text())
    (broken / "pointwise.h").write_text(
        source.replace(
            "case OP_TANH: EACH(tanh_v(a));", "case OP_TANH: D.at[1 << 22] = 1.0f; EACH(tanh_v(a));"
        )
    )
    library = tmp_path / "broken.so"
    original = build.SOURCES
    try:
        build.SOURCES = broken
        build.build(library, SANITIZE)
    finally:
        build.SOURCES = original
    asan = subprocess.run(
        [str(build.compiler()), "-print-file-name=libasan.so"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    result = run(
        "--library", str(library), "rnn_tanh", LD_PRELOAD=asan, ASAN_OPTIONS="detect_leaks=0"
    )
    assert result.returncode != 0
    assert "AddressSanitizer" in result.stderr
