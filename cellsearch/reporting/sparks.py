"""Curves of one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["spark"]

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-~=*^#"
"""The same for terminals that have no other characters."""


def spark(values: Sequence[float], width: int, *, encoding: str = "utf-8") -> str:
    """The values as a line of ``width`` characters at most, the lowest value at the bottom; what is
    not finite is left out. Of more values than characters each stands for the last of its share.

    encoding: of the terminal.
    """
    known = [value for value in values if math.isfinite(value)]
    if not known or width < 1:
        return ""
    if len(known) > width:
        known = [known[(k + 1) * len(known) // width - 1] for k in range(width)]
    low, high = min(known), max(known)
    marks = BLOCKS if encoding.lower().replace("-", "").startswith("utf") else PLAIN
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return marks[0] * len(known)
    return "".join(marks[min(int((v - low) / span * len(marks)), len(marks) - 1)] for v in known)
