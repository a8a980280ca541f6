"""``cellsearch watch``: another process's search, live."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from cellsearch.cli.runs import say_doubt, summary
from cellsearch.cli.signals import was_told
from cellsearch.reporting.live import LiveDisplay
from cellsearch.reporting.progress import Display, PlainDisplay
from cellsearch.runs import Run, open_run
from cellsearch.tracking.feed import Feed

__all__ = ["COMMANDS"]

LOOK_SECONDS = 0.5


@click.command("watch")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--plain", is_flag=True, help="Plain lines instead of the live table.")
def watch(run: Path, plain: bool) -> int:
    """Show RUN while another process searches in it, as that process does: the best cells, how the
    best score fell, who is at work, failures. It is only read, and never locked.

    Ends when nobody searches in it any more, or with Ctrl-C, which the search does not notice.
    """
    data = open_run(run)
    feed = Feed(run, None)
    display = _display(data, plain=plain)
    display.begin(data.trials)
    code = 0
    try:
        while feed.writer:
            time.sleep(LOOK_SECONDS)
            _look(run, feed, display)
            if was_told():
                break
        _look(run, feed, display)
    except KeyboardInterrupt:
        code = 130
    finally:
        display.end()
        feed.close()
    data = open_run(run)
    if not code and not data.writer:
        click.echo(f"nobody searches in {run}")
    click.echo(summary(data))
    best = data.trials.best(baselines=False)
    if best is not None:
        say_doubt(data, best)
        click.echo(f"best cell: trial {best.number}, score {best.score:.6g}")
    return code


def _display(data: Run, *, plain: bool) -> Display:
    about = data.declared["name"], str(data.declared.get("question", ""))
    if plain or not sys.stdout.isatty():
        return PlainDisplay(*about, data.counts["asked_for"], stream=sys.stdout)
    return LiveDisplay(*about, data.counts["asked_for"])


def _look(run: Path, feed: Feed, display: Display) -> None:
    """Show what has changed since the last look."""
    ended = feed.ended()
    history = open_run(run).trials
    for number in ended:
        display.update(history, history.by_number[number])
    display.update(history)


COMMANDS = (watch,)
