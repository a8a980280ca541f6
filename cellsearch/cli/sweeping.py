"""``cellsearch sweep``: a grid of searches, strategies by seeds, and their comparison."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from cellsearch.cli.comparing import print_comparison
from cellsearch.cli.failures import guarded
from cellsearch.cli.output import data_option, emit_json, own_data_option, table_option
from cellsearch.cli.signals import exit_code, orderly, was_told
from cellsearch.cli.workers import make_executor, ray_options
from cellsearch.errors import CellsearchError, amount
from cellsearch.experiment import load_experiment
from cellsearch.experiment.overrides import parse_setting
from cellsearch.reporting.comparison import AXES
from cellsearch.reporting.page import number
from cellsearch.runs import open_run
from cellsearch.runs.comparing import compare
from cellsearch.runs.sweeping import Planned, plan_sweep, read_seeds, search_to_the_end
from cellsearch.search import Search

__all__ = ["COMMANDS"]

_PR_SET_PDEATHSIG = 1
_LOG = "search.log"
"""What a search says that runs beside others, in its run's folder."""


@click.command("sweep")
@click.argument("experiment")
@click.option(
    "--strategies",
    "names",
    default="",
    metavar="NAME,...",
    help="Strategies, with commas between.  [default: the experiment's]",
)
@click.option(
    "--seeds", default="0..4", show_default=True, metavar="N..M", help="Seeds: 0..4, or 1,2,7."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The folder of the runs; runs/EXPERIMENT-sweep if left out.",
)
@click.option("--trials", type=click.IntRange(min=1), help="Trials of each search.")
@click.option(
    "--compute",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="End each search when it has computed as much as N trainings of the LSTM.",
)
@click.option("--workers", type=click.IntRange(min=0), help="Ray workers of each search; 0: none.")
@click.option(
    "--at-once",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="So many searches beside one another, each in a process of its own.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a value of the experiment, e.g. training.steps=100.",
)
@click.option(
    "--by",
    type=click.Choice(list(AXES)),
    help="What the comparison at the end goes by.  [default: trials; with --compute that]",
)
@ray_options
@own_data_option
@data_option
@table_option
def sweep(
    experiment: str,
    names: str,
    seeds: str,
    out: Path | None,
    trials: int | None,
    compute: float | None,
    workers: int | None,
    at_once: int,
    settings: tuple[str, ...],
    by: str | None,
    ray_address: str | None,
    worker_env: tuple[str, ...],
    data: tuple[str, ...],
    as_json: bool,
) -> int:
    """Search with several strategies and seeds as EXPERIMENT says (a name, or a TOML file), one
    search after another, and compare them.

    The same command again goes on where it stopped, whatever stopped it; what is done is not
    repeated, and more seeds, strategies or trials are added to what is there. Ctrl-C once finishes
    the trials under way; twice stops at once.
    """
    given = {"trials": trials, "workers": workers}
    overrides = dict(map(parse_setting, settings))
    overrides |= {key: value for key, value in given.items() if value is not None}
    planned = plan_sweep(
        experiment,
        out or Path("runs") / f"{load_experiment(experiment, overrides).name}-sweep",
        names=[name.strip() for name in names.split(",") if name.strip()],
        seeds=read_seeds(seeds),
        overrides=overrides,
        compute=compute or 0.0,
    )
    log = partial(click.echo, err=as_json)
    log(f"{amount(len(planned), 'search', 'searches')} in {planned[0].folder.parent}")
    task = _Task(compute or 0.0, data, at_once, ray_address, worker_env)
    failed = (_one_by_one if at_once == 1 else _beside)(planned, task, log)
    if was_told():
        click.echo("stopped: the same command goes on with these searches", err=True)
        return exit_code()
    done = [one.folder for one in planned if one.name not in failed]
    if done:
        found = compare(*done, by=by or ("compute" if compute else "trials"))
        if as_json:
            emit_json(found.to_document())
        else:
            click.echo()
            print_comparison(found)
    return next(iter(failed.values()), 0)


