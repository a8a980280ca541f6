"""benchmarks/gating.py: its reading of cells, and its table, see what they are for."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cellsearch import zoo
from cellsearch.genome.graph import Genome

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gating.py"


@pytest.fixture(scope="module")
def gating() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_gating", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks_gating"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("h[t] = tanh(linear(x[t], h[t-1]))", "other"),
        ("h[t] = h[t-1] + tanh(linear(x[t]))", "sum"),
        ("h[t] = h[t-1] * sigmoid(linear(x[t]))", "product"),
        ("h[t] = h[t-1] * sigmoid(linear(x[t])) + tanh(linear(x[t]))", "gated sum"),
        ("h[t] = sigmoid(linear(x[t])) * (h[t-1] + tanh(linear(x[t])))", "sum"),
        ("h[t] = tanh(h[t-1] * sigmoid(linear(x[t])) + linear(x[t]))", "squashed"),
        ("h[t] = tanh(linear(x[t])) + sigmoid(linear(x[t], h[t-1])) * linear(x[t])", "other"),
        (
            "h[t] = (h[t-1] * sigmoid(linear(x[t])) + linear(x[t])) * tanh(linear(x[t]))",
            "gated sum",
        ),
    ],
)
def test_how_a_state_comes_from_itself(gating: ModuleType, cell: str, expected: str) -> None:
    assert gating.memory(Genome.from_text(cell)) == {"h": expected}


def test_what_is_known_of_known_cells(gating: ModuleType) -> None:
    assert gating.memory(zoo.load("lstm"))["c"] == "gated sum"
    assert gating.memory(zoo.load("gru")) == {"h": "gated sum"}
    assert gating.memory(zoo.load("lstm_nfg"))["c"] == "sum"


def outcome(strategy: str, seed: int, success: int | None) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "seed": seed,
        "success": success,
        "reached": success,
        "limit": 300,
        "cell": None,
    }


def test_the_table_counts_runs_without_success_as_their_limit(gating: ModuleType) -> None:
    good = [outcome("genetic", seed, 40 + seed) for seed in range(1, 6)]
    bad = [outcome("random", seed, None) for seed in range(1, 5)] + [outcome("random", 5, 250)]
    lines = gating.table([*good, *bad]).splitlines()
    assert lines[2] == "| genetic | 41, 42, 43, 44, 45 | 43 | 5 of 5 | 41, 42, 43, 44, 45 | 0.008 |"
    assert lines[3].startswith("| random | > 300, > 300, > 300, > 300, 250 | > 300 | 1 of 5 |")
    same = gating.table([*bad, *(dict(row, strategy="grow") for row in bad)])
    assert "| 1.000 |" in same


def test_runs_that_were_given_less_do_not_look_better(gating: ModuleType) -> None:
    """Nobody succeeds; five runs ended after 100 evaluations, five after 300."""
    short = [{**outcome("grow", seed, None), "limit": 100} for seed in range(1, 6)]
    lines = gating.table(
        [*short, *(outcome("random", seed, None) for seed in range(1, 6))]
    ).splitlines()
    assert (
        lines[2]
        == "| grow | > 100, > 100, > 100, > 100, > 100 | > 100 | 0 of 5 | –, –, –, –, – | 1.000 |"
    )


def test_runs_for_fewer_trials_are_not_finished(gating: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "outcome.json"
    assert gating.read(path, 300) is None
    path.write_text('{"success": null, "limit": 100}', "utf-8")
    assert gating.read(path, 300) is None
    assert gating.read(path, 100) is not None
    path.write_text('{"success": 12, "limit": 100}', "utf-8")
    assert gating.read(path, 300) is not None
