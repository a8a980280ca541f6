"""Run the tests with other versions: the lowest that pyproject.toml admits, or another Python.

``python scripts/try_versions.py --lowest`` installs the lowest version of each dependency, of those
that the tests need too. ``--python python3.13`` takes that interpreter; without ``--lowest`` with
the versions of constraints.txt. What follows ``--`` goes to pytest. The environment is made in a
temporary folder, or kept in ``--keep FOLDER`` for the next time.

It is not part of CI: torch of the lowest version is a download of gigabytes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_FOR_TESTS = ("mypy", "ruff")
"""Tools whose version decides nothing about the package; tests that call them get any."""


def requirements() -> list[str]:
    """What the package and its tests need, as pyproject.toml says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["dev"]]


def lowest(requirement: str) -> str:
    """``"numpy==1.26"`` for ``"numpy>=1.26"``. Raises :class:`ValueError` where none is named."""
    match = re.fullmatch(r"([A-Za-z0-9_.-]+)(>=|==)([0-9.]+)", requirement)
    if match is None:
        raise ValueError(f"pyproject.toml: {requirement} names no lowest version")
    return f"{match[1]}=={match[3]}"


def constraints(*, lowest_versions: bool) -> str:
    """The text of a constraints file."""
    if not lowest_versions:
        return (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return "".join(
        f"{lowest(one)}\n" for one in requirements() if not one.startswith(NOT_FOR_TESTS)
    )


def main() -> int:
    """Command line; see the module. Returns what pytest returned."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lowest", action="store_true", help="the lowest versions admitted")
    parser.add_argument("--python", default=sys.executable, help="the interpreter")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="keep the environment here")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cellsearch-versions-") as temporary:
        folder = options.keep or Path(temporary)
        python = folder / "venv/bin/python"
        if not python.exists():
            subprocess.run([options.python, "-m", "venv", folder / "venv"], check=True)
        listed = folder / "constraints.txt"
        listed.write_text(constraints(lowest_versions=options.lowest), encoding="utf-8")
        install = [python, "-m", "pip", "install", "--quiet", "--quiet", "--constraint", listed]
        subprocess.run([*install, *requirements()], check=True)
        subprocess.run([*install, "--no-deps", "--editable", ROOT], check=True)
        subprocess.run([python, "-m", "pip", "list"], check=True)
        return subprocess.run(
            [python, "-m", "pytest", "-q", *options.pytest],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
