"""Commands that look at a run: ``ls``, ``best``, ``report``. They work while it is being searched,
and change nothing in its store.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cellsearch.cli.output import emit_json, number, print_table, refuse_other_kind, table_option
from cellsearch.errors import CellsearchError, amount, command
from cellsearch.history import History
from cellsearch.job import Naive
from cellsearch.reporting.operators import OPERATOR_COLUMNS, operator_row, operators, verdict
from cellsearch.reporting.page import cost_columns, cost_text, precision_note
from cellsearch.runs import Run, open_run
from cellsearch.runs.trial import trial_record
from cellsearch.store.database import FILE_NAME, runs_below
from cellsearch.trial import BASELINE, SUPERNET, Status, Trial

__all__ = [
    "COMMANDS",
    "leaderboard_order",
    "leaders",
    "print_leaderboard",
    "say_doubt",
    "summary",
    "worse_than",
]

RUN = click.argument("run", type=click.Path(path_type=Path))


@click.command("ls")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--top", type=click.IntRange(min=1), help="Only the best N.")
@click.option(
    "--sort",
    type=click.Choice(["score", "number"]),
    default="score",
    show_default=True,
    help="Order of the rows.",
)
@click.option(
    "--pareto",
    is_flag=True,
    help="Only the cells that no other is better than in all objectives (of nsga2; else score and "
    "weights).",
)
@click.option(
    "--operators",
    "by_operator",
    is_flag=True,
    help="Instead of the trials what each operator paid: children, how many are better than their "
    "parents, crossover beside mutation.",
)
@table_option
def list_trials(
    run: Path | None, top: int | None, sort: str, pareto: bool, by_operator: bool, as_json: bool
) -> None:
    """List the trials of RUN, best first; unfinished and failed ones last. Of a folder that holds
    runs, list these; without RUN those in the folder runs, or here.
    """
    if run is None:
        run = Path("runs") if Path("runs").is_dir() else Path()
    if not (run / FILE_NAME).exists() and (found := runs_below(run)):
        _list_runs(found, as_json)
        return
    data = open_run(run)
    if by_operator:
        _list_operators(data, as_json)
        return
    if pareto:
        front = sorted(data.front(), key=leaderboard_order if sort == "score" else _number)
        trials = front[:top]
    else:
        trials = leaders(data.trials, top) if sort == "score" else list(data.trials[:top])
    if as_json:
        records = [{**trial_record(t), "gap": data.trials.gap(t)} for t in trials]
        emit_json(
            {
                "run": str(run),
                "experiment": data.declared,
                "writer": data.writer,
                **data.counts,
                "failures": data.trials.causes(),
                "naive": [asdict(one) for one in data.naive],
                "trials": records,
            }
        )
        return
    print_leaderboard(trials, data.naive if sort == "score" else ())
    click.echo(summary(data))


@click.command("best")
@RUN
@click.option("--baselines", is_flag=True, help="Also consider the baselines (LSTM, GRU).")
@table_option
def best(run: Path, baselines: bool, as_json: bool) -> None:
    """Show the best cell that RUN has found: its equations, its score, and the baselines under the
    same budget.
    """
    data = open_run(run)
    trial = data.find_best(baselines=baselines)
    controls = sorted(
        (trial for trial in data.trials.of_kind(BASELINE) if trial.ranks), key=leaderboard_order
    )
    if as_json:
        emit_json(
            {
                "run": str(run),
                **trial_record(trial),
                "worse_than": worse_than(data, trial),
                "key": trial.genome.key,
                "cell": trial.genome.to_text(),
                "baselines": [trial_record(t) for t in controls],
            }
        )
        return
    click.echo(trial.genome.to_text())
    print_leaderboard([trial, *(t for t in controls if t.number != trial.number)])
    say_doubt(data, trial)
    cell = Path(f"{run}:{trial.number}")
    click.echo(
        f"\n{command('show', cell)}, {command('export', cell, '--to', 'source', '-o', 'cell.py')}"
    )


@click.command("report")
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
    if output is not None:
        refuse_other_kind(output, "html")
    click.echo(f"report: {open_run(run).report(output, force=force)}")


def _list_operators(data: Run, as_json: bool) -> None:
    """What each operator paid."""
    rows = operators(data.trials)
    said = verdict(rows)
    if as_json:
        documents = [row.to_document() for row in rows]
        emit_json({"run": str(data.path), "operators": documents, "verdict": said})
        return
    if not rows:
        click.echo("no trial of the run has a parent with a score")
        return
    print_table(
        OPERATOR_COLUMNS,
        [operator_row(row) for row in rows],
        right=range(1, len(OPERATOR_COLUMNS)),
    )
    if said:
        click.echo(f"\n{said}")


def _list_runs(folders: list[Path], as_json: bool) -> None:
    """A line on each run; one that cannot be read says why."""
    rows: list[tuple[str, ...]] = []
    documents: list[dict[str, Any]] = []
    for folder in folders:
        try:
            data = open_run(folder)
            declared, best = data.declared, data.trials.best(baselines=False)
        except CellsearchError as error:
            rows.append((str(folder), "–", "–", "–", "–", f"cannot be read: {error}"))
            documents.append({"run": str(folder), "error": str(error)})
            continue
        score = best.score if best is not None else math.nan
        trained = data.counts["completed"] + data.counts["stopped"]
        made = [str(declared.get(key, "")) for key in ("strategy", "task")]
        state = f"being searched by {data.writer}" if data.writer else ""
        rows.append((str(folder), *made, str(trained), number(score), state))
        documents.append(
            {
                "run": str(folder),
                "experiment": declared,
                "writer": data.writer,
                **data.counts,
                "best": trial_record(best) if best is not None else None,
            }
        )
    if as_json:
        emit_json(documents)
    else:
        headers = ("run", "strategy", "task", "trained", "best score", "")
        print_table(headers, rows, right=(3, 4), wrap=5)


def _number(trial: Trial) -> int:
    return trial.number


def leaderboard_order(trial: Trial) -> tuple[bool, float, int]:
    """Best first; cells that are only a step on the way (all connections at once, to be pruned)
    come after the results.
    """
    return trial.is_intermediate, trial.score, trial.number


def leaders(history: History, count: int | None) -> list[Trial]:
    """The first ``count`` trials of the leaderboard, duplicates beside what answers them; all of
    them for ``None``.
    """
    # an answer of a cell on the way to others has a place that the cell itself has not
    strange = history.totals.statuses[Status.DUPLICATE] and history.of_kind(SUPERNET)
    if count is not None and not strange:
        found = [*history.top(count), *history.unfinished]
        found += [twin for trial in found for twin in history.answers(trial.number)]
        found = sorted((trial for trial in found if _has_place(trial)), key=leaderboard_order)
        if len(found) >= count:
            return found[:count]
    return sorted(history, key=leaderboard_order)[:count]


def _has_place(trial: Trial) -> bool:
    """Whether the trial comes before those without a score and those on the way to others."""
    return trial.score < math.inf and not trial.is_intermediate


def print_leaderboard(trials: list[Trial], naive: Sequence[Naive] = ()) -> None:
    """The trials as a table, in the order given, and what is reached without a cell where its score
    puts it; with what they cost on a device, where that was measured.
    """
    rows: list[tuple[str, ...]] = []
    left = list(naive)
    costs = cost_columns(trial.metrics for trial in trials)
    several = any(trial.repeats for trial in trials)
    more = len(costs) + several
    for trial in trials:
        while left and left[0].score < trial.score:
            rows.append(_naive_row(left.pop(0), more))
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
                *([str(trial.trainings) if result else "–"] if several else []),
                f"{result.cell_parameters:,}" if result else "–",
                f"{result.parameters:,}" if result else "–",
                *(cost_text(name, trial.metrics) for name in costs),
                str(len(trial.genome.nodes)),
                str(result.steps) if result else "–",
                number(result.seconds, 1) if result else "–",
                f"{trial.status.value} {note}".strip(),
                str(trial.proposal.origin),
            )
        )
    rows += [_naive_row(one, more) for one in left]
    print_table(
        (
            "cell",
            "score",
            *(["trainings"] if several else []),
            "cell weights",
            "model weights",
            *costs.values(),
            "nodes",
            "steps",
            "seconds",
            "status",
            "origin",
        ),
        rows,
        right=range(1, 7 + more),
    )


def _naive_row(one: Naive, more: int) -> tuple[str, ...]:
    """``more``: how many columns there are besides those of every run."""
    return (one.name, number(one.score), *["–"] * (5 + more), "no cell", "naive")


def worse_than(data: Run, trial: Trial) -> list[dict[str, Any]]:
    """The baselines, and what needs no cell, that are better than a trial, as plain data."""
    better = [(t.name, t.score) for t in data.better_baselines(trial)]
    better += [(one.name, one.score) for one in data.naive if one.score < trial.score]
    return [{"name": name, "score": score} for name, score in better]


def say_doubt(data: Run, trial: Trial) -> None:
    """Say that the cell that is handed out as the best is worse than a baseline."""
    if doubt := data.doubt(trial):
        click.echo(f"warning: the best cell, {doubt}", err=True)


def summary(data: Run) -> str:
    """How many trials became what, in a line."""
    counts = data.counts
    parts = [
        f"{counts['completed'] + counts['stopped']} trained of {counts['asked_for']} asked for"
    ]
    parts += [f"{counts[name]} {name}" for name in ("running", "waiting") if counts[name]]
    causes = ", ".join(f"{count} {kind}" for kind, count in data.trials.causes().items())
    parts += [f"{counts['failed']} failed ({causes})"] if counts["failed"] else []
    parts.append(f"{amount(counts['answered'], 'duplicate')} answered without training")
    rejected, imported = data.trials.totals.rejected, data.trials.totals.imported
    parts += [f"{rejected} of the failed rejected before training"] if rejected else []
    parts += [f"{imported} of the trained imported"] if imported else []
    if any(trial.repeats for trial in [*data.trials.of_kind(BASELINE), *data.trials.top(1)]):
        share = data.trials.repeated()
        parts.append(f"{share:.0%} of the training time spent on training leaders again")
    parts += [note] if (note := precision_note(data.declared)) else []
    if data.writer:
        parts.append(f"being searched by {data.writer}")
    return "\n" + ", ".join(parts)


COMMANDS = (list_trials, best, report)
