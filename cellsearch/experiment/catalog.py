"""Search spaces, experiments and suites by name: a checkout's files win over the copy that the
wheel carries; other packages add files of other names, in folders that they declare in the groups
``cellsearch.search_spaces``, ``cellsearch.experiments`` and ``cellsearch.suites`` of entry points.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.files import declared_files
from cellsearch.options import parse_toml, unknown
from cellsearch.space import SearchSpace
from cellsearch.tasks.suite import Suite

__all__ = [
    "EXPERIMENTS",
    "SPACES",
    "SUITES",
    "Entry",
    "entries",
    "find",
    "load_space",
    "load_suite",
    "read",
]

SPACES = "search_spaces"
EXPERIMENTS = "experiments"
SUITES = "suites"
_WORD = {SPACES: "search space", EXPERIMENTS: "experiment", SUITES: "suite"}
_TABLE = "write cellsearch search --csv {} --predict COLUMN"
_CUT = "save it as CSV, and write cellsearch search --csv FILE --predict COLUMN"
_DATA = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".parquet"), _TABLE),
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".npy", ".arff", ".json", ".feather", ".h5"), _CUT),
    ".npz": "write cellsearch search --npz {}",
    **dict.fromkeys(
        (".txt", ".md"), "write cellsearch search quickstart --set task_options.text={}"
    ),
}
"""What to write for data in place of an experiment, by the suffix of the file."""
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """A named TOML file: its name (file name without suffix), its path, and its text."""

    name: str
    path: Path
    text: str

    def document(self) -> dict[str, Any]:
        """The file's values."""
        return parse_toml(self.text, str(self.path))


def _own(kind: str, *, here: bool = True) -> dict[str, Path]:
    """Names with their files, first match wins: the current folder (``here``), the checkout, the
    wheel's copy.
    """
    checkout = _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None
    places = (Path.cwd() if here else None, checkout, _PACKAGE / "_catalog")
    found: dict[str, Path] = {}
    for place in filter(None, places):
        for path in sorted((place / kind).glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


@checked_arguments
def entries(kind: str) -> Mapping[str, Path]:
    """All names of a kind with their files, those of other installed packages included."""
    others = declared_files(
        f"cellsearch.{kind}", _WORD[kind], "*.toml", partial(_own, kind, here=False)
    )
    return dict(sorted((others | _own(kind)).items()))


@checked_arguments
def find(kind: str, name_or_path: str | Path, *, beside: Path | None = None) -> Entry:
    """The file of this name, or at this path (relative to the folder ``beside``, then to the
    current one).

    Raises :class:`ConfigError` that lists the known names.
    """
    text = str(name_or_path)
    hint = _DATA.get(Path(text).suffix.lower(), "") if kind == EXPERIMENTS else ""
    if hint:
        raise ConfigError(
            f"{text} is data, not an experiment, which is a name or a TOML file",
            hint=hint.format(shlex.quote(text)) + "; docs/own_data.md shows it",
        )
    if isinstance(name_or_path, Path) or "/" in text or "\\" in text or text.endswith(".toml"):
        for path in ([beside / text] if beside else []) + [Path(text)]:
            if path.is_file():
                return read(path)
        raise ConfigError(
            f"there is no {_WORD[kind]} file {text}",
            hint=f"known names: {', '.join(entries(kind))}",
        )
    known: Mapping[str, Path] = _own(kind)
    if text not in known:
        known = entries(kind)
    if text not in known:
        raise unknown(_WORD[kind], text, known)
    return read(known[text])


@checked_arguments
def read(path: Path) -> Entry:
    """A TOML file. Raises :class:`ConfigError` if it cannot be read."""
    try:
        return Entry(path.stem, path, path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from None


@checked_arguments
def load_space(name_or_path: str | Path) -> SearchSpace:
    """The search space of this name, or in this TOML file. Raises :class:`ConfigError`."""
    entry = find(SPACES, name_or_path)
    return SearchSpace.from_toml(entry.text, source=str(entry.path))


@checked_arguments
def load_suite(name_or_path: str | Path) -> Suite:
    """The suite of this name, or in this TOML file. Raises :class:`ConfigError`."""
    entry = find(SUITES, name_or_path)
    return Suite.parse(entry.document(), source=str(entry.path))
