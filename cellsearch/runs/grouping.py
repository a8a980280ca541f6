"""Which runs are the same search but for the seed, and what tells the others apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cellsearch.errors import ConfigError, amount
from cellsearch.tasks.own_data import data_options

if TYPE_CHECKING:
    from cellsearch.runs.run import Run

__all__ = ["group_names", "grouped", "require_one_task", "settings_of"]

_NOT_COMPARED = ("seed", "name", "question", "trials", "allowance", "workers")
"""What does not make another search of it: who it is, how long it goes on, and who trains."""
_LONGEST = 40
"""Characters of a value in the name of a group."""


def settings_of(run: Run) -> dict[str, str]:
    """What a run was declared as, as far as it makes a search what it is: texts by dotted key. Data
    of the user's own count by what is in them, not by where they lie.
    """
    declared = {key: value for key, value in run.declared.items() if key not in _NOT_COMPARED}
    flat = dict(_flat(declared))
    task, options = run.declared["task"], run.declared.get("task_options", {})
    for key in data_options(task, options):
        digest = run.remembered.get(key, {}).get("digest")
        if digest:
            flat[f"task_options.{key}"] = f"data {digest}"
    return flat


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and f"{prefix}{key}" != "space":
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, sort_keys=True, default=str)


def require_one_task(runs: Sequence[Run], settings: Sequence[Mapping[str, str]]) -> None:
    """Raise :class:`ConfigError` for runs whose scores cannot be compared."""
    for run, said in zip(runs[1:], settings[1:], strict=True):
        keys = {k for k in {*said, *settings[0]} if k == "task" or k.startswith("task_options.")}
        for key in sorted(keys):
            if said.get(key) != settings[0].get(key):
                raise ConfigError(
                    f"{runs[0].path} and {run.path} were scored on something else: {key} is "
                    f"{_short(settings[0].get(key))} and {_short(said.get(key))}",
                    hint="compare runs of one task with the same options",
                )


def grouped(
    runs: Sequence[Run], settings: Sequence[Mapping[str, str]]
) -> list[tuple[Mapping[str, str], list[Run]]]:
    """The runs of each kind of search, in order of seed. Raises :class:`ConfigError` for one that
    is there twice: it would count as two.
    """
    groups: dict[str, tuple[Mapping[str, str], list[Run]]] = {}
    for run, said in zip(runs, settings, strict=True):
        group = groups.setdefault(json.dumps(said, sort_keys=True), (said, []))[1]
        seed = run.declared.get("seed", 0)
        twin = next((other for other in group if other.declared.get("seed", 0) == seed), None)
        if twin is not None:
            raise ConfigError(
                f"{twin.path} and {run.path} are the same search with the same seed ({seed})",
                hint="leave one of them out: two copies are not two measurements",
            )
        group.append(run)
    for _, group in groups.values():
        group.sort(key=lambda run: int(run.declared.get("seed", 0)))
    return list(groups.values())


def group_names(settings: Sequence[Mapping[str, str]]) -> tuple[list[str], list[str]]:
    """What each group is called: its strategy, and as much more as tells it from the others; and
    the keys in which they differ though no name says so.

    settings: of each group, from :func:`settings_of`; no two are equal.
    """
    names = [_short(said.get("strategy")) for said in settings]
    every = sorted({key for said in settings for key in said} - {"strategy"})
    differing = [key for key in every if len({said.get(key) for said in settings}) > 1]
    told = set()
    for key in differing:
        values: dict[str, set[str | None]] = {}
        for name, said in zip(names, settings, strict=True):
            values.setdefault(name, set()).add(said.get(key))
        if any(len(found) > 1 for found in values.values()):
            told.add(key)
        names = [
            f"{name}, {_named(key, said.get(key))}" if len(values[name]) > 1 else name
            for name, said in zip(names, settings, strict=True)
        ]
    own = "strategy_options."
    return names, [key for key in differing if key not in told and not key.startswith(own)]


def _named(key: str, value: str | None) -> str:
    return f"{key}={_short(value)}"


def _short(value: str | None) -> str:
    """A value as it is written on a command line, cut where it is long; of a space its name."""
    if value is None:
        return "nothing"
    found = json.loads(value) if value[:1] in '"{[' else value
    if isinstance(found, Mapping):
        found = found.get("name", amount(len(found), "value"))
    text = str(found)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
