"""Search spaces, experiments and suites by name: a checkout's files win over the copy that the
wheel carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellsearch import options as tomltext
from cellsearch.errors import ConfigError
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
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """A named TOML file: its name (file name without suffix), its path, and its text."""

    name: str
    path: Path
    text: str

    def document(self) -> dict[str, Any]:
        """The file's values."""
        return tomltext.parse(self.text, str(self.path))


def folders(kind: str) -> Iterator[Path]:
    """Where files of a kind are looked for, first match wins: the current folder, the checkout, the
    wheel's copy.
    """
    seen: set[Path] = set()
    checkout = _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None
    for folder in (
        Path.cwd() / kind,
        checkout / kind if checkout else None,
        _PACKAGE / "_catalog" / kind,
    ):
        if folder is not None and folder.is_dir() and folder.resolve() not in seen:
            seen.add(folder.resolve())
            yield folder


def entries(kind: str) -> Mapping[str, Path]:
    """All names of a kind with their files."""
    found: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find(kind: str, name_or_path: str | Path, *, beside: Path | None = None) -> Entry:
    """The file of this name, or at this path (relative to the folder ``beside``, then to the
    current one).

    Raises :class:`ConfigError` that lists the known names.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or "\\" in text or text.endswith(".toml"):
        for path in ([beside / text] if beside else []) + [Path(text)]:
            if path.is_file():
                return read(path)
        raise ConfigError(
            f"there is no {_WORD[kind]} file {text}",
            hint=f"known names: {', '.join(entries(kind))}",
        )
    known = entries(kind)
    if text not in known:
        raise tomltext.unknown(_WORD[kind], text, known)
    return read(known[text])


def read(path: Path) -> Entry:
    """A TOML file. Raises :class:`ConfigError` if it cannot be read."""
    try:
        return Entry(path.stem, path, path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from None


def load_space(name_or_path: str | Path) -> SearchSpace:
    """The search space of this name, or in this TOML file. Raises :class:`ConfigError`."""
    entry = find(SPACES, name_or_path)
    return SearchSpace.from_toml(entry.text, source=str(entry.path))


def load_suite(name_or_path: str | Path) -> Suite:
    """The suite of this name, or in this TOML file. Raises :class:`ConfigError`."""
    entry = find(SUITES, name_or_path)
    return Suite.parse(entry.document(), source=str(entry.path))
