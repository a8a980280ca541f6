"""The live table of a search: the best cells with their learning curves, how the best score fell,
who is at work, what failed, and what changed last; redrawn in place.
"""

from __future__ import annotations

import math
import sys
import time
from itertools import accumulate

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cellsearch.history import History
from cellsearch.reporting.progress import Clock, Display, duration, ended, outcome
from cellsearch.reporting.screen import Screen, plain
from cellsearch.reporting.sparks import spark
from cellsearch.reporting.terminal import shows
from cellsearch.trial import BASELINE, Status, Trial

__all__ = ["LiveDisplay"]

TOP = 8
CURVE = 16
"""Characters of a learning curve."""
_KEPT = 1000
"""Points of the fall of the best score; of more, every second is left out."""
_NARROW, _WIDE = 60, 90
"""Below the first the columns that say least are left out, below the second the curves."""


class LiveDisplay(Display):
    """A table of the best cells and the baselines with a progress bar, redrawn in place."""

    def __init__(
        self, name: str, question: str, total: int, *, clock: Clock = time.monotonic
    ) -> None:
        super().__init__(name, question, total, clock=clock)
        # What the thread that draws shows: it does not ask the history, which is being written.
        self._trials: RenderableType = ""
        self._lines: list[Text] = []
        self._done = 0
        self._end = math.nan
        self._falls: list[float] = []
        self._busy: dict[int, float] = {}
        self._news, self._news_at = "", 0.0
        self._screen = Screen()
        self._live = Live(
            console=self._screen,
            get_renderable=self._render,
            refresh_per_second=4,
            transient=True,
        )

    def begin(self, history: History) -> None:
        """Take over the lower part of the terminal."""
        super().begin(history)
        self._falls = [*accumulate((score for _, score, _ in history.sizes()), min)][-_KEPT:]
        self.update(history)
        self._live.start(refresh=True)
        # What others print meanwhile goes above the table, where rich reads it for codes.
        sys.stdout, sys.stderr = shows(sys.stdout), shows(sys.stderr)

    def update(self, history: History, trial: Trial | None = None) -> None:
        """Note what the next redrawing shows."""
        best = history.best()
        if trial is not None:
            self._note(history, trial, best)
        running = [t for t in history.unfinished if t.status is Status.RUNNING]
        now = self._clock()
        self._busy = {t.number: self._busy.get(t.number, now) for t in running}
        self._trials = self._table(history, running)
        self._lines = self._about(history)
        self._done = ended(history)
        self._end = now + self.remaining(history)

    def end(self) -> None:
        """Give the terminal back; the final table is printed by whoever asked for the search."""
        self._live.stop()

    def _note(self, history: History, trial: Trial, best: Trial | None) -> None:
        """What changed last, in words."""
        before = self._falls[-1] if self._falls else math.inf
        if best is not None:
            self._falls.append(best.score)
            if len(self._falls) > _KEPT:
                self._falls = [self._falls[0], *self._falls[2::2], self._falls[-1]]
        self._news_at = self._clock()
        self._news = f"{trial.name}: {outcome(trial)}"
        if best is not None and best.number == trial.number:
            fall = f", {before:.4f} before" if math.isfinite(before) else ""
            self._news = f"{trial.name} is the best now: {trial.score:.4f}{fall}"
        if not trial.is_baseline and trial.proposal.origin:
            parents = ", ".join(map(str, trial.proposal.parents[:2]))
            self._news += f" ({trial.proposal.origin}{f' of {parents}' if parents else ''})"

    @property
    def _width(self) -> int:
        return self._screen.width

    def _render(self) -> RenderableType:
        bar = Table.grid(padding=(0, 2, 0, 0))
        done, now = self._done, self._clock()
        left = max(self._end - now, 0.0) if math.isfinite(self._end) else math.nan
        bar.add_row(
            plain(self.name, "bold"),
            ProgressBar(
                total=max(self.total, 1),
                completed=done,
                width=max(6, min(32, self._width - 48 - len(self.name))),
            ),
            plain(f"{done}/{self.total}"),
            plain(f"{duration(now - self._started)}, ETA {duration(left)}"),
        )
        lines = [*self._lines]
        if self._busy:
            at_work = ", ".join(
                f"{number} ({duration(now - since)})" for number, since in self._busy.items()
            )
            lines.append(_line("at work", at_work))
        if self._news:
            lines.append(_line("last", f"{self._news}, {duration(now - self._news_at)} ago"))
        notice = [plain(self.notice, "yellow")] if self.notice else []
        return Group(bar, self._trials, *lines, *notice)

    def _about(self, history: History) -> list[Text]:
        """How the best score fell, and what failed."""
        lines = []
        fall = spark(self._falls, min(40, self._width - 30), encoding=self._screen.encoding)
        if len(fall) > 1:
            lines.append(_line("best", f"{self._falls[0]:.4f} {fall} {self._falls[-1]:.4f}"))
        failures = ", ".join(f"{count} {kind}" for kind, count in history.causes().items())
        if failures:
            lines.append(_line("failed", failures))
        return lines

    def _table(self, history: History, running: list[Trial]) -> RenderableType:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        wide, narrow = self._width >= _WIDE, self._width < _NARROW
        names = ["", "cell", "score", "cell weights", "status", "origin"]
        if narrow:
            names = ["", "cell", "score", "status"]
        elif wide:
            names.insert(3, "curve")
        for header in names:
            right = header in ("", "score", "cell weights")
            table.add_column(header, justify="right" if right else "left", no_wrap=True)
        best = history.best()
        shown = {trial.number: trial for trial in history.top(TOP)}
        controls = [trial for trial in history.of_kind(BASELINE) if trial.ranks]
        shown |= {t.number: t for t in sorted(controls, key=lambda t: (t.score, t.number))}
        for trial, place in [(t, str(history.place(t))) for t in shown.values()] + [
            (t, "") for t in running
        ]:
            result = trial.result
            cells = {
                "": place,
                "cell": trial.name,
                "score": f"{trial.score:.4f}" if math.isfinite(trial.score) else "",
                "curve": self._curve(trial) if wide else "",
                "cell weights": f"{result.cell_parameters:,}" if result else "",
                "status": trial.status.value,
                "origin": str(trial.proposal.origin),
            }
            is_best = best is not None and trial.number == best.number
            style = "green" if is_best else "cyan" if trial.is_baseline else ""
            table.add_row(*(plain(cells[name]) for name in names), style=style)
        return table

    def _curve(self, trial: Trial) -> str:
        return spark([score for _, score in trial.curve], CURVE, encoding=self._screen.encoding)


def _line(label: str, text: str) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{label} ", "dim")
    line.append(plain(text))
    return line
