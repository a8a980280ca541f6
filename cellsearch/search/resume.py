"""Whether a run may be resumed with an experiment: it must be the one that it was made with."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType
from typing import Any

from cellsearch.errors import RunError
from cellsearch.search.declared import SearchedExperiment

__all__ = ["check_same_experiment", "defaults"]

# None of them changes which trials there are or what they give, only how many.
_FREE = frozenset({"workers", "question", "allowance.hours", "allowance.steps"})


def defaults(experiment: SearchedExperiment) -> dict[str, Any]:
    """The value of each option that a run does not mention, because it was made before there was
    this option, by dotted key.

    A new option's default is what was done before there was it; that is why such a run goes on as
    it began.
    """
    space = experiment.space
    parts: dict[str, object] = {
        "strategy_options": experiment.strategy,
        "schedule_options": experiment.schedule,
        "training": experiment.training,
        "limits": experiment.limits,
        "prefilter": experiment.prefilter,
        "space.limits": space.limits,
        "space.full_cell": space.full_cell,
        "space.constraints": space.constraints,
    }
    found: dict[str, Any] = {}
    for prefix, part in parts.items():
        for field in fields(part) if is_dataclass(part) else ():
            name = (
                "class"
                if (prefix, field.name) == ("space.constraints", "recurrence")
                else field.name
            )
            value = (
                field.default_factory() if field.default_factory is not MISSING else field.default
            )
            found[f"{prefix}.{name}"] = list(value) if isinstance(value, tuple) else value
    return found


def check_same_experiment(
    before: str, now: str, *, where: str, meant: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Raise :class:`RunError` that names the differing keys, unless ``now`` may go on with what
    ``before`` began.

    Both are resolved texts; ``meant``: :func:`defaults`, for what ``before`` does not mention.
    ``trials`` may be raised; ``workers``, ``question`` and the allowance may be anything.
    """
    old, new = _flat(tomllib.loads(before)), _flat(tomllib.loads(now))
    old = {key: value for key, value in meant.items() if key in new} | old
    differing = sorted(
        key for key in old.keys() | new.keys() if key not in _FREE and old.get(key) != new.get(key)
    )
    if "trials" in differing and int(new.get("trials", 0)) >= int(old.get("trials", 0)):
        differing.remove("trials")
    if differing:
        changes = "; ".join(
            f"{key} was {_show(old.get(key))}, is {_show(new.get(key))}" for key in differing[:5]
        )
        more = f"; and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise RunError(
            f"the run was made with another experiment: {changes}{more}",
            where=where,
            hint="choose another folder with --run, or undo the change; only trials and the "
            "allowance may be raised, and workers changed",
        )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of all values that are no tables."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _show(value: object) -> str:
    return "not there" if value is None else f"{value!r:.60}"
