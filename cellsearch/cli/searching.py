"""``cellsearch search``: run an experiment, or go on with one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from cellsearch import options
from cellsearch.cli.closing import finish, require_candidate, say_how_to_tell
from cellsearch.cli.failures import let_output_go
from cellsearch.cli.output import AMOUNT, data_option, emit_json, own_data_option, table_options
from cellsearch.cli.signals import exit_code, orderly, was_told
from cellsearch.cli.suites import say_reference
from cellsearch.cli.tables import FileOfData, file_options, say, write_experiment
from cellsearch.cli.tracking import require_trackers, tracked
from cellsearch.cli.workers import make_executor, ray_options
from cellsearch.errors import ConfigError, amount
from cellsearch.executors.base import Executor
from cellsearch.experiment import Experiment
from cellsearch.experiment.overrides import parse_setting
from cellsearch.reporting.live import LiveDisplay
from cellsearch.reporting.progress import Display, PlainDisplay
from cellsearch.runs import open_run
from cellsearch.runs.locate import Located, locate
from cellsearch.search import Search, SearchEvent
from cellsearch.search.progress import show_event
from cellsearch.tasks.own_data import with_data
from cellsearch.training import Data

__all__ = ["COMMANDS"]


@click.command("search")
@click.argument("experiment", required=False)
@file_options
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="The run's folder; runs/NAME if left out. An existing run is resumed.",
)
@click.option(
    "--workers", type=click.IntRange(min=0), help="Ray workers; 0 trains in this process."
)
@click.option("--trials", type=click.IntRange(min=1), help="Candidates in all, baselines included.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0),
    help="Wall clock of all sittings together; begin nothing new after it. 0: no bound.",
)
@click.option(
    "--max-weights",
    metavar="N",
    help="Weights of a cell at most, all layers, at the sizes trained; or a zoo cell that has as "
    "many.  0: as the space allows.",
)
@click.option(
    "--max-flash",
    "flash_bytes",
    type=AMOUNT,
    help="Bytes of flash at most: weights of a "
    "cell and its readout, as export --to c writes them; 20k is 20,000. 0: no bound.",
)
@click.option("--max-ram", "ram_bytes", type=AMOUNT, help="Bytes of RAM at most, likewise.")
@click.option("--max-macs", "macs_per_step", type=AMOUNT, help="Multiply-adds a step at most.")
@click.option("--max-state", "state_bytes", type=AMOUNT, help="Bytes of states at most.")
@click.option(
    "--int8",
    is_flag=True,
    default=None,
    help="Count flash with int8 weights, and score each trial with its weights rounded so as well.",
)
@click.option(
    "--enqueue",
    "enqueued",
    multiple=True,
    metavar="CELL",
    help="Train this cell next: a zoo name, a .cell or .json file, or RUN:TRIAL.",
)
@click.option(
    "--import",
    "imported",
    multiple=True,
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Take over the trials of this run as history; they are not trained again.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a value of the experiment, e.g. training.steps=100.",
)
@click.option("--dry-run", is_flag=True, help="Print the resolved experiment and stop.")
@ray_options
@own_data_option
@data_option
@click.option(
    "--wait",
    is_flag=True,
    help="With the strategy external: wait for cells that are told (cellsearch tell) instead of "
    "ending.",
)
@click.option(
    "--track",
    "trackers",
    multiple=True,
    metavar="NAME",
    help="Show the search in this tracker as well, such as tensorboard; may be repeated.",
)
@click.option("--plain", is_flag=True, help="Plain lines instead of the live table.")
@table_options("Print one JSON document at the end; progress goes to standard error.")
def search(
    experiment: str | None,
    path: Path | None,
    predict: tuple[str, ...],
    horizon: int | None,
    window: int | None,
    time: str | None,
    group: str | None,
    run: Path | None,
    workers: int | None,
    trials: int | None,
    hours: float | None,
    max_weights: str | None,
    flash_bytes: int | None,
    ram_bytes: int | None,
    macs_per_step: int | None,
    state_bytes: int | None,
    int8: bool | None,
    enqueued: tuple[str, ...],
    imported: tuple[Path, ...],
    settings: tuple[str, ...],
    dry_run: bool,
    ray_address: str | None,
    worker_env: tuple[str, ...],
    data: tuple[str, ...],
    wait: bool,
    trackers: tuple[str, ...],
    plain: bool,
    as_json: bool,
) -> int:
    """Search for cells as EXPERIMENT says (a name, or a TOML file), or for cells that predict
    columns of a table of your own: cellsearch search --csv data.csv --predict COLUMN.

    The same command again goes on where the run stopped. Ctrl-C once finishes the trials under way
    and stops; twice stops at once. SIGTERM and SIGHUP do the same, the second one by themselves
    after CELLSEARCH_GRACE_SECONDS (5).
    """
    given = {
        "workers": workers,
        "trials": trials,
        "allowance.hours": hours,
        "max_weights": _weights(max_weights),
        "device.flash_bytes": flash_bytes,
        "device.ram_bytes": ram_bytes,
        "device.macs_per_step": macs_per_step,
        "device.state_bytes": state_bytes,
        "device.int8": int8,
    }
    file = FileOfData(path, predict, horizon, window, time, group)
    declared, understood = file.experiment(experiment, _overrides(settings, given))
    if understood is not None:
        say(understood, stream_is_stderr=as_json or dry_run)
    if dry_run:
        options = with_data(declared.task, declared.task_options, data)
        _dry_run(replace(declared, task_options=options), as_json)
        return 0
    folder = run or Path("runs") / declared.name
    if understood is not None:
        click.echo(write_experiment(declared, folder, understood) + "\n", err=as_json)
    require_trackers(trackers)
    warm = _Warm(imported, tuple(locate(cell) for cell in enqueued), data, wait, trackers)
    if wait and not declared.strategy.is_outside:
        raise ConfigError(
            f"the strategy {declared.strategy.name} proposes cells itself and waits for nobody",
            where="--wait",
            hint="leave it out, or search with the strategy external",
        )
    executor = partial(make_executor, declared.workers, folder, ray_address, worker_env)
    return _search(declared, folder, executor, warm, plain=plain or as_json, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Warm:
    """What a search starts from besides its experiment."""

    runs: tuple[Path, ...]
    """To import, before anything else."""
    cells: tuple[Located, ...]
    """To train next."""
    data: tuple[str, ...] = ()
    """Where the user's own data lie, if not where the experiment says."""
    wait: bool = False
    """Whether to wait for cells that are told."""
    trackers: tuple[str, ...] = ()
    """In which trackers the search is shown as well."""

    @property
    def any(self) -> bool:
        """Whether there is anything."""
        return bool(self.runs or self.cells)

    def apply(self, search: Search) -> Iterator[str]:
        """Do it, and say in words what came of it."""
        for run in self.runs:
            done = search.import_run(run)
            left_out = "".join(f"; {count} {reason}" for reason, count in done.skipped.items())
            yield f"imported {amount(done.taken, 'trial')} of {run}{left_out}"
        for cell in self.cells:
            before = len(search.history)
            trial = search.enqueue(cell.genome)
            yield f"{cell.label} is trial {trial.number}" + (
                "" if trial.number >= before else " already"
            )


