"""The SQLite file of a run: opening it, its versions, and its errors in our words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cellsearch.errors import CellsearchError, EnvironmentFailure, InputFileError, RunError
from cellsearch.files import failpoint
from cellsearch.store.lock import require_plain
from cellsearch.store.seals import SCHEMA as SEALS
from cellsearch.store.seals import damaged, has_seals, keep_seals, reseal, verify

__all__ = [
    "APPLICATION_ID",
    "FILE_NAME",
    "VERSION",
    "migrate",
    "moment",
    "network_file_system",
    "open_reader",
    "open_writer",
    "transaction",
    "translated",
]

FILE_NAME = "store.sqlite"
SHOWN = 8
APPLICATION_ID = 0x43454C4C  # "CELL"
_WAIT_SECONDS = 10.0


def _migrations() -> tuple[str, ...]:
    """SQL that leads from version n to n + 1, for n = 0, 1, ...; a released step is never
    edited.
    """
    return (
        Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"),
        "ALTER TABLE connections ADD COLUMN perturbation REAL",
        Path(__file__).with_name("lookups.sql").read_text(encoding="utf-8"),
        SEALS,
        "ALTER TABLE trials ADD COLUMN reason TEXT",
    )


VERSION = 5
"""Version of the schema that this program writes: the number of migrations."""
_SEALED = 4
"""The version from which on stores have seals."""
_SMALL = 4 << 20
"""Bytes up to which a store is checked as a whole when it is opened (3,000 trials, 0.1 s). In a
larger one the rows are checked that are read.
"""

# WAL needs memory that all processes share, which these file systems do not have
# (https://sqlite.org/wal.html, section 1).
_NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)


def network_file_system(path: Path, mounts: str | None = None) -> str:
    """The type of the network file system that ``path`` lies on; ``""`` for a local one, or where
    the system does not tell.

    ``mounts``: the text of ``/proc/mounts``, read from there by default.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:  # not Linux: nothing to ask
            return ""
    path = path.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        # /proc/mounts writes a space as \040
        mount = Path(fields[1].replace("\\040", " "))
        if path.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), fields[2]
    return kind if kind in _NETWORK_FILE_SYSTEMS else ""


