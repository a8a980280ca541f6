"""Data of the user's own that a task reads from a path: which options name them, where they lie
now, and how one knows that they are the same.

A path belongs to one machine and one working folder, so it is a hint. What counts is the digest of
what lies there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellsearch.errors import ConfigError, InputFileError, RunError, quoted
from cellsearch.options import marked
from cellsearch.tasks.options import DataPath, TaskOptions, parse_options
from cellsearch.tasks.registry import get
from cellsearch.tasks.suite import SUITE, Suite

__all__ = [
    "DataOption",
    "Given",
    "Remembered",
    "assigned",
    "data_options",
    "find",
    "missing",
    "other_data",
    "with_data",
    "with_values",
]

Given = str | Path | Mapping[str, str | Path] | Sequence[str | Path] | None
"""How a person says where data lie: a path, or paths by option; texts may be ``OPTION=PATH``."""


@dataclass(frozen=True, slots=True)
class DataOption:
    """An option that names data."""

    key: str
    """Its name; in a suite ``TASK.NAME``."""
    value: str
    """What it says."""
    stated: str
    """The digest that the options state; ``""`` for none."""
    kind: DataPath
    """What is known of it."""

    @property
    def is_path(self) -> bool:
        """Whether it says a path."""
        return bool(self.value) and self.value not in self.kind.words

    def digest_of(self, path: str | Path) -> str:
        """The digest of what lies there; ``""`` for nothing that could be data. Raises
        :class:`InputFileError` for what cannot be read.
        """
        if not (os.path.isfile(path) or os.path.isdir(path)):
            return ""
        try:
            return self.kind.digest(Path(path))
        except OSError as error:
            raise InputFileError(
                f"the data cannot be read: {error.strerror or error}",
                where=str(path),
                hint="check the permissions",
            ) from error


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a run knows of data."""

    digest: str = ""
    """Of what they hold; ``""``: the run was made before digests were kept."""
    places: tuple[str, ...] = ()
    """Where they have lain, newest first: absolute, and as seen from the folder of the run."""

    def seen(self, path: Path, digest: str, run: Path) -> Remembered:
        """The same, with where they lie now."""
        now = (str(path.absolute()), os.path.relpath(path.absolute(), run.absolute()))
        return Remembered(digest, (*now, *(p for p in self.places if p not in now))[:8])


def data_options(task: str, options: Mapping[str, Any]) -> dict[str, DataOption]:
    """The options of a task or suite that name data, by key: found by their type."""
    if task != SUITE:
        return {o.key: o for o in _of_one(get(task).Options, options, "")}
    return {
        option.key: option
        for member in Suite.parse(options).members
        for option in _of_one(get(member.task).Options, member.options, f"{member.name}.")
    }


def _of_one(
    kind: type[TaskOptions], options: Mapping[str, Any], prefix: str
) -> Iterator[DataOption]:
    found = marked(kind, DataPath)
    if not found:
        return
    parsed = parse_options(kind, options)
    for name, path in found.items():
        stated = str(getattr(parsed, path.stated)) if path.stated else ""
        yield DataOption(f"{prefix}{name}", str(getattr(parsed, name) or ""), stated, path)


def with_values(
    task: str, options: Mapping[str, Any], values: Mapping[str, str | DataOption]
) -> dict[str, Any]:
    """The options with other values for some that name data: paths, or what other options say."""
    if task != SUITE:
        return {**options, **_plain(options, values, "")}
    members = [dict(member) for member in options["tasks"]]
    for member in members:
        prefix, own = f"{member.get('name') or member['task']}.", member.get("options", {})
        changed = _plain(own, values, prefix)
        if changed:
            member["options"] = {**own, **changed}
    return {**options, "tasks": members}


def _plain(
    options: Mapping[str, Any], values: Mapping[str, str | DataOption], prefix: str
) -> dict[str, Any]:
    """The values of one task's options, by name; a value that is already meant is not written."""
    changed: dict[str, Any] = {}
    for key, value in values.items():
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or "." in name:
            continue
        if isinstance(value, str):
            changed[name] = value
            continue
        if name in options or value.value:
            changed[name] = value.value
        if value.kind.stated and (value.kind.stated in options or value.stated):
            changed[value.kind.stated] = value.stated
    return changed


