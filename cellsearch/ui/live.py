"""One run that is looked at: its columns, and what has changed since somebody looked."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cellsearch import options
from cellsearch.errors import CellsearchError, RunError
from cellsearch.files import file_state
from cellsearch.genome.json import decode
from cellsearch.genome.measures import multiply_adds
from cellsearch.plain import plain
from cellsearch.reporting.page import precision_note
from cellsearch.runs import open_run
from cellsearch.runs.facts import trained_sizes
from cellsearch.space import LayerSizes
from cellsearch.store import Store
from cellsearch.store.columns import FIELDS, Columns
from cellsearch.store.database import FILE_NAME
from cellsearch.store.naive import read_naive
from cellsearch.trial import Status

__all__ = ["LiveRun", "as_json"]

CellText = tuple[str, int, int | None]
"""Equations, number of nodes, multiply-adds a step."""
CHUNK = 1000
"""Cells whose texts are made and kept together."""
MOST_ROWS = 4000
"""Rows of a change that are sent; whoever has missed more reads all columns again."""
WRITER_SECONDS = 2.0
"""So often it is asked who writes the run."""


class LiveRun:
    """A run's folder, followed while somebody looks. It is only read, and never locked.

    path: the folder.
    name: what links call it; no two runs of a server have the same.

    Raises :class:`CellsearchError` for a folder that cannot be read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.lock = threading.RLock()
        """Held while the store is read."""
        self.version = 0
        """Counts changes; the columns have one, and each change that is sent."""
        self.ready = False
        """Whether all columns have been read once."""
        self.looked_at = False
        """Whether somebody has asked for the columns."""
        self._chunks: dict[int, bytes] = {}
        self._sizes: LayerSizes | None = None
        self._writer, self._asked = "", -WRITER_SECONDS
        self._open()
        self.summary()  # what cannot be read is refused here

    def _open(self) -> None:
        self.store = Store.read(self.path)
        self.columns = Columns()
        self.ready = False
        self._chunks.clear()
        self._sizes = None
        self._sent = (0, 0)
        self._data_version = -1
        self._files = self._on_disk()
        where = self.store.lookup.rows("PRAGMA database_list")[0][2]
        # SQLite does not tell of changes in a copy in memory (of a store of an older version), nor
        # in a file that cannot change.
        self._frozen = not where or not os.access(self.path, os.W_OK)

    def _on_disk(self) -> list[tuple[object, ...]]:
        """Which files the store is, and when they changed; the first is empty without a store."""
        return [file_state(self.path / name) for name in (FILE_NAME, f"{FILE_NAME}-wal")]

    # -- following ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Read all columns, in pieces, so that others are answered between them."""
        while True:
            with self.lock:
                if not self.columns.follow(self.store.lookup):
                    self.ready = True
                    self._sent = (len(self.columns.origins), len(self.columns.kinds))
                    return
            time.sleep(0.002)  # whoever waits for the lock gets it

    def poll(self) -> dict[str, Any] | None:
        """What has changed since the last time, as plain data; ``None`` for nothing. ``rows`` is
        left out where so much has changed that the columns are better read again.
        """
        with self.lock:
            said = self._replaced() or self._changed()
            writer = self._who_writes()
            if writer is not None:
                said = {"run": self.name, "version": self.version, "rows": [], **(said or {})}
                said["writer"] = writer
            return said

    def _replaced(self) -> dict[str, Any] | None:
        """The store is another file now."""
        now = self._on_disk()
        same = now[0][:2] == self._files[0][:2]  # device and number of the file
        if not now[0] or (same and not (self._frozen and now != self._files)):
            return None
        self._open()
        self.load()
        self.version += 1
        return {"run": self.name, "version": self.version, "count": len(self.columns)}

    def _changed(self) -> dict[str, Any] | None:
        version = self.store.lookup.rows("PRAGMA data_version")[0][0]
        if version == self._data_version:
            return None
        self._data_version = version
        if not self.ready:
            self.load()
        numbers: dict[int, None] = {}
        while found := self.columns.follow(self.store.lookup):
            fresh = [number for number in found if number not in numbers]
            numbers.update(dict.fromkeys(found))
            if not fresh:
                break
        if not numbers:
            return None
        self.version += 1
        said: dict[str, Any] = {"run": self.name, "version": self.version}
        said["count"] = len(self.columns)
        if len(numbers) <= MOST_ROWS:
            origins, kinds = self._sent
            said["origins"] = [origins, self.columns.origins[origins:]]
            said["kinds"] = [kinds, self.columns.kinds[kinds:]]
            said["rows"] = [[number, *self.columns.row(number)] for number in sorted(numbers)]
        self._sent = (len(self.columns.origins), len(self.columns.kinds))
        return said

    def _who_writes(self) -> str | None:
        """Who searches now, where that has changed since it was said."""
        if time.monotonic() - self._asked < WRITER_SECONDS:
            return None
        self._asked = time.monotonic()
        writer = Store.writer(self.path)
        if writer == self._writer:
            return None
        self._writer = writer
        return writer

    # -- documents ---------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """What the run is and how far it is, as plain data, without reading its trials."""
        with self.lock:
            store = self.store
            declared = options.parse_toml(store.experiment, str(self.path / "experiment.toml"))
            totals = store.lookup.totals()
            statuses = {status.value: totals.statuses[status] for status in Status}
            for status, count in store.lookup.rows(
                "SELECT status, count(*) FROM trials WHERE status IN ('waiting', 'running') "
                "GROUP BY status"
            ):
                statuses[status] = count
            self._writer, self._asked = Store.writer(self.path), time.monotonic()
            return {
                "run": self.name,
                "path": str(self.path),
                "name": str(declared.get("name", self.path.name)),
                **{
                    key: str(declared.get(key, ""))
                    for key in ("question", "task", "strategy", "schedule")
                },
                "asked_for": int(declared.get("trials", 0)),
                "precision": precision_note(declared),
                "metric": store.metric or "score",
                "created": store.created,
                "openings": [environment.opened for environment in store.environments()],
                "writer": self._writer,
                "statuses": statuses,
                "answered": store.answered,
                "count": store.lookup.count,
                "naive": [asdict(one) for one in read_naive(self.path)],
                "version": self.version,
                "ready": self.ready,
            }

    def first_rows(self, most: int = 60) -> dict[str, Any]:
        """The best trials, as the page shows them before it has the columns."""
        with self.lock:
            if not self.ready:
                return {"fields": FIELDS, "rows": []}
            numbers = [n for n in self.store.lookup.ranked(0, most) if n < len(self.columns)]
            return {
                "fields": FIELDS,
                "origins": self.columns.origins[:2000],
                "kinds": self.columns.kinds,
                "rows": [[number, *self.columns.row(number)] for number in numbers],
            }

    def packed(self) -> tuple[int, bytes]:
        """The version of the columns, and all of them as :meth:`Columns.pack` writes them."""
        self.looked_at = True
        with self.lock:
            if not self.ready:
                self.load()
            return self.version, self.columns.pack()

    def texts(self, numbers: Sequence[int]) -> dict[int, CellText]:
        """Equations, number of nodes and multiply-adds a step of cells; empty equations for a cell
        that is damaged. Multiply-adds are ``None`` where they are not known.
        """
        sizes = self.sizes()
        with self.lock:
            marks = ",".join("?" * len(numbers))
            rows = self.store.lookup.rows(
                f"SELECT number, genome FROM trials WHERE number IN ({marks})", *numbers
            )
        return {number: _facts(text, sizes) for number, text in rows}

    def chunk(self, place: int) -> bytes:
        """The texts of the cells from ``place * CHUNK`` on, as compressed JSON. What cannot change
        any more is kept: the first who searches equations has them made, and everybody else not.
        """
        if place in self._chunks:
            return self._chunks[place]
        start = place * CHUNK
        with self.lock:
            store = self.store
            stop = min(start + CHUNK, store.lookup.count)
        found = self.texts(range(start, stop))
        listed = [found.get(number, ("", 0, None)) for number in range(start, stop)]
        packed = gzip.compress(as_json({"start": start, "texts": listed}), compresslevel=1)
        with self.lock:
            if stop == start + CHUNK and self._sizes is not None and store is self.store:
                self._chunks[place] = packed
        return packed

    def read_ahead(self) -> bool:
        """Make one chunk that nobody has asked for yet, where somebody has the columns and no
        search is slowed by that. Returns whether there may be more.
        """
        if not self.looked_at or self._writer or not self.ready:
            return False
        for place in range(len(self.columns) // CHUNK):
            if place not in self._chunks:
                self.chunk(place)
                return place in self._chunks
        return False

    def sizes(self) -> LayerSizes | None:
        """The sizes of the layer that the run trains; ``None`` for a run whose experiment cannot
        be read.
        """
        if self._sizes is None:
            try:
                run = open_run(self.path)
                found = trained_sizes(run)
            except (CellsearchError, KeyError):
                return None
            if not run.trials.top(1):  # a guess until a cell is trained
                return found
            self._sizes = found
        return self._sizes

    def number(self, text: str) -> int:
        """The number of a trial. Raises :class:`RunError` for one that the run does not have."""
        count = self.store.lookup.count
        if not text.isdecimal() or len(text) > 9 or int(text) >= count:
            raise RunError(f"the run has no trial {text[:40]}", where=str(self.path))
        return int(text)


def _facts(text: str, sizes: LayerSizes | None) -> CellText:
    try:
        genome = decode(text, arranged=True)
    except CellsearchError:
        return "", 0, None
    count = None
    if sizes is not None:
        count = multiply_adds(genome, sizes.input_size, sizes.hidden_size, dict(sizes.named))
    return genome.to_text(), len(genome.nodes), count


def as_json(document: object) -> bytes:
    """JSON in which what is not a number is null."""
    text = json.dumps(plain(document), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")
