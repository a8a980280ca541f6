"""Building the autograd node: aside, once, declared where it fails."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.node import WAYS, take

from cellsearch.compiler.backends.native import node, node_build
from cellsearch.compiler.backends.native.build import is_as_built
from cellsearch.errors import BackendError


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A cache of its own, and nothing known of another one."""
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path / "cache"))
    node._target.cache_clear()
    yield tmp_path / "cache" / "graph"
    node._target.cache_clear()


def compiler(folder: Path, script: str) -> str:
    """A C++ compiler that does this; ``$out`` is what it should write."""
    path = folder / "c++"
    find = 'while [ "$1" != -o ] && [ $# -gt 1 ]; do shift; done; out="$2"'
    version = 'if [ "$1" = --version ]; then echo 1.0; exit 0; fi'
    path.write_text(f"#!/bin/sh\n{version}\n{find}\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def waited(path: Path) -> bool:
    end = time.monotonic() + 60
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return path.exists()


def test_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh: Path) -> None:
    monkeypatch.setenv("CXX", compiler(tmp_path, "sleep 0.3; echo library > $out"))
    assert node.node() is None
    assert "being built" in node.state()[1]
    path = node._target().path
    assert waited(path)
    assert is_as_built(path)
    ok, why = node.state()  # it is no library, and says so instead of ending the process
    assert not ok
    assert "cannot be loaded" in why
    left = {file.suffix for file in fresh.iterdir()}
    assert left == {".so", ".lock"}


def test_a_failure_is_kept_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    script = f"echo once >> {log}; echo 'no such header' >&2; exit 1"
    monkeypatch.setenv("CXX", compiler(tmp_path, script))
    assert node.node() is None
    assert waited(node._target().failure)
    assert node.state() == (False, "it does not compile: no such header")
    assert node.node() is None
    assert log.read_text() == "once\n"
    with pytest.raises(BackendError, match="no such header"):
        node_build.build(node._target())


def test_a_process_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that ends without a word is not begun again with every cell."""
    begun: list[node_build.Target] = []
    monkeypatch.setattr(node_build, "build_aside", begun.append)
    for _ in range(3):
        assert node.node() is None
    assert begun == [node._target()]


def test_two_builders_are_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f"echo once >> {log}; sleep 1; echo library > $out"
    monkeypatch.setenv("CXX", compiler(tmp_path, script))
    for _ in range(3):
        node_build.build_aside(node._target())
    assert waited(node._target().path)
    time.sleep(0.5)
    assert log.read_text() == "once\n"


def test_without_a_compiler_python_runs_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_build, "compiler", lambda: None)
    assert node.node() is None
    assert node.state() == (
        False,
        "there is no C++ compiler (install g++ or clang++, or set CXX)",
    )


def test_a_cache_of_others_is_not_used(fresh: Path) -> None:
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    assert node.node() is None
    assert "not used for code" in node.state()[1]


def test_the_key_depends_on_what_decides_the_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def key(version: str = "2.13", abi: bool = True) -> Path:
        return node_build.target(Path(torch.__file__).parent, version, abi).path

    keys = {key(), key("2.14"), key(abi=False)}
    monkeypatch.setenv("CXX", compiler(tmp_path, "exit 1"))
    keys.add(key())
    changed = tmp_path / "segment.cpp"
    changed.write_text("// changed")
    monkeypatch.setattr(node_build, "SOURCE", changed)
    keys.add(key())
    assert len(keys) == 5
    assert key() == key()


def test_what_was_changed_is_built_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", compiler(tmp_path, "echo library > $out"))
    target = node._target()
    node_build.build(target)
    target.path.write_bytes(target.path.read_bytes() + b"x")
    assert not is_as_built(target.path)
    node_build.main([str(target.path), *target.command])
    assert is_as_built(target.path)


@pytest.mark.slow
def test_the_compiler_has_nothing_to_say(tmp_path: Path) -> None:
    import subprocess

    target = node._target()
    command = [*target.command, "-Wall", "-Wextra", "-isystem"]
    include = next(part[2:] for part in command if part.startswith("-I"))
    command = [part for part in command if not part.startswith("-I")]
    done = subprocess.run(
        [*command, include, "-o", str(tmp_path / "x.so")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_the_delivered_source_is_the_one_that_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELLSEARCH_CACHE")
    take(WAYS[1], monkeypatch)
    assert node.state()[0]
