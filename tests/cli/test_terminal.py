"""Nothing that is stored, or comes from elsewhere, moves the terminal that shows it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import sys
import termios
import threading
import time
import tomllib
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import cellsearch
from cellsearch import options, zoo
from cellsearch.cli import cli, main
from cellsearch.cli.failures import guarded
from cellsearch.cli.output import emit_json, print_table
from cellsearch.errors import CellsearchError, DataWarning, visible
from cellsearch.history import History
from cellsearch.reporting.live import LiveDisplay
from cellsearch.reporting.progress import PlainDisplay
from cellsearch.reporting.screen import Screen
from cellsearch.reporting.terminal import shown_output
from cellsearch.trial import Budget, Proposal, Result, Rung, Status, Trial

EVIL = "\x1b[31m\x1b]8;;http://evil\x07[red]\x9b8m\u202e\u2066\x7f\x08\r\ufeff\u200b\u2028"
"""Colours and links for terminals and for rich, text that runs backwards, and what is unseen."""
STORED = Path(__file__).parents[1] / "data" / "v0_1" / "genetic_whole"
OURS = re.compile("\r?\x1b\\[[?0-9;]*[a-zA-Z]")
"""What rich draws with; of EVIL it could be the red alone."""


def forbidden(text: str) -> set[str]:
    """What must not reach a terminal, after what our own tables add is taken out."""
    assert "\x1b[31m" not in text
    return {c for c in OURS.sub("", text) if c not in "\n\t" and not shown_as_it_is(c)}


def shown_as_it_is(c: str) -> bool:
    kind = unicodedata.category(c)
    return kind not in ("Cc", "Cs", "Zl", "Zp") and (kind != "Cf" or c in "\u200c\u200d")


class Screenful:
    """What a command prints in a pipe or on a terminal."""

    def __init__(self, *, terminal: bool, folder: Path) -> None:
        self._folder, self._terminal = folder, terminal

    def __call__(self, action: Callable[[], object]) -> tuple[str, str]:
        """Standard output and standard error of an action."""
        out, err = self._open("out"), self._open("err")
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = out[0], err[0]
        try:
            action()
        finally:
            sys.stdout, sys.stderr = before
        return out[1](), err[1]()

    def _open(self, name: str) -> tuple[TextIO, Callable[[], str]]:
        if not self._terminal:
            path = self._folder / name
            file = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115

            def read() -> str:
                file.close()
                return path.read_bytes().decode()

            return file, read
        master, slave = os.openpty()
        mode = termios.tcgetattr(slave)
        mode[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        terminal = open(slave, "w", encoding="utf-8", newline="")  # noqa: SIM115
        found: list[bytes] = []
        reader = threading.Thread(target=_drain, args=(master, found), daemon=True)
        reader.start()

        def read_terminal() -> str:
            terminal.close()
            reader.join(10)
            os.close(master)
            return b"".join(found).decode()

        return terminal, read_terminal


def _drain(master: int, found: list[bytes]) -> None:
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other side is closed
            return
        if not piece:
            return
        found.append(piece)


@pytest.fixture(params=["pipe", "terminal"])
def screenful(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Screenful:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Screenful(terminal=request.param == "terminal", folder=tmp_path)


# -- every text of a stored run, every command that reads one --------------------------------------


def fields() -> Iterator[tuple[str, str]]:
    """Every text of a store by table and column, and of the experiment by key."""
    with closing(sqlite3.connect(f"file:{STORED / 'store.sqlite'}?mode=ro", uri=True)) as store:
        for (table,) in store.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
            for _, column, kind, *_ in store.execute(f"PRAGMA table_info({table})"):
                if kind == "TEXT":
                    yield table, column
    for key in texts_of(tomllib.loads((STORED / "experiment.toml").read_text("utf-8"))):
        yield "experiment.toml", key
    yield "experiment.toml", "a key"
    yield "best.cell", "text"
    yield "finals.json", "text"


def texts_of(table: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, str):
            yield f"{path}{key}"
        elif isinstance(value, dict):
            yield from texts_of(value, f"{path}{key}.")


def spoil(run: Path, place: str, field: str) -> None:
    """Put EVIL into one text of a run."""
    if place == "experiment.toml":
        file = run / place
        document = tomllib.loads(file.read_text("utf-8"))
        if field == "a key":
            document[EVIL] = 1
        else:
            *path, last = field.split(".")
            table = document
            for key in path:
                table = table[key]
            table[last] += EVIL
        file.write_text(options.render_toml(document), "utf-8", newline="")
    elif place == "best.cell":
        (run / place).write_text(f'"""{EVIL}"""\n{EVIL} = 1\nh[t] = x[t]', "utf-8", newline="")
    elif place == "finals.json":
        (run / place).write_text(json.dumps({"rows": [{"name": EVIL}], EVIL: EVIL}), "utf-8")
    else:
        with closing(sqlite3.connect(run / "store.sqlite")) as store:
            store.create_function("spoiled", 1, _spoiled)
            store.execute(f"UPDATE OR IGNORE {place} SET {field} = spoiled({field})")
            store.commit()


def _spoiled(text: str | None) -> str | None:
    """EVIL inside the strings of a JSON text, at the end of any other."""
    if text is None:
        return None
    if text.startswith("{"):
        return json.dumps(_inside(json.loads(text)))
    return text + EVIL


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _inside(item) for key, item in value.items()}
    return value + EVIL if isinstance(value, str) else value


def commands(run: Path, folder: Path) -> Iterator[list[str]]:
    """Every command that reads a run, in words and as JSON."""
    yield ["ls", str(run)]
    yield ["ls", str(run), "--json"]
    yield ["best", str(run)]
    yield ["best", str(run), "--json"]
    for cell in (str(run), f"{run}:0", f"{run}:4", str(run / "best.cell")):
        yield ["show", cell]
        yield ["diff", cell, "lstm"]
    yield ["show", f"{run}:4", "--json"]
    yield ["show", f"{run}:4", "--svg"]
    yield ["report", str(run), "-o", str(folder / "page.html"), "--force"]
    yield ["export", f"{run}:4", "--to", "source", "-o", str(folder / "cell.py"), "--force"]
    yield ["evaluate", f"{run}:4", "--task", "parity", "--steps", "1", "--hidden", "2"]
    yield ["generate", f"{run}:4"]
    yield ["finals", str(run), "--against", EVIL]
    yield ["search", str(run / "experiment.toml"), "--run", str(run), "--workers", "0"]
    yield ["search", str(run / "experiment.toml"), "--dry-run"]
    new = str(folder / "new")
    yield ["search", "quickstart", "--run", new, "--import", str(run), "--set", f"seed={EVIL}"]


@pytest.mark.parametrize(("place", "field"), list(fields()))
def test_no_text_of_a_run_moves_the_terminal(
    place: str, field: str, screenful: Screenful, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(STORED, tmp_path / "run"))
    spoil(run, place, field)
    printed = ""
    for command in commands(run, tmp_path):
        out, err = screenful(lambda command=command: guarded(cli, command))
        assert out + err, f"{command} printed nothing"
        assert not forbidden(out + err), command
        printed += out + err
    if (place, field) == ("trials", "origin"):
        assert visible(EVIL)[:20] in printed


def test_machine_output_keeps_every_text(screenful: Screenful, tmp_path: Path) -> None:
    run = Path(shutil.copytree(STORED, tmp_path / "run"))
    spoil(run, "trials", "origin")
    out, _ = screenful(lambda: guarded(cli, ["ls", str(run), "--json"]))
    origins = [trial["origin"] for trial in json.loads(out)["trials"]]
    assert origins
    assert all(origin.endswith(EVIL) for origin in origins)
    spoil(run, "experiment.toml", "question")
    out, _ = screenful(lambda: guarded(cli, ["search", str(run / "experiment.toml"), "--dry-run"]))
    assert tomllib.loads(out)["question"].endswith(EVIL)


@given(st.text(st.characters(exclude_categories=())))
def test_json_and_lines_of_any_text(text: str) -> None:
    stream = io.StringIO()
    before, sys.stdout = sys.stdout, stream
    try:
        with shown_output():
            emit_json({"text": text})
            click.echo(text, color=True)
            print_table(("[red]head", ""), [(text, "[link=x]")])
    finally:
        sys.stdout = before
    assert not forbidden(stream.getvalue())
    document, _ = json.JSONDecoder().raw_decode(stream.getvalue())
    assert document == {"text": text}
    assert visible(visible(text)) == visible(text)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_an_encoding_that_lacks_characters_is_no_error(encoding: str) -> None:
    below = io.BytesIO()
    before, sys.stdout = sys.stdout, io.TextIOWrapper(below, encoding, write_through=True)
    try:
        with shown_output():
            click.echo("a – é σ", color=True)
            emit_json({"text": "a – é σ"})
    finally:
        kept, sys.stdout = sys.stdout, before
    line, _, document = below.getvalue().decode(encoding).partition("\n")
    assert json.loads(document) == {"text": "a – é σ"}
    assert {"ascii": r"a \u2013 \u00e9 \u03c3", "latin-1": r"a \u2013 é \u03c3"}.get(
        encoding, "a – é σ"
    ) == line
    kept.close()


# -- while it runs, in errors and in warnings ------------------------------------------------------


def test_progress_shows_what_is_in_it(screenful: Screenful) -> None:
    result = Result(1.0, 1.0, steps=10, seconds=1.5, parameters=9, cell_parameters=9)
    proposal = Proposal(zoo.load("gru"), origin=f"seed:{EVIL}\n[1/9]")
    history = History([Trial(0, proposal, Status.COMPLETED, (Rung(Budget(10), result),), None)])

    def live() -> None:
        with shown_output():
            display = LiveDisplay(EVIL, EVIL, 4)
            display.notice = EVIL
            display.begin(history)
            try:
                click.echo(EVIL, color=True)
                sys.stderr.write(EVIL)
                time.sleep(0.3)
            finally:
                display.end()

    def lines() -> None:
        display = PlainDisplay(f"{EVIL}\n", EVIL, 4, stream=sys.stdout)
        display.begin(history)
        display.update(history, next(iter(history)))

    out, err = screenful(live)
    assert not forbidden(out + err)
    out, err = screenful(lines)
    assert not forbidden(out + err)
    assert len(out.splitlines()) == 3


def test_errors_and_warnings_show_what_is_in_them(screenful: Screenful) -> None:
    def warned() -> None:
        with pytest.raises(SystemExit):
            main(["search", EVIL, "--set", f"{EVIL}\udc9b\ud800"])
        print(DataWarning(EVIL), CellsearchError(EVIL, where=EVIL, hint=EVIL).__notes__)

    out, err = screenful(warned)
    assert "\\x1b[31m" in err
    assert not forbidden(out + err)


def test_a_failure_inside_shows_what_is_in_it(
    screenful: Screenful, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command("odd")
    def odd() -> None:
        raise ValueError(EVIL)

    out, err = screenful(lambda: guarded(odd, ["--debug"]))
    assert "internal error" in err
    assert "Traceback" in err
    assert not forbidden(out + err)
    log = re.search(r"the log (\S+)", err)
    assert log is not None
    assert not forbidden(Path(log[1]).read_text("utf-8"))
    os.unlink(log[1])


def test_one_class_draws() -> None:
    """Rich's own console would read texts for codes and markup."""
    package = Path(cellsearch.__file__).parent
    texts = {path.name: path.read_text("utf-8") for path in package.rglob("*.py")}
    drawing = [name for name, text in texts.items() if re.search(r"\bConsole[(,)]", text)]
    assert drawing == ["screen.py"]  # where it is inherited
    assert issubclass(Screen, Console)
