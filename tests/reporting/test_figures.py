"""Figures in the size of a paper: SVG that stands alone, and PDF with vectors and text."""

from __future__ import annotations

import re
import zlib
from base64 import a85decode
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cellsearch import zoo
from cellsearch.errors import ConfigError, EnvironmentFailure
from cellsearch.genome.drawing.svg import to_svg
from cellsearch.reporting.charts import Line, Point, line_chart, strip_chart
from cellsearch.reporting.figures import (
    SERIES,
    paper_drawing,
    paper_figure,
    series,
    write_figure,
)

DRAWN = line_chart(
    "a title",
    [
        Line(
            ((0.0, 2.0), (9.0, 1.0)), "random", series(0), band=((0.0, 1.5, 3.0), (9.0, 0.5, 1.5))
        ),
        Line(((0.0, 2.0), (9.0, 1.2)), "σ − 時", series(1)),
        Line(((0.0, 1.7), (9.0, 1.7)), "LSTM", "line baseline"),
    ],
    x_label="trials × steps",
    y_label="score",
)
FIGURE = paper_figure(DRAWN)
needs_svglib = pytest.mark.skipif(
    find_spec("svglib") is None, reason="svglib is not installed (pip install 'cellsearch[pdf]')"
)


def page_of(data: bytes) -> bytes:
    """What is drawn on the only page of a PDF."""
    (stream,) = re.findall(rb"stream\r?\n(.*?)~>\s*endstream", data, re.S)
    return zlib.decompress(a85decode(stream))


def test_an_svg_stands_alone_in_millimetres() -> None:
    root = ElementTree.fromstring(FIGURE)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("width"), root.get("height")) == ("84mm", "51.13mm")
    assert SERIES[0] in FIGURE
    assert "var(--" not in FIGURE


def test_series_have_colours_then_dashes() -> None:
    names = [series(place) for place in range(3 * len(SERIES))]
    assert len(set(names)) == len(names)
    assert names[0] == "series s0"


def test_a_figure_is_not_written_over_another(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    write_figure(path, FIGURE)
    with pytest.raises(ConfigError, match="exists"):
        write_figure(path, FIGURE)
    write_figure(path, FIGURE, force=True)


@pytest.mark.skipif(find_spec("svglib") is not None, reason="svglib is installed")
def test_pdf_without_its_library_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match=r"pip install \"cellsearch\[pdf\]\""):
        write_figure(tmp_path / "a.pdf", FIGURE)


@needs_svglib
def test_pdf_has_vectors_and_text_in_fonts_of_every_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    write_figure(path, FIGURE)
    data = path.read_bytes()
    size = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
    assert size is not None
    assert float(size[1]) == pytest.approx(84 / 25.4 * 72, abs=0.01)
    fonts = set(re.findall(rb"/BaseFont /([\w-]+)", data))
    assert b"Helvetica" in fonts
    assert fonts <= {b"Helvetica", b"Symbol", b"ZapfDingbats"}
    assert b"/Subtype /Image" not in data
    drawn = page_of(data)
    assert b"(random)" in drawn
    assert b"\\\\u6642" in drawn  # a letter that no such font has
    assert re.search(rb"^0 \.447\d* \.698\d* RG", drawn, re.M)  # the first series
    again = tmp_path / "b.pdf"
    write_figure(again, FIGURE)
    assert again.read_bytes() == data


def test_a_drawing_for_a_paper_is_light_and_no_larger_than_a_page() -> None:
    svg = to_svg(zoo.load("lstm"), title="LSTM")
    root = ElementTree.fromstring(paper_drawing(svg))
    assert (root.get("width"), root.get("height")) == ("82.21mm", "97.92mm")
    assert "dark" in svg
    assert "dark" not in paper_drawing(svg)
    wide = ElementTree.fromstring(paper_drawing(to_svg(zoo.load("lstm"), title="a" * 500)))
    assert wide.get("width") == "174mm"


@needs_svglib
def test_a_drawing_as_pdf_has_names_and_subscripts_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    write_figure(path, paper_drawing(to_svg(zoo.load("lstm"))))
    drawn = page_of(path.read_bytes())
    assert b"(tanh \\260 linear)" in drawn  # the ring is no letter of the fonts of every reader
    texts = re.findall(rb"1 0 0 1 (-?[\d.]+) (-?[\d.]+) Tm \((\w)\)", drawn)
    gaps = [
        float(x) - float(start)
        for (start, above, _), (x, y, subscript) in pairwise(texts)
        if subscript == b"t" and float(y) == float(above) - 4
    ]
    assert len(gaps) == 5  # of x, h and c, now and before
    wide = [pytest.approx(13 * letter, abs=0.01) for letter in (0.556, 0.5)]  # h; x and c
    assert all(any(gap == width for width in wide) for gap in gaps)


def test_a_strip_has_a_row_for_each_group() -> None:
    rows = [("a", [Point(1.0, 0.0, "t<", "dot s0")]), ("<b>", [Point(2.0, 0.0), Point(3.0, 0.0)])]
    chart = strip_chart("s", rows, x_label="score")
    assert len(re.findall("<circle", chart)) == 3
    assert len(set(re.findall(r'cy="([\d.]+)"', chart))) == 2
    assert "<b>" not in chart
    ElementTree.fromstring(chart)
