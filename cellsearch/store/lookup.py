"""What a long run is asked, answered by the indexes of its store: nothing here reads every trial,
but for the sums that say so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cellsearch.genome.graph import Genome
from cellsearch.history import Descent, Granted, Totals
from cellsearch.job import JobId
from cellsearch.store.database import moment, open_reader, translated
from cellsearch.store.reading import StoreView, read_trials
from cellsearch.store.seals import damaged
from cellsearch.trial import BASELINE, IMPORTED, Origin, Status, Trial

__all__ = ["Course", "Lookup", "fill_keys"]

_UNFINISHED = "status IN ('waiting', 'running')"
_SPECIAL = "substr(origin, 1, 8) IN ('baseline', 'imported', 'supernet')"
"""As in lookups.sql: word for word, or its index is not used."""


MOST_VALUES = 500
"""In one query; older builds of SQLite take 999."""


class Course(NamedTuple):
    """A trial that has ended, as far as the course of a search is concerned."""

    number: int
    """Of the trial."""
    kind: str
    """Of its origin."""
    standing: float
    """By what it is ranked; infinity for what has no place among the results."""
    counts: bool
    """Whether it counts against the trials of the experiment."""


class _Origins(dict[str, Origin]):
    """Origins by their text: there are few of them, and many trials."""

    def __missing__(self, text: str) -> Origin:
        self[text] = Origin.parse(text)
        return self[text]


class Lookup:
    """Questions to the store in ``file``."""

    def __init__(self, connection: sqlite3.Connection, file: Path) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._file = file
        self._view = StoreView(connection, str(file))
        self.is_writers = False
        """Whether it is the writer's, who has filled in all keys and alone adds trials."""
        self._with_cell: dict[str, int] = {}
        """Trials by key that were found first, which nobody can change: strategies ask for the same
        seed genomes before each proposal."""

    def close(self) -> None:
        """The connection is about to be closed: whoever asks later is answered by a reader."""
        self._connection = None
        self.is_writers = False
        self._with_cell.clear()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_reader(self._file.parent)
            self._view = StoreView(self._connection, str(self._file))
        return self._connection

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with translated(self._file):
            return self._connected().execute(query, values).fetchall()

    def _numbers(self, query: str, *values: object) -> list[int]:
        return [number for (number,) in self.rows(query, *values)]

    # -- trials ------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many trials there are; their numbers are 0, 1, ..."""
        return int(self.rows("SELECT coalesce(max(number) + 1, 0) FROM trials")[0][0])

    def trials(self, numbers: range, *, curves: bool = True) -> list[Trial]:
        """The trials with these successive numbers, duplicates without results; see
        :func:`read_trials`.
        """
        connection = self._connected()
        with translated(self._file), moment(connection):
            return list(read_trials(self._view, numbers, curves=curves))

    def with_key(self, key: str) -> int | None:
        """The trial that answers proposals with this search key."""
        found = self._numbers(
            "SELECT number FROM trials WHERE key = ? AND status <> 'duplicate'", key
        )
        return found[0] if found else None

    def with_cell(self, key: str) -> int | None:
        """The first trial, duplicates left out, whose genome has this key."""
        if key in self._with_cell:
            return self._with_cell[key]
        found = self._numbers(
            "SELECT number FROM trials WHERE cell_key = ? AND status <> 'duplicate' "
            "ORDER BY number LIMIT 1",
            key,
        )
        if found and self.is_writers and len(self._with_cell) < MOST_VALUES:
            self._with_cell[key] = found[0]
        return found[0] if found else None

    @property
    def has_all_keys(self) -> bool:
        """Whether the keys of all genomes are known; not in a store that an older version wrote
        last.
        """
        return self.is_writers or not self.rows(
            "SELECT 1 FROM trials WHERE cell_key IS NULL LIMIT 1"
        )

    def ranked(self, start: int, count: int) -> list[int]:
        """The numbers of ``count`` trials, best first, from place ``start`` on."""
        return self._numbers(
            "SELECT number FROM trials WHERE standing IS NOT NULL ORDER BY standing, number "
            "LIMIT ? OFFSET ?",
            count,
            start,
        )

    @property
    def ranked_count(self) -> int:
        """How many trials have a place among the results."""
        return int(self.rows("SELECT count(*) FROM trials WHERE standing IS NOT NULL")[0][0])

    def ranked_before(self, standing: float, number: int) -> int:
        """How many trials have a place before this one."""
        query = "standing IS NOT NULL AND (standing, number) < (?, ?)"
        return int(self.rows(f"SELECT count(*) FROM trials WHERE {query}", standing, number)[0][0])

    @property
    def unfinished(self) -> list[int]:
        """The trials that wait or run."""
        return self._numbers(f"SELECT number FROM trials WHERE {_UNFINISHED} ORDER BY number")

    def failed(self, most: int, kind: str = "") -> list[int]:
        """The first ``most`` trials that failed; ``kind``: in this way alone."""
        own = " AND failure_kind = ?" if kind else ""
        return self._numbers(
            f"SELECT number FROM trials WHERE status = 'failed'{own} ORDER BY number LIMIT ?",
            *([kind] if kind else []),
            most,
        )

    def of_kind(self, kind: str) -> list[int]:
        """The trials with one of the kinds of origin that the index holds."""
        # With the plus SQLite takes the index, instead of the table for its order.
        rows = self.rows(f"SELECT number, origin FROM trials WHERE {_SPECIAL} ORDER BY +number")
        return [number for number, origin in rows if Origin.parse(origin).kind == kind]

    def children(self, number: int) -> list[int]:
        """The trials whose first parent this is."""
        return self._numbers(
            "SELECT trial FROM parents WHERE parent = ? AND position = 0 ORDER BY trial", number
        )

    def answered_by(self, number: int) -> list[int]:
        """The duplicates that this trial answers."""
        return self._numbers(
            "SELECT number FROM trials WHERE duplicate_of IS NOT NULL AND duplicate_of = ? "
            "ORDER BY number",
            number,
        )

    @property
    def has_duplicates(self) -> bool:
        """Whether there are duplicates among the trials."""
        return bool(self.rows("SELECT 1 FROM trials WHERE duplicate_of IS NOT NULL LIMIT 1"))

    def sizes(self) -> list[tuple[int, float, int]]:
        """Number, score and weights of the cell of every trial that has a place among the results,
        in order of number.
        """
        # Two queries and a dictionary take half as long as a join that looks for each last rung.
        weights = dict(
            self.rows(
                "SELECT trial, cell_parameters FROM rungs WHERE checkpoint IS NOT NULL "
                "ORDER BY trial, rung"
            )
        )
        standings = self.rows("SELECT number, standing FROM trials WHERE standing IS NOT NULL")
        return sorted((n, score, weights[n]) for n, score in standings if n in weights)

    def origins(self, numbers: Collection[int]) -> dict[int, Origin]:
        """How each of these trials came to be."""
        made, asked = _Origins(), sorted(numbers)
        found: dict[int, Origin] = {}
        for start in range(0, len(asked), MOST_VALUES):
            some = asked[start : start + MOST_VALUES]
            places = ", ".join("?" * len(some))
            query = f"SELECT number, origin FROM trials WHERE number IN ({places})"
            found |= {number: made[origin] for number, origin in self.rows(query, *some)}
        return found

    def descents(self) -> Iterator[Descent]:
        """Where each trial came from, in order of number."""
        parents: dict[int, tuple[int, ...]] = {}
        for number, parent in self.rows("SELECT trial, parent FROM parents ORDER BY 1, position"):
            parents[number] = (*parents[number], parent) if number in parents else (parent,)
        origins = _Origins()
        ends = {s.value: s is not Status.DUPLICATE and s.finished for s in Status}
        for number, origin, status, standing in self.rows(
            "SELECT number, origin, status, standing FROM trials ORDER BY number"
        ):
            score = float("inf") if standing is None else standing
            yield Descent(number, origins[origin], parents.get(number, ()), score, ends[status])

    def course(self) -> Iterator[Course]:
        """The trials that have ended, in order of number."""
        origins = _Origins()
        for number, origin, standing, failure in self.rows(
            "SELECT number, origin, standing, failure_kind FROM trials "
            f"WHERE NOT {_UNFINISHED} ORDER BY number"
        ):
            kind = origins[origin].kind
            counts = kind != IMPORTED and failure != "prefilter"
            yield Course(number, kind, float("inf") if standing is None else standing, counts)

    def cells(self) -> Iterator[tuple[str, int, float]]:
        """Key of the genome, number and score of each trial that has a place among the results,
        baselines left out, in order of number.
        """
        origins = _Origins()
        for key, number, standing, origin in self.rows(
            "SELECT cell_key, number, standing, origin FROM trials WHERE standing IS NOT NULL "
            "ORDER BY number"
        ):
            if origins[origin].kind != BASELINE:
                yield key or self.trials(range(number, number + 1))[0].key, number, standing

    def reasoned(self) -> list[int]:
        """The trials that were proposed with a reason."""
        return self._numbers(
            "SELECT number FROM trials WHERE reason IS NOT NULL AND reason <> '' ORDER BY number"
        )

    def seed(self, number: int) -> int | None:
        """The random seed of a trial's training; ``None`` for a trial that is not there."""
        found = self._numbers("SELECT seed FROM trials WHERE number = ?", number)
        return found[0] if found else None

    def inherited(self, job: JobId) -> str:
        """The checkpoint of another trial that a job starts from; ``""`` for none."""
        found = self.rows("SELECT inherit FROM rungs WHERE trial = ? AND rung = ?", *job)
        return str(found[0][0]) if found else ""

    # -- decisions ---------------------------------------------------------------------------------

    @property
    def last_horizon(self) -> int:
        """What the last proposal knew: results of trials before this."""
        found = self._numbers(
            "SELECT min(horizon, trial) FROM decisions WHERE rung = 0 "
            "ORDER BY position DESC LIMIT 1"
        )
        return self._horizon(found, "the last trial") if found else 0

    def horizon(self, trial: int) -> int:
        """What the proposal of this trial knew: results of trials before this."""
        # Version 0.1 counted decisions, of which there are no fewer than trials.
        found = self._numbers(
            "SELECT min(horizon, trial) FROM decisions WHERE trial = ? AND rung = 0", trial
        )
        return self._horizon(found, f"trial {trial}")

    def _horizon(self, found: Sequence[int], whose: str) -> int:
        if not found or found[0] < 0:
            said = f"has the horizon {found[0]}" if found else "is not there"
            raise damaged(f"the decision to train it {said}", f"{self._file}: {whose}")
        return found[0]

    def open_jobs(self) -> list[JobId]:
        """The jobs without an outcome, in order of decision."""
        rows = self.rows(
            "SELECT decisions.trial, decisions.rung FROM trials "
            "JOIN rungs ON rungs.trial = number JOIN decisions "
            "ON decisions.trial = number AND decisions.rung = rungs.rung "
            f"WHERE {_UNFINISHED} AND ended IS NULL ORDER BY position"
        )
        return [JobId(*row) for row in rows]

    # -- sums over all trials ----------------------------------------------------------------------

    def totals(self) -> Totals:
        """How many trials became what, but for those that are not finished."""
        made = Totals()
        rows = self.rows(
            "SELECT status, failure_kind, count(*) FROM trials GROUP BY 1, 2 ORDER BY min(number)"
        )
        for status, failure, count in rows:
            if Status(status).finished:
                made.statuses[Status(status)] += count
                made.rejected += count * (failure == "prefilter")
            if failure is not None:
                made.failures[failure] += count
        both = 0
        for origin, status, failure, count in self.rows(
            "SELECT origin, status, failure_kind, count(*) FROM trials "
            f"WHERE {_SPECIAL} GROUP BY 1, 2, 3"
        ):
            if Origin.parse(origin).kind == "imported" and Status(status).finished:
                made.imported += count
                both += count * (failure == "prefilter")
        made.counted = made.ended = made.statuses.total() - made.rejected - made.imported + both
        return made

    def granted(self) -> Granted:
        """The steps of the trials, but for those that are not finished."""
        made = Granted()
        for origin, steps in self._steps():
            if Origin.parse(origin).kind != "imported":
                made.steps += steps
        return made

    def _steps(self) -> Iterator[tuple[str, int]]:
        """The steps of trials that ended and were not rejected, by origin."""
        yield from self.rows(
            "SELECT origin, sum(CASE WHEN checkpoint IS NULL THEN granted ELSE steps END) "
            "FROM trials JOIN rungs ON trial = number "
            f"WHERE NOT {_UNFINISHED} AND duplicate_of IS NULL "
            "AND coalesce(failure_kind, '') <> 'prefilter' "
            "AND NOT EXISTS (SELECT 1 FROM rungs AS next WHERE next.trial = number "
            "AND next.rung = rungs.rung + 1 AND next.granted > rungs.granted) GROUP BY origin"
        )


def fill_keys(connection: sqlite3.Connection, where: str) -> None:
    """Work out the keys of genomes that an older version stored. The caller holds the
    transaction.
    """
    for number, genome in connection.execute(
        "SELECT number, genome FROM trials WHERE cell_key IS NULL"
    ).fetchall():
        key = Genome.from_json(genome, source=f"{where}: trial {number}").key
        connection.execute("UPDATE trials SET cell_key = ? WHERE number = ?", (key, number))
