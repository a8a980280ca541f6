"""The sections of a report: what they are made of, that they are bounded, and that nothing of a
run is markup in them.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from cellsearch.genome import Genome
from cellsearch.history import History
from cellsearch.reporting.checklist import AboutRun, checklist, checklist_section
from cellsearch.reporting.citing import citation_section, methods_text
from cellsearch.reporting.costs import cell_costs, costs_section
from cellsearch.reporting.curves import curve_of, curves_chart, learning_curves
from cellsearch.reporting.failures import failed_examples, failures_section
from cellsearch.reporting.pedigree import chain, pedigree_section
from cellsearch.reporting.report import Report, render_report
from cellsearch.reporting.workers import Span, worker_lines
from cellsearch.reporting.workload import busy_shares, workers_section
from cellsearch.trial import Budget, Failure, Proposal, Result, Rung, Status, Trial

CELL = Genome.from_text(
    "z = sigmoid(linear(x[t], h[t-1]))\nh[t] = blend(z, h[t-1], tanh(linear(x[t], h[t-1])))\n"
)
EVIL = '</pre><script>alert("x")</script>&'


def trial(
    number: int,
    score: float,
    *parents: int,
    origin: str = "mutate",
    reason: str = "",
    curve: tuple[tuple[int, float], ...] = (),
) -> Trial:
    result = Result(score, score, 100, 1.5, 2000, 1000 + number, curve=curve)
    proposal = Proposal(CELL, parents, origin, reason=reason)
    return Trial(number, proposal, Status.COMPLETED, (Rung(Budget(100), result),))


def failed(number: int, kind: str, message: str) -> Trial:
    failure = Failure(kind, message)
    return Trial(number, Proposal(CELL, (), "random"), Status.FAILED, (), failure)


def texts(section: str) -> list[list[str]]:
    """The texts of all tables, row by row."""
    rows = re.findall(r"<tr.*?</tr>", section, re.DOTALL)
    return [
        [re.sub("<[^>]*>", "", one) for one in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]


def test_the_way_to_the_winner_goes_by_the_better_parent() -> None:
    history = History(
        [
            trial(0, 2.5, origin="baseline:lstm"),
            trial(1, 2.4, 0),
            trial(2, 2.6, 0),
            trial(3, 2.25, 2, 1, origin="crossover", reason=EVIL),
        ]
    )
    way = chain(history[3], history)
    assert [step.trial.number for step in way] == [3, 1, 0]
    assert [step.gain for step in way[:2]] == pytest.approx([0.15, 0.1])
    assert math.isnan(way[2].gain)
    section = pedigree_section(history)
    rows = texts(section)
    assert rows[1][:6] == ["trial 3", "0", "2.2500", "+0.1500", "crossover", "2, 1"]
    assert {row[0] for row in rows[2:]} == {"trial 1", "trial 2", "LSTM"}
    assert "trial 1 (2.4000) ← mutate ← LSTM (2.5000) ← baseline:lstm" in section
    assert "<script" not in section
    drawn = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", section, re.DOTALL)[0])
    assert len(list(drawn.iter("polyline"))) == 4  # one a parent
    assert len(list(drawn.iter("circle"))) == 4


def test_a_long_line_of_ancestors_is_bounded() -> None:
    line = [trial(n, 5.0 - n / 1000, *([n - 1] if n else [])) for n in range(900)]
    section = pedigree_section(History(line))
    assert len(texts(section)) == 61
    assert section.count("<circle") == 60
    assert len(chain(line[-1], History(line))) == 12
    assert "Only the nearest 60" in section


def test_curves_are_those_of_leaders_and_controls() -> None:
    curve = ((10, 3.0), (20, math.nan), (30, 2.5))
    history = History(
        [
            trial(0, 2.7, origin="baseline:gru", curve=curve),
            *(trial(n, 2.0 + n / 10, curve=curve) for n in range(1, 9)),
            trial(9, 1.0, curve=()),
        ]
    )
    found = learning_curves(history)
    assert [one.name for one in found] == ["trial 1", "trial 2", "trial 3", "trial 4", "GRU"]
    assert found[0].points == ((10, 3.0), (30, 2.5))
    assert curves_chart(found[:0]) is None
    long = trial(1, 2.0, curve=tuple((n, 1.0 / n) for n in range(1, 5000)))
    points = curve_of(long)
    assert len(points) == 200
    assert (points[0], points[-1]) == ((1, 1.0), (4999, 1 / 4999))


def test_repeated_trainings_are_no_part_of_a_curve() -> None:
    one = trial(1, 2.0, curve=((50, 3.0), (100, 2.0)))
    again = Rung(Budget(100), replace(one.rungs[0].result, curve=((50, 9.0), (100, 9.0))))
    both = one.with_(rungs=(*one.rungs, again))
    assert both.is_repeat(1)
    assert curve_of(both) == ((50, 3.0), (100, 2.0))


def test_failures_are_counted_by_kind_and_cause() -> None:
    history = History(
        [
            *(failed(n, "nan", f"the loss is nan at step {n}") for n in range(90)),
            *(failed(n, "timeout", EVIL) for n in range(90, 93)),
            trial(93, 2.0),
        ]
    )
    found = failed_examples(history)
    assert [(kind, count, len(trials)) for kind, (count, trials) in found.items()] == [
        ("nan", 90, 40),
        ("timeout", 3, 3),
    ]
    section = failures_section(history)
    rows = texts(section)[1:]
    assert [row[:2] for row in rows] == [["nan", "90"], ["timeout", "3"]]
    assert rows[0][3:] == ["the loss is nan at step 0", "0, 1, 2, 3, 4, ..."]
    assert "<script" not in section
    assert failures_section(History([trial(0, 1.0)])) == ""


def test_a_worker_is_busy_where_it_trained() -> None:
    spans = [("a", Span(0, 0, 0.0, 10.0)), ("a", Span(1, 0, 15.0, 20.0)), ("b", Span(2, 0, 0, 20))]
    first, second = worker_lines(spans)
    assert busy_shares(first, 0.0, 20.0, 4) == pytest.approx([1, 1, 0, 1])
    assert busy_shares(first, 0.0, 40.0, 2) == pytest.approx([0.75, 0])
    assert busy_shares(second, 0.0, 0.0, 3) == [0, 0, 0]
    rows = texts(workers_section([first, second]))
    assert rows[1:] == [["a", "2", "15 s", "75%", "0"], ["b", "1", "20 s", "100%", "0"]]


def test_many_workers_and_hostile_names_are_bounded_and_escaped() -> None:
    spans = [
        (f"{EVIL}{n}", Span(k, 0, float(k), k + 1.0, "crash" if k % 50 == 0 else ""))
        for n in range(40)
        for k in range(500)
    ]
    section = workers_section(worker_lines(spans))
    assert "<script" not in section
    assert "8 more are not shown" in section
    assert section.count('class="death"') == 32 * 10
    assert len(section) < 600_000
    assert workers_section([]) == ""


DECLARED = {
    "strategy": "genetic",
    "task": "char_lm",
    "seed": 7,
    "deterministic": False,
    "space": "lstm_gru",
    "training": {"steps": 100, "learning_rate": 0.01, "hidden_size": 32},
}
MACHINE = {"cellsearch": "0.1.0", "torch": "2.13", "processor": EVIL, "cpus": "2"}
HISTORY = History([trial(0, 2.5, origin="baseline:lstm"), trial(1, 2.4), failed(2, "nan", "nan")])


def answers(about: AboutRun) -> dict[str, str]:
    return {one.point: one.answer for one in checklist(about, HISTORY)}


def test_the_checklist_has_all_points_and_says_what_is_left_to_do() -> None:
    bare = AboutRun(declared=DECLARED, machines=[MACHINE], paper="Real et al. 2019", searched=60.0)
    assert len(answers(bare)) == 16
    missing = {point for point, answer in answers(bare).items() if answer == "no"}
    assert missing == {"1c", "2c", "2f", "2g"}
    row = {"name": "trial 1", "scores": [1.0] * 4, "failures": 1}
    done = replace(
        bare,
        finals={"rows": [row], "sentence": EVIL, "terms": "at equal model weights"},
        ablations={1: {"seconds": 300.0}},
        declared={**DECLARED, "strategy": "random"},
    )
    changed = {point: answers(done)[point] for point in missing}
    assert changed == {"1c": "yes", "2c": "partly", "2f": "yes", "2g": "partly"}
    said = {one.point: one.said for one in checklist(done, HISTORY)}
    assert said["1c"].startswith("finals.json: 5 seeds")
    assert "ablation 5.0 min" in said["3b"]
    other = replace(bare, machines=[MACHINE, {**MACHINE, "torch": "2.14"}], paper="")
    assert (answers(other)["2b"], answers(other)["1d"]) == ("partly", "you")
    assert checklist_section(AboutRun(), HISTORY) == ""


def test_the_text_to_cite_holds_the_numbers_of_the_run() -> None:
    about = AboutRun(declared=DECLARED, machines=[MACHINE], paper="Real et al. 2019", searched=60.0)
    said = methods_text(about, HISTORY, "bits per character")
    for part in ("seed 7", "Of 3 trials, 2 were trained", "1 failed", "100 optimizer steps"):
        assert part in said
    for part in ("(Real et al. 2019)", "cellsearch 0.1.0", "trained alike", ", 2 CPUs"):
        assert part in said
    section = citation_section(about, HISTORY, "bits per character")
    assert "@software{cellsearch," in section
    assert "{0.1.0}" in section
    assert "&lt;script&gt;" in section
    assert "<script" not in section
    judged = replace(about, finals={"rows": [], "sentence": "It is better.", "terms": "at will"})
    assert "from scratch at will: It is better." in methods_text(judged, HISTORY, "bits")


def test_costs_name_leaders_and_controls() -> None:
    history = History([trial(0, 2.5, origin="baseline:lstm"), *(trial(n, n) for n in range(1, 9))])
    assert [one.number for one in cell_costs(history)] == [1, 2, 3, 0]
    rows = texts(costs_section(history))
    assert rows[1][:7] == ["trial 1", "1.0000", "1,001", "2,000", "dense", "1", "5"]
    assert costs_section(History([])) == ""


def test_the_whole_report_escapes_and_can_be_printed() -> None:
    lines = worker_lines([(EVIL, Span(0, 0, 0.0, 1.0))])
    page = render_report(
        Report(
            *("demo", EVIL, "char_lm", "bits", "genetic"),
            trials=HISTORY,
            declared={**DECLARED, "space": EVIL, "strategy": EVIL},
            machines=[MACHINE],
            work=lines,
            paper=EVIL,
        )
    )
    assert "<script" not in page
    assert "@media print" in page
    order = ["Progress", "Leaderboard", "Size and speed", "Where the winner", "Failures"]
    order += ["Workers", "What a paper must state", "Text to cite", "Settings"]
    places = [page.index(f"<h2>{name}") for name in order]
    assert places == sorted(places)
