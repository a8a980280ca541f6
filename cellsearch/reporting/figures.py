"""Charts and drawings of cells that stand alone, in the size of a paper, and the colours of
series.
"""

from __future__ import annotations

import re
from pathlib import Path

from cellsearch.files import write_new
from cellsearch.reporting.pdf import pdf_of

__all__ = [
    "PAPER_WIDTH",
    "SERIES",
    "paper_drawing",
    "paper_figure",
    "series",
    "series_rules",
    "write_figure",
]

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f3c8d", "#888888")
"""Colours that people with any sight tell apart (Okabe & Ito 2008; yellow darker, black replaced),
on light and on dark paper."""
PAPER_WIDTH = 84.0
"""Millimetres: a column of most papers with two columns."""
_PAGE_WIDTH, _PAGE_HEIGHT = 174.0, 234.0
"""Millimetres: what most papers print on."""
_PIXEL = 0.17
"""Millimetres of a pixel of a drawing: names of 6 points, and LSTM fits into a column."""
_DARK = re.compile(r"@media \(prefers-color-scheme:dark\)\{.*?\}\}(?=</style>)", re.S)
_FONT = re.compile(r"font-family:[^;}]+")
_DASHES = ("", "7 3", "2 3")


def series(place: int) -> str:
    """The CSS classes of a series: colours, then colours with dashes."""
    colour, dash = place % len(SERIES), place // len(SERIES) % len(_DASHES)
    return f"series s{colour}" + (f" dash{dash}" if dash else "")


def series_rules() -> str:
    """The CSS rules of these classes."""
    rules = "".join(
        f".chart polyline.s{k}{{stroke:{colour}}}.chart .band.s{k},.chart .dot.s{k},"
        f".chart .name.s{k}{{fill:{colour}}}"
        for k, colour in enumerate(SERIES)
    )
    rules += "".join(
        f".chart polyline.dash{k}{{stroke-dasharray:{dash}}}"
        for k, dash in enumerate(_DASHES)
        if dash
    )
    return rules + ".chart .band{stroke:none;fill-opacity:.15}"


_PAPER_RULES = (
    "text{font-family:Helvetica,Arial,sans-serif;font-size:15px;fill:#000}"
    ".grid{stroke:#ddd;stroke-width:0.8}.axis{stroke:#000;stroke-width:1}"
    "polyline{fill:none;stroke:#000;stroke-width:2;stroke-linejoin:round}"
    ".baseline{stroke:#777;stroke-dasharray:5 4;stroke-width:1.4}"
    ".name.baseline{stroke:none;fill:#666}"
)


def paper_figure(chart: str, *, width: float = PAPER_WIDTH) -> str:
    """A chart as an SVG file of its own, with its style in it.

    chart: of :mod:`cellsearch.reporting.charts`.
    width: in millimetres.
    """
    found = re.search(r'viewBox="0 0 (\d+) (\d+)"', chart)
    assert found is not None
    height = width * int(found[2]) / int(found[1])
    size = f'width="{width:g}mm" height="{height:.4g}mm"'
    chart = chart.replace("<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" {size} ', 1)
    style = _PAPER_RULES + series_rules().replace(".chart ", "")
    return chart.replace("<title>", f"<style>{style}</style><title>", 1)


def paper_drawing(svg: str) -> str:
    """A drawing of a cell, of what leads from one to another, or of a diagnosis as an SVG file for
    a paper: names of 6 points, smaller only where it would be larger than a page; in light colours
    alone.

    svg: stands alone, with its width and height in pixels.
    """
    found = re.search(r' width="([\d.]+)" height="([\d.]+)"', svg)
    assert found is not None
    width, height = float(found[1]), float(found[2])
    scale = min(_PIXEL, _PAGE_WIDTH / width, _PAGE_HEIGHT / height)
    size = f' width="{width * scale:.4g}mm" height="{height * scale:.4g}mm"'
    svg = _FONT.sub("font-family:Helvetica,Arial,sans-serif", _DARK.sub("", svg))
    return svg.replace(found[0], size, 1)


def write_figure(path: Path, figure: str, *, force: bool = False) -> None:
    """Write a figure for a paper into a file, as PDF where it is named so, else as SVG. Raises
    :class:`ConfigError` for a file that is there, unless ``force``, and
    :class:`EnvironmentFailure` where PDF cannot be drawn.
    """
    write_new(path, pdf_of(figure) if path.suffix.lower() == ".pdf" else figure, force=force)
