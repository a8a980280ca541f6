"""The words of the task ``translation`` that are none of a language, and their numbers."""

from __future__ import annotations

__all__ = ["BEGIN", "END", "PAD", "SPECIAL", "UNKNOWN"]

PAD, UNKNOWN, BEGIN, END = range(4)
SPECIAL = ("<pad>", "<unk>", "<begin>", "<end>")
"""Their spelling, in order."""
