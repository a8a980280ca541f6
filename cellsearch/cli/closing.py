"""What ``cellsearch search`` says when it ends: the best cells, and what to do next."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from cellsearch.cli.output import emit_json
from cellsearch.cli.runs import (
    leaderboard_order,
    leaders,
    print_leaderboard,
    say_doubt,
    summary,
    worse_than,
)
from cellsearch.errors import amount, command
from cellsearch.runs import Run, open_run
from cellsearch.runs.trial import trial_record
from cellsearch.store import Inbox
from cellsearch.trial import BASELINE

__all__ = ["finish", "require_candidate", "say_how_to_tell"]

SHOWN = 12


def finish(folder: Path, as_json: bool) -> None:
    """The table, and where everything lies."""
    data = open_run(folder)
    best = data.trials.best(baselines=False)
    if as_json:
        emit_json(
            {
                "run": str(folder),
                "experiment": data.declared["name"],
                "best": best.number if best is not None else None,
                "worse_than": worse_than(data, best) if best is not None else [],
                "naive": [asdict(one) for one in data.naive],
                "trials": [trial_record(t) for t in leaders(data.trials, None)],
            }
        )
        return
    shown = {t.number: t for t in leaders(data.trials, SHOWN)}
    shown |= {t.number: t for t in data.trials.of_kind(BASELINE)}
    click.echo()
    print_leaderboard(sorted(shown.values(), key=leaderboard_order), data.naive)
    click.echo(summary(data))
    if best is not None:
        say_doubt(data, best)
        click.echo(
            f"best cell: {folder / 'best.cell'} (trial {best.number}); see it with: "
            f"{command('show', Path(f'{folder}:{best.number}'))}"
        )
    click.echo(
        f"run: {folder}; report: {command('report', folder)}; "
        f"export: {command('export', folder, '--to', 'source', '-o', 'cell.py')}"
    )


def say_how_to_tell(folder: Path) -> None:
    """What to do next in a run whose cells are told."""
    data = open_run(folder)
    left = data.counts["asked_for"] - data.trials.counted
    waiting = len(Inbox(folder).letters())
    if left > 0:
        click.echo(
            f"{amount(left, 'trial')} left: {command('ask', folder)} says what is known, "
            f"{command('tell', folder, 'FILE')} proposes cells, the same command trains them",
            err=True,
        )
    elif waiting:
        click.echo(f"{amount(waiting, 'told cell')} wait: search on with more --trials", err=True)


def require_candidate(data: Run) -> None:
    """Raise :class:`NoCandidateError` if cells were proposed and none of them has a score."""
    if any(not trial.is_baseline for trial in data.trials) or not data.trials.ranked:
        data.find_best()
