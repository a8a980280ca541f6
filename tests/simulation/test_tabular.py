"""The simulator on a table of trainings: NAS-Bench-NLP's, and a finished run."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from cellsearch import strategies, zoo
from cellsearch.errors import SpaceError
from cellsearch.schedules import SuccessiveHalving
from cellsearch.simulation.simulate import simulate
from cellsearch.simulation.tabular import HAND_WRITTEN, TabularSpace, nas_bench_nlp, of_history
from cellsearch.strategies import Strategy
from cellsearch.testing.strategies import likeness, space
from cellsearch.trial import Status

TABLE = (
    Path(os.environ.get("CELLSEARCH_DATA", Path(__file__).parents[3] / "shared" / "data"))
    / "nas_bench_nlp"
    / "wikitext2.jsonl.gz"
)


@pytest.fixture(scope="module")
def table() -> TabularSpace:
    if not TABLE.exists():
        pytest.skip(
            f"{TABLE} is not here; set CELLSEARCH_DATA to the folder that holds nas_bench_nlp/"
        )
    return nas_bench_nlp(TABLE)


def regrets(strategy: Strategy, table: TabularSpace, seeds: int, trials: int) -> np.ndarray:
    """``[seeds, trials]``: how much the best cell so far falls short of the best of the table."""
    rows = []
    for seed in range(seeds):
        history = simulate(
            strategy, table, table.score, trials=trials, seed=seed, steps=50, workers=1
        )
        found = [
            table.regret(trial.genome) if trial.score < np.inf else np.inf for trial in history
        ]
        rows.append(np.minimum.accumulate(found + [np.inf] * (trials - len(found))))
    return np.array(rows)


def test_the_table_holds_the_published_number_of_cells(table):
    """265 distinct graphs, less the LSTM and the GRU that were written by hand."""
    assert len(table.rows) == 263
    assert len(nas_bench_nlp(TABLE, hand_written=True).rows) == 265
    assert len(HAND_WRITTEN) == 2


def test_scores_are_looked_up(table):
    with gzip.open(TABLE, "rt", encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines]
    keys = [
        zoo.import_cell(json.dumps(entry["recipe"]), format="nas-bench-nlp").key
        for entry in entries
    ]
    once = [
        k
        for k, key in enumerate(keys)
        if keys.count(key) == 1 and key in table.rows and entries[k]["best_val"] is not None
    ]
    assert len(once) > 150
    for k in once[:30]:
        row = table.rows[keys[k]]
        assert row.best == pytest.approx(entries[k]["best_val"])
        assert table.score(row.genome, 3) == min(entries[k]["val_losses"][:3])
        assert table.regret(row.genome) >= 0
    assert min(table.regret(row.genome) for row in table.rows.values()) == 0


def test_random_search_has_the_regret_that_counting_gives(table):
    """Drawing n of the cells without repetition, without any search: the same mean of the minimum
    within its error.
    """
    scores = np.sort([row.best for row in table.rows.values()])
    found = regrets(strategies.create("random"), table, 25, 50)
    for n in (20, 50):
        drawn = (
            np.random.default_rng(0).permuted(np.tile(scores, (4000, 1)), axis=1)[:, :n].min(axis=1)
            - scores[0]
        )
        usable = np.isfinite(drawn)
        error = found[:, n - 1].std(ddof=1) / np.sqrt(len(found))
        assert abs(found[:, n - 1].mean() - drawn[usable].mean()) < 4 * error


def test_a_model_of_the_scores_beats_random_search(table):
    """The reference curve of ridge regression falls below .1 nat within 50 trainings, random search
    stays above .15.
    """
    guided = regrets(
        strategies.create("predictor", {"model": "ridge", "candidates": 150, "fresh": 1.0}),
        table,
        4,
        50,
    )
    assert guided[:, -1].mean() < 0.15
    assert guided[:, -1].mean() < regrets(strategies.create("random"), table, 20, 50)[:, -1].mean()


def test_halving_finds_as_much_for_less(table):
    """Rungs of 2, 6, 17 and 50 epochs: the same regret as full trainings at a fraction of their
    cost.
    """
    ends, costs = [], []
    for seed in range(12):
        history = simulate(
            strategies.create("random"),
            table,
            table.score,
            trials=200,
            seed=seed,
            steps=50,
            schedule=SuccessiveHalving(3, 4),
            workers=1,
        )
        costs.append(sum(rung.budget.steps for trial in history for rung in trial.rungs[-1:]) / 50)
        done = [trial for trial in history if trial.status is Status.COMPLETED]
        ends.append(min(table.regret(trial.genome) for trial in done))
    assert np.mean(costs) < 0.3 * 200
    full = regrets(strategies.create("random"), table, 12, int(np.mean(costs)))
    assert np.mean(ends) < full[:, -1].mean()


def test_a_finished_run_is_a_table_too():
    history = simulate(strategies.create("random"), space(), likeness, trials=30, seed=1)
    table = of_history(history)
    assert set(table.rows) == {trial.genome.key for trial in history}
    again = simulate(strategies.create("local_search"), table, table.score, trials=15, seed=2)
    assert {trial.genome.key for trial in again} <= set(table.rows)
    for trial in again:
        assert trial.score == next(t.score for t in history if t.genome.key == trial.genome.key)
    with pytest.raises(SpaceError, match="no scored trial"):
        of_history(type(history)())


def test_a_file_that_is_not_the_table_is_refused(tmp_path):
    bad = tmp_path / "bad.jsonl.gz"
    bad.write_bytes(gzip.compress(b'{"recipe": 1}\n'))
    with pytest.raises(SpaceError, match="not the table") as caught:
        nas_bench_nlp(bad)
    assert str(bad) in caught.value.where
    bad.write_bytes(b"no gzip")
    with pytest.raises(SpaceError, match="not the table"):
        nas_bench_nlp(bad)
