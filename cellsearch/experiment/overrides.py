"""Values that replace those of an experiment: ``--set training.steps=100``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cellsearch.errors import ConfigError
from cellsearch.experiment.misplaced import probable_key
from cellsearch.options import parse_toml

__all__ = ["overridden", "parse_setting"]

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_WORD = re.compile(r"[A-Za-z_./][A-Za-z0-9_./:-]*")
_ASKED_OF = ("task", "task_options.text", "task_options.path")
"""What the question of an experiment is about."""
_OPTIONS_OF = {
    "strategy": "strategy_options",
    "task": "task_options",
    "schedule": "schedule_options",
}


def _value(document: Mapping[str, Any], dotted: str) -> Any:
    table, _, key = dotted.rpartition(".")
    part = document.get(table, {}) if table else document
    return part.get(key) if isinstance(part, Mapping) else None


def parse_setting(text: str) -> tuple[str, Any]:
    """``"training.steps=100"`` as ``("training.steps", 100)``; the value is TOML, a bare word is
    taken as a string.
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not _KEY.fullmatch(key):
        raise ConfigError(
            f"{text!r} is not a setting",
            where="--set",
            hint="write key=value, for example --set training.steps=100",
        )
    if _WORD.fullmatch(value) and value not in ("true", "false", "inf", "nan"):
        return key, value
    hint = f'put text in quotes: --set \'{key}="..."\'; lists are written ["a", "b"]'
    try:
        document = parse_toml(f"value = {value}", f"--set {key}")
    except ConfigError as error:
        raise ConfigError(error.message, where=error.where, hint=f"{error.hint}; {hint}") from None
    if set(document) != {"value"}:
        raise ConfigError(f"{value!r:.200} is more than a value", where=f"--set {key}", hint=hint)
    return key, document["value"]


def overridden(document: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The document with values replaced, by dotted key. Another strategy, task or schedule than the
    document's starts from its own default options; a limit on weights replaces the other one.
    """
    for key, options in _OPTIONS_OF.items():
        if key in overrides and overrides[key] != document.get(key):
            document.pop(options, None)
    if "question" not in overrides and any(
        key in overrides and overrides[key] != _value(document, key) for key in _ASKED_OF
    ):
        document.pop("question", None)  # it asks about other data
    if "max_weights" in overrides and isinstance(narrow := document.get("constrain"), dict):
        narrow.pop("max_parameters", None)
    if "constrain.max_parameters" in overrides:
        document.pop("max_weights", None)
    for dotted, value in overrides.items():
        *path, last = dotted.split(".")
        table = document
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                meant = probable_key(last)
                raise ConfigError(
                    f"{part} is not a table, so {dotted} cannot be set",
                    where="--set",
                    hint=f"did you mean {meant}?" if meant else "",
                )
        table[last] = value
    return document
