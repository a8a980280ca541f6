"""What is installed: pinned versions, what the wheel carries, what the project file declares."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in (line.split("==") for line in lines)}


def test_torch_is_pinned_to_the_version_that_everything_was_measured_with() -> None:
    assert pins()["torch"] == "2.13.0"


@pytest.mark.parametrize("text", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])
def test_each_requirement_is_pinned_to_a_version_that_it_allows(text: str) -> None:
    requirement = Requirement(text)
    assert requirement.specifier.contains(Version(pins()[requirement.name.lower()]))


def test_what_the_requirements_require_is_pinned_too() -> None:
    known, todo, missing = (
        pins(),
        [Requirement(text).name for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]],
        [],
    )
    seen: set[str] = set()
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another platform or another build of torch
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
    assert {"setup", "demo", "test", "lint", "types", "ci-slow", "clean"} <= targets
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


@pytest.mark.slow
def test_the_wheel_carries_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, capture_output=True, check=True, timeout=500)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "cellsearch/py.typed",
        "cellsearch/_catalog/search_spaces/lstm_gru.toml",
        "cellsearch/_catalog/experiments/quickstart.toml",
        "cellsearch/zoo/lstm.cell",
        "cellsearch/genome/genome.schema.json",
        "cellsearch/store/schema.sql",
        "cellsearch/reporting/report.css",
        "cellsearch/data/kjv_new_testament.txt.xz",
    } <= names
    assert not {name for name in names if name.startswith(("tests/", "benchmarks/", "docs/")) or "__pycache__" in name}
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"cellsearch"}
