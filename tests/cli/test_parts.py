"""Each part in full: ``tasks NAME`` and its like; ``help``, ``version``, ``completion``."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import cellsearch as cs
from cellsearch import __version__, ops, options, schedules, strategies, tasks
from cellsearch.cli import cli
from cellsearch.experiment import catalog
from cellsearch.genome.graph import Genome

Call = Callable[..., tuple[int, str, str]]
NAMES = {
    "tasks": tasks.names(),
    "strategies": strategies.names(),
    "schedules": schedules.names(),
    "spaces": tuple(catalog.entries(catalog.SPACES)),
    "ops": ops.names(),
    "experiments": tuple(catalog.entries(catalog.EXPERIMENTS)),
    "suites": tuple(catalog.entries(catalog.SUITES)),
}
PARTS = [(command, name) for command, names in NAMES.items() for name in names]


@pytest.mark.parametrize(("command", "name"), PARTS)
def test_a_part_is_shown_in_full(command: str, name: str, call: Call, tmp_path: Path) -> None:
    code, text, err = call(command, name)
    assert (code, err) == (0, "")
    assert text.startswith(f"{name}: ")
    code, document, err = call(command, name, "--json")
    found = json.loads(document)
    assert (code, err, found["name"]) == (0, "", name)
    assert found["summary"]
    for option in found.get("options", ()):
        assert option["name"] in text
        assert all(option[key] for key in ("type", "allowed", "meaning")), option
    assert f"example: {found['example']}" in text
    works(found, call, tmp_path)


def test_a_task_of_a_suite_without_options_ends_with_its_chance(call: Call, tmp_path: Path) -> None:
    suite = tmp_path / "one.toml"
    suite.write_text('name = "one"\n[[tasks]]\ntask = "parity"\nsteps = 40\nchance = 0.5\n')
    code, text, _ = call("suites", str(suite))
    assert code == 0
    assert re.search(r"^parity +parity, 40 steps, chance 0\.5$", text, re.MULTILINE)


def works(found: dict[str, Any], call: Call, folder: Path) -> None:
    """The example is a command that says what it means."""
    program, *arguments = shlex.split(found["example"].partition(" > ")[0])
    if program == "echo":
        assert found["name"] in {node.op for node in Genome.from_text(arguments[0]).nodes}
        return
    assert program == "cellsearch"
    if arguments[0] == "search":
        code, out, err = call(*arguments, "--dry-run", "--json")
        assert (code, err) == (0, "")
        assert found["name"] in json.dumps(json.loads(out))
        return
    with cli.make_context("cellsearch", [*arguments]) as root:
        real = cli.commands["evaluate"].make_context("evaluate", arguments[1:], root)
    if real.params["suite"] is not None:
        assert real.params["suite"] == found["name"]
        assert {task["name"] for task in found["tasks"]} == set(found["options"][-1]["value"])
        return
    settings = dict(setting.split("=", 1) for setting in real.params["settings"])
    for key, value in settings.items():
        read = options.parse_toml(f"v = {value}", "") if value[0].isdigit() else {"v": value}
        task = tasks.get(found["name"])
        options.read_options(task.Options, {key.removeprefix("task_options."): read["v"]})


@pytest.mark.parametrize("command", NAMES)
def test_a_name_that_is_not_there_is_guessed(command: str, call: Call) -> None:
    name = NAMES[command][0]
    wrong = name[:-1] + "q"
    code, out, err = call(command, wrong)
    assert (code, out) == (2, "")
    assert f"did you mean {name}" in err or name in err.partition("hint: ")[2]


def test_a_space_in_a_file_is_shown(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(catalog.find(catalog.SPACES, "tiny").text, "utf-8")
    assert call("spaces", path)[0] == 0


def test_an_op_that_was_registered_is_shown(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ops.Op("cube", 1, 1, "{0} * {0} * {0}", ("g * 3 * a * a",), "cube", odd=True)
    for table in ("OPS", "POINTWISE", "WEIGHT_FREE"):
        monkeypatch.setattr(ops, table, type(getattr(ops, table))(getattr(ops, table)))
    ops.register(row)
    code, out, _ = call("ops", "cube")
    assert code == 0
    assert "a * a * a" in out
    assert "f(-a) = -f(a)" in out


def test_help_version_and_completion(call: Call) -> None:
    assert call("help") == call("--help")
    assert call("help", "export") == call("export", "--help")
    code, _, err = call("help", "exprot")
    assert code == 2
    assert "export" in err
    assert call("version")[1].split()[-1] == __version__
    for shell in ("bash", "zsh", "fish"):
        code, out, err = call("completion", shell)
        assert (code, err) == (0, "")
        assert "_CELLSEARCH_COMPLETE" in out


def test_the_shell_is_told_the_options() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from cellsearch.cli import main; main()"],
        env={
            "_CELLSEARCH_COMPLETE": "bash_complete",
            "COMP_WORDS": "cellsearch export --pre",
            "COMP_CWORD": "2",
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.split(), done.stderr) == (["plain,--precision"], "")


def test_every_command_is_listed_once_and_knows_itself() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        with cli.commands[name].make_context(name, [], resilient_parsing=True) as real:
            assert real.command.name == name
            assert real.command.help
    assert cs.__version__ == __version__
