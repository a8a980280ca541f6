"""Figures as PDF, where svglib is installed (``pip install "cellsearch[pdf]"``): vectors, with text
in the fonts that every reader of PDF has.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from cellsearch.errors import EnvironmentFailure, escaped

__all__ = ["pdf_of"]

_TEXT = re.compile(r">([^<]+)<")
_INSTEAD = {"∘": "°"}
"""What stands for a sign that these fonts do not have, and drawings of cells have."""


def pdf_of(svg: str) -> bytes:
    """The PDF of an SVG picture that stands alone, one page of its size; the same each time.

    A character that the fonts do not have is written as its escape. Raises
    :class:`EnvironmentFailure` where svglib is not installed.
    """
    if find_spec("svglib") is None:
        raise EnvironmentFailure(
            "svglib, which draws PDF, cannot be imported",
            hint='pip install "cellsearch[pdf]", or write an .svg file',
        )
    reading, canvas, drawing, fonts = map(
        import_module,
        (
            "svglib.svglib",
            "reportlab.pdfgen.canvas",
            "reportlab.graphics.renderPDF",
            "reportlab.pdfbase.pdfmetrics",
        ),
    )
    drawn = reading.svg2rlg(io.StringIO(_TEXT.sub(_drawable, svg)))
    _set_side_by_side(drawn, fonts.stringWidth)
    buffer = io.BytesIO()
    page = canvas.Canvas(buffer, pagesize=(drawn.width, drawn.height), invariant=1)
    page.setCreator("cellsearch")
    drawing.draw(drawn, page, 0, 0)
    page.save()
    return buffer.getvalue()


def _drawable(found: re.Match[str]) -> str:
    """Text between tags, in characters that Helvetica and Symbol have."""
    return f">{''.join(map(_written, found[1]))}<"


def _written(character: str) -> str:
    """The character, or what stands for it: of a small digit the digit, else its escape."""
    plain = _INSTEAD.get(character) or unicodedata.normalize("NFKC", character)
    return next((text for text in (character, plain) if all(map(_has, text))), escaped(character))


def _set_side_by_side(group: Any, wide: Callable[[str, str, float], float]) -> None:
    """Set the pieces of a text that is centred, such as a name and its subscript, one after the
    other: svglib centres each piece by itself, so that they lie on one another.
    """
    pieces = [one for one in group.contents if hasattr(one, "textAnchor")]
    if len(pieces) > 1 and all(piece.textAnchor == "middle" for piece in pieces):
        widths = [wide(piece.text, piece.fontName, piece.fontSize) for piece in pieces]
        x = pieces[0].x - sum(widths) / 2
        for piece, width in zip(pieces, widths, strict=True):
            piece.x, piece.textAnchor = x, "start"
            x += width
    for one in group.contents:
        if hasattr(one, "contents"):
            _set_side_by_side(one, wide)


def _has(character: str) -> bool:
    return any(_encodes(character, codec) for codec in ("cp1252", "symbolencoding"))


def _encodes(character: str, codec: str) -> bool:
    """``codec``: of Python, or one that reportlab adds to those."""
    try:
        character.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
