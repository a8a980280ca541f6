"""All trials of a run as columns of numbers: what a page that shows 100,000 of them needs, in a few
megabytes, without making a trial of any row.
"""

from __future__ import annotations

import json
import math
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from cellsearch.store.lookup import Lookup
from cellsearch.trial import IN_FLIGHT, Status

__all__ = ["FIELDS", "RANKS", "REASONED", "STATUSES", "Columns"]

FIELDS = (
    ("score", "d"),
    ("metric", "d"),
    ("macs", "d"),
    ("predicted", "d"),
    ("created", "d"),
    ("ended", "d"),
    ("seconds", "f"),
    ("weights", "i"),
    ("parameters", "i"),
    ("steps", "i"),
    ("origin", "i"),
    ("parent", "i"),
    ("other", "i"),
    ("twin", "i"),
    ("kind", "h"),
    ("status", "B"),
    ("flags", "B"),
    ("trainings", "B"),
)
"""Name and type code (of :mod:`array`) of each column, the widest first.

score, metric, macs (multiply-adds a step), predicted (microseconds a step): not a number where
there is none. created, ended: seconds since 1970. seconds: of training, all rungs together.
weights: of the cell; parameters: of the model. origin, kind (of failure): places in lists of texts.
parent, other: numbers of the first two parents; twin: the trial that answers a duplicate; -1 for
none.
"""
STATUSES = tuple(status.value for status in Status)
RANKS, REASONED = 1, 2
"""Bits of ``flags``: it has a place among the results; it was proposed with a reason."""
_CHUNK = 4000
_METRICS = ("macs_per_step", "predicted_us")
_LARGEST = 2**31 - 1


