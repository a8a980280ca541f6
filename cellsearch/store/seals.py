"""Seals: how damage to a store is noticed, down to one bit.

Beside each row lies, in the table ``seals``, a digest of what was written: one number for each
table and owner, the owner being the first column of the table's key (the trial, the position, the
event), and the number the sum of the digests of the owner's rows. So a row that has changed, has
gone, has come from elsewhere or is there twice disagrees with a number that lies on another page.

Triggers of the writer's connection keep the seals; they are made anew whenever a store is opened,
from the tables that it has, so that a new table or column needs nothing here. A digest finds
accidents. It is no signature: whoever can write the file can write seals as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import starmap
from operator import itemgetter
from typing import Any

from cellsearch.errors import InputFileError

__all__ = [
    "SCHEMA",
    "TableLayout",
    "damaged",
    "has_seals",
    "keep_seals",
    "reseal",
    "sealed_rows",
    "verify",
]

SCHEMA = """
CREATE TABLE seals (                    -- what the rows of each owner were when they were written
    owner NOT NULL,                     -- first column of their key
    part TEXT NOT NULL,                 -- their table
    seal INTEGER NOT NULL,              -- sum of the digests of its rows; 0 for no rows
    PRIMARY KEY (owner, part)
) WITHOUT ROWID
"""
_TABLE = "seals"
# Sums of two stay below 2 ** 63, beyond which SQLite would go on with floats.
_MASK = (1 << 62) - 1

_HINT = (
    "take the file from a backup; it was left as it is, and so were the files beside it. "
    "`sqlite3 store.sqlite .recover` shows what is in it"
)

Row = tuple[Any, ...]


def damaged(what: str, where: str) -> InputFileError:
    """The error for something in a store that this program did not write so."""
    return InputFileError(f"the store is damaged: {what}", where=where, hint=_HINT)


@dataclass(frozen=True)
class TableLayout:
    """The columns of a table, as the file has them."""

    table: str
    """Its name."""
    columns: tuple[str, ...]
    """Names, in order."""
    types: tuple[tuple[type, ...], ...]
    """What each may hold."""
    key: tuple[str, ...]
    """The columns of the primary key, in order."""

    @classmethod
    def of(cls, connection: sqlite3.Connection, table: str, where: str) -> TableLayout:
        """Ask the file. Raises :class:`InputFileError` for a table that is not there, or that no
        version of this program made.
        """
        found = connection.execute(f"PRAGMA table_info({table})").fetchall()
        key = sorted((place, name) for _, name, _, _, _, place in found if place)
        types = tuple(_types(declared, needed, place) for _, _, declared, needed, _, place in found)
        if not key or not all(types):
            raise damaged(f"its table {table} is missing, or not as it was made", where)
        names = tuple(column[1] for column in found)
        return cls(table, names, types, tuple(name for _, name in key))

    @property
    def owner(self) -> int:
        """Index of the column that says whose the row is."""
        return self.columns.index(self.key[0])

    def digest(self) -> Callable[..., int]:
        """The function that digests a row, whose values are its arguments."""
        begun = blake2b(ascii((self.table, self.columns)).encode(), digest_size=8)

        def digest(*row: object) -> int:
            state = begun.copy()
            # ascii: the same on every machine and Python, and another one for 1, 1.0 and '1'
            state.update(ascii(row).encode())
            return int.from_bytes(state.digest(), "big") & _MASK

        return digest


_DECLARED: dict[str, tuple[type, ...]] = {
    "INTEGER": (int,),
    "REAL": (float,),
    "TEXT": (str,),
    "": (int, str),
}


def _types(declared: str, needed: int, place: int) -> tuple[type, ...]:
    """What a column may hold; nothing for a declaration that this program never wrote."""
    found = _DECLARED.get(declared, ())
    return (*found, type(None)) if found and not needed and not place else found


def has_seals(connection: sqlite3.Connection) -> bool:
    """Whether the store has seals; one that version 0.1 wrote has none."""
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (_TABLE,)).fetchone()
    return found is not None


def _tables(connection: sqlite3.Connection) -> list[str]:
    """All tables that are sealed; none in a store without seals."""
    if not has_seals(connection):
        return []
    query = (
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' "
        "AND name <> ?"
    )
    return [name for (name,) in connection.execute(query, (_TABLE,))]


# -- writing ---------------------------------------------------------------------------------------


def keep_seals(connection: sqlite3.Connection, where: str) -> None:
    """From now on what this connection writes is sealed in the same transaction."""
    connection.execute("PRAGMA temp_store = MEMORY")  # there the triggers are
    # Without it INSERT OR REPLACE removes a row and tells no trigger.
    connection.execute("PRAGMA recursive_triggers = ON")
    for table in _tables(connection):
        layout = TableLayout.of(connection, table, where)
        connection.create_function(f"digest_of_{table}", len(layout.columns), layout.digest())
        new, old = (
            f"digest_of_{table}({', '.join(f'{side}.{name}' for name in layout.columns)})"
            for side in ("new", "old")
        )
        first = layout.key[0]
        for event, changes in (
            ("INSERT", ((f"new.{first}", new),)),
            ("UPDATE", ((f"old.{first}", f"-{old}"), (f"new.{first}", new))),
            ("DELETE", ((f"old.{first}", f"-{old}"),)),
        ):
            if event == "UPDATE":
                # mostly one owner, so that one change will do
                same, other = f"WHEN old.{first} = new.{first}", f"WHEN old.{first} <> new.{first}"
                _trigger(
                    connection, table, event, "same", same, [(f"new.{first}", f"{new} - {old}")]
                )
                _trigger(connection, table, event, "other", other, changes)
            else:
                _trigger(connection, table, event, "", "", changes)


def _trigger(
    connection: sqlite3.Connection,
    table: str,
    event: str,
    suffix: str,
    condition: str,
    changes: Iterable[tuple[str, str]],
) -> None:
    statements = " ".join(
        f"INSERT INTO {_TABLE} VALUES ({owner}, '{table}', ({change}) & {_MASK}) "
        f"ON CONFLICT (owner, part) DO UPDATE SET seal = (seal + excluded.seal) & {_MASK};"
        for owner, change in changes
    )
    connection.execute(
        f"CREATE TEMP TRIGGER seal_{table}_{event}{suffix} AFTER {event} ON main.{table} "
        f"{condition} BEGIN {statements} END"
    )


def reseal(connection: sqlite3.Connection, where: str) -> None:
    """Seal everything as it stands: after a step to another version, in its transaction."""
    tables = _tables(connection)
    if tables:
        connection.execute(f"DELETE FROM {_TABLE}")
    for table in tables:
        layout = TableLayout.of(connection, table, where)
        sums: dict[Any, int] = {}
        digest, owner = layout.digest(), layout.owner
        for row in _select(connection, layout, None):
            sums[row[owner]] = (sums.get(row[owner], 0) + digest(*row)) & _MASK
        connection.executemany(
            f"INSERT INTO {_TABLE} VALUES (?, ?, ?)",
            ((name, table, seal) for name, seal in sums.items()),
        )


# -- reading ---------------------------------------------------------------------------------------


def verify(connection: sqlite3.Connection, where: str) -> None:
    """Read everything that has seals. Raises :class:`InputFileError` for damage."""
    for table in _tables(connection):
        for _ in sealed_rows(connection, TableLayout.of(connection, table, where), where):
            pass


def sealed_rows(
    connection: sqlite3.Connection, layout: TableLayout, where: str, owners: range | None = None
) -> Iterator[Row]:
    """The rows of a table in the order of its key, or those of some owners, each checked before it
    is given: types always, seals where the store has them.

    Raises :class:`InputFileError` that names the row; for rows that have gone when all others were
    given. The caller holds a transaction, so that rows and seals are of one moment.
    """
    good: set[tuple[type, ...]] = set()

    def typed() -> Iterator[Row]:
        rows = _select(connection, layout, owners)
        while True:
            try:
                row = next(rows, None)
            except sqlite3.OperationalError as error:
                raise _undecodable(connection, layout, where) or error from error
            if row is None:
                return
            kinds = tuple(map(type, row))
            if kinds not in good:
                _check_types(layout, row, where)
                good.add(kinds)
            yield row

    rows = typed()
    if not has_seals(connection):
        yield from rows
        return
    condition, values = _between("owner", owners)
    if owners is None and layout.types[layout.owner] == (str,):
        condition = " AND owner >= ''"  # texts come after all numbers: the trials need not be read
    seals: dict[Any, int] = dict(
        connection.execute(
            f"SELECT owner, seal FROM {_TABLE} WHERE part = ?{condition}", (layout.table, *values)
        )
    )
    digest = layout.digest()
    for name, group in _grouped(rows, layout.owner):
        if sum(starmap(digest, group)) & _MASK != seals.pop(name, None):
            raise _changed(layout, name, where)
        yield from group
    for name, seal in seals.items():
        if seal:
            raise _changed(layout, name, where)


def _grouped(rows: Iterable[Row], index: int) -> Iterator[tuple[Any, list[Row]]]:
    """The rows of each owner, which follow one another."""
    owner = itemgetter(index)
    group: list[Row] = []
    for row in rows:
        if group and owner(row) != owner(group[0]):
            yield owner(group[0]), group
            group = []
        group.append(row)
    if group:
        yield owner(group[0]), group


def _select(
    connection: sqlite3.Connection, layout: TableLayout, owners: range | None
) -> sqlite3.Cursor:
    condition, values = _between(layout.key[0], owners)
    return connection.execute(
        f"SELECT {', '.join(layout.columns)} FROM {layout.table} WHERE TRUE{condition} "
        f"ORDER BY {', '.join(layout.key)}",
        values,
    )


def _between(column: str, owners: range | None) -> tuple[str, tuple[int, ...]]:
    if owners is None:
        return "", ()
    return f" AND {column} >= ? AND {column} < ?", (owners.start, owners.stop)


def _check_types(layout: TableLayout, row: Row, where: str) -> None:
    for name, value, types in zip(layout.columns, row, layout.types, strict=True):
        if not isinstance(value, types):
            allowed = " or ".join("NULL" if t is type(None) else t.__name__ for t in types)
            place = _place(layout, row[layout.owner], where)
            raise damaged(f"{name} is {value!r:.60}, not {allowed}", place)


def _undecodable(
    connection: sqlite3.Connection, layout: TableLayout, where: str
) -> InputFileError | None:
    """The error for the first row with text that is not UTF-8, which sqlite3 does not name."""
    before, connection.text_factory = connection.text_factory, bytes
    try:
        for row in _select(connection, layout, None):
            for value in row:
                if isinstance(value, bytes) and not _is_utf8(value):
                    owner = row[layout.owner]
                    name = owner.decode("utf-8", "replace") if isinstance(owner, bytes) else owner
                    return _changed(layout, name, where)
    finally:
        connection.text_factory = before
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _changed(layout: TableLayout, owner: object, where: str) -> InputFileError:
    return damaged("what stands here is not what was written", _place(layout, owner, where))


def _place(layout: TableLayout, owner: object, where: str) -> str:
    name = "trial" if layout.table == "trials" else layout.key[0]
    return f"{where}: {layout.table}, {name} {owner!r:.40}"
