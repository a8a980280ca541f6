"""Telling a run cells from outside: reading what a person, a script or a language model wrote,
checking each cell against the space, and putting the good ones into the run's inbox.

Every cell stands for itself: a wrong one is refused with file, line and column, and the others are
accepted all the same. Nothing is written before everything was read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cellsearch import zoo
from cellsearch.errors import ArgumentTypeError, CellsearchError, InputFileError, SpaceError, amount
from cellsearch.genome.device import DeviceLimits
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.genome.text import parse
from cellsearch.job import plain_text
from cellsearch.options import keys, read_options, unknown
from cellsearch.runs.facts import trained_sizes
from cellsearch.runs.snapshot import Snapshot
from cellsearch.space import SearchSpace, Violation, layer_weights
from cellsearch.store import Inbox, Store, ToldCell
from cellsearch.store.inbox import MAX_REASON
from cellsearch.trial import Trial

__all__ = [
    "MAX_CELLS",
    "ToldAnswer",
    "WrittenCell",
    "as_written",
    "declared_space",
    "read_cells",
    "tell",
]

MAX_CELLS = 1000
"""Cells that are told at once, at most."""
_BORDER = re.compile(r"-{3,}\s*")
"""A line that parts two cells of one text."""
_KEYS = ("cell", "reason", "parents")
ONE = 'one is {"cell": "h[t] = ...", "reason": "why", "parents": [3, 7]}; cell alone is needed'


@dataclass(frozen=True, slots=True)
class WrittenCell:
    """A cell as somebody wrote it."""

    text: str
    """A ``.cell`` text."""
    source: str = "<text>"
    """What errors call it."""
    line: int = 1
    """Where it begins in its source."""
    reason: str = ""
    """Why, in words."""
    parents: tuple[int, ...] = ()
    """Numbers of the trials that it came from."""


@dataclass(frozen=True, slots=True)
class ToldAnswer:
    """What became of one cell that was told."""

    where: str
    """Source and line."""
    status: str
    """``"accepted"``: it waits; ``"known"``: it was told or trained before; ``"refused"``."""
    trial: int | None = None
    """The trial that the run has of it, if it is known."""
    said: str = ""
    """More about it, in words."""
    error: CellsearchError | None = None
    """Why it was refused."""

    def to_document(self) -> dict[str, Any]:
        """As plain data."""
        error = self.error
        return {
            "where": self.where,
            "status": self.status,
            "trial": self.trial,
            "said": self.said,
            "error": str(error) if error is not None else None,
            "hint": error.hint if error is not None else None,
        }


# -- reading ---------------------------------------------------------------------------------------


def read_cells(
    text: str, source: str = "<text>", *, reason: str = "", parents: Sequence[int] = ()
) -> list[WrittenCell]:
    """The cells in a text: ``.cell`` texts with lines of ``---`` between them, or JSON, a list of
    ``{"cell": ..., "reason": ..., "parents": [...]}`` or one of these.

    reason, parents: of cells that do not say so themselves. The reason of a ``.cell`` text is what
    its comments before the first statement say, or else its docstring.

    Raises :class:`InputFileError` for a text that is no list of cells at all.
    """
    text = text.removeprefix("\ufeff")
    given = (reason, tuple(parents))
    is_json = text.lstrip()[:1] in ("[", "{")
    cells = list(_of_json(text, source, *given) if is_json else _of_text(text, source, *given))
    if not cells:
        raise InputFileError(
            "there is no cell in it", where=source, hint="write one; several with --- between them"
        )
    if len(cells) > MAX_CELLS:
        raise InputFileError(
            f"{len(cells):,} cells; at most {MAX_CELLS:,} are taken at once", where=source
        )
    return cells


def _of_text(
    text: str, source: str, reason: str, parents: tuple[int, ...]
) -> Iterator[WrittenCell]:
    begin, part = 1, list[str]()
    for number, line in enumerate([*text.split("\n"), "---"], start=1):
        if not _BORDER.fullmatch(line):
            part.append(line)
            continue
        if any(one.strip() for one in part):
            yield WrittenCell("\n".join(part), source, begin, _comment(part) or reason, parents)
        begin, part = number + 1, []


def _comment(lines: Sequence[str]) -> str:
    """What the comments before the first statement say."""
    said = []
    for line in map(str.strip, lines):
        if line.startswith("#"):
            said.append(line.lstrip("#").strip())
        elif line:
            break
    return "\n".join(said).strip()


def _of_json(
    text: str, source: str, reason: str, parents: tuple[int, ...]
) -> Iterator[WrittenCell]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputFileError(
            f"not JSON: {error.msg} (column {error.colno})", where=f"{source}:{error.lineno}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputFileError(f"not JSON: {type(error).__name__}", where=source) from None
    for k, entry in enumerate(document if isinstance(document, list) else [document]):
        where = f"{source}[{k}]"
        if isinstance(entry, str):
            entry = {"cell": entry}
        if not isinstance(entry, dict) or not isinstance(entry.get("cell"), str):
            raise InputFileError("this is not a cell with a reason", where=where, hint=ONE)
        for key in entry.keys() - set(_KEYS):
            wrong = unknown("key", key, _KEYS)
            raise InputFileError(wrong.message, where=where, hint=wrong.hint)
        said, numbers = entry.get("reason", ""), entry.get("parents", [])
        if not isinstance(said, str):
            raise InputFileError("the reason is not text", where=f"{where}.reason", hint=ONE)
        if not isinstance(numbers, list) or not all(type(n) is int for n in numbers):
            where = f"{where}.parents"
            raise InputFileError("parents are numbers of trials", where=where, hint=ONE)
        yield WrittenCell(
            entry["cell"],
            where,
            reason=said or _comment(entry["cell"].split("\n")) or reason,
            parents=tuple(numbers) or parents,
        )


# -- checking and putting down ---------------------------------------------------------------------


def declared_space(run: Snapshot) -> SearchSpace:
    """The space of a run, limits on weights and a device's counted at the sizes that it trains, as
    far as the run knows them without its data; the search itself checks again.
    """
    declared = run.declared
    space = SearchSpace.from_table(declared["space"], source=f"{run.path}: [space]")
    most = declared.get("max_weights", 0)
    device = read_options(
        DeviceLimits,
        {k: v for k, v in declared.get("device", {}).items() if k in keys(DeviceLimits)},
        source=str(run.path),
        path="device",
    )
    if not (most or device.bounds) or not len(run.trials):
        return space
    sizes = trained_sizes(run)
    weights = layer_weights(zoo.load(most), sizes) if isinstance(most, str) else most
    return space.sized(weights, (sizes,), device)


def tell(run: Snapshot, cells: Sequence[WrittenCell]) -> tuple[ToldAnswer, ...]:
    """Check each cell and put the good ones into the inbox of a run, for the search that is at work
    in it, or the next one; what became of each, in order.

    run: as it stands now.

    Raises :class:`EnvironmentFailure` where nothing can be written.
    """
    space, inbox = declared_space(run), Inbox(run.path)
    seen = {search_key(told.genome) for told in inbox.waiting()}
    answers, good = list[ToldAnswer](), list[ToldCell]()
    with Store.read(run.path) as store:
        for cell in cells:
            where = cell.source if cell.source.endswith("]") else f"{cell.source}:{cell.line}"
            try:
                told = _checked(cell, space, store.lookup.count)
            except CellsearchError as error:
                answers.append(ToldAnswer(where, "refused", error=error))
                continue
            key = search_key(told.genome)
            twin = store.lookup.with_key(key)
            if twin is not None:
                answers.append(ToldAnswer(where, "known", twin, _known(store.trial(twin))))
            elif key in seen:
                answers.append(ToldAnswer(where, "known", said="it was told already, and waits"))
            else:
                seen.add(key)
                good.append(told)
                answers.append(ToldAnswer(where, "accepted", said="it waits to be trained"))
    inbox.put(good)
    return tuple(answers)


def _known(trial: Trial) -> str:
    """What became of a cell that the run has."""
    if trial.failure is not None:
        return f"it is trial {trial.number}, which failed ({trial.failure.kind})"
    if trial.is_scored:
        return f"it is trial {trial.number}, score {trial.score:.6g}"
    return f"it is trial {trial.number}"


def _checked(cell: WrittenCell, space: SearchSpace, trials: int) -> ToldCell:
    """The cell. Raises an error that names its line where it is not one of the space."""
    padded = "\n" * (cell.line - 1) + cell.text
    found = parse(padded, source=cell.source)
    outside = space.contains(found.genome)
    if outside is not None:
        line, column = _place_of(outside, padded, cell.line)
        raise SpaceError(
            f"the cell is not in the space {space.name}: {outside} (column {column})",
            where=f"{cell.source}:{line}",
            hint="cellsearch ask RUN says what the space allows",
        )
    for parent in cell.parents:
        if not 0 <= parent < trials:
            raise InputFileError(
                f"its parent {parent} is no trial of the run",
                where=f"{cell.source}:{cell.line}",
                hint=f"it has {amount(trials, 'trial')}, numbered from 0",
            )
    reason = plain_text(cell.reason or found.doc).strip()
    if len(reason) > MAX_REASON:
        raise InputFileError(
            f"the reason has {len(reason):,} characters; at most {MAX_REASON:,} are kept",
            where=f"{cell.source}:{cell.line}",
            hint="say it in fewer words",
        )
    return ToldCell(found.genome, reason, tuple(dict.fromkeys(cell.parents)))


def _place_of(outside: Violation, text: str, first: int) -> tuple[int, int]:
    """Line and column of what is wrong: of the op, or else of the statement that makes the node;
    the begin of the cell where nothing is named so.
    """
    name = re.escape(outside.node.removesuffix("_t"))
    statement = re.compile(rf"\s*({name})\s*(\[t\])?\s*=", re.ASCII)
    for number, line in enumerate(text.split("\n"), start=1):
        if found := statement.match(line):
            op = re.search(rf"\b{re.escape(outside.what.removeprefix('the op '))}\(", line)
            return number, (op or found).start(0 if op else 1) + 1
    return first, 1


def as_written(
    cells: Genome | str | Sequence[Genome | str], reason: str, parents: Sequence[int]
) -> list[WrittenCell]:
    """The cells that a caller in Python gives. Raises :class:`ArgumentTypeError` for others."""
    given = [cells] if isinstance(cells, Genome | str) else list(cells)
    written: list[WrittenCell] = []
    for k, cell in enumerate(given):
        if isinstance(cell, Genome):
            written.append(WrittenCell(cell.to_text()))
        elif isinstance(cell, str):
            written += read_cells(cell, f"<cell {k}>" if len(given) > 1 else "<text>")
        else:
            raise ArgumentTypeError(
                f"cell {k} is of type {type(cell).__name__}",
                where="Run.tell",
                hint="a cellsearch.Genome, or a .cell text",
            )
    return [
        replace(one, reason=one.reason or reason, parents=one.parents or tuple(parents))
        for one in written
    ]
