"""``cellsearch benchmark``: cells on a published benchmark, beside what its authors measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import click

from cellsearch import options, zoo
from cellsearch.benchmark import Benchmark, Contestant, benchmarks, get, run_benchmark
from cellsearch.benchmark.base import BenchmarkReport, ExerciseResult
from cellsearch.benchmark.page import cell_picture, write_page
from cellsearch.benchmark.runner import all_exercises
from cellsearch.cli.output import AMOUNT, emit_json, print_table, table_option
from cellsearch.cli.signals import exit_code
from cellsearch.cli.workers import make_executor, ray_options
from cellsearch.errors import amount, command
from cellsearch.experiment.overrides import parse_setting
from cellsearch.files import cache_folder
from cellsearch.reporting.screen import Screen
from cellsearch.runs.locate import locate

__all__ = ["COMMANDS"]


@click.command("benchmark")
@click.argument("name", required=False)
@click.argument("cells", nargs=-1, metavar="[CELL]...")
@click.option("--difficulty", multiple=True, help="How hard; may be said several times.")
@click.option(
    "--weights",
    type=AMOUNT,
    multiple=True,
    help="Of the whole model, as 1k; may be said several times.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Trainings at each setting.")
@click.option("--rates", metavar="RATE,...", help="Learning rates that are tried.")
@click.option("--tasks", metavar="TASK,...", help="Tasks of the benchmark.  [default: all]")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A further option by its name."
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Ray workers; 0 trains in this process.",
)
@ray_options
@click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the tables and the cells that are files, drawn, into this Markdown page; what "
    "else stands in it stays.",
)
@table_option
def benchmark(
    name: str | None,
    cells: tuple[str, ...],
    difficulty: tuple[str, ...],
    weights: tuple[int, ...],
    seeds: int | None,
    rates: str | None,
    tasks: str | None,
    settings: tuple[str, ...],
    workers: int,
    ray_address: str | None,
    worker_env: tuple[str, ...],
    write: Path | None,
    as_json: bool,
) -> int:
    """Train cells by the protocol of a published benchmark and print our rows beside the published
    ones; without NAME list the benchmarks, without cells show one with its options.

    CELL is a zoo name, a .cell or .json file, a run folder (its best cell), or RUN:TRIAL. Each
    training is kept in the user's cache folder: after Ctrl-C the same command goes on, and further
    cells are trained beside those that are known.
    """
    if name is None:
        _list(as_json)
        return 0
    kind = get(name)
    if not cells:
        _describe(kind, as_json)
        return 0
    table: dict[str, Any] = dict(parse_setting(setting) for setting in settings)
    if seeds is not None:
        table["seeds"] = seeds
    if rates is not None:
        table["rates"] = [parse_setting(f"rate={rate}")[1] for rate in rates.split(",")]
    if tasks is not None:
        table["tasks"] = tasks.split(",")
    asked = [
        kind(options.read_options(kind.Options, {**table, **one}, source="benchmark"))
        for one in _combinations(difficulty=difficulty, weights=weights)
    ]
    contestants = [
        Contestant(located.label, located.genome) for located in map(locate, dict.fromkeys(cells))
    ]
    total = sum(len(all_exercises(one, contestants)) for one in asked)
    show = None if as_json else _Progress(total)
    log = cache_folder() / "benchmark"
    try:
        with make_executor(workers, log, ray_address, worker_env) as executor:
            reports = [run_benchmark(one, contestants, executor, None, show) for one in asked]
    except KeyboardInterrupt:
        click.echo("stopped: the same command goes on", err=True)
        return exit_code()
    if write is not None:
        known = zoo.names()
        drawn = [cell_picture(one, write) for one in contestants if one.name not in known]
        write_page(write, kind, reports, drawn)
        click.echo(f"written: {write}", err=True)
    if as_json:
        emit_json({"benchmark": name, "reports": [report.document for report in reports]})
    else:
        _print(reports)
    return 0


def _combinations(**several: Sequence[Any]) -> list[dict[str, Any]]:
    """All combinations of the values that were said; ``[{}]`` for none."""
    said = {key: list(values) for key, values in several.items() if values}
    return [dict(zip(said, values, strict=True)) for values in product(*said.values())]


class _Progress:
    """A line on standard error about the trainings so far."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.failed, self.known = total, 0, 0, 0
        self.began = time.monotonic()
        self._live = sys.stderr.isatty()
        self._screen = Screen(stderr=True)

    def __call__(self, finding: ExerciseResult) -> None:
        self.done += 1
        self.failed += finding.result is None
        self.known += finding.known
        last = self.done == self.total
        if not (last or self._live or self.done % 100 == 0):
            return
        trained = self.done - self.known
        left = (self.total - self.done) * (time.monotonic() - self.began) / max(1, trained)
        text = (
            f"{self.done:,} of {self.total:,} trainings ({self.known:,} known, {self.failed:,} "
            f"failed), {'done' if last else f'about {left / 60:.0f} min to go'}"
        )
        if self._live:
            self._screen.rewrite(f"{text}   ", last=last)
        else:
            click.echo(text, err=True)


def _list(as_json: bool) -> None:
    found = [get(name) for name in benchmarks()]
    if as_json:
        emit_json([{"name": b.name, "summary": b.summary, "source": b.source} for b in found])
        return
    rows = [(b.name, amount(len(b.problems()), "task"), b.summary, b.source) for b in found]
    print_table(("name", "tasks", "what it asks", "source"), rows, wrap=2)


def _describe(kind: type[Benchmark], as_json: bool) -> None:
    defaults = options.table_of(kind.Options())
    if as_json:
        emit_json(
            {
                "name": kind.name,
                "summary": kind.summary,
                "source": kind.source,
                "tasks": list(kind.problems()),
                "options": defaults,
            }
        )
        return
    click.echo(f"{kind.name}: {kind.summary}\nsource: {kind.source}")
    click.echo(f"tasks: {', '.join(kind.problems())}\n")
    declared = {field.name for field in fields(kind.Options)}
    rows = [(key, str(value)) for key, value in defaults.items() if key in declared]
    print_table(("option", "default"), rows)
    click.echo(f"\nexample: {command('benchmark', kind.name, 'gru', '--seeds', 2)}")


def _print(reports: Sequence[BenchmarkReport]) -> None:
    for number, table in enumerate(table for report in reports for table in report.tables):
        click.echo(("\n" if number else "") + table.title)
        print_table(table.headers, table.rows, right=range(1, len(table.headers)))
        for note in table.notes:
            click.echo(note)


COMMANDS = (benchmark,)
