"""The command line: ``cellsearch``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys

import click

from cellsearch import __version__
from cellsearch.cli import (
    cells,
    diagnose,
    doctor,
    exporting,
    finals,
    generate,
    listing,
    runs,
    searching,
    suites,
    training,
)
from cellsearch.cli.failures import ReaderGoneError, guarded

__all__ = ["cli", "main"]

_EPILOG = """Exit codes: 0 done, 1 internal error, 2 usage or configuration, 3 invalid input file,
4 run missing, existing or locked, 5 budget ended without a valid candidate, 6 environment,
130 after Ctrl-C."""


class _InOrder(click.Group):
    """Lists the commands in the order in which they were added, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error


@click.group(
    cls=_InOrder,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="cellsearch")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Discover recurrent neural-network cells: search, inspect, export to plain PyTorch."""


for _module in (
    searching,
    runs,
    finals,
    cells,
    exporting,
    training,
    diagnose,
    generate,
    listing,
    suites,
    doctor,
):
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """The entry point: runs a command and exits with its code."""
    if sys.stdout is None:  # the caller closed it (>&-): what is printed is wanted by nobody
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (for the life of the process)
    sys.exit(guarded(cli, sys.argv[1:] if arguments is None else arguments))
