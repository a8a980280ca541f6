"""``cellsearch track``: show a run in a tracker of experiments; and ``search --track``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from cellsearch.cli.output import emit_json, json_option
from cellsearch.errors import CellsearchError, EnvironmentFailure, amount, command
from cellsearch.tracking import Trackers, send
from cellsearch.tracking.feed import Feed
from cellsearch.tracking.registry import require

__all__ = ["COMMANDS", "require_trackers", "tracked"]

_LOOK_SECONDS = 1.0


@click.command("track")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "trackers",
    multiple=True,
    required=True,
    metavar="NAME",
    help="tensorboard, mlflow, wandb, trackio, or one of another package; may be repeated.",
)
@click.option("--follow", is_flag=True, help="Go on until nobody searches in the run any more.")
@json_option
def track(run: Path, trackers: tuple[str, ...], follow: bool, as_json: bool) -> None:
    """Show RUN in a tracker of experiments: scores, the best so far, learning curves, settings, the
    best cell. A trial that the tracker knows already is not told again, so the command may be
    repeated, and goes on where `search --track` was ended.

    tensorboard writes below RUN/tensorboard.
    """
    require_trackers(trackers)
    found = []
    for name in dict.fromkeys(trackers):
        try:
            told, where = send(run, name, _until_left if follow else lambda feed: False)
        except CellsearchError:
            raise
        except Exception as error:
            raise EnvironmentFailure(
                f"the tracker {name} failed: {type(error).__name__}: {error}",
                where=str(run),
                hint=f"nothing is lost: {command('track', run, '--to', name)} goes on from there",
            ) from error
        found.append({"tracker": name, "told": told, "where": where})
        if not as_json:
            click.echo(f"{name}: {amount(told, 'new trial')}, {where}")
    if as_json:
        emit_json(found)


def _until_left(feed: Feed) -> bool:
    if not feed.writer:
        return False
    time.sleep(_LOOK_SECONDS)
    return True


def require_trackers(trackers: Sequence[str]) -> None:
    """Raise :class:`ConfigError` for a tracker that cannot be used here."""
    for name in trackers:
        require(name)


@contextmanager
def tracked(folder: Path, trackers: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Inside, the trackers follow the run in this folder. Gives what is to be called now and then:
    it says of each that has failed, once, on standard error.
    """
    following = Trackers(folder, trackers)
    with following:
        yield lambda: _warn(following.failures())
    _warn(following.left_over())


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(f"warning: {line}", err=True)


COMMANDS = (track,)
