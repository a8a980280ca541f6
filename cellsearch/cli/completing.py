"""What may follow on the command line, for the tab key of a shell: commands, options, and the names
of experiments, zoo cells, tasks, strategies and runs. Nothing heavy is imported, because a person
waits: the names of parts are read from files and from tables of names.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, shell_complete

__all__ = ["FILE", "answer", "values"]

STORE = "store.sqlite"
_PACKAGE = Path(__file__).parents[1]


def _tables(name: str) -> list[str]:
    """The TOML files of a catalog, here, of this package, or of the checkout that it lies in."""
    places = (Path(name), _PACKAGE.parent / name, _PACKAGE / "_catalog" / name)
    return sorted({path.stem for place in places for path in place.glob("*.toml")})


def _parts(*module: str) -> list[str]:
    """The names in a table of parts, ``{"name": "cellsearch.room.module:Class"}``, of a module that
    is read and not imported: importing it may load torch.
    """
    tree = ast.parse(_PACKAGE.joinpath(*module).read_text("utf-8"))
    return [
        key.value
        for table in ast.walk(tree)
        if isinstance(table, ast.Dict)
        for key, value in zip(table.keys, table.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
        if isinstance(value, ast.Constant) and str(value.value).startswith("cellsearch.")
    ]


def _strategies() -> list[str]:
    return _parts("strategies", "registry.py")


def _schedules() -> list[str]:
    return _parts("schedules", "registry.py")


def _tasks() -> list[str]:
    return _parts("tasks", "registry.py")


def _trackers() -> list[str]:
    return _parts("tracking", "registry.py")


def _ops() -> list[str]:
    """The names of the rows of ``ops.py``."""
    tree = ast.parse((_PACKAGE / "ops.py").read_text("utf-8"))
    return [
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "Op"
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    ]


def _zoo() -> list[str]:
    folder = _PACKAGE / "zoo"
    return sorted(path.stem for path in folder.glob("*.cell"))


def _experiments() -> list[str]:
    return _tables("experiments")


def _spaces() -> list[str]:
    return _tables("search_spaces")


def _suites() -> list[str]:
    return _tables("suites")


def _runs() -> list[str]:
    """The folders of runs below this one, and below what ``runs`` holds."""
    patterns = (f"*/{STORE}", f"runs/*/{STORE}", f"runs/*/*/{STORE}")
    return sorted({path.parent.as_posix() for deep in patterns for path in Path().glob(deep)})


def _paths(incomplete: str) -> Iterator[str]:
    """Files and folders that begin so."""
    folder, _, start = incomplete.rpartition("/")
    try:
        with os.scandir(folder or ("/" if incomplete.startswith("/") else ".")) as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries]
    except OSError:
        return
    for name, is_folder in sorted(found):
        if name.startswith(start) and (start or not name.startswith(".")):
            before = f"{folder}/" if "/" in incomplete else ""
            yield f"{before}{name}{'/' if is_folder else ''}"


Source = Callable[[], list[str]]
_BY_COMMAND: Mapping[tuple[str, str], tuple[Source, ...]] = {
    ("search", "experiment"): (_experiments,),
    ("sweep", "experiment"): (_experiments,),
    ("experiments", "name"): (_experiments,),
    ("spaces", "name"): (_spaces,),
    ("strategies", "name"): (_strategies,),
    ("schedules", "name"): (_schedules,),
    ("tasks", "name"): (_tasks,),
    ("ops", "name"): (_ops,),
    ("suites", "name"): (_suites,),
    ("zoo", "name"): (_zoo,),
    ("evaluate", "cell"): (_zoo, _runs),
}
_BY_NAME: Mapping[str, tuple[Source, ...]] = {
    "run": (_runs,),
    "runs": (_runs,),
    "imported": (_runs,),
    "cell": (_zoo, _runs),
    "cells": (_zoo, _runs),
    "one": (_zoo, _runs),
    "other": (_zoo, _runs),
    "enqueued": (_zoo, _runs),
    "against": (_zoo,),
    "max_weights": (_zoo,),
    "task": (_tasks,),
    "tasks": (_tasks,),
    "strategies": (_strategies,),
    "suite": (_suites,),
    "trackers": (_trackers,),
}
_FILES = {"run", "runs", "cell", "cells", "experiment", "one", "other"}
"""Where a file or folder may stand as well."""


def values(command: str, parameter: str, incomplete: str) -> list[str]:
    """What may stand for a parameter of a command and begins so."""
    sources = _BY_COMMAND.get((command, parameter), _BY_NAME.get(parameter, ()))
    found = [name for source in sources for name in source() if name.startswith(incomplete)]
    if not found and parameter in _FILES:
        found = [*_paths(incomplete)]
    return list(dict.fromkeys(found))


# -- the command line without its commands ---------------------------------------------------------

FILE = Path(__file__).with_name("commands.json")
"""Name, line and parameters of each command, because importing what commands do loads torch. After
a change of an option: ``python -m cellsearch.cli.commands``.
"""


def answer(about: click.Group, variable: str) -> int:
    """Print what the shell asks for by this variable of the environment; the exit code.

    about: the real group, for the options before the command.
    """
    known = click.Group("cellsearch", params=list(about.params))
    for name, (short_help, parameters) in json.loads(FILE.read_text("utf-8")).items():
        made = [_parameter(name, one) for one in parameters]
        known.add_command(click.Command(name, params=made, short_help=short_help))
    return shell_complete(known, {}, "cellsearch", variable, os.environ[variable])


def _parameter(command: str, one: dict[str, Any]) -> click.Parameter:
    kind: click.ParamType[Any] = click.STRING
    if one["choices"]:
        kind = click.Choice(one["choices"])
    elif one["path"]:
        kind = click.Path()

    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        found = values(command, one["name"], incomplete)
        if found:
            return [CompletionItem(value) for value in found]
        return kind.shell_complete(context, parameter, incomplete)

    if one["option"]:
        return click.Option(
            [*one["words"], one["name"]],
            is_flag=one["flag"],
            multiple=one["multiple"],
            nargs=one["nargs"],
            type=None if one["flag"] else kind,
            help=one["help"],
            shell_complete=complete,
        )
    return click.Argument(
        [one["name"]], nargs=one["nargs"], required=False, type=kind, shell_complete=complete
    )
