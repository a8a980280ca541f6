"""Numbers of finals as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["DAMAGE", "SIGNIFICANCE", "plain"]

SIGNIFICANCE = 0.05
"""The largest p that counts."""
DAMAGE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, StopIteration)
"""What a document raises that is not what it should be."""


def plain(value: Any) -> Any:
    """The same with ``None`` for numbers that do not exist, and lists for tuples."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
