"""The options of ``cellsearch search`` that make an experiment of a file with data: ``--csv``,
``--predict`` and what goes with them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from cellsearch.cli.output import print_table
from cellsearch.errors import ConfigError, amount, command
from cellsearch.experiment import Experiment, load_experiment
from cellsearch.files import write_atomically
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.tables.options import TableOptions
from cellsearch.tasks.tables.understand import Understood, understand

__all__ = ["FileOfData", "file_options", "say", "write_experiment"]

BASE = "quickstart"
"""The experiment that is taken where none is named."""
F = TypeVar("F", bound=Callable[..., Any])


def file_options(function: F) -> F:
    """The options, of a command that takes them as one argument ``file``: :class:`FileOfData`."""
    options = (
        click.option(
            "--csv",
            "--parquet",
            "--npz",
            "path",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Search on a table of your own: with --predict it becomes an experiment, which is "
            "written beside the run.",
        ),
        click.option(
            "--predict",
            multiple=True,
            metavar="COLUMN[,COLUMN]",
            help="What is forecast; with --group a column of labels is predicted from each group.",
        ),
        click.option(
            "--horizon", type=click.IntRange(min=1), metavar="N", help="Rows ahead.  [default: 1]"
        ),
        click.option(
            "--window",
            type=click.IntRange(min=1),
            metavar="N",
            help="Rows that the cell reads.  [default: two periods of the series]",
        ),
        click.option("--time", metavar="COLUMN", help="When; else the first column of dates."),
        click.option("--group", metavar="COLUMN", help="Which series a row belongs to."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True)
class FileOfData:
    """What the command line says of a file with data."""

    path: Path | None
    predict: tuple[str, ...]
    horizon: int | None
    window: int | None
    time: str | None
    group: str | None

    def experiment(
        self, base: str | None, overrides: Mapping[str, Any]
    ) -> tuple[Experiment, Understood | None]:
        """The experiment that is meant, and what was understood of its table.

        base: name or file of the experiment that says how to search.
        overrides: its values that the user replaces.

        Raises :class:`ConfigError` where neither is said.
        """
        if self.path is None:
            if self != FileOfData(None, (), None, None, None, None):
                raise ConfigError(
                    "--predict, --horizon, --window, --time and --group speak of a table",
                    hint="say which with --csv FILE",
                )
            if base is None:
                raise ConfigError(
                    "nothing is said that is to be searched",
                    hint="name an experiment (cellsearch search quickstart), or a table "
                    "(cellsearch search --csv data.csv --predict COLUMN)",
                )
            return load_experiment(base, overrides), None
        if not self.path.is_file():
            raise ConfigError(f"there is no file {self.path}", where="--csv")
        named = {"name": self.path.stem.strip(".") or "table"}
        if self.path.suffix.lower() == ".npz":
            return self._arrays(base, named | dict(overrides)), None
        return self._table(base, named | dict(overrides))

    def _arrays(self, base: str | None, overrides: Mapping[str, Any]) -> Experiment:
        if self != FileOfData(self.path, (), None, None, None, None):
            raise ConfigError(
                "a file of arrays says itself what is predicted (y), so --predict and what goes "
                "with it mean nothing",
                where=str(self.path),
                hint=command("search", "--npz", self.path),
            )
        settings = {"task": "arrays", "task_options.path": str(self.path)}
        return load_experiment(base or BASE, {**settings, **overrides})

    def _table(
        self, base: str | None, overrides: Mapping[str, Any]
    ) -> tuple[Experiment, Understood]:
        said = {
            "path": str(self.path),
            "predict": self._columns(),
            "horizon": self.horizon,
            "window": self.window,
            "time": self.time,
            "group": self.group,
        }
        given = {f"task_options.{key}": value for key, value in said.items() if value}
        options = {
            key.removeprefix("task_options."): value
            for key, value in {**given, **overrides}.items()
            if key.startswith("task_options.")
        }
        understood = understand(parse_options(TableOptions, options))
        settings = {"task": understood.task, "question": self._question(understood), **given}
        made = load_experiment(base or BASE, {**settings, **overrides})
        found = {**made.task_options, **understood.chosen}
        return replace(made, task_options=MappingProxyType(found)), understood

    def _columns(self) -> list[str]:
        return [part.strip() for text in self.predict for part in text.split(",") if part.strip()]

    def _question(self, understood: Understood) -> str:
        assert self.path is not None
        what = ", ".join(understood.predicts)
        ahead = f" {amount(self.horizon or 1, 'row')} ahead" if understood.task == "table" else ""
        return f"Which cell predicts {what} of {self.path.name}{ahead} best?"


def say(understood: Understood, stream_is_stderr: bool) -> None:
    """Print what was understood of a table."""
    click.echo("", err=stream_is_stderr)
    if stream_is_stderr:
        for name, text in understood.facts:
            click.echo(f"{name}: {text}", err=True)
    else:
        print_table((), understood.facts, wrap=1)
    for note in understood.notes:
        click.echo(f"note: {note}", err=stream_is_stderr)


def write_experiment(experiment: Experiment, folder: Path, understood: Understood) -> str:
    """Write the experiment beside the folder of its run, with the path of the table as seen from
    there; what to say of it. One that was edited is left as it is.
    """
    path = folder.with_name(f"{folder.name}.toml")
    table = str(experiment.task_options["path"])
    seen = table if os.path.isabs(table) else os.path.relpath(table, path.parent)
    options = {**experiment.task_options, "path": seen}
    text = replace(experiment, task_options=MappingProxyType(options)).to_toml()
    lines = [f"{name}: {said}" for name, said in understood.facts] + list(understood.notes)
    text = "".join(f"# {line}\n" for line in lines) + "\n" + text
    run = command("search", path)
    text = f"# cellsearch wrote this ({_digest(text)}) and leaves it as it is once edited\n{text}"
    if path.exists():
        first, _, there = path.read_text("utf-8", "replace").partition("\n")
        if _digest(there) not in first:
            return f"experiment: {path} was edited and is left as it is; {run} runs it"
    write_atomically(path, text)
    return f"experiment: {path}; edit it, and run it with: {run}"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]
