"""The command line: ``cellsearch``. It reads arguments and prints; a command's module is imported
when the command is called.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, TextIO

import click

from cellsearch import __version__
from cellsearch.cli.documented import Documented
from cellsearch.cli.failures import ReaderGoneError, guarded
from cellsearch.cli.signals import leave_in_peace
from cellsearch.errors import CellsearchWarning
from cellsearch.reporting.terminal import shown_output

__all__ = ["cli", "main"]

_COMPLETE = "_CELLSEARCH_COMPLETE"
"""By this variable the script of ``cellsearch completion`` asks what may follow."""
_EPILOG = """Exit codes: 0 done, 1 internal error, 2 usage or configuration, 3 invalid input file,
4 run missing, existing or locked, 5 budget ended without a valid candidate, 6 environment,
7 the training that was asked for failed, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""

_COMMANDS = (
    ("search", "searching", "Search for cells, or resume a search."),
    ("sweep", "sweeping", "Search with several strategies and seeds, and compare."),
    ("ask", "asking", "Say what one needs to know to propose a cell for a run."),
    ("tell", "asking", "Propose cells for a run, with reasons."),
    ("ls", "runs", "List the trials of a run."),
    ("best", "runs", "Show the best cell of a run."),
    ("ui", "ui", "Open the live page of runs in a browser."),
    ("report", "runs", "Write the HTML report of a run."),
    ("compare", "comparing", "Compare runs: curves, tests, shared cells."),
    ("watch", "watching", "Show a run while another process searches in it."),
    ("track", "tracking", "Show a run in a tracker of experiments, such as TensorBoard."),
    ("finals", "finals", "Retrain the best cells and the baselines, and judge."),
    ("ablate", "ablation", "Take a cell apart: what each of its parts is worth."),
    ("show", "cells", "Show a cell: equations, size, class, drawing."),
    ("diff", "cells", "Show what leads from one cell to another."),
    ("import", "importing", "Read a cell in another notation."),
    ("export", "exporting", "Write a cell as PyTorch, fast package, JSON, text or weights."),
    ("predict", "predict", "Answer for new data with a trained model."),
    ("evaluate", "training", "Train one cell on one task or suite."),
    ("benchmark", "benchmark", "Cells on a published benchmark, beside its authors' rows."),
    ("diagnose", "diagnose", "Gradients, memory, gates of a trained cell, beside LSTM and GRU."),
    ("generate", "generate", "Write text with a language model that a search has trained."),
    ("experiments", "listing", "List the experiments, or show one in full."),
    ("spaces", "listing", "List the search spaces, or show one in full."),
    ("zoo", "listing", "List the published cells known by name."),
    ("strategies", "listing", "List the strategies and their options, or show one."),
    ("schedules", "listing", "List the schedules (who gets more training), or show one."),
    ("tasks", "listing", "List the tasks, or show one with its options."),
    ("ops", "listing", "List the ops that cells are made of, or show one."),
    ("suites", "suites", "List the suites of tasks, or show one in full."),
    ("new", "starting", "Write a commented start of an experiment, strategy, task or space."),
    ("doctor", "doctor", "Say what is available here, and why not."),
    ("help", "help", "Show what a command does."),
    ("version", "help", "Show the version."),
    ("completion", "help", "Make a shell complete commands and options."),
)
"""Name, module and one line about each command, in the order in which they are listed."""


class _InOrder(click.Group):
    """Lists the commands in the order in which they were added, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *arguments: Any, **options: Any) -> Any:
        # Colour is ours to add: click would take codes out of foreign text instead of showing them.
        with shown_output():
            return super().main(*arguments, color=True, **options)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error


class _Later(click.Command):
    """A command whose module is imported when it is called: ``--help`` needs none of them."""

    def __init__(self, name: str, module: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self._module = f"cellsearch.cli.{module}"

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        return Documented(self.real()).make_context(info_name, args, parent, **extra)

    def real(self) -> click.Command:
        """The command, with its module."""
        commands: tuple[click.Command, ...] = import_module(self._module).COMMANDS
        return next(command for command in commands if command.name == self.name)


@click.group(
    cls=_InOrder,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="cellsearch")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Discover recurrent neural-network cells: search, inspect, export to plain PyTorch."""


for _name, _module, _short_help in _COMMANDS:
    cli.add_command(_Later(_name, _module, _short_help))


def real_commands() -> dict[str, Callable[[], click.Command]]:
    """Every command by name, as what imports it, but with the line of the list about it."""
    return {
        name: command.real for name, command in cli.commands.items() if isinstance(command, _Later)
    }


def main(arguments: list[str] | None = None) -> None:
    """The entry point: runs a command and exits with its code."""
    if sys.stdout is None:  # the caller closed it (>&-): what is printed is wanted by nobody
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (for the life of the process)
    if arguments is None and _COMPLETE in os.environ:
        from cellsearch.cli.completing import answer  # asked for by the shell's tab key only

        sys.exit(answer(cli, _COMPLETE))
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        code = guarded(cli, sys.argv[1:] if arguments is None else arguments)
    leave_in_peace()
    sys.exit(code)


_python_shows = warnings.showwarning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Ours as one line, as errors are; others as Python does."""
    if issubclass(category, CellsearchWarning):
        click.echo(f"warning: {message}", err=True, color=True)
    else:
        _python_shows(message, category, filename, lineno, file, line)
