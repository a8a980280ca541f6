"""``--format``: every command that prints a table writes it as CSV, LaTeX and Markdown, alone on
standard output; ``--format json`` is ``--json``.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import pytest

from cellsearch import cli

STORED = Path(__file__).parents[1] / "data" / "v0_1" / "genetic_whole"
Call = Callable[..., tuple[int, str, str]]
PRINT_NO_TABLE = {"ask", "tell", "diff", "import", "generate", "evaluate", "best", "track"}
"""Commands with ``--json`` that print none, or one beside something else."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(STORED, tmp_path_factory.mktemp("runs") / "a")


@pytest.mark.parametrize(
    "words",
    [
        *(["experiments"], ["spaces"], ["zoo"], ["strategies"], ["schedules"], ["tasks"], ["ops"]),
        *(["suites"], ["ls", "RUN"], ["ls", "RUN", "--operators"], ["compare", "RUN"]),
        *(["best", "RUN"], ["strategies", "grow"], ["show", "lstm"], ["benchmark"], ["doctor"]),
    ],
    ids=" ".join,
)
def test_tables_are_all_that_stands_on_standard_output(
    words: list[str], run: Path, call: Call
) -> None:
    words = [str(run) if word == "RUN" else word for word in words]
    _, text, _ = call(*words, "--format", "csv")
    rows = list(csv.reader(io.StringIO(text)))
    first = rows[: rows.index([])] if [] in rows else rows
    assert len(first) > 1
    assert len({len(row) for row in first}) == 1
    _, text, _ = call(*words, "--format", "markdown")
    assert all(line.startswith("|") for line in text.splitlines() if line)
    _, text, _ = call(*words, "--format", "latex")
    assert text.startswith(r"\begin{tabular}{")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") >= 1


def test_what_is_said_besides_goes_to_standard_error(run: Path, call: Call) -> None:
    code, out, err = call("ls", run, "--top", "2", "--format", "csv")
    assert code == 0
    assert "trained of" not in out
    assert "trained of" in err
    assert len(out.splitlines()) == 3


def test_format_json_is_the_option_json(run: Path, call: Call) -> None:
    assert call("ls", run, "--format", "json") == call("ls", run, "--json")
    code, out, err = call("ls", run, "--json", "--format", "csv")
    assert (code, out) == (2, "")
    assert "choose one" in err
    assert json.loads(call("zoo", "--json", "--format", "json")[1])


def test_every_command_that_prints_tables_has_the_option() -> None:
    missing = []
    for name, module, _ in cli._COMMANDS:
        commands: tuple[click.Command, ...] = import_module(f"cellsearch.cli.{module}").COMMANDS
        command = next(command for command in commands if command.name == name)
        options = {option for parameter in command.params for option in parameter.opts}
        if "--json" in options and "--format" not in options:
            missing.append(name)
    assert set(missing) <= PRINT_NO_TABLE


def test_hostile_text_is_escaped_in_each_form(run: Path, tmp_path: Path, call: Call) -> None:
    evil = tmp_path / "=cmd|<img>\x1b[31m_$"
    shutil.copytree(run, evil / "a")
    _, text, _ = call("ls", evil, "--format", "markdown")
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)<img", text)
    _, text, _ = call("ls", evil, "--format", "latex")
    assert r"\_\$" in text
