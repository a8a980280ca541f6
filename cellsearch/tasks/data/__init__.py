"""Data sets: the text that ships with the package, and checked reading of files.

The shipped text is the King James New Testament; ``PROVENANCE.md`` beside it says where it comes
from and why it is free.
"""

from __future__ import annotations

import hashlib
import lzma
from importlib import resources

from cellsearch.errors import InputFileError

__all__ = ["SHIPPED_TEXT", "shipped_text"]

SHIPPED_TEXT = "kjv_new_testament.txt.xz"
_SHA256 = "5b3ab8d5fc7ce0f82cf21d3128c15e169df48257103f9d001bef5ced0bc62ffa"
_CHARACTERS, _SYMBOLS, _LINES = 949_481, 63, 7_957


def shipped_text() -> str:
    """The King James New Testament, one verse a line: 949,481 characters over 63 symbols.

    Raises :class:`InputFileError` if the installed file is damaged.
    """
    path = resources.files(__package__).joinpath(SHIPPED_TEXT)
    return decode_text(path.read_bytes(), str(path))


def decode_text(packed: bytes, where: str) -> str:
    """The checked text of the packed file."""
    hint = "reinstall cellsearch, or run scripts/fetch_text.py in a checkout"
    try:
        raw = lzma.decompress(packed)
    except lzma.LZMAError as error:
        raise InputFileError(
            f"the shipped text is damaged: {error}", where=where, hint=hint
        ) from error
    digest = hashlib.sha256(raw).hexdigest()
    text = raw.decode("ascii", errors="replace")
    counts = (len(text), len(set(text)), text.count("\n"))
    if digest != _SHA256 or counts != (_CHARACTERS, _SYMBOLS, _LINES):
        raise InputFileError(
            f"the shipped text is not the expected one: sha256 {digest[:12]}..., "
            f"(characters, symbols, lines) = {counts}",
            where=where,
            hint=hint,
        )
    return text