def open_writer(folder: Path) -> sqlite3.Connection:
    """Open the store of a run for writing, creating or migrating it. The caller holds the run's
    lock.

    Raises :class:`EnvironmentFailure` on a network file system or a full disk,
    :class:`InputFileError` for a file that is not a store.
    """
    kind = network_file_system(folder)
    if kind:
        raise EnvironmentFailure(
            f"the run folder lies on a network file system ({kind}), where the store's "
            f"write-ahead log does not work",
            where=str(folder),
            hint="choose a folder on a local disk with --run and copy it afterwards",
        )
    path = folder / FILE_NAME
    with translated(path):
        connection = sqlite3.connect(
            path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
    try:
        with translated(path):
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise EnvironmentFailure(
                    f"SQLite cannot keep a write-ahead log here (journal mode {mode})",
                    where=str(path),
                )
            # A commit survives the death of the process at once, and loss of power from the next
            # checkpoint of the log on.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            migrate(connection, _migrations(), where=str(path))
            _check_whole(connection, where=str(path))
            keep_seals(connection, str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def runs_below(folder: Path) -> list[Path]:
    """The folders of runs in a folder, and in the folders in it."""
    return sorted(
        path.parent for deep in ("*", "*/*") for path in folder.glob(f"{deep}/{FILE_NAME}")
    )


class _Reader(sqlite3.Connection):
    """A connection that only reads: it is closed with the last one who reads from it. A run that
    was opened, its trials and their lists all read when they are asked, so none of them knows when
    the reading is done.
    """

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it could not be opened
            self.close()


def open_reader(folder: Path) -> sqlite3.Connection:
    """Open the store of a run for reading, also while a search writes it. Raises :class:`RunError`
    if there is none, :class:`InputFileError` for something else than a store.
    """
    path = folder / FILE_NAME
    # A reader too writes beside the store, into the memory that it shares with others.
    beside = tuple(f"{FILE_NAME}{end}" for end in ("-wal", "-shm", "-journal"))
    require_plain(folder, (FILE_NAME,))
    require_plain(folder, beside, alone=True)
    if not path.is_file():
        below = [str(run) for run in runs_below(folder)]
        hint = "`cellsearch search EXPERIMENT --run DIR` makes one"
        if below:
            hint = f"runs below it: {', '.join(below[:SHOWN])}" + ", ..." * (len(below) > SHOWN)
        raise RunError("there is no run here", where=str(folder), hint=hint)
    query = "mode=ro"
    if not os.access(folder, os.W_OK) and not (folder / f"{FILE_NAME}-wal").exists():
        # A reader of a WAL store wants to create its shared-memory file; a finished run in a
        # read-only folder needs none.
        query = "immutable=1"
    with translated(path):
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?{query}",
            factory=_Reader,
            uri=True,
            timeout=_WAIT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    try:
        with translated(path):
            _check_version(connection, VERSION, where=str(path))
            _check_whole(connection, where=str(path))
            return _up_to_date(connection, where=str(path))
    except BaseException:
        connection.close()
        raise


def _up_to_date(connection: sqlite3.Connection, *, where: str) -> sqlite3.Connection:
    """The store in this version's form: a store that is only read is not migrated, but a copy of it
    in memory is.
    """
    if _version(connection) == VERSION:
        return connection
    copy = sqlite3.connect(
        ":memory:", factory=_Reader, isolation_level=None, check_same_thread=False
    )
    try:
        connection.backup(copy)
        migrate(copy, _migrations(), where=where)
    except BaseException:
        copy.close()
        raise
    connection.close()
    return copy


def migrate(connection: sqlite3.Connection, steps: Sequence[str], *, where: str) -> None:
    """Bring the store to version ``len(steps)``, each step in one transaction. Raises
    :class:`RunError` for a newer store.
    """
    version = _version(connection)
    if version:
        _check_version(connection, len(steps), where=where)
    elif connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise InputFileError("this SQLite file is not the store of a run", where=where)
    if version < len(steps):
        verify(connection, where)
    for number, step in enumerate(steps[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE;\n{step};")
        reseal(connection, where)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _check_version(connection: sqlite3.Connection, newest: int, *, where: str) -> None:
    version = _version(connection)
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or version < 1:
        raise InputFileError("this SQLite file is not the store of a run", where=where)
    if version > newest:
        raise RunError(
            f"the store has version {version}; this cellsearch knows versions up to {newest}",
            where=where,
            hint="update cellsearch",
        )


def _check_whole(connection: sqlite3.Connection, *, where: str) -> None:
    """Raise :class:`InputFileError` for a store whose tables are not those of its version, or, if
    it is not large, that is damaged anywhere, its indexes included.
    """
    with moment(connection):
        version = _version(connection)
        if has_seals(connection) != (version >= _SEALED):
            raise damaged(f"it has version {version}, but not the tables of that version", where)
        pages, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "page_size")
        )
        if pages * size > _SMALL:
            return
        verify(connection, where)
        _check_references(connection, where)
        said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if said != "ok":
            raise damaged(f"SQLite says: {said}", where)


def _check_references(connection: sqlite3.Connection, where: str) -> None:
    """Raise :class:`InputFileError` for a row that names one that is not there: whoever forges a
    store can forge its seals too.
    """
    found = connection.execute("PRAGMA foreign_key_check").fetchone()
    if found is not None:
        table, _, wanted, _ = found
        raise damaged(f"its table {table} names a row of {wanted} that is not there", where)


@contextmanager
def moment(connection: sqlite3.Connection) -> Iterator[None]:
    """One view of all tables while entered, whatever a writer commits meanwhile; that of the
    transaction which the connection is in, if it is in one.
    """
    begun = not connection.in_transaction
    if begun:
        connection.execute("BEGIN")
    try:
        yield
    finally:
        if begun:
            connection.execute("COMMIT")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing: commit at the end, roll back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        failpoint("store: begun")
        yield
        failpoint("store: changed")
        connection.execute("COMMIT")
        failpoint("store: committed")
    except BaseException:
        # After some errors (disk full) SQLite has rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: the file is not a store, the disk is full or broken, another
    process holds the file.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error, path) from error
    except UnicodeDecodeError as error:  # in a message of SQLite that quotes the schema
        raise damaged(f"text in it is not UTF-8 ({error})", str(path)) from error


def _translate(error: sqlite3.Error, path: Path) -> CellsearchError:
    # the primary code; the higher bits refine it
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # An ERROR is a statement that does not fit the schema, which is ours in every whole store; text
    # that is not UTF-8 has no code.
    if (code == 0 and isinstance(error, sqlite3.OperationalError)) or code in (
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_ERROR,
    ):
        return damaged(f"SQLite says: {error}", str(path))
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return EnvironmentFailure(
            f"the store cannot be written: {error}",
            where=str(path),
            hint="make room on the disk and run the same command again; nothing recorded is lost",
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return EnvironmentFailure(
            f"the store cannot be opened for this: {error}",
            where=str(path),
            hint="check the folder's permissions",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RunError(
            "another process holds the store", where=str(path), hint="wait until it has finished"
        )
    return CellsearchError(
        f"internal error of the store: {error}", where=str(path), hint="please report this"
    )
