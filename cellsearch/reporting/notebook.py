"""What notebooks show: pieces of our pages with a style that touches nothing else on the page, and
the progress of a search as one output that is drawn anew.
"""

from __future__ import annotations

import re
import sys
import time
from functools import cache
from html import escape
from importlib import import_module
from typing import Any

from cellsearch.errors import amount
from cellsearch.history import History
from cellsearch.reporting.charts import Line, line_chart
from cellsearch.reporting.figures import series_rules
from cellsearch.reporting.page import stylesheet, trial_table
from cellsearch.reporting.progress import Clock, Display, duration, ended
from cellsearch.trial import BASELINE, Trial

__all__ = ["NotebookDisplay", "framed", "in_notebook"]

TOP = 5
"""Rows of the table of the best."""
PAUSE = 0.25
"""Seconds between two drawings, at least."""
_SCOPE = ".cellsearch-out"
_RULE = re.compile(r"([^{}]+)\{")


def framed(html: str) -> str:
    """HTML of ours as an output of a notebook, with its style."""
    return f'<style>{_style()}</style><div class="{_SCOPE[1:]}">{html}</div>'


@cache
def _style() -> str:
    """The rules of our pages, all of them below one class."""
    rules = _RULE.sub(lambda found: f"{_below(found[1])}{{", stylesheet() + series_rules())
    more = f"{_SCOPE}{{padding:8px 12px;border-radius:8px}}{_SCOPE} h1{{font-size:20px}}"
    return re.sub(r"\s*\n\s*", "", rules) + more


def _below(selectors: str) -> str:
    """Selectors that hold below our class alone."""
    if selectors.strip().startswith("@"):
        return selectors
    whole = {":root": _SCOPE, "body": _SCOPE}
    parts = (part.strip() for part in selectors.split(","))
    return ",".join(whole.get(part, f"{_SCOPE} {part}") for part in parts)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    python = sys.modules.get("IPython")
    shell = python.get_ipython() if python is not None else None
    return hasattr(shell, "kernel")


class NotebookDisplay(Display):
    """The progress of a search in a notebook: a bar, the curve of the best score, the best cells.

    It draws when it is told of something, in the thread that tells it; nothing runs beside.
    """

    def __init__(
        self, name: str, question: str, total: int, *, clock: Clock = time.monotonic
    ) -> None:
        super().__init__(name, question, total, clock=clock)
        self._handle: Any = None
        self._drawn = -PAUSE
        self._curve: list[tuple[float, float]] = []

    def begin(self, history: History) -> None:
        """Show what is there already."""
        super().begin(history)
        best = float("inf")
        for number, score, _ in history.sizes():
            if score < best and not history.by_number[number].is_baseline:
                best = score
                self._curve.append((float(number), best))
        self._draw(history)

    def update(self, history: History, trial: Trial | None = None) -> None:
        """Draw anew, if the last time is a moment ago, or nothing is left to come."""
        best = self._curve[-1][1] if self._curve else float("inf")
        if trial is not None and not trial.is_baseline and trial.standing < best:
            self._curve.append((float(trial.number), trial.score))
        if ended(history) >= self.total or self._clock() - self._drawn >= PAUSE:
            self._draw(history)

    def end(self) -> None:
        """Nothing more is drawn."""

    def _draw(self, history: History) -> None:
        self._drawn = self._clock()
        ipython = import_module("IPython.display")
        html = ipython.HTML(framed(self._html(history)))
        if self._handle is None:
            self._handle = ipython.display(html, display_id=True)
        else:
            self._handle.update(html)

    def _html(self, history: History) -> str:
        done = ended(history)
        past = duration(self._clock() - self._started)
        left = f", about {duration(self.remaining(history))} left" if done < self.total else ""
        causes = ", ".join(f"{count} {kind}" for kind, count in history.causes().items())
        failed = f" · failed: {escape(causes)}" if causes else ""
        notice = f"<p>{escape(self.notice)}</p>" if self.notice else ""
        share = 100 * min(1.0, done / max(self.total, 1))
        form = "height:6px;border-radius:3px;background:var"
        done_bar = f'<div style="{form}(--accent);width:{share:.0f}%"></div>'
        bar = f'<div style="{form}(--rule);margin:6px 0">{done_bar}</div>'
        best = history.best(baselines=False)
        controls = [t for t in history.of_kind(BASELINE) if t.ranks]
        shown = {t.number: t for t in [*history.top(TOP), *controls]}
        ordered = sorted(shown.values(), key=lambda t: (t.score, t.number))
        table = trial_table(ordered, "metric", best) if ordered else ""
        curve = self._chart(history, controls)
        return (
            f"<h3>{escape(self.name)}</h3>"
            f'<p class="soft">{done} of {amount(self.total, "trial")}, {past}{left}{failed}</p>'
            f"{bar}{notice}{curve}{table}"
        )

    def _chart(self, history: History, controls: list[Trial]) -> str:
        """The best score so far; nothing before there are two."""
        if len(self._curve) < 2:
            return ""
        last = float(len(history) - 1)
        lines = [Line((*self._curve, (last, self._curve[-1][1])), "best", "line", steps=True)]
        lines += [
            Line(((0.0, t.score), (last, t.score)), t.name, "line baseline") for t in controls
        ]
        drawn = line_chart("Best score so far", lines, x_label="trial", y_label="score")
        return f'<div style="max-width:480px">{drawn}</div>'
