"""The command line: what commands print, exit codes, the form of errors, files that are complete or
not there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.suites import DOCUMENT

import cellsearch
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.cli.output import print_table
from cellsearch.compiler.backends.native.build import library
from cellsearch.genome.graph import Genome
from cellsearch.options import render_toml
from cellsearch.training import results


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = guarded(cli, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


def is_error(done: Done, code: int) -> None:
    """An error is the lines ``error:`` and ``hint:`` on standard error, and nothing else; with a
    syntax error the line and the mark below it between them.
    """
    lines = done.err.splitlines()
    if "not a statement" in lines[0]:
        assert lines[2].strip() == "^"
        del lines[1:3]
    assert done.code == code, done
    assert done.out == ""
    assert lines[0].startswith("error: ")
    assert len(lines[0]) > 12
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))
    assert "Traceback" not in done.err


# -- help and errors -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *sorted(cli.commands)])
def test_each_command_has_help(run: Run, command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.code == 0
    assert done.out.startswith("Usage: cellsearch")
    assert done.err == ""


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").out == f"cellsearch, version {cellsearch.__version__}\n"


def test_without_a_command_help_is_shown(run: Run) -> None:
    done = run()
    assert done.code == 2
    assert "Commands:" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["serch"], 2, "search"),
        (["show"], 2, "CELL"),
        (["show", "lstm", "--png"], 2, "--png"),
        (["show", "lsmt"], 2, "did you mean"),
        (["show", "lstm", "-o", "x.svg"], 2, "--svg"),
        (["show", "no/such.cell"], 2, "no/such.cell"),
        (["show", "runs/nosuch:3"], 4, "runs/nosuch"),
        (["ls", "nosuch"], 4, "nosuch"),
        (["best", "nosuch"], 4, "nosuch"),
        (["report", "nosuch"], 4, "nosuch"),
        (["export", "lstm", "--to", "wav", "-o", "x"], 2, "wav"),
        (["export", "lstm", "--to", "state-dict", "-o", "x.pt"], 2, "no trained weights"),
        (["search", "quickstrat"], 2, "did you mean quickstart?"),
        (["search", "quickstart", "--set", "trails=3", "--dry-run"], 2, "did you mean trials?"),
        (["search", "quickstart", "--set", "trials", "--dry-run"], 2, "key=value"),
        (["search", "quickstart", "--workers", "-1"], 2, "-1"),
        (["evaluate", "lstm", "--task", "party"], 2, "party"),
        (["evaluate", "lstm", "--task", "parity", "--set", "steps=3"], 2, "training.KEY"),
        (["zoo", "--family", "lstn"], 2, "did you mean lstm?"),
        (["import", "nosuch.txt", "--from", "enas"], 2, "nosuch.txt"),
    ],
)
def test_wrong_usage_is_two_lines_and_an_exit_code(
    run: Run,
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    is_error(done, code)
    assert words in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.cell", b"h[t] = tanh(linear(x[t], h[t-1])"),
        ("a.cell", b"import os"),
        ("a.cell", b"\xff\xfe\x00"),
        ("a.json", b"[" * 100_000),
        ("a.json", b'{"format": 99}'),
        ("a.json", b""),
    ],
)
def test_a_damaged_file_is_exit_code_3_and_is_named(
    run: Run, name: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    done = run("show", path)
    is_error(done, 3)
    assert name in done.err


def test_debug_shows_the_traceback(run: Run) -> None:
    done = run("show", "nosuch", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert "error: there is no cell" in done.err


def test_an_internal_error_is_exit_code_1_with_a_log(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("cellsearch.zoo.entry", lambda name: 1 / 0)
    done = run("show", "lstm")
    is_error(done, 1)
    (log,) = tmp_path.iterdir()
    assert str(log) in done.err
    assert "ZeroDivisionError" in log.read_text("utf-8")


def test_the_process_exits_with_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cellsearch", "show", "nosuch"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")


def test_a_reader_that_goes_away_is_no_error() -> None:
    for reader in (
        "head -1",
        "true",
    ):  # one that goes after a line, one that is gone before the first
        command = f"{sys.executable} -m cellsearch zoo --json | {reader}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), reader


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_finds_no_room_is_exit_code_6() -> None:
    command = [sys.executable, "-m", "cellsearch", "zoo", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 6
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
    assert "No space left" in done.stderr


@pytest.mark.parametrize("wrap", [None, 1])
def test_a_narrow_terminal_cuts_no_number(
    wrap: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the output for a terminal
    monkeypatch.setenv("COLUMNS", "20")
    print_table(
        ("weights", "what it is", "score"),
        [("1,234,567", "a cell of many words", "2.123456")],
        right=(0, 2),
        wrap=wrap,
    )
    out = capsys.readouterr().out
    assert {"1,234,567", "2.123456"} <= set(out.split())


def test_output_that_the_caller_closed_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m cellsearch zoo >&-"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- listing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("experiments", {"quickstart", "prune_charlm", "grow_charlm", "random_charlm", "parity"}),
        ("spaces", {"lstm_gru", "single_state", "tiny"}),
        ("zoo", {"lstm", "gru"}),
        ("strategies", {"random", "prune", "grow", "genetic"}),
        ("schedules", {"fixed", "halving"}),
        ("tasks", {"char_lm", "adding", "copy", "parity"}),
        ("ops", {"linear", "add", "sigmoid", "layer_norm"}),
    ],
)
def test_lists_name_everything_in_both_forms(run: Run, command: str, names: set[str]) -> None:
    document = run(command, "--json").json
    assert {row["name"] for row in document} >= names
    text = run(command).out
    assert all(any(line.startswith(name) for line in text.splitlines()) for name in names)


@pytest.mark.parametrize("command", ["strategies", "schedules"])
def test_parts_are_listed_with_paper_and_every_option_explained(run: Run, command: str) -> None:
    blocks = run(command).out.strip().split("\n\n")
    for part in run(command, "--json").json:
        block = next(block for block in blocks if block.startswith(f"{part['name']}: "))
        assert part["paper"] in block
        for option in part["options"]:
            assert f"{option} = " in block
            assert re.search(rf"\b{option}\b", part["details"]), (part["name"], option)


@pytest.mark.parametrize(
    "command", ["search", "evaluate", "diagnose", "finals", "generate", "export", "tasks"]
)
def test_commands_that_read_data_are_told_where_it_lies(run: Run, command: str) -> None:
    options = run(command, "--help").out
    assert "--data-dir" in options
    assert "--offline" in options


def test_doctor_says_what_is_there(run: Run) -> None:
    done = run("doctor", "--json")
    assert done.code == 0
    checks = {check["name"]: check for check in done.json}
    assert all(check["ok"] for check in checks.values() if check["needed"])
    assert {"python", "torch", "ray", "C compiler", "GPU", "backends", "disk"} <= set(checks)
    assert all(check["detail"] for check in checks.values())
    assert "torch" in run("doctor").out
    path = library().bf16
    assert checks["products in bf16"]["ok"] == (path in ("amx", "avx512_bf16"))
    said = {"amx": "AMX", "avx512_bf16": "AVX512-BF16"}.get(path, f"({path})")
    assert said in checks["products in bf16"]["detail"]
    gain = re.search(
        r"(\d+\.\d) times as fast as in float32 here", checks["products in bf16"]["detail"]
    )
    assert gain
    assert float(gain[1]) > 0


# -- show, export, import --------------------------------------------------------------------------


def test_show_counts_weights_and_multiply_adds(run: Run) -> None:
    facts = run("show", "lstm", "--input-size", "3", "--hidden-size", "5", "--json").json
    assert facts["parameters"] == 4 * (5 * 3 + 5 * 5 + 5)
    assert facts["multiply_adds"] == 4 * (5 * 3 + 5 * 5) + 3 * 5
    assert facts["class"] == "dense"
    assert facts["gemm_depth"] == 1
    assert facts["states"] == ["h", "c"]
    assert Genome.from_text(facts["cell"]).key == facts["key"]


def test_show_prints_equations_and_facts(run: Run) -> None:
    out = run("show", "gru").out
    assert "h[t] = blend(z, h[t-1], n)" in out
    assert "dense, GEMM depth 1" in out
    assert "24,832" in out


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("svg", "<svg"),
        ("dot", "digraph"),
        ("mermaid", "flowchart"),
        ("latex", "\\begin{align"),
        ("program", "== lowered =="),
    ],
)
def test_show_draws(run: Run, form: str, start: str, tmp_path: Path) -> None:
    assert run("show", "lstm", f"--{form}").out.startswith(start)
    path = tmp_path / "deep" / f"cell.{form}"
    assert run("show", "lstm", f"--{form}", "-o", path).code == 0
    assert path.read_text("utf-8").startswith(start)
    done = run("show", "gru", f"--{form}", "-o", path)
    is_error(done, 2)
    assert "--force" in done.err
    before = path.read_text("utf-8")
    assert run("show", "gru", f"--{form}", "-o", path, "--force").code == 0
    assert path.read_text("utf-8") != before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_drawing_is_one_json_document_too(run: Run, tmp_path: Path) -> None:
    drawn = run("show", "lstm", "--svg").out
    assert run("show", "lstm", "--svg", "--json").json == {
        "name": "lstm",
        "svg": drawn.rstrip("\n"),
    }
    path = tmp_path / "cell.svg"
    assert run("show", "lstm", "--svg", "-o", path, "--json").json == {
        "name": "lstm",
        "svg": str(path),
    }
    assert path.read_text("utf-8").startswith("<svg")


def test_the_size_of_a_number_is_no_internal_error(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "huge.cell"
    path.write_text(
        "h[t] = 1e40 * tanh(linear(x[t], h[t-1]))", "utf-8"
    )  # more than a float32 holds
    assert run("show", path).code == 0


def test_the_program_names_the_weights(run: Run) -> None:
    out = run("show", "lstm", "--program").out
    assert all(
        f"== {stage} ==" in out
        for stage in ("lowered", "simplified", "gradient", "schedule forward", "schedule backward")
    )
    assert "i.weight_h" in out


@pytest.mark.parametrize(("form", "suffix"), [("json", ".json"), ("cell", ".cell")])
def test_an_exported_cell_is_the_same_cell(
    run: Run, form: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"mine{suffix}"
    assert run("export", "gru", "--to", form, "-o", path).code == 0
    shown = run("show", path, "--json").json
    assert shown["key"] == run("show", "gru", "--json").json["key"]
    assert shown["name"] == "mine"


def test_an_export_does_not_overwrite(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("mine", "utf-8")
    is_error(run("export", "gru", "--to", "json", "-o", path), 2)
    assert path.read_text("utf-8") == "mine"
    assert run("export", "gru", "--to", "json", "-o", path, "--force").code == 0
    assert path.read_text("utf-8") != "mine"


def test_a_place_that_cannot_be_written_is_exit_code_6(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    is_error(run("export", "gru", "--to", "json", "-o", tmp_path / "file" / "a.json"), 6)


def test_a_zoo_cell_exports_as_source_without_weights(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "gru.py"
    assert run("export", "gru", "--to", "source", "-o", path).code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["gru.py"]
    assert "cellsearch" not in {
        line.split()[1].split(".")[0]
        for line in path.read_text().splitlines()
        if line.startswith("import ")
    }


def test_a_foreign_cell_is_imported(run: Run, tmp_path: Path) -> None:
    arc = tmp_path / "arc.txt"
    arc.write_text("0 0 0 1 1", "utf-8")
    done = run("import", arc, "--from", "enas")
    assert done.code == 0
    assert Genome.from_text(done.out).state_names == ("h",)
    output = tmp_path / "arc.cell"
    assert run("import", arc, "--from", "enas", "--set", "opcodes=enas_lm", "-o", output).code == 0
    assert (
        Genome.from_text(output.read_text("utf-8")).key
        == run("import", arc, "--from", "enas", "--set", "opcodes=enas_lm", "--json").json["key"]
    )
    is_error(run("import", arc, "--from", "enas", "-o", output), 2)
    is_error(run("import", arc, "--from", "anes"), 2)
    arc.write_text("0 9 9", "utf-8")
    is_error(run("import", arc, "--from", "enas"), 3)


def test_show_recognises_a_cell_written_otherwise(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.cell"
    text = """
    gate = sigmoid(linear(s[t-1], x[t]))
    reset = sigmoid(linear(x[t], s[t-1]))
    new = tanh(reset * linear(s[t-1]) + linear(x[t]))
    s[t] = (1 - gate) * new + gate * s[t-1]
    """
    path.write_text(textwrap.dedent(text), "utf-8")
    facts = run("show", path, "--json").json
    assert facts["equals"] == ["gru"]
    assert facts["nearest"]
    assert "equals         gru" in run("show", path).out
    assert run("show", "lstm", "--json").json["equals"] == ["lstm"]


def test_show_says_what_leads_to_the_nearest_cell_and_what_speaks_against_it(
    run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "mine.cell"
    path.write_text("p[t] = linear(x[t])\nh[t] = h[t-1] * relu(linear(h[t-1], p[t-1]))\n", "utf-8")
    facts = run("show", path, "--json").json
    assert facts["equals"] == []
    assert len(facts["edits_from_nearest"]) == facts["nearest"][0]["edits"]
    assert "input-unseen" in {finding["code"] for finding in facts["findings"]}
    out = run("show", path).out
    assert f"from {facts['nearest'][0]['name']}:" in out
    assert "does not see x_t" in out


def test_diff_lists_the_edits_and_draws_them(run: Run, tmp_path: Path) -> None:
    document = run("diff", "lstm", "lstm_peephole", "--json").json
    assert document["distance"] == len(document["edits"]) > 0
    assert run("diff", "lstm", "lstm", "--json").json["edits"] == []
    path = tmp_path / "diff.svg"
    done = run("diff", "lstm", "lstm_peephole", "--svg", path)
    assert done.code == 0
    assert path.read_text("utf-8").startswith("<svg")
    assert done.out.count("\n") == document["distance"] + 2
    is_error(run("diff", "lstm", "gru", "--svg", path), 2)


# -- evaluate --------------------------------------------------------------------------------------


def test_evaluate_trains_and_repeats_itself(run: Run) -> None:
    arguments = [
        "evaluate",
        "lstm",
        "--task",
        "parity",
        "--steps",
        "3",
        "--hidden",
        "4",
        "--seed",
        "7",
        "--set",
        "task_options.batch_size=4",
    ]
    document = run(*arguments, "--json").json
    assert document["steps"] == 3
    assert document["training"]["hidden_size"] == 4
    assert document["score"] == pytest.approx(1 - document["metric"])
    assert run(*arguments, "--json").json["score"] == document["score"]
    text = run(*arguments).out
    assert "accuracy" in text
    assert f"{document['score']:.4f}" in text


FAILING = "h[t] = tanh(linear(x[t], h[t-1])) / (x[t] - x[t])"


@pytest.mark.parametrize(
    ("cell", "more"),
    [
        (FAILING, ["evaluate", "CELL", "--task", "parity", "--steps", "2"]),
        (FAILING, ["diagnose", "CELL", "--task", "parity", "--steps", "2"]),
        ("h[t] = linear(x[t], h[t-1])", ["evaluate", "CELL", "--task", "parity", "--steps", "50"]),
        (FAILING, ["evaluate", "CELL", "--suite", "SUITE", "--seed", "1"]),
    ],
)
def test_a_training_that_fails_has_an_exit_status_of_its_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, more: list[str]
) -> None:
    monkeypatch.setattr(results, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "mine.cell").write_text(cell, "utf-8")
    (tmp_path / "mine.toml").write_text(render_toml(DOCUMENT), "utf-8")
    places = {"CELL": str(tmp_path / "mine.cell"), "SUITE": str(tmp_path / "mine.toml")}
    command = [places.get(word, word) for word in more]
    command += ["--set", "training.learning_rate=1e18"] if "--task" in more else []
    done = run(*command)
    is_error(done, 7)
    assert "the training failed (" in done.err
    assert "mine" in done.err.splitlines()[0]
    assert "internal" not in done.err
    assert "7 the training" in run("--help").out


def test_a_warning_about_the_data_is_one_line(tmp_path: Path) -> None:
    table = tmp_path / "sensors.csv"
    table.write_text("a,b\n" + "".join(f"{k},{k / 7}\n" for k in range(900)), "utf-8")
    settings = ("trials=1", "training.steps=1", "baselines=[]", f'task_options.text="{table}"')
    command = [sys.executable, "-m", "cellsearch", "search", "quickstart", "--workers", "0"]
    options = [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(
        [*command, *options, "--run", str(tmp_path / "run")], capture_output=True, check=False
    )
    lines = [line for line in done.stderr.decode().splitlines() if "looks like a table" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"warning: {table} looks like a table of numbers")
    assert done.returncode == 0
