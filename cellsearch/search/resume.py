"""Whether a run may be resumed with an experiment: it must be the one that it was made with."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from cellsearch.errors import RunError

__all__ = ["check_same_experiment"]

# Neither changes which trials there are or what they give.
_FREE = frozenset({"workers", "question"})


def check_same_experiment(before: str, now: str, *, where: str) -> None:
    """Raise :class:`RunError` that names the differing keys, unless ``now`` may go on with what ``before`` began.

    Both are resolved texts. ``trials`` may be raised; ``workers`` and ``question`` may be anything.
    """
    old, new = _flat(tomllib.loads(before)), _flat(tomllib.loads(now))
    differing = sorted(key for key in old.keys() | new.keys() if key not in _FREE and old.get(key) != new.get(key))
    if "trials" in differing and int(new.get("trials", 0)) >= int(old.get("trials", 0)):
        differing.remove("trials")
    if differing:
        changes = "; ".join(f"{key} was {_show(old.get(key))}, is {_show(new.get(key))}" for key in differing[:5])
        more = f"; and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise RunError(
            f"the run was made with another experiment: {changes}{more}",
            where=where,
            hint="choose another folder with --run, or undo the change; only trials may be raised, and workers changed",
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
