"""The one way in which cellsearch draws tables and moving lines: rich, without its markup."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.control import Control
from rich.segment import ControlType, Segment
from rich.text import Text

from cellsearch.errors import visible
from cellsearch.reporting.terminal import own_stream

__all__ = ["Screen", "plain"]


def plain(text: str, style: str = "") -> Text:
    """A text of one line, as columns measure it."""
    return Text(visible(text, newlines=True), style)


class Screen(Console):
    """A console on which every text is made visible, and none is read as markup, emoji or link.

    stderr: draw on standard error.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        super().__init__(file=own_stream(stream), markup=False, emoji=False, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The pieces that are written; only what rich itself draws with keeps its codes."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else Segment(visible(piece.text), piece.style)

    def rewrite(self, text: str, *, last: bool = False) -> None:
        """Write a line over the one that was written before in this way; ``last``: and leave it."""
        self.print(plain(text), end="\n" if last else "")
        if not last:
            self.control(Control((ControlType.CARRIAGE_RETURN,)))