class Columns:
    """The columns of the trials that were read so far. A store stays as it is; :meth:`follow` reads
    what has changed in it.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, array[Any]] = {name: array(code) for name, code in FIELDS}
        self.origins: list[str] = []
        """The texts of ``origin``."""
        self.kinds: list[str] = []
        """The texts of ``kind``."""
        self._places: dict[str, dict[str, int]] = {"origins": {}, "kinds": {}}
        self._open: set[int] = set()
        self._decided = -1

    def __len__(self) -> int:
        return len(self.arrays["score"])

    def follow(self, lookup: Lookup, most: int = _CHUNK) -> list[int]:
        """Read the trials that have come or changed since the last time, at most ``most`` of those
        that are new; returns their numbers. To be called again until nothing is returned.
        """
        have, count = len(self), lookup.count
        new = range(have, min(have + most, count))
        # Whatever happens to a trial begins with a decision, or while it is under way.
        decided = lookup.rows("SELECT coalesce(max(position), -1) FROM decisions")[0][0]
        changed = set(self._open)
        if have:
            again = lookup.rows(
                "SELECT DISTINCT trial FROM decisions WHERE position > ? AND trial < ?",
                *(self._decided, have),
            )
            changed |= {number for (number,) in again}
        self._decided = decided
        before = {number: self.row(number) for number in changed}
        for start, stop in _runs(sorted(changed)):
            self._read(lookup, range(start, stop))
        self._read(lookup, new)
        return [n for n in sorted(changed) if self.row(n) != before[n]] + list(new)

    def row(self, number: int) -> tuple[Any, ...]:
        """What the columns say of a trial, in the order of :data:`FIELDS`; ``None`` for what is not
        a number.
        """
        found = (self.arrays[name][number] for name, _ in FIELDS)
        return tuple(None if value != value else value for value in found)

    def pack(self) -> bytes:
        """All of it as bytes: the length of a JSON text, that text, and the columns, little-endian,
        each at a multiple of the size of its numbers.
        """
        header: dict[str, Any] = {
            "count": len(self),
            "fields": FIELDS,
            "statuses": STATUSES,
            "origins": self.origins,
            "kinds": self.kinds,
        }
        text = json.dumps(header).encode()
        text += b" " * (-(len(text) + 8) % 8)
        parts = [len(text).to_bytes(8, "little"), text]
        for name, _ in FIELDS:
            column = self.arrays[name]
            if sys.byteorder == "big":
                column = column[:]
                column.byteswap()
            parts.append(column.tobytes())
        return b"".join(parts)

    # -- reading -----------------------------------------------------------------------------------

    def _read(self, lookup: Lookup, numbers: range) -> None:
        if not numbers:
            return
        bounds = (numbers.start, numbers.stop - 1)
        rungs: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for row in lookup.rows(
            "SELECT trial, score, metric, steps, seconds, parameters, cell_parameters, granted, "
            "ended, checkpoint IS NOT NULL, rung FROM rungs WHERE trial BETWEEN ? AND ? "
            "ORDER BY trial, rung",
            *bounds,
        ):
            rungs[row[0]].append(row)
        parents: defaultdict[int, list[int]] = defaultdict(list)
        for trial, parent in lookup.rows(
            "SELECT trial, parent FROM parents WHERE trial BETWEEN ? AND ? AND position < 2 "
            "ORDER BY trial, position",
            *bounds,
        ):
            parents[trial].append(parent)
        costs: defaultdict[int, dict[str, float]] = defaultdict(dict)
        for trial, name, value in lookup.rows(
            "SELECT trial, name, value FROM metrics WHERE trial BETWEEN ? AND ? "
            f"AND name IN {_METRICS} ORDER BY trial, rung",
            *bounds,
        ):
            costs[trial][name] = value
        for row in lookup.rows(
            "SELECT number, origin, status, failure_kind, duplicate_of, standing, created, "
            "coalesce(reason, '') <> '' FROM trials WHERE number BETWEEN ? AND ? ORDER BY number",
            *bounds,
        ):
            number = row[0]
            self._put(row, rungs[number], parents[number], costs[number])

    def _put(
        self,
        trial: Sequence[Any],
        rungs: Sequence[Sequence[Any]],
        parents: Sequence[int],
        costs: dict[str, float],
    ) -> None:
        number, origin, status, kind, twin, standing, created, reasoned = trial
        done = [rung for rung in rungs if rung[9]]
        last = [rung for rung in done if rung[7] == done[-1][7]]
        score = standing if standing is not None else _mean([rung[1] for rung in last])
        if status == Status.FAILED:
            score = math.nan
        values: dict[str, Any] = {
            "score": score,
            "metric": _mean([rung[2] for rung in last]),
            "macs": _float(costs.get(_METRICS[0])),
            "predicted": _float(costs.get(_METRICS[1])),
            "created": _float(created),
            "ended": _float(max((r[8] for r in rungs if r[8] is not None), default=None)),
            "seconds": sum(rung[4] or 0.0 for rung in done),
            "weights": _bounded(done[-1][6]) if done else -1,
            "parameters": _bounded(done[-1][5]) if done else -1,
            "steps": _bounded(done[-1][3]) if done else -1,
            "origin": self._place("origins", origin),
            "parent": parents[0] if parents else -1,
            "other": parents[1] if len(parents) > 1 else -1,
            "twin": -1 if twin is None else twin,
            "kind": -1 if kind is None else self._place("kinds", kind),
            "status": STATUSES.index(status),
            "flags": RANKS * (standing is not None) + REASONED * bool(reasoned),
            "trainings": min(len(last), 255),
        }
        if number == len(self):
            for name, _ in FIELDS:
                self.arrays[name].append(values[name])
        else:
            for name, _ in FIELDS:
                self.arrays[name][number] = values[name]
        if Status(status) in IN_FLIGHT:
            self._open.add(number)
        else:
            self._open.discard(number)

    def _place(self, name: str, text: str) -> int:
        """The place of a text in its list."""
        places, texts = self._places[name], getattr(self, name)
        if text not in places:
            places[text] = len(texts)
            texts.append(text)
        return places[text]


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Successive numbers together: where each row of them starts, and where it stops."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _mean(values: Sequence[Any]) -> float:
    """The mean of scores; SQLite holds what is not a number as NULL."""
    return sum(map(_float, values)) / len(values) if values else math.nan


def _bounded(value: int | None) -> int:
    """A count as the column holds it."""
    return -1 if value is None else min(value, _LARGEST)
