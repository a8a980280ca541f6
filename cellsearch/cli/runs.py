"""Commands that look at a run: ``ls``, ``best``, ``report``. They work while it is being searched,
and change nothing in its store.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cellsearch.cli.output import emit_json, json_option, number, print_table, write_atomically

if TYPE_CHECKING:
    from cellsearch.runs import Run
    from cellsearch.trial import Trial

__all__ = ["COMMANDS", "leaderboard_order", "print_leaderboard", "summary", "write_report"]

RUN = click.argument("run", type=click.Path(path_type=Path))


@click.command("ls", short_help="List the trials of a run.")
@RUN
@click.option("--top", type=click.IntRange(min=1), help="Only the best N.")
@click.option(
    "--sort",
    type=click.Choice(["score", "number"]),
    default="score",
    show_default=True,
    help="Order of the rows.",
)
@json_option
def list_trials(run: Path, top: int | None, sort: str, as_json: bool) -> None:
    """List the trials of RUN, best first; unfinished and failed ones last."""
    from cellsearch.runs import open_run
    from cellsearch.runs.trial import trial_record

    data = open_run(run)
    trials = list(data.trials)
    if sort == "score":
        trials.sort(key=leaderboard_order)
    trials = trials[:top]
    if as_json:
        records = [{**trial_record(t), "gap": data.trials.gap(t)} for t in trials]
        emit_json(
            {
                "run": str(run),
                "experiment": data.declared,
                "writer": data.writer,
                **data.counts,
                "trials": records,
            }
        )
        return
    print_leaderboard(trials)
    click.echo(summary(data))


@click.command("best", short_help="Show the best cell of a run.")
@RUN
@click.option("--baselines", is_flag=True, help="Also consider the baselines (LSTM, GRU).")
@json_option
def best(run: Path, baselines: bool, as_json: bool) -> None:
    """Show the best cell that RUN has found: its equations, its score, and the baselines under the
    same budget.
    """
    from cellsearch.runs import open_run
    from cellsearch.runs.trial import trial_record

    data = open_run(run)
    trial = data.find_best(baselines=baselines)
    controls = [t for t in data.trials.ranked if t.is_baseline]
    if as_json:
        emit_json(
            {
                "run": str(run),
                **trial_record(trial),
                "key": trial.genome.key,
                "cell": trial.genome.to_text(),
                "baselines": [trial_record(t) for t in controls],
            }
        )
        return
    click.echo(trial.genome.to_text())
    print_leaderboard([trial, *(t for t in controls if t is not trial)])
    click.echo(
        f"\ncellsearch show {run}:{trial.number}, cellsearch export "
        f"{run}:{trial.number} --to source -o cell.py"
    )


@click.command("report", short_help="Write the HTML report of a run.")
@RUN
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file; report.html in the run folder if left out.",
)
@click.option("--force", is_flag=True, help="Overwrite a file given with --output.")
def report(run: Path, output: Path | None, force: bool) -> None:
    """Write one self-contained HTML file about RUN: leaderboard, curves, pictures of the best
    cells, lineage.
    """
    from cellsearch.runs import open_run

    path = write_report(open_run(run), output, force=force)
    click.echo(f"report: {path}")


def write_report(data: Run, output: Path | None = None, *, force: bool = False) -> Path:
    """Write the HTML report; the one in the run folder is a product of the run and is always
    replaced.
    """
    from cellsearch.reporting.report import Report, render_report
    from cellsearch.tasks.suite import metric_of

    experiment = data.declared
    page = render_report(
        Report(
            name=experiment["name"],
            question=experiment.get("question", ""),
            task=experiment["task"],
            metric=metric_of(experiment["task"]),
            strategy=experiment["strategy"],
            trials=tuple(data.trials),
            ended=data.ended,
            settings=data.settings,
            environment=data.environments[-1].fingerprint if data.environments else {},
            finals=data.finals(),
        )
    )
    path = output or data.path / "report.html"
    write_atomically(path, page, force=force or output is None)
    return path


def leaderboard_order(trial: Trial) -> tuple[bool, float, int]:
    """Best first; cells that are only a step on the way (all connections at once, to be pruned)
    come after the results.
    """
    return trial.is_intermediate, trial.score, trial.number


def print_leaderboard(trials: list[Trial]) -> None:
    """The trials as a table, in the order given."""
    rows = []
    for trial in trials:
        result = trial.result
        note = (
            trial.failure.kind
            if trial.failure
            else f"= trial {trial.duplicate_of}"
            if trial.duplicate_of is not None
            else ""
        )
        rows.append(
            (
                trial.name,
                number(trial.score),
                f"{result.cell_parameters:,}" if result else "–",
                str(len(trial.genome.nodes)),
                str(result.steps) if result else "–",
                number(result.seconds, 1) if result else "–",
                f"{trial.status.value} {note}".strip(),
                str(trial.proposal.origin),
            )
        )
    print_table(
        ("cell", "score", "weights", "nodes", "steps", "seconds", "status", "origin"),
        rows,
        right=(1, 2, 3, 4, 5),
    )


def summary(data: Run) -> str:
    """How many trials became what, in a line."""
    counts = data.counts
    parts = [
        f"{counts['completed'] + counts['stopped']} trained of {counts['asked_for']} asked for"
    ]
    parts += [f"{counts[name]} {name}" for name in ("running", "waiting", "failed") if counts[name]]
    parts.append(f"{counts['answered']} duplicates answered without training")
    rejected, imported = (
        sum(getattr(trial, name) for trial in data.trials)
        for name in ("is_rejected", "is_imported")
    )
    parts += [f"{rejected} of the failed rejected before training"] if rejected else []
    parts += [f"{imported} of the trained imported"] if imported else []
    if data.writer:
        parts.append(f"being searched by {data.writer}")
    return "\n" + ", ".join(parts)


COMMANDS = (list_trials, best, report)