def _weights(text: str | None) -> int | str | None:
    """What ``--max-weights`` says: a number, or the name of a zoo cell."""
    if text is None:
        return None
    digits = text.replace(",", "").replace("_", "")
    return int(digits) if digits.lstrip("-").isdecimal() and len(digits) < 20 else text


def _overrides(settings: tuple[str, ...], given: Mapping[str, object]) -> dict[str, Any]:
    overrides = dict(parse_setting(setting) for setting in settings)
    return overrides | {key: value for key, value in given.items() if value is not None}


def _dry_run(experiment: Experiment, as_json: bool) -> None:
    text = experiment.to_toml()
    if as_json:
        emit_json(options.parse_toml(text, experiment.name))
    else:
        click.echo(text, nl=False)


def _search(
    experiment: Experiment,
    folder: Path,
    executor: Callable[[], Executor],
    warm: _Warm,
    *,
    plain: bool,
    as_json: bool,
) -> int:
    display = _display(experiment, plain=plain, stream_is_stderr=as_json)
    try:
        used_up = _run(experiment, folder, executor, warm, display)
    except KeyboardInterrupt:
        click.echo(
            f"stopped at once: nothing recorded is lost, the same command goes on with {folder}",
            err=True,
        )
        return exit_code()
    except BrokenPipeError:  # `| head`: not done, so the code does not say so
        let_output_go()
        with suppress(BrokenPipeError):
            click.echo(
                f"stopped: nobody reads the output any more; the same command goes on "
                f"with {folder}",
                err=True,
            )
        return exit_code()
    finish(folder, as_json)
    if was_told():
        click.echo(f"stopped: the same command goes on with {folder}", err=True)
        return exit_code()
    if used_up:
        click.echo(
            f"stopped: {used_up} are used up; the same command with more of them goes "
            f"on with {folder}",
            err=True,
        )
    if experiment.strategy.is_outside:
        say_how_to_tell(folder)
    require_candidate(open_run(folder))
    return 0


