"""Charts as SVG: what is drawn has room."""

from __future__ import annotations

import itertools
import re

from cellsearch.reporting.charts import Line, line_chart


def test_names_of_many_lines_stand_beside_the_axes_and_apart() -> None:
    chart = line_chart(
        "t",
        [Line(((0.0, 1.0), (1.0, 1.0 + k / 1e6)), f"line {k}") for k in range(10)],
        x_label="x",
        y_label="y",
    )
    places = [
        (float(x), float(y))
        for x, y in re.findall(r'<text class="name line" x="([\d.]+)" y="([\d.]+)"', chart)
    ]
    ends = max(float(x) for x in re.findall(r'class="grid" x1="\d+" x2="([\d.]+)"', chart))
    heights = sorted(y for _, y in places)
    assert len(places) == 10
    assert all(x > ends for x, _ in places)
    assert all(below - above >= 13.9 for above, below in itertools.pairwise(heights))
    assert 0 < heights[0] < heights[-1] < 300