def assigned(
    options: Mapping[str, DataOption], data: Given, known: Mapping[str, Remembered] | None = None
) -> dict[str, str]:
    """Paths by option, out of what a person says.

    A path alone is that of the only option, or of those whose digest (in ``known``) it has. Raises
    :class:`ConfigError` for one that names no data or fits several.
    """
    if data is None or data == () or data == []:
        return {}
    if not options:
        raise ConfigError(
            "the task reads no data of your own, so --data (in Python, data=) says nothing",
            hint="data sets that can be downloaded are looked for in --data-dir",
        )
    if isinstance(data, Mapping):
        pairs = [(str(key), str(path)) for key, path in data.items()]
    else:
        texts = [data] if isinstance(data, str | Path) else data
        pairs = [pair for text in texts for pair in _pairs(str(text), options, known or {})]
    for key, _ in pairs:
        if key not in options:
            raise ConfigError(
                f"there is no data option {key!r}",
                where="--data",
                hint=f"allowed: {', '.join(options)}",
            )
    return dict(pairs)


def _pairs(
    text: str, options: Mapping[str, DataOption], known: Mapping[str, Remembered]
) -> list[tuple[str, str]]:
    key, equals, path = text.partition("=")
    if equals and key in options and not os.path.exists(text):
        return [(key, path)]
    if len(options) == 1:
        return [(next(iter(options)), text)]
    fitting = [
        k
        for k, option in options.items()
        if k in known and known[k].digest and known[k].digest == option.digest_of(text)
    ]
    if fitting:
        return [(k, text) for k in fitting]
    raise ConfigError(
        f"{text} could be the data of {' or '.join(options)}",
        where="--data",
        hint=f"say which: --data {quoted(next(iter(options)) + '=PATH')}",
    )


def with_data(task: str, options: Mapping[str, Any], data: Given) -> dict[str, Any]:
    """The options with the paths that a person says, of a task or suite that begins anew."""
    if not data:
        return dict(options)
    return with_values(task, options, assigned(data_options(task, options), data))


def find(
    option: DataOption, remembered: Remembered, folders: Iterable[Path | None]
) -> tuple[Path, str] | None:
    """Where the data lie now, and their digest; ``None`` if they are nowhere.

    folders: of the run, then of the experiment file.

    Tried are the path as it was said, the same in the folders, and where they lay before. With a
    digest only data of this digest count. Raises :class:`RunError` if there are others only.
    """
    expected = remembered.digest or option.stated
    others: list[tuple[Path, str]] = []
    for path in _candidates(option, remembered, folders):
        digest = option.digest_of(path)
        if digest:
            if not expected or digest == expected:
                return path, digest
            others.append((path, digest))
    if others:
        raise other_data(option.key, expected, others)
    return None


def _candidates(
    option: DataOption, remembered: Remembered, folders: Iterable[Path | None]
) -> list[Path]:
    said, known = Path(option.value), list(filter(None, folders))
    found = [said] if option.is_path else []
    for folder in known if option.is_path else ():
        found += [folder / said] if not said.is_absolute() else []
        found += [folder / said.name] if remembered.digest else []
    for place in map(Path, remembered.places):
        found += [place] if place.is_absolute() else [folder / place for folder in known[:1]]
    unique: dict[Path, Path] = {}
    for path in found:
        unique.setdefault(path.absolute(), path)
    return list(unique.values())


def other_data(key: str, expected: str, others: Sequence[tuple[Path, str]]) -> RunError:
    """The error for data that are not those of the run."""
    lie = " and ".join(f"{path} has the digest {digest}" for path, digest in others)
    return RunError(
        f"these are other data: {lie}, the data of the run have {expected}",
        where=f"task_options.{key}",
        hint="say where the data of the run are with --data PATH (in Python, data=); for other "
        "data choose another run folder with --run",
    )


def missing(
    option: DataOption, remembered: Remembered, folders: Iterable[Path | None]
) -> ConfigError:
    """The error for data that are nowhere."""
    found = _candidates(option, remembered, folders)
    tried = dict.fromkeys(os.path.abspath(path) for path in found)
    expected = remembered.digest or option.stated
    known = f"digest {expected}" if expected else "their digest is not known"
    return ConfigError(
        f"the data {option.value!r} ({known}) are not there; looked for {', '.join(tried)}"
        if option.value
        else f"the data ({known}) were given in memory",
        where=f"task_options.{option.key}",
        hint="say where they are with --data PATH (in Python, data=)",
    )
