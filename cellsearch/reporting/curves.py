"""How the leaders and the controls learned: scores over steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from cellsearch.history import History
from cellsearch.reporting.charts import Line, line_chart
from cellsearch.trial import BASELINE, Trial

__all__ = ["LearningCurve", "curve_of", "curves_chart", "leaders_and_controls", "learning_curves"]

LEADERS = 5
CONTROLS = 3
"""So many curves of each are shown."""
POINTS = 200
"""Of a curve."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """The validations of one trial."""

    trial: int
    """Its number."""
    name: str
    """What a person calls it."""
    is_control: bool
    """Whether it is a baseline."""
    points: tuple[tuple[int, float], ...]
    """Optimizer steps and score, by steps, of the trainings that went on from one another."""


def curve_of(trial: Trial, most: int = POINTS) -> tuple[tuple[int, float], ...]:
    """Steps and score of the validations of a trial, at most ``most`` of them, the last included;
    repeated trainings are left out.
    """
    points = trial.curve
    if len(points) <= most:
        return points
    apart = (len(points) - 1) / (most - 1)
    return tuple(points[round(k * apart)] for k in range(most))


def leaders_and_controls(history: History, leaders: int, controls: int) -> list[Trial]:
    """The best found cells, then the best controls, each the best first."""
    best = islice((trial for trial in history.ranked if not trial.is_baseline), leaders)
    scored = (trial for trial in history.of_kind(BASELINE) if trial.is_scored)
    others = sorted(scored, key=lambda trial: (trial.score, trial.number))
    return [*best, *others[:controls]]


def learning_curves(
    history: History, leaders: int = LEADERS, controls: int = CONTROLS
) -> list[LearningCurve]:
    """The curves of the best found cells, the best first, then of the best controls."""
    curves = (
        LearningCurve(trial.number, trial.name, trial.is_baseline, curve_of(trial))
        for trial in leaders_and_controls(history, leaders, controls)
    )
    return [curve for curve in curves if curve.points]


def curves_chart(curves: Sequence[LearningCurve]) -> tuple[str, str] | None:
    """Caption and chart; ``None`` where no curve has two points."""
    drawn = [curve for curve in curves if len(curve.points) > 1]
    if not drawn:
        return None
    caption = "Learning curves of the leaders and the controls"
    first = next((curve.trial for curve in drawn if not curve.is_control), None)
    lines = [
        Line(
            curve.points,
            curve.name,
            "line baseline"
            if curve.is_control
            else "line winner"
            if curve.trial == first
            else "line",
        )
        for curve in drawn
    ]
    return caption, line_chart(caption, lines, x_label="optimizer steps", y_label="score")
