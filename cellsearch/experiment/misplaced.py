"""Keys of an experiment that stand in a table where they mean nothing, and what was probably meant:
``limits.max_nodes`` is ``constrain.max_nodes``, any limit on parameters ``max_weights``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from itertools import islice
from typing import Any

from cellsearch import schedules, strategies, tasks
from cellsearch.errors import ConfigError
from cellsearch.genome.device import DeviceLimits
from cellsearch.job import Allowance, Limits, Prefilter, Training
from cellsearch.options import keys, unknown
from cellsearch.space import Constraints, SizeLimits
from cellsearch.tasks.suite import SUITE

__all__ = ["check_places", "probable_key"]

_TABLES: dict[str, tuple[str, ...]] = {
    "training": keys(Training),
    "limits": keys(Limits),
    "prefilter": keys(Prefilter),
    "allowance": keys(Allowance),
    "device": keys(DeviceLimits),
    "constrain": (*keys(SizeLimits), *keys(Constraints), "frozen", *keys(DeviceLimits)),
}
_PARTS: dict[str, Callable[[str], Any]] = {
    "strategy": strategies.get,
    "schedule": schedules.get,
    "task": lambda name: tasks.get(name).Options,
}
"""What gives the class that holds the options."""
_WEIGHTS = re.compile("weight|param")
_CLOSE, _SURE = 0.8, 0.75
_LOOKED_AT = 20
"""Unknown keys that are looked at in a table: a hostile file may have thousands."""
MAX_WEIGHTS = "max_weights"


def check_places(document: Mapping[str, Any], top: tuple[str, ...], source: str) -> None:
    """Raise :class:`ConfigError` for a key that is unknown where it stands and means something
    elsewhere. What means nothing anywhere is left to who reads the table.

    document: the experiment as decoded TOML.
    top: the keys that stand in no table.
    source: the file, for errors.
    """
    known = {"": top, **_TABLES, **dict(_parts(document))}
    for table, allowed in known.items():
        given = document if not table else document.get(table)
        odd = (key for key in given if key not in allowed) if isinstance(given, Mapping) else ()
        for key in islice(odd, _LOOKED_AT):
            if difflib.get_close_matches(key, allowed, 1, _SURE):
                continue
            meant = _meant(key, {name: found for name, found in known.items() if name != table})
            if meant:
                dotted = f"{table}.{key}" if table else key
                error = unknown("key", key, allowed, where=f"{source}: {dotted}")
                error.hint = f"did you mean {meant}? allowed: {', '.join(sorted(allowed))}"
                raise error


def probable_key(key: str) -> str:
    """The dotted key that somebody meant who wrote ``key`` in a table that is none; ``""`` if
    nothing is like it.
    """
    return _meant(key, {"": (MAX_WEIGHTS,), **_TABLES})


def _meant(key: str, known: Mapping[str, tuple[str, ...]]) -> str:
    if key == "max_parameters" or (
        _WEIGHTS.search(key) and not any(key in found for found in known.values())
    ):
        return f"{MAX_WEIGHTS} (--max-weights N)"
    places = {
        f"{table}.{name}" if table else name: name for table in known for name in known[table]
    }
    close = difflib.get_close_matches(key, places.values(), 1, _CLOSE)
    return next((place for place, name in places.items() if close and name == close[0]), "")


def _parts(document: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The options of the strategy, schedule and task that the document names, if they exist."""
    for part, get in _PARTS.items():
        name = document.get(part)
        if not isinstance(name, str) or name.partition(":")[0] == SUITE:
            continue
        try:
            kind = get(name)
        except ConfigError:
            continue  # whoever reads the name says what is wrong with it
        if is_dataclass(kind):
            yield f"{part}_options", keys(kind)
