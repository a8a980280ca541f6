"""Every benchmark and script can be loaded: what it imports is where it says."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    *sorted((ROOT / "benchmarks").glob("*.py")),
    *sorted((ROOT / "scripts").glob("*.py")),
    *sorted((ROOT / "docs").glob("make_*.py")),
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_it_loads(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])  # as ``python script`` has it
    assert "main" in runpy.run_path(str(script), run_name="loaded") or script.stem in LIBRARIES


LIBRARIES = {
    *("compiler_parts", "compiler_runs", "compiler_speed"),
    *("curves", "like_lstm_calls", "like_lstm_cells", "like_lstm_transforms", "like_lstm_uses"),
    *("step_parts", "step_trials", "trainings"),
}
"""What benchmarks share; not programs themselves."""
