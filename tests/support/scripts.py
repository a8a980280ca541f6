"""The programs of benchmarks/ as modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

__all__ = ["benchmark"]

FOLDER = Path(__file__).parents[2] / "benchmarks"


def benchmark(name: str) -> Any:
    """The module of a benchmark, loaded anew, under a name that no other module has. What lies
    beside it is found while it is loaded, and not by the tests after it. Skips the tests of the
    file that calls it where there is no checkout.
    """
    if not FOLDER.is_dir():
        pytest.skip("only in a checkout", allow_module_level=True)
    path = str(FOLDER)
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    sys.path.insert(0, path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = [part for part in sys.path if part != path]
    return module
