"""The report: one file, nothing from outside, nothing unescaped, and the numbers of the run
in it.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from cellsearch.genome import Genome
from cellsearch.reporting.charts import Line, Point, line_chart, scatter_chart, ticks
from cellsearch.reporting.report import Report, render_report
from cellsearch.trial import Budget, Failure, Proposal, Result, Rung, Status, Trial

CELL = "z = sigmoid(linear(x[t], h[t-1]))\nh[t] = blend(z, h[t-1], tanh(linear(x[t], h[t-1])))\n"
EVIL = '</pre><script>alert("x")</script>&'


def trial(
    number: int, score: float, *, origin: str = "mutate", parents: tuple[int, ...] = ()
) -> Trial:
    result = Result(
        score=score,
        metric=score,
        steps=100,
        seconds=1.5,
        parameters=2000,
        cell_parameters=1000 + number,
    )
    return Trial(
        number,
        Proposal(Genome.from_text(CELL), parents, origin),
        Status.COMPLETED,
        (Rung(Budget(100), result),),
    )


def report(*trials: Trial, **changes: str) -> Report:
    fields = {
        "name": "demo",
        "question": "Which?",
        "task": "char_lm",
        "metric": "bits per character",
        "strategy": "genetic",
        **changes,
    }
    return Report(trials=trials, ended={t.number: 2.0 * t.number for t in trials}, **fields)  # type: ignore[arg-type]


def test_shows_winner_baselines_and_lineage() -> None:
    page = render_report(
        report(trial(0, 2.5, origin="baseline:lstm"), trial(1, 2.4), trial(2, 2.25, parents=(1,)))
    )
    assert "trial 2" in page
    assert "LSTM" in page
    assert "2.2500" in page
    assert "-10.00 %" in page  # 2.25 against LSTM's 2.5
    lineage = page[page.index("Where the winner comes from") :]
    assert lineage.index("trial 2") < lineage.index("trial 1")


def test_a_number_of_weights_means_one_thing() -> None:
    page = render_report(report(trial(1, 2.4)))
    assert "nodes · mutate" in page  # beside the number of parameters, none of tensors
    assert re.search(r"\d weights", page) is None


def test_a_supernet_is_no_find() -> None:
    page = render_report(report(trial(1, 2.4), trial(2, 1.5, origin="supernet:0")))
    assert "1.5000" not in page


def test_is_self_contained() -> None:
    page = render_report(report(trial(0, 2.5, origin="baseline:lstm"), trial(1, 2.4)))
    urls = set(re.findall(r"""(?:https?:)?//[^\s"'<>)]+""", page)) - {"http://www.w3.org/2000/svg"}
    assert not urls
    assert "<script" not in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)""", page)


@pytest.mark.parametrize("field", ["name", "question", "task", "metric", "strategy", "settings"])
def test_escapes_every_text(field: str) -> None:
    page = render_report(report(trial(1, 2.4, origin=EVIL), **{field: EVIL}))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_escapes_failures() -> None:
    failed = Trial(
        3, Proposal(Genome.from_text(CELL), (), "random"), Status.FAILED, (), Failure("nan", EVIL)
    )
    page = render_report(report(trial(1, 2.4), failed))
    assert "<script" not in page
    assert "1 failed trial: 1 nan" in page


def test_finals_stand_below_the_leaderboard() -> None:
    row = {
        "name": EVIL,
        "baseline": False,
        "mean": 2.125,
        "deviation": None,
        "scores": [2.125],
        "failures": 4,
    }
    row |= {"parameters": 37573, "hidden_size": 55, "learning_rate": 0.005, "p": None}
    page = render_report(
        report(trial(1, 2.4), finals={"rows": [row], "sentence": f"better {EVIL}"})
    )  # type: ignore[arg-type]
    assert "2.1250" in page
    assert "37,573" in page
    assert page.index("Leaderboard") < page.index("Finals")
    assert "<script" not in page
    assert "Finals" not in render_report(report(trial(1, 2.4)))


def test_without_any_trial() -> None:
    assert "nothing to show yet" in render_report(report())


def test_a_band_is_drawn_around_its_line() -> None:
    band = ((1.0, 2.0, 4.0), (2.0, 1.0, 3.0))
    plain = line_chart("t", [Line(((1.0, 3.0), (2.0, 2.0)), "a")], x_label="x", y_label="y")
    chart = line_chart(
        "t", [Line(((1.0, 3.0), (2.0, 2.0)), "a", band=band)], x_label="x", y_label="y"
    )
    assert "polygon" not in plain
    polygon = next(e for e in ElementTree.fromstring(chart).iter() if e.tag.endswith("polygon"))
    corners = [tuple(map(float, p.split(","))) for p in polygon.attrib["points"].split()]
    assert len(corners) == 4
    assert corners[0][1] < corners[-1][1]  # the upper edge comes first, and y grows downwards


def test_svg_is_well_formed_and_places_points_in_order() -> None:
    svg = line_chart(
        "a < b",
        [Line(((0.0, 3.0), (1.0, 2.0), (2.0, 2.0)), "best & last", steps=True)],
        x_label="trial",
        y_label="score",
    )
    root = ElementTree.fromstring(svg)
    points = [
        tuple(map(float, p.split(",")))
        for p in next(root.iter("polyline")).attrib["points"].split()
    ]
    xs = [x for x, _ in points]
    ys = [y for _, y in points]
    assert xs == sorted(xs)
    assert ys[-1] > ys[0]  # a lower score is drawn lower
    dots = ElementTree.fromstring(
        scatter_chart("s", [Point(1, 1, "<t>"), Point(2, 5)], x_label="x", y_label="y")
    )
    low, high = (float(c.attrib["cy"]) for c in dots.iter("circle"))
    assert low > high


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.31, 2.47), (0.0, 123456.0), (-3.0, 3.0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    values = ticks(low, high)
    assert 3 <= len(values) <= 11
    assert all(low - 1e-9 <= v <= high + 1e-9 for v in values)


def test_ticks_of_a_single_value() -> None:
    assert ticks(2.0, 2.0) == [2.0]
