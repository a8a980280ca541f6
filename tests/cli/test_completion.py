"""The tab key in bash, zsh and fish."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cellsearch import schedules, strategies, tasks, tracking, zoo
from cellsearch.cli import cli
from cellsearch.cli.commands import commands_text
from cellsearch.cli.completing import FILE, values
from cellsearch.experiment import catalog
from cellsearch.ops import OPS

STORED = Path(__file__).parents[1] / "data" / "v0_1" / "genetic_whole"
BASH = """
source <(cellsearch completion bash)
COMP_WORDS=({words}); COMP_CWORD={last}; _cellsearch_completion cellsearch
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
autoload -U compinit; compinit -D
source <(cellsearch completion zsh)
compadd() {{ print -l -- ${{(P)@[-1]}}; }}
_describe() {{ print -l -- ${{(P)@[-2]}}; }}
words=({words}); CURRENT={place}; _cellsearch_completion
"""
FISH = """
cellsearch completion fish | source
complete -C '{line}'
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tab")
    shutil.copytree(STORED, folder / "runs" / "first")
    program = folder / "bin" / "cellsearch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cellsearch "$@"\n')
    program.chmod(0o755)
    return folder


def tab(place: Path, shell: str, *words: str) -> set[str]:
    """What a real shell offers after these words."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell].format(
        words=" ".join(f"'{word}'" for word in words),
        last=len(words) - 1,
        place=len(words),
        line=" ".join(words),
    )
    flags = {"bash": ["--norc", "-c"], "zsh": ["-f", "-c"], "fish": ["--no-config", "-c"]}[shell]
    done = subprocess.run(
        [shell, *flags, script],
        cwd=place,
        env={
            **os.environ,
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "CELLSEARCH_CACHE": str(place / "cache"),
            "HOME": str(place),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.stderr, done.stderr
    return {line.split("\t")[0].split(":")[0].strip() for line in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_real_shell_completes_commands_options_and_names(place: Path, shell: str) -> None:
    assert {"search", "show", "strategies"} <= tab(place, shell, "cellsearch", "s")
    assert tab(place, shell, "cellsearch", "search", "quickst") >= {"quickstart"}
    assert {"--track", "--trials"} <= tab(place, shell, "cellsearch", "search", "--tr")
    assert "runs/first" in tab(place, shell, "cellsearch", "ls", "ru")


def test_each_list_of_names_is_what_there_is() -> None:
    assert values("search", "experiment", "") == sorted(catalog.entries("experiments"))
    assert values("evaluate", "task", "") == list(dict.fromkeys(values("tasks", "name", "")))
    assert {*values("tasks", "name", "")} == {*tasks.names()}
    assert {*values("strategies", "name", "")} == {*strategies.names()}
    assert {*values("zoo", "name", "ls")} == {name for name in zoo.names() if name[:2] == "ls"}
    assert {*values("ops", "name", "")} == {*OPS}
    assert values("spaces", "name", "") == sorted(catalog.entries("search_spaces"))
    assert values("suites", "name", "") == sorted(catalog.entries("suites"))
    assert {*values("schedules", "name", "")} == {*schedules.names()}
    assert {*values("track", "trackers", "")} == {*tracking.names()}


def test_a_tab_loads_nothing_heavy(place: Path) -> None:
    program = (
        "import sys\nfrom cellsearch.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'rich', 'ray', 'networkx'} & {*sys.modules}"
    )
    variables = {
        "COMP_WORDS": "cellsearch show ls",
        "COMP_CWORD": "2",
        "_CELLSEARCH_COMPLETE": "bash_complete",
        "CELLSEARCH_CACHE": str(place / "none"),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "plain,lstm_cifg" in done.stdout
    assert not (place / "none").exists()


def test_what_is_written_down_of_the_commands_is_what_they_are() -> None:
    assert FILE.read_text("utf-8") == commands_text(), "python -m cellsearch.cli.commands"
    assert [*json.loads(commands_text())] == [*cli.commands]
