"""A transformer and cells that a scan can compute as further rows of finals: really trained, at
equal weights, also where the input is not as wide as the cell.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cellsearch as cs
from cellsearch.errors import ConfigError

SETTINGS = {
    "strategy": "random",
    "space": "tiny",
    "trials": 3,
    "workers": 0,
    "training.steps": 2,
    "training.hidden_size": 8,
    "task_options.batch_size": 4,
}
ROWS = ["gru", "transformer", "mingru", "rg_lru"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("against") / "run"
    with (
        cs.Search.open(made, cs.load_experiment("parity", SETTINGS)) as search,
        cs.InProcess() as executor,
    ):
        search.run(executor)
    return made


def test_they_are_trained_at_equal_weights_whatever_the_width_of_the_input(folder: Path) -> None:
    choice = {"top": 1, "seeds": 2, "hidden_size": 60, "steps": 1, "sweep_seeds": 1}
    on = {"adding": {"length": 6, "batch_size": 2}}
    with cs.InProcess() as executor:
        tables = cs.open_run(folder).run_finals_on(executor, on=on, against=ROWS, **choice)
    rows = {row.name: row for row in tables.tasks[0].table.rows}
    assert set(rows) > set(ROWS)
    assert all(row.failures == 0 and len(row.scores) == 2 for row in rows.values())
    weights = [row.parameters for row in rows.values()]
    spread = max(weights) / min(weights) - 1
    assert 0.01 < spread < 0.02
    assert f"at model weights within {spread:.1%}" in tables.sentence
    assert "sees its segment or sequence only" in rows["transformer"].note
    assert not rows["mingru"].note
    kept = json.loads((folder / "finals-adding.json").read_text("utf-8"))["tasks"][0]["table"]
    assert [bool(row.get("note")) for row in kept["rows"] if row["name"] == "transformer"] == [True]
    assert "TransformerEncoderLayer" in cs.open_run(folder).report().read_text("utf-8")


def test_where_a_transformer_cannot_stand_nothing_is_trained(folder: Path) -> None:
    run = cs.open_run(folder)
    with pytest.raises(ConfigError, match=r"both directions|one direction"):
        run.plan_finals_on(
            on=["copy"], training={"bidirectional": True}, against=["gru", "transformer"]
        )
    with pytest.raises(ConfigError, match="transformr") as raised:
        run.plan_finals(against=["transformr"])
    assert raised.value.hint.endswith("(besides the cells of the zoo: transformer)")
