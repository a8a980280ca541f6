"""The store of a run: everything that a search, a report or a resumed run needs to know."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cellsearch.errors import EnvironmentFailure, RunError
from cellsearch.history import History
from cellsearch.job import JobId, Outcome
from cellsearch.store.database import (
    FILE_NAME,
    moment,
    open_reader,
    open_writer,
    transaction,
    translated,
)
from cellsearch.store.lock import RunLock, holder
from cellsearch.store.lookup import Lookup, fill_keys
from cellsearch.store.reading import StoreView, read_trials, with_answers
from cellsearch.store.rows import Decision, Duplicate, Environment, Event, Timing
from cellsearch.store.seals import damaged
from cellsearch.store.writing import insert_decision, insert_trial, set_status, write_outcome
from cellsearch.trial import Budget, Status, Trial

__all__ = ["Store"]


class Store:
    """One run's memory: ``store.sqlite`` in the run folder ``path``.

    :meth:`open` makes the writer, of which a run has one at a time; :meth:`read` makes a reader,
    which works while a search runs and changes nothing. What a method of the writer has written
    when it returns survives the death of the process. Readers raise :class:`RunError` where there
    is not a run; every method raises :class:`EnvironmentFailure` when the disk is full.
    """

    def __init__(self, path: Path, *, lock: RunLock | None) -> None:
        self.path = path
        self._lock = lock
        self._file = path / FILE_NAME
        self._connection = open_reader(path) if lock is None else open_writer(path)
        self._view = StoreView(self._connection, str(self._file))
        self.lookup = Lookup(self._connection, self._file)
        """What is asked of a long run."""
        self._file_name = str(self._file)
        self._identity = _identity(self._file_name)
        if lock is not None:
            with self._writing() as connection:
                fill_keys(connection, str(self._file))
            self.lookup.is_writers = True

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """The writer of the run in folder ``path``, made if it is not there. Raises
        :class:`RunError` if another process writes it.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise RunError(
                "a file is in the way of the run folder",
                where=str(folder),
                hint="choose another folder with --run",
            ) from error
        except OSError as error:
            raise EnvironmentFailure(
                f"the run folder cannot be made: {error.strerror}", where=str(folder)
            ) from error
        lock = RunLock(folder)
        try:
            return cls(folder, lock=lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def read(cls, path: str | Path) -> Store:
        """A reader of the run in folder ``path``. Raises :class:`RunError` if there is none."""
        return cls(Path(path), lock=None)

    def hold(self) -> None:
        """From now on see the run as it stands now, until the store is closed."""
        with translated(self._file):
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM run").fetchone()

    @staticmethod
    def writer(path: str | Path) -> str:
        """Who writes the run now, in words (``"process 7 on host"``); ``""`` if nobody does: then
        no trial is really running.
        """
        return holder(Path(path))

    def close(self) -> None:
        """Give back the file and the lock. May be called twice."""
        self.lookup.close()
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- reading -----------------------------------------------------------------------------------

    def history(self) -> History:
        """All trials as they stand in the store; a duplicate shows the results of the trial that
        answers it.
        """
        with self._reading() as view:
            return History(with_answers(list(read_trials(view))))

    def trial(self, number: int) -> Trial:
        """One trial. Raises :class:`RunError` if the run has none of this number."""
        with self._reading() as view:
            for trial in list(read_trials(view, range(number, number + 1))):
                return trial
            count = self._connection.execute("SELECT count(*) FROM trials").fetchone()[0]
        allowed = f"it has trials 0 to {count - 1}" if count else "it has no trials yet"
        raise RunError(f"the run has no trial {number}", where=str(self.path), hint=allowed)

    @property
    def experiment(self) -> str:
        """The resolved text of the experiment; ``""`` before :meth:`describe`."""
        return self._value("experiment")

    @property
    def created(self) -> float:
        """When the run was made, in seconds since 1970; 0 before :meth:`describe`."""
        text = self._value("created") or "0"
        try:
            return float(text)
        except ValueError as error:
            raise damaged(f"it was created at {text!r:.40}", str(self._file)) from error

    @property
    def has_trials(self) -> bool:
        """Whether anything was proposed."""
        return self.lookup.count > 0

    @property
    def data(self) -> Mapping[str, Any]:
        """What is remembered of the user's own data, by option, as plain data; empty in a run of
        before version 0.2.
        """
        text = self._value("data")
        try:
            return dict(json.loads(text)) if text else {}
        except (ValueError, TypeError, RecursionError) as error:
            raise damaged(f"it remembers {text!r:.40} of the data", str(self._file)) from error

    @property
    def metric(self) -> str:
        """What the task's own number is called; ``""`` before a result, and before version 0.2."""
        return self._value("metric")

    def decisions(self) -> tuple[Decision, ...]:
        """What the search decided, in order."""
        rows = self._rows("decisions", "position, trial, rung, horizon")
        for position, row in enumerate(rows):
            if row[0] != position:
                raise damaged(f"decision {position} is missing", str(self._file))
        return tuple(Decision(*row) for row in rows)

    def duplicates(self) -> tuple[Duplicate, ...]:
        """The proposals that were answered instead of trained."""
        return tuple(
            Duplicate(*row) for row in self._rows("duplicates", "trial, attempt, duplicate_of")
        )

    def timings(self) -> tuple[Timing, ...]:
        """When and where each job ran."""
        return tuple(
            Timing(trial, rung, worker or "", started, ended)
            for trial, rung, worker, started, ended in self._rows(
                "rungs", "trial, rung, worker, started, ended"
            )
        )

    def inherited(self) -> Mapping[JobId, str]:
        """The checkpoints that jobs took weights from: job -> path relative to the run."""
        rows = self._rows("rungs", "trial, rung, inherit")
        return {JobId(trial, rung): path for trial, rung, path in rows if path}

    @property
    def answered(self) -> int:
        """How many proposals were answered instead of trained, and are no trials."""
        return int(self.lookup.rows("SELECT count(*) FROM duplicates")[0][0])

    def keys(self) -> Mapping[int, str]:
        """The key of each trial's genome."""
        return dict(self._rows("trials", "number, key"))

    def seeds(self) -> Mapping[int, int]:
        """The random seed of each trial's training."""
        return dict(self._rows("trials", "number, seed"))

    def environments(self) -> tuple[Environment, ...]:
        """The machines and versions that the run was opened on."""
        with self._reading() as view:
            last = self._connection.execute("SELECT max(id) FROM environments").fetchone()[0]
            # They are counted: of rows that have gone after the last one, one has the next number.
            owners = range((last or 0) + 2)
            rows = list(view.rows("environments", "id, opened, fingerprint", owners))
        return tuple(
            Environment(opened, self._fingerprint(number, text)) for number, opened, text in rows
        )

    def events(self) -> tuple[Event, ...]:
        """What happened to the run."""
        return tuple(Event(*row) for row in self._rows("events", "time, kind, text"))

    # -- writing -----------------------------------------------------------------------------------

    def describe(self, experiment: str) -> None:
        """Set the resolved text of the experiment, and when the run was made, if that is not set
        yet.
        """
        with self._writing() as connection:
            _set(connection, "experiment", experiment)
            connection.execute(
                "INSERT INTO run VALUES ('created', ?) ON CONFLICT (name) DO NOTHING",
                (repr(time.time()),),
            )

    def remember_data(self, data: Mapping[str, Any]) -> None:
        """Set what is remembered of the user's own data."""
        with self._writing() as connection:
            _set(connection, "data", json.dumps(data, sort_keys=True))

    def remember_metric(self, metric: str) -> None:
        """Set what the task's own number is called, so that readers need not load the task."""
        with self._writing() as connection:
            _set(connection, "metric", metric)

    def add_environment(self, fingerprint: Mapping[str, str]) -> None:
        """Record the machine and versions of this process."""
        with self._writing() as connection:
            text = json.dumps(fingerprint, sort_keys=True)
            connection.execute(
                "INSERT INTO environments (opened, fingerprint) VALUES (?, ?)", (time.time(), text)
            )

    def add_event(self, kind: str, text: str) -> None:
        """Record that something happened to the run."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO events (time, kind, text) VALUES (?, ?, ?)", (time.time(), kind, text)
            )

    def add_trial(
        self,
        trial: Trial,
        *,
        key: str,
        genome: str,
        attempt: int,
        seed: int,
        horizon: int,
        inherit: str = "",
        duplicates: Sequence[Duplicate] = (),
    ) -> None:
        """Record a proposal and the decision to train it (or that it is a duplicate), before
        anything is done about it. The position of the decision is the next one.

        trial: to be trained, with one rung without a result; or a duplicate without rungs.
        key: equal for cells that compute the same.
        genome: JSON form of the trial's genome.
        attempt: which proposal of the strategy it is; the ones before were duplicates.
        seed: random seed of its training.
        horizon: the decision knew the results of trials below this (in a deterministic search of
            version 0.1, of positions).
        inherit: checkpoint that the training starts from, ``""`` for none.
        duplicates: what was proposed for this trial and answered instead of trained.
        """
        with self._writing() as connection:
            insert_trial(
                connection,
                trial,
                key=key,
                genome=genome,
                attempt=attempt,
                seed=seed,
                duplicates=duplicates,
            )
            budget = trial.rungs[0].budget if trial.rungs else None
            insert_decision(connection, trial.number, budget, horizon=horizon, inherit=inherit)

    def add_rung(self, trial: int, budget: Budget, *, horizon: int) -> None:
        """Record the decision to train a trial further."""
        with self._writing() as connection:
            set_status(connection, trial, Status.RUNNING)
            insert_decision(connection, trial, budget, horizon=horizon)

    def add_outcome(self, outcome: Outcome, status: Status) -> None:
        """Record what became of a job and the status that its trial has from now on.

        An outcome is final: raises :class:`RunError` if the job has one already.
        """
        with self._writing() as connection:
            if not write_outcome(connection, outcome, status):
                raise RunError(
                    f"no outcome is awaited for trial {outcome.trial}, rung {outcome.rung}",
                    where=str(self.path),
                    hint="tell each outcome once",
                )

    def stop(self, trial: int, status: Status = Status.STOPPED) -> None:
        """Record that a trial gets no more training, and what it is then."""
        with self._writing() as connection:
            set_status(connection, trial, status)

    def start(self, trial: int, rung: int) -> None:
        """Record that a waiting job is run again."""
        with self._writing() as connection:
            set_status(connection, trial, Status.RUNNING)
            connection.execute(
                "UPDATE rungs SET started = ? WHERE trial = ? AND rung = ?",
                (time.time(), trial, rung),
            )

    def requeue(self) -> int:
        """Let all trials without an outcome wait, because nobody works on them any more; how many
        there are.
        """
        with self._writing() as connection:
            return connection.execute(
                "UPDATE trials SET status = ? WHERE status IN (?, ?)",
                (Status.WAITING.value, Status.RUNNING.value, Status.WAITING.value),
            ).rowcount

    # -- inside ------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self._lock is None:
            raise RunError(
                "this store was opened for reading", where=str(self.path), hint="use Store.open"
            )
        # SQLite would go on writing to a file that has no name any more.
        if _identity(self._file_name) != self._identity:
            raise RunError(
                "the store was deleted or replaced while it was being written",
                where=str(self._file),
                hint="choose another folder with --run, or start again",
            )
        with translated(self._file), transaction(self._connection):
            yield self._connection

    @contextmanager
    def _reading(self) -> Iterator[StoreView]:
        """One view of all tables, whatever a writer commits meanwhile."""
        with translated(self._file), moment(self._connection):
            yield self._view

    def _rows(self, table: str, columns: str) -> list[tuple[Any, ...]]:
        with self._reading() as view:
            return list(view.rows(table, columns))

    def _value(self, name: str) -> str:
        return str(dict(self._rows("run", "name, value")).get(name, ""))

    def _fingerprint(self, number: int, text: str) -> dict[str, str]:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            place = f"{self._file}: environments, id {number}"
            raise damaged("the fingerprint is not a JSON object of texts", place)
        return found


def _set(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute(
        "INSERT INTO run VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def _identity(path: str) -> tuple[int, int] | None:
    """Which file lies at ``path``: device and inode; ``None`` if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
