"""Finding the cell that a command is about: a zoo name, a file, a run's best, or one trial of a
run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cellsearch.errors import ConfigError, InputFileError, RunError

if TYPE_CHECKING:
    from cellsearch.runs.run import RunData
    from cellsearch.genome.graph import Genome
    from cellsearch.trial import Trial

__all__ = ["Located", "locate", "read_cell_file", "read_text"]

MAX_FILE = 4_194_304
FORMS = "a zoo name, a .cell or .json file, a run folder (its best cell), or RUN:TRIAL"


@dataclass(frozen=True)
class Located:
    """A cell and where it came from: ``label`` is what to call it, ``doc`` what its file says;
    ``run`` and ``trial`` if it is a run's.
    """

    genome: Genome
    label: str
    doc: str = ""
    run: RunData | None = None
    trial: Trial | None = field(default=None)


def locate(text: str) -> Located:
    """The cell that ``text`` names, see :data:`FORMS`. Raises the error of what it looks like."""
    path = Path(text)
    if path.is_file() or path.suffix in (".cell", ".json"):
        return read_cell_file(path)
    if path.is_dir():
        return _of_run(path, "best")
    folder, colon, trial = text.rpartition(":")
    if colon and (Path(folder).is_dir() or "/" in folder):
        return _of_run(Path(folder), trial)
    if "/" in text:
        raise ConfigError(f"there is no file or run {text}", hint=f"a cell is {FORMS}")
    return _of_zoo(text)


def read_text(path: Path) -> str:
    """The text of a file of limited size. Raises :class:`ConfigError` if it cannot be read,
    :class:`InputFileError` if it is no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint=f"a cell is {FORMS}") from None
    if len(data) > MAX_FILE:
        raise InputFileError(f"larger than {MAX_FILE} bytes", where=str(path))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputFileError(f"not UTF-8 text (byte {error.start})", where=str(path)) from None


def read_cell_file(path: Path) -> Located:
    """The cell of a ``.cell`` or ``.json`` file. Raises :class:`InputFileError` with line and node
    for a damaged one.
    """
    from cellsearch.genome.graph import Genome
    from cellsearch.genome.text import parse

    content = read_text(path)
    if path.suffix == ".json":
        return Located(Genome.from_json(content, source=str(path)), path.stem)
    cell = parse(content, source=str(path))
    return Located(cell.genome, path.stem, cell.doc)


def _of_zoo(name: str) -> Located:
    from cellsearch import zoo

    try:
        entry = zoo.entry(name)
    except ConfigError as error:
        raise ConfigError(error.message, hint=f"{error.hint}; a cell is {FORMS}") from None
    return Located(entry.genome, entry.name, entry.doc)


def _of_run(folder: Path, which: str) -> Located:
    from cellsearch.runs.run import read_run

    run = read_run(folder)
    if which == "best":
        trial = run.best()
    else:
        if not which.isdecimal():
            raise ConfigError(
                f"{which!r} is no trial number", hint=f"write {folder}:NUMBER or {folder}:best; cellsearch ls {folder} lists them"
            )
        found = run.history.by_number.get(int(which))
        if found is None:
            raise RunError(
                f"the run has no trial {which}", where=str(folder), hint=f"cellsearch ls {folder} lists its {len(run.history)} trials"
            )
        trial = found
    return Located(trial.genome, f"{folder.name}-{trial.number}", "", run, trial)