@dataclass(frozen=True)
class _Task:
    """What is the same for all searches of a sweep."""

    compute: float
    """In trainings of the LSTM; 0 for no bound."""
    data: tuple[str, ...]
    """Where the user's own data lie."""
    at_once: int
    """Searches beside one another."""
    ray_address: str | None
    """Of the cluster that they join; none where each starts one of its own."""
    worker_env: tuple[str, ...]
    """Variables of the environment that workers get besides."""


def _one_by_one(planned: Sequence[Planned], task: _Task, log: Any) -> dict[str, int]:
    """Do the searches in this process; the names of those that failed, each with its exit code."""
    failed: dict[str, int] = {}
    for place, one in enumerate(planned, start=1):
        if was_told():
            break
        began = time.monotonic()
        try:
            _search(one, task)
        except CellsearchError as error:
            failed[one.name] = error.exit_code
            hint = f"; {error.hint}" if error.hint else ""
            click.echo(f"[{place}/{len(planned)}] {one.name} failed: {error}{hint}", err=True)
        else:
            log(f"[{place}/{len(planned)}] {_said(one)}, {time.monotonic() - began:.0f} s")
    return failed


def _search(one: Planned, task: _Task) -> None:
    """Do one search, or what is left of it; the first signal stops it in order."""
    opened: list[Search] = []

    def stop(signal_number: int) -> None:
        for search in opened:
            search.stop()

    with orderly(stop):
        search_to_the_end(
            one.experiment,
            one.folder,
            partial(
                make_executor,
                one.experiment.workers,
                one.folder,
                task.ray_address,
                task.worker_env,
            ),
            compute=task.compute,
            data=task.data,
            on_open=opened.append,
        )


def _said(one: Planned) -> str:
    """What came of a search, in words."""
    run = open_run(one.folder)
    best = run.trials.best(baselines=False)
    counts = run.counts
    done = counts["completed"] + counts["stopped"]
    score = f"best {number(best.score)} ({best.name})" if best is not None else "no cell yet"
    return f"{one.name}: {score}, {amount(done, 'trial')} trained, {counts['failed']} failed"


def _beside(planned: Sequence[Planned], task: _Task, log: Any) -> dict[str, int]:
    """Do the searches in processes of their own, so many at once; the names of those that failed.
    A signal that tells this process to end is handed on to them, and waited for.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(planned)
    running: dict[Any, Planned] = {}
    failed: dict[str, int] = {}
    done = 0

    def hand_on(signal_number: int) -> None:
        waiting.clear()
        for child in running:
            if child.pid is not None and child.is_alive():
                os.kill(child.pid, signal_number)

    try:
        with orderly(hand_on):
            while waiting or running:
                while waiting and len(running) < task.at_once:
                    one = waiting.pop(0)
                    words = (str(one.source), dict(one.overrides), str(one.folder))
                    child = context.Process(target=_in_child, args=(*words, task, os.getpid()))
                    child.start()
                    running[child] = one
                for child in [child for child in running if not child.is_alive()]:
                    child.join()
                    one, done = running.pop(child), done + 1
                    code = child.exitcode
                    if code and was_told():
                        continue  # it has ended as it was told to
                    if code:
                        failed[one.name] = code if code > 0 else 1  # a signal has ended it
                        where = one.folder / _LOG
                        click.echo(
                            f"[{done}/{len(planned)}] {one.name} failed: see {where}", err=True
                        )
                    else:
                        log(f"[{done}/{len(planned)}] {_said(one)}")
                time.sleep(0.1)
    finally:
        for child in running:
            child.terminate()
        for child in running:
            child.join()
    return failed


def _in_child(
    source: str, overrides: dict[str, Any], folder: str, task: _Task, parent: int
) -> None:
    """One search in a process of its own, which ends when the one that started it does."""
    os.setpgrp()  # Ctrl-C is handed on by the parent: from the terminal it would come twice
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return  # it has ended before this was asked for
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    experiment = load_experiment(source, overrides)
    one = Planned(path.name, path, experiment, source, overrides)

    @click.command(add_help_option=False)
    def search() -> int:
        _search(one, task)
        return exit_code() if was_told() else 0

    with (
        open(path / _LOG, "a", encoding="utf-8") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        code = guarded(search, [])
    sys.exit(code)


COMMANDS = (sweep,)
