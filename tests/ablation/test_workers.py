"""``cellsearch ablate`` with Ray workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

# On a busy machine Ray and the imports of its workers take most of the time.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]


def test_two_workers_find_what_one_process_finds(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    task = ("--task", "parity", "--steps", "2", "--hidden", "3", "--seeds", "1", "--only", "nodes")
    batch = ("--set", "task_options.batch_size=4")
    tables = []
    for workers in (0, 2):
        out = tmp_path / str(workers)
        code, said, err = call(
            "ablate", "rnn_tanh", *task, *batch, "--workers", workers, "--out", out, "--json"
        )
        assert code == 0, err
        found = json.loads(said)
        tables.append({row["removed"]: row["scores"] for row in (found["whole"], *found["rows"])})
    assert len(tables[0]) >= 2
    assert all(len(scores) == 1 and scores[0] > 0 for scores in tables[0].values())
    assert tables[1] == tables[0]
