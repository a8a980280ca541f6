"""Trials out of the tables of a store."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from cellsearch.job import Budget, Connection, Failure, Result
from cellsearch.store.seals import TableLayout, damaged, sealed_rows
from cellsearch.trial import Rung, Status, StoredProposal, Trial

_STATUSES = frozenset(Status)

__all__ = ["StoreView", "answered", "read_trials", "with_answers"]


def read_trials(
    view: StoreView, numbers: range | None = None, *, curves: bool = True
) -> Iterator[Trial]:
    """All trials in order, or those with these (successive) numbers; a duplicate is without
    results. Their genomes are read when they are asked for.

    ``curves``: with curves, metrics and connections of the results. Raises :class:`InputFileError`
    for a row that no version of this program wrote.
    """
    parents: dict[int, list[int]] = defaultdict(list)
    for trial, parent in view.rows("parents", "trial, parent", numbers):
        parents[trial].append(parent)
    rungs = _rungs(view, numbers, curves=curves)
    columns = (
        "number, genome, origin, inherit, status, failure_kind, failure_message, duplicate_of, "
        "cell_key, reason"
    )
    expected = 0 if numbers is None else numbers.start
    for trial, genome, origin, inherit, status, kind, message, original, key, reason in view.rows(
        "trials", columns, numbers
    ):
        where = f"{view.where}: trial {trial}"
        if trial != expected:
            raise damaged(f"trial {expected} is missing", where)
        if status not in _STATUSES:
            raise damaged(f"its status is {status!r:.40}", where)
        if original is not None and not 0 <= original < trial:
            raise damaged(f"it is a duplicate of trial {original}", where)
        expected += 1
        yield Trial(
            number=trial,
            proposal=StoredProposal.of(
                genome,
                tuple(parents.pop(trial, ())),
                origin,
                inherit,
                source=where,
                key=key or "",
                reason=reason or "",
            ),
            status=Status(status),
            rungs=tuple(rungs.pop(trial, ())),
            failure=Failure(kind, message or "") if kind is not None else None,
            duplicate_of=original,
        )


def with_answers(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, by number from 0, each duplicate with the results of the trial that answers it,
    as far as there are any.
    """
    return [
        trial if trial.duplicate_of is None else answered(trial, trials[trial.duplicate_of])
        for trial in trials
    ]


def answered(duplicate: Trial, original: Trial) -> Trial:
    """The duplicate with the results of the trial that answers it, as far as there are any."""
    return duplicate.with_(rungs=tuple(rung for rung in original.rungs if rung.result is not None))


class StoreView:
    """Rows of a store at one moment, checked as they are read.

    connection: in a transaction whenever rows are read, so that nothing changes meanwhile. Its
    tables stay as they are: they are asked for their columns once.
    where: the file, for errors.
    """

    def __init__(self, connection: sqlite3.Connection, where: str) -> None:
        self._connection = connection
        self._layouts: dict[str, TableLayout] = {}
        self.where = where

    def rows(
        self, table: str, columns: str, owners: range | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Some columns of all rows in the order of the table's key, or of the rows of these
        (successive) owners, see :mod:`cellsearch.store.seals`.

        Raises :class:`InputFileError` for a damaged row.
        """
        if table not in self._layouts:
            self._layouts[table] = TableLayout.of(self._connection, table, self.where)
        layout = self._layouts[table]
        names = columns.split(", ")
        if not set(names) <= set(layout.columns):
            raise damaged(f"its table {table} has other columns than {columns}", self.where)
        indexes = [layout.columns.index(name) for name in names]
        for row in sealed_rows(self._connection, layout, self.where, owners):
            yield tuple([row[index] for index in indexes])


def _rungs(view: StoreView, numbers: range | None, *, curves: bool) -> dict[int, list[Rung]]:
    """The rungs of each trial, lowest first."""
    points, metrics, connections = (
        (_curves(view, numbers), _metrics(view, numbers), _connections(view, numbers))
        if curves
        else ({}, {}, {})
    )
    columns = (
        "score, metric, steps, seconds, parameters, cell_parameters, checkpoint, "
        "trial, rung, granted"
    )
    rungs: dict[int, list[Rung]] = defaultdict(list)
    for row in view.rows("rungs", columns, numbers):
        score, metric, steps, seconds, parameters, cell_parameters, checkpoint, *asked = row
        trial, rung, granted = asked
        job, result = (trial, rung), None
        where = f"{view.where}: trial {trial}, rung {rung}"
        if rung != len(rungs[trial]):
            raise damaged(f"rung {len(rungs[trial])} is missing", where)
        if checkpoint is not None:
            if None in (steps, seconds, parameters, cell_parameters):
                raise damaged("its result lacks a number", where)
            result = Result(
                score=_number(score),
                metric=_number(metric),
                steps=steps,
                seconds=seconds,
                parameters=parameters,
                cell_parameters=cell_parameters,
                curve=tuple(points.get(job, ())),
                metrics=metrics.get(job, {}),
                connections=connections.get(job, {}),
                checkpoint=checkpoint,
            )
        rungs[trial].append(Rung(Budget(granted, rung), result))
    return rungs


def _curves(
    view: StoreView, numbers: range | None
) -> dict[tuple[int, int], list[tuple[int, float]]]:
    curves: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
    for trial, rung, step, score in view.rows("curves", "trial, rung, step, score", numbers):
        curves[trial, rung].append((step, _number(score)))
    return curves


def _metrics(view: StoreView, numbers: range | None) -> dict[tuple[int, int], dict[str, float]]:
    metrics: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
    for trial, rung, name, value in view.rows("metrics", "trial, rung, name, value", numbers):
        metrics[trial, rung][name] = _number(value)
    return metrics


def _connections(
    view: StoreView, numbers: range | None
) -> dict[tuple[int, int], dict[str, Connection]]:
    connections: dict[tuple[int, int], dict[str, Connection]] = defaultdict(dict)
    for trial, rung, name, gate, saliency, added in view.rows(
        "connections", "trial, rung, name, gate, saliency, perturbation", numbers
    ):
        connections[trial, rung][name] = Connection(_number(gate), _number(saliency), added)
    return connections


def _number(value: float | None) -> float:
    """SQLite stores what is not a number as NULL."""
    return float("nan") if value is None else value