def _run(
    experiment: Experiment,
    folder: Path,
    make: Callable[[], Executor],
    warm: _Warm,
    display: Display,
) -> str:
    """Search until there is nothing left to do, or a signal ends it before; what of the allowance
    is used up.
    """
    with (
        Search.open(folder, experiment, data=warm.data) as search,
        tracked(folder, warm.trackers) as look_at_trackers,
    ):
        data = None
        if experiment.counts_sizes and warm.any:
            data = _prepared(search)  # which cells are legal depends on how wide the inputs are
        for line in warm.apply(search):
            click.echo(line, err=True)
        if search.finished or (search.waits_for_told and not warm.wait):
            return ""  # without starting workers
        data = data or search.prepare(say_reference)
        with (
            orderly(_stopping(search, display)),
            make() as executor,
        ):
            display.notice = (
                f"starting {experiment.workers} Ray worker{'s' * (experiment.workers > 1)} ..."
                if experiment.workers
                else ""
            )
            display.seconds_left = lambda: search.seconds_left
            display.begin(search.history)

            def observe(event: SearchEvent) -> None:
                show_event(event, search, display)
                look_at_trackers()

            try:
                search.run(
                    executor,
                    observe,
                    data=data,
                    wait=warm.wait,
                )
            finally:
                display.end()
        return "" if search.finished else search.used_up


def _prepared(search: Search) -> Data:
    """The data, with which it is sure that the search can begin."""
    data = search.prepare(say_reference)
    search.settle(data.arrays)
    return data


def _display(experiment: Experiment, *, plain: bool, stream_is_stderr: bool) -> Display:
    if plain or not sys.stdout.isatty():
        stream = sys.stderr if stream_is_stderr else sys.stdout
        return PlainDisplay(experiment.name, experiment.question, experiment.trials, stream=stream)
    return LiveDisplay(experiment.name, experiment.question, experiment.trials)


def _stopping(search: Search, display: Display) -> Callable[[int], None]:
    """What the first signal does: the search stops when the trials under way have ended."""

    def stop(number: int) -> None:
        search.stop()
        if number == signal.SIGINT:
            display.notice = "Ctrl-C: finishing the trials under way; once more stops at once"
        else:
            name = signal.Signals(number).name
            display.notice = f"{name}: finishing what ends within seconds, then stopping"

    return stop


COMMANDS = (search,)
