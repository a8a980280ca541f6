"""What the documents say is true: commands and options exist, linked files are there, Python
examples run.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cellsearch.cli import cli
from cellsearch.tasks.data import shipped_text

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "experiments" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)")
IMAGE = re.compile(r'(?:src|srcset|href)="([^"]+)"')


def blocks(path: Path, *languages: str) -> Iterator[str]:
    for match in BLOCK.finditer(path.read_text("utf-8")):
        if match[1] in languages:
            yield match[2]


def commands(path: Path) -> Iterator[str]:
    """Lines of console blocks that start with ``$``, or of sh blocks, and commands in backticks."""
    for block in blocks(path, "console"):
        yield from (line[2:].strip() for line in block.splitlines() if line.startswith("$ "))
    for block in blocks(path, "sh"):
        yield from (line.split("#")[0].strip() for line in block.splitlines() if line.strip())
    yield from (
        match for match in re.findall(r"`((?:cellsearch|make) [^`\n]+)`", path.read_text("utf-8"))
    )


def check_command(text: str) -> str:
    """What is wrong with a cellsearch command line; ``""`` for nothing. It is parsed, not run."""
    arguments = shlex.split(text)[1:]
    if not arguments or arguments[0].startswith("-"):
        return ""
    command = cli.get_command(click.Context(cli), arguments[0])
    if command is None:
        return f"no command {arguments[0]}"
    if set(arguments[1:]) == {"..."} or len(arguments) == 1:
        return ""
    try:
        command.make_context("cellsearch", arguments[1:], resilient_parsing=False).close()
    except click.UsageError as error:
        return error.format_message()
    return ""


def test_the_check_sees_wrong_commands_and_options() -> None:
    assert check_command("cellsearch serch quickstart")
    assert check_command("cellsearch show lstm --png")
    assert check_command("cellsearch export runs/a --to wav -o x")
    assert not check_command("cellsearch show lstm --svg -o lstm.svg --force")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    wrong = []
    for text in commands(path):
        words = shlex.split(text)
        if words[0] == "cellsearch" and (problem := check_command(text)):
            wrong.append(f"{text}: {problem}")
        if words[0] == "make":
            wrong += [
                f"{text}: no target {word}"
                for word in words[1:]
                if "=" not in word and word not in targets
            ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_linked_files_are_there(path: Path) -> None:
    text = path.read_text("utf-8")
    links = [
        link
        for link in LINK.findall(text) + IMAGE.findall(text)
        if "://" not in link and not link.startswith("mailto:")
    ]
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


def test_the_readme_starts_with_the_two_commands() -> None:
    first = next(commands(ROOT / "README.md"))
    assert first.startswith(("make demo", "git clone"))
    text = (ROOT / "README.md").read_text("utf-8")
    assert "make test" in text[: text.index("\n## ")] or "make test" in text[:3000]


WITH_PYTHON = [path for path in DOCUMENTS if path.is_file() and list(blocks(path, "python"))]


@pytest.mark.parametrize("path", WITH_PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_examples_run(path: Path, tmp_path: Path) -> None:
    (tmp_path / "my_text.txt").write_text(
        shipped_text()[:20_000], "utf-8"
    )  # the reader's own text, which the examples name
    program = "\n".join(blocks(path, "python"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_has_python_examples() -> None:
    assert ROOT / "README.md" in WITH_PYTHON
