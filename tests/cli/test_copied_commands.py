"""Commands that we print are for copying: they do what they say, whatever the run is called."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import cellsearch as cs
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import CellsearchError, command, quoted

NAMES = [
    "a b'c;$(x)",
    "plain",
    'q"uo`te`',
    "two  blanks",
    "line\nend",
    "\x1b[31m",
    "-o",
    "ü &|*?~#",
]
COMMANDS = "|".join(sorted(cli.commands))
PRINTED = re.compile(rf"cellsearch ({COMMANDS})\b[^,;)]*\0|--(enqueue|import|run|data|from) \0")


@pytest.mark.parametrize("name", [*NAMES, "\udcff", "\\x41", "'", "''", "$'a'"])
def test_a_shell_reads_back_what_was_quoted(name: str) -> None:
    words = ["show", Path(name), f"{name}:7"]
    line = command(*words)
    assert line.isprintable()
    assert " ".join(line.split()) == line  # one line, as errors are printed
    done = subprocess.run(
        ["bash", "-c", f"cellsearch() {{ printf '%s\\0' \"$@\"; }}; {line}"],
        capture_output=True,
        check=True,
    )
    read = done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]
    assert [Path(read[1]), read[2]] == [Path(name), f"{name}:7"]
    assert not read[1].startswith("-")


@pytest.fixture(scope="module", params=NAMES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / request.param
    settings = {"trials": 3, "workers": 0, "training.steps": 2, "training.hidden_size": 4}
    with cs.Search.open(folder, cs.load_experiment("parity", settings)) as search:
        search.run(cs.InProcess())
    return folder


def test_what_commands_print_names_the_run_as_a_shell_does(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = cs.open_run(run).best().number
    settings = ["--set", "training.steps=2", "--set", "training.hidden_size=4"]
    search = ["search", "parity", "--run", str(run), "--trials", "3", "--workers", "0", *settings]
    cell = Path(f"{run}:{best}")
    for words, printed in (
        (search, [("show", cell), ("report", run)]),
        (["best", str(run)], [("show", cell)]),
        (["show", f"{run}:99"], [("ls", run)]),
        (["show", f"{run}:x"], [("ls", run)]),
    ):
        capsys.readouterr()
        guarded(cli, words)
        captured = capsys.readouterr()
        for one in printed:
            assert command(*one) in captured.out + captured.err
            if "$'" not in command(*one):
                assert guarded(cli, shlex.split(command(*one))[1:]) == 0


def test_a_run_that_cannot_be_imported_is_named_so_too(run: Path, tmp_path: Path) -> None:
    other = cs.load_experiment("parity", {"workers": 0, "training.steps": 3})
    with (
        cs.Search.open(tmp_path / "new", other) as search,
        pytest.raises(CellsearchError) as caught,
    ):
        search.import_run(run)
    assert quoted(f"{run}:best") in caught.value.hint


def _unquoted(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else _kind(part)
                for part in node.values
            )
            yield from (found.group() for found in PRINTED.finditer(text))


def _kind(part: ast.expr) -> str:
    """A zero for a value that is printed as it is, nothing for a quoted one."""
    called = part.value.func if isinstance(getattr(part, "value", None), ast.Call) else None
    is_quoted = isinstance(called, ast.Name) and called.id in ("command", "quoted")
    return "" if is_quoted else "\0"


def test_no_command_is_put_together_by_hand() -> None:
    assert list(_unquoted('f"cellsearch show {run}:{trial}"'))
    assert list(_unquoted('f"see cellsearch export " f"{run} --to source"'))
    assert list(_unquoted('f"again with --enqueue {run}"'))
    assert not list(_unquoted('f"write {run}; {command(1, run)} lists"'))
    package = Path(cs.__file__).parent
    found = {
        f"{path.relative_to(package)}: {text!r}"
        for path in package.rglob("*.py")
        for text in _unquoted(path.read_text("utf-8"))
    }
    assert not found
