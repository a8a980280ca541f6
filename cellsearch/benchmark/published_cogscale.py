"""What the authors of CogScale have published: their ten seeds at the learning rate with the best
mean validation score.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["published"]

_FILE = Path(__file__).parent / "published" / "cogscale.csv"
_SEEDS = tuple(map(str, range(10)))


def published(difficulty: str, weights: int) -> dict[str, dict[str, Any]]:
    """``scores``, ``rates`` and ``weights`` by task, for each model that was run at a difficulty
    and a budget of weights; nothing where none was.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in _rows():
        if (row["difficulty"], int(row["budget"])) != (difficulty, weights):
            continue
        model = found.setdefault(row["model"], {"scores": {}, "rates": {}, "weights": {}})
        model["scores"][row["task"]] = tuple(float(row[seed]) for seed in _SEEDS if row[seed])
        model["rates"][row["task"]] = row["learning_rate"]
        model["weights"][row["task"]] = int(row["weights"])
    return found


@cache
def _rows() -> list[dict[str, str]]:
    lines = _FILE.read_text("utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))
