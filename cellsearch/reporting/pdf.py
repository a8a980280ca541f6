"""Figures as PDF, where svglib is installed (``pip install "cellsearch[pdf]"``): vectors, with text
in the fonts that every reader of PDF has.
"""

from __future__ import annotations

import io
import re
from importlib import import_module
from importlib.util import find_spec

from cellsearch.errors import EnvironmentFailure, escaped

__all__ = ["pdf_of"]

_TEXT = re.compile(r">([^<]+)<")


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
    reading, canvas, drawing = map(
        import_module, ("svglib.svglib", "reportlab.pdfgen.canvas", "reportlab.graphics.renderPDF")
    )
    drawn = reading.svg2rlg(io.StringIO(_TEXT.sub(_drawable, svg)))
    buffer = io.BytesIO()
    page = canvas.Canvas(buffer, pagesize=(drawn.width, drawn.height), invariant=1)
    page.setCreator("cellsearch")
    drawing.draw(drawn, page, 0, 0)
    page.save()
    return buffer.getvalue()


def _drawable(found: re.Match[str]) -> str:
    """Text between tags, in characters that Helvetica and Symbol have."""
    return f">{''.join(c if _has(c) else escaped(c) for c in found[1])}<"


def _has(character: str) -> bool:
    if character == "−" or "α" <= character <= "ω" or "Α" <= character <= "Ω":
        return True
    try:
        character.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True
