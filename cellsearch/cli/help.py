"""Commands about the command line itself: ``help``, ``version``, ``completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cellsearch import __version__

__all__ = ["COMMANDS"]

VARIABLE = "_CELLSEARCH_COMPLETE"


@click.command("help")
@click.argument("command", required=False)
@click.pass_context
def show_help(context: click.Context, command: str | None) -> None:
    """Show what COMMAND does, or all commands; the same as COMMAND --help."""
    root = context.find_root()
    group = root.command
    if command is None or not isinstance(group, click.Group):
        click.echo(root.get_help())
        return
    _, known, _ = group.resolve_command(root, [command])
    if known is not None:
        known.make_context(command, ["--help"], root)


@click.command("version")
def version() -> None:
    """Show the version of cellsearch."""
    click.echo(f"cellsearch, version {__version__}")


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, and the names of experiments, cells,
    tasks, strategies and runs with the tab key.

    Put it into the start-up file of the shell: ~/.bashrc, ~/.zshrc (below compinit), or
    ~/.config/fish/completions/cellsearch.fish.
    """
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(context.find_root().command, {}, "cellsearch", VARIABLE).source())


COMMANDS = (show_help, version, completion)
