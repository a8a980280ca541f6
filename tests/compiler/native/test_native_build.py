"""Building and finding the runtime: cache, concurrent builds, no compiler, broken compiler."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.native import BLOCKS, PAIRS

from cellsearch import Genome, zoo
from cellsearch.compiler import backends
from cellsearch.compiler.backends.native import build
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.lower import lower
from cellsearch.compiler.simplify import simplify_program
from cellsearch.errors import BackendError

PROGRAM = "from cellsearch.compiler.backends.native.build import library; print(library().path)"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Whatever library a test builds, the tests after it do not compute with it."""
    build.library.cache_clear()
    yield
    build.library.cache_clear()


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_workers_that_start_together_share_one_library(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CELLSEARCH_CACHE": str(tmp_path)},
        )
        for _ in range(3)
    ]
    paths = {worker.communicate(timeout=120)[0].strip() for worker in workers}
    assert all(worker.returncode == 0 for worker in workers)
    assert len(paths) == 1
    assert [path.name for path in (tmp_path / "native").iterdir()] == [Path(paths.pop()).name], (
        "a half-built file was left behind"
    )


def test_the_key_depends_on_what_decides_the_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = build.compiler()
    assert program is not None
    first = build.key(program, build.NATIVE)
    assert build.key(program, build.NATIVE) == first
    assert build.key(program, build.PORTABLE) != first
    monkeypatch.setattr(build, "processor", lambda: "another processor")
    assert build.key(program, build.NATIVE) != first
    monkeypatch.undo()
    for path in build.SOURCES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "runtime.c").write_text("/* changed */")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    assert build.key(program, build.NATIVE) != first


def test_without_a_compiler_auto_takes_another_backend_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "compiler", lambda: None)
    monkeypatch.setattr(build, "BUNDLED", tmp_path / "missing.so")
    support = backends.get("native").supports(
        lower(zoo.load("lstm")), torch.device("cpu"), torch.float32
    )
    assert not support.ok
    assert "no C compiler" in support.reason


def test_without_a_compiler_the_delivered_library_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not {"avx2", "fma"} <= set(build.processor().split()):
        pytest.skip("the delivered library needs AVX2")
    bundled = tmp_path / "bundled.so"
    build.main(["--portable", str(bundled)])
    monkeypatch.setattr(build, "compiler", lambda: None)
    monkeypatch.setattr(build, "BUNDLED", bundled)
    assert build.library().path == bundled
    assert build.library().instructions == build.library().bf16 == "avx2"


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'no space left on device' >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BackendError, match="no space left on device"):
        build.library()
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = run(PROGRAM, CELLSEARCH_CACHE=str(tmp_path / "file"))
    assert result.returncode != 0
    assert f"{tmp_path / 'file'}/native: the folder is not used for code" in result.stderr


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, whose compiler is quick."""
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-O0"))
    return tmp_path / "cache"


def test_the_folder_of_libraries_is_made_for_its_owner_alone(own_cache: Path) -> None:
    before = os.umask(0)
    try:
        path = build.library().path
    finally:
        os.umask(before)
    assert path.parent == own_cache / "native"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


WRONG_FILES = {
    "longer": append,
    "one bit": flip,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "text": lambda path: path.write_text("not a library"),
    "writable by all": lambda path: path.chmod(0o777),
    "writable by a group": lambda path: path.chmod(0o775),
    "a link": lambda path: path.symlink_to(path.rename(path.with_name("elsewhere.so"))),
    "a dangling link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("wrong", sorted(WRONG_FILES))
def test_a_wrong_library_is_built_again(own_cache: Path, wrong: str) -> None:
    path = build.library().path
    good = path.read_bytes()
    path.unlink()  # the loaded one is mapped: its bytes must not change
    path.write_bytes(good)
    path.chmod(0o755)
    WRONG_FILES[wrong](path)
    build.library.cache_clear()
    assert build.library().path == path
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert path.read_bytes() == good


FOREIGN_FOLDERS = {
    "writable by all": lambda folder: folder.chmod(0o777),
    "writable by a group": lambda folder: folder.chmod(0o770),
    "a link": lambda folder: folder.symlink_to(folder.rename(folder.with_name("moved"))),
    "another owner": lambda folder: os.chown(folder, 4321, 4321),
}


@pytest.mark.parametrize("foreign", sorted(FOREIGN_FOLDERS))
def test_a_folder_that_others_can_write_is_refused(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, foreign: str, tmp_path: Path
) -> None:
    path = build.library().path
    monkeypatch.setattr(build, "BUNDLED", tmp_path / "missing.so")
    if foreign == "another owner" and os.getuid() != 0:
        pytest.skip("only root can give files away")
    FOREIGN_FOLDERS[foreign](path.parent)
    build.library.cache_clear()
    with pytest.raises(BackendError, match="the folder is not used for code") as caught:
        build.library()
    assert "CELLSEARCH_CACHE" in caught.value.hint
    assert caught.value.where == str(path.parent)


def test_a_library_of_another_owner_is_built_again(own_cache: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    path = build.library().path
    os.chown(path, 4321, 4321)
    build.library.cache_clear()
    assert build.library().path == path
    assert path.stat().st_uid == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("-march=x86-64",),
        ("-march=x86-64-v3",),
        ("-march=skylake-avx512",),
        ("-march=cooperlake",),
        ("-march=sapphirerapids",),
    ],
)
def test_every_instruction_set_compiles_without_warnings(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("flags of x86-64")
    program = build.compiler()
    command = [
        str(program),
        *build.FLAGS,
        *flags,
        "-Wall",
        "-Wextra",
        "-Wno-psabi",
        str(build.SOURCES / "runtime.c"),
        "-o",
        str(tmp_path / "x.so"),
        "-lm",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "path"),
    [(("-march=x86-64",), "plain"), (("-march=x86-64-v3",), "avx2"), (("-march=native",), "")],
)
def test_every_path_that_runs_here_computes_the_same(
    flags: tuple[str, ...], path: str, tmp_path: Path
) -> None:
    if os.uname().machine != "x86_64" or (
        path == "avx2" and "avx2" not in build.processor().split()
    ):
        pytest.skip("not for this processor")
    build.build(tmp_path / "runtime.so", flags)
    library = build.Library(tmp_path / "runtime.so")
    assert not path or library.instructions == path
    cells = [(zoo.load(name), 17) for name in ("lstm", "gru_cho", "lstm_ln", "sru", "darts_v2")]
    cells += [(Genome.from_text(text), 18) for text in (BLOCKS, PAIRS)]
    for genome, size in cells:
        weights = {
            spec.name: (torch.randn(spec.sizes(size, size)) / 4).requires_grad_()
            for spec in genome.parameters
        }
        x = torch.randn(6, 5, size, requires_grad=True)
        states = [torch.rand(5, size) for _ in genome.states]
        results = []
        for kernel in (
            NativeKernel(simplify_program(lower(genome)), library),
            backends.get("reference").build(simplify_program(lower(genome))),
        ):
            output, _ = kernel(x, states, weights)
            results.append(
                [output, *torch.autograd.grad(output.square().sum(), (x, *weights.values()))]
            )
        for got, expected in zip(*results, strict=True):
            assert torch.allclose(
                got, expected, rtol=1e-3, atol=1e-4 * float(expected.detach().abs().max())
            )
