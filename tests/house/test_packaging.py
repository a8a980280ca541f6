"""What is installed: pinned versions, what the wheel carries, what the project file declares."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from cellsearch.cli.doctor import Check, run_checks
from cellsearch.compiler.backends.native import build
from cellsearch.errors import BackendError

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = PROJECT["dependencies"] + EXTRAS["dev"] + EXTRAS["docs"]


def pins() -> dict[str, str]:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    return {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in (line.split("==") for line in lines)
    }


def test_torch_is_pinned_to_the_version_that_everything_was_measured_with() -> None:
    assert pins()["torch"] == "2.13.0"


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_each_requirement_is_pinned_to_a_version_that_it_allows(text: str) -> None:
    requirement = Requirement(text)
    assert requirement.specifier.contains(Version(pins()[requirement.name.lower()]))


def test_what_the_requirements_require_is_pinned_too() -> None:
    known, missing = pins(), []
    todo = [Requirement(text).name for text in REQUIREMENTS]
    seen: set[str] = set()
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            requires = importlib.metadata.requires(name) or []
        except (
            importlib.metadata.PackageNotFoundError
        ):  # of another platform or another build of torch
            continue
        if name not in known:
            missing.append(name)
        parsed = [Requirement(text) for text in requires]
        todo += [r.name for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]
    assert set(missing) <= {"setuptools"}, "pin these in constraints.txt"


def test_python_versions_and_licence_are_declared() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    for version in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    assert PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_make_has_its_targets_and_ci_can_be_run() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert {"setup", "demo", "test", "lint", "types", "docs", "ci-slow", "clean"} <= targets
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_second_set_up_does_nothing(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    stamp = venv / ".cellsearch-stamp"
    stamp.touch()
    command = ["make", "--dry-run", "setup", f"VENV={venv}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "pip install" not in done.stdout
    os.utime(stamp, (1, 1))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "pip install" in done.stdout


RUNTIME = "cellsearch/compiler/backends/native/bundled/runtime-x86_64-avx2.so"


def built(folder: Path, *arguments: str, **environment: str) -> tuple[Path, set[str], str]:
    """Build; the wheel, the names of the files in it, and what was printed."""
    command = [sys.executable, "-m", "build", "--outdir", str(folder), *arguments, str(ROOT)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = folder.glob("*.whl")
    return wheel, set(zipfile.ZipFile(wheel).namelist()), done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_carries_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    wheel, names, _ = built(tmp_path)  # the archive of sources, and the wheel from it
    assert {
        "cellsearch/__init__.pyi",
        "cellsearch/py.typed",
        "cellsearch/_catalog/search_spaces/lstm_gru.toml",
        "cellsearch/_catalog/experiments/quickstart.toml",
        "cellsearch/zoo/lstm.cell",
        "cellsearch/genome/genome.schema.json",
        "cellsearch/store/lookups.sql",
        "cellsearch/store/schema.sql",
        "cellsearch/reporting/report.css",
        "cellsearch/tasks/data/kjv_new_testament.txt.xz",
        *(
            f"cellsearch/compiler/backends/native/src/{source.name}"
            for source in build.SOURCES.iterdir()
        ),
    } <= names
    assert not {
        name
        for name in names
        if name.startswith(("tests/", "benchmarks/", "docs/")) or "__pycache__" in name
    }
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"cellsearch"}
    if sys.platform == "linux" and platform.machine() == "x86_64" and build.compiler():
        assert RUNTIME in names
        assert re.fullmatch(
            r"cellsearch-[\d.]+-py3-none-(manylinux_2_\d+|linux)_x86_64\.whl", wheel.name
        )
        zipfile.ZipFile(wheel).extract(RUNTIME, tmp_path)
        library = build.Library(tmp_path / RUNTIME)
        assert (library.instructions, library.source) == ("avx2", build.digest(build.PORTABLE))
    else:
        assert wheel.name.endswith("-py3-none-any.whl")
    (sources,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sources) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        f"cellsearch/compiler/backends/native/src/{source.name}"
        for source in build.SOURCES.iterdir()
    } <= packed
    assert "hatch_build.py" in packed
    assert not {name for name in packed if name.endswith(".so")}


@pytest.mark.slow
def test_without_a_compiler_the_wheel_is_a_pure_one_and_the_build_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    wheel, names, said = built(tmp_path / "out", "--wheel", PATH=str(empty), CC="")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not {name for name in names if name.endswith(".so")}
    assert "cellsearch/compiler/backends/native/src/runtime.c" in names
    assert "there is no C compiler" in said


@pytest.fixture
def _fresh() -> Iterator[None]:
    """The runtime is looked for anew, in the test and after it."""
    build.library.cache_clear()
    yield
    build.library.cache_clear()


@pytest.mark.usefixtures("_fresh")
def test_a_built_runtime_of_other_sources_is_never_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if build.compiler() is None or build.PORTABLE_NEEDS - set(build.processor().split()):
        pytest.skip("needs a C compiler, and a processor with AVX2 and FMA")
    changed = tmp_path / "src"
    shutil.copytree(build.SOURCES, changed)
    (changed / "functions.h").write_text(
        (changed / "functions.h").read_text("utf-8") + "/* an older version */\n", "utf-8"
    )
    bundled = tmp_path / "bundled.so"
    with monkeypatch.context() as older:
        older.setattr(build, "SOURCES", changed)
        build.build(bundled, (*build.PORTABLE, "-O0"))
        stamped = build.digest((*build.PORTABLE, "-O0"))
    assert build.Library(bundled).source == stamped
    monkeypatch.setattr(build, "compiler", lambda: None)
    monkeypatch.setattr(build, "BUNDLED", bundled)
    with pytest.raises(
        BackendError, match="no C compiler, and the delivered runtime was built from other sources"
    ):
        build.library()
    monkeypatch.setattr(
        build, "digest", lambda flags: stamped
    )  # with these sources it is the right one
    assert build.library().origin == "delivered with the package, because there is no C compiler"


@pytest.mark.usefixtures("_fresh")
def test_a_file_that_is_no_runtime_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    damaged = tmp_path / "bundled.so"
    damaged.write_bytes(b"\x7fELF, but no more")
    monkeypatch.setattr(build, "compiler", lambda: None)
    monkeypatch.setattr(build, "BUNDLED", damaged)
    monkeypatch.setattr(build, "_obstacle", lambda: "")
    with pytest.raises(BackendError, match="cannot be loaded"):
        build.library()


@pytest.mark.usefixtures("_fresh")
def test_doctor_says_which_runtime_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def runtime() -> Check:
        return next(check for check in run_checks() if check.name == "native runtime")

    if build.compiler() is not None:
        found = runtime()
        assert found.ok
        assert "compiled here by" in found.detail
    build.library.cache_clear()
    monkeypatch.setattr(build, "compiler", lambda: None)
    monkeypatch.setattr(build, "BUNDLED", tmp_path / "missing.so")
    missing = runtime()
    assert (missing.ok, missing.needed) == (False, False)
    assert "no C compiler" in missing.detail
    assert "aten" in missing.detail


@pytest.mark.slow
def test_the_runtime_compiles_in_seconds(tmp_path: Path) -> None:
    if build.compiler() is None:
        pytest.skip("needs a C compiler")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    build.build(tmp_path / "runtime.so")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    )  # of processor time: other work does not count
    assert seconds < 10, (
        f"{seconds:.1f} s"
    )  # the aim is 5 on the machine of docs/performance.md; others are slower
