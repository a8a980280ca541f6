"""Writes down what the commands are, for the tab key: ``python -m cellsearch.cli.commands``."""

from __future__ import annotations

import json
from typing import Any

import click

from cellsearch.cli import real_commands
from cellsearch.cli.completing import FILE
from cellsearch.files import write_atomically

__all__ = ["commands_text"]


def commands_text() -> str:
    """What the file should hold: a line a command."""
    lines = []
    for name, real in real_commands().items():
        command = real()
        known = [command.short_help or "", [_described(p) for p in command.params]]
        lines.append(f"{json.dumps(name)}: {json.dumps(known, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _described(parameter: click.Parameter) -> dict[str, Any]:
    is_option = isinstance(parameter, click.Option)
    kind = parameter.type
    return {
        "name": parameter.name,
        "option": is_option,
        "words": [*parameter.opts, *parameter.secondary_opts],
        "flag": isinstance(parameter, click.Option) and parameter.is_flag,
        "nargs": parameter.nargs,
        "multiple": parameter.multiple,
        "choices": [*map(str, kind.choices)] if isinstance(kind, click.Choice) else [],
        "path": isinstance(kind, click.Path),
        "help": (parameter.help or "") if isinstance(parameter, click.Option) else "",
    }


if __name__ == "__main__":
    write_atomically(FILE, commands_text())
