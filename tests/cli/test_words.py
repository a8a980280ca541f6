"""What the command line says: examples and groups in ``--help``, what was probably meant, and files
that are named for what is in them.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest

from cellsearch.cli import cli
from cellsearch.cli.documented import EXAMPLES

Call = Callable[..., tuple[int, str, str]]
STORED = Path(__file__).parents[1] / "data" / "v0_1" / "genetic_whole"
LONG = (
    *("finals", "evaluate", "diagnose", "generate", "import", "predict"),
    *("ask", "tell", "benchmark", "ablate", "compare", "ui", "sweep"),
)
"""Their examples train, or read what is not at hand; they are parsed."""
EXAMPLE_LINES = [(name, line) for name, lines in EXAMPLES.items() for line in lines]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a run."""
    shutil.copytree(STORED, tmp_path / "runs" / "quickstart")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", cli.commands)
@pytest.mark.parametrize("width", [80, 100])
def test_help_has_examples_and_fits(
    name: str, width: int, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, err = call(name, "--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= width
    assert len(EXAMPLES[name]) >= 1
    for example in EXAMPLES[name]:
        assert f"  {example}\n" in out
    assert set(EXAMPLES) == set(cli.commands)


def test_options_stand_in_groups(call: Call) -> None:
    _, out, _ = call("search", "--help")
    places = [out.index(f"\n{word}") for word in ("Options:", "Workers:", "Data:", "Output:")]
    assert places == sorted(places)
    assert places[1] < out.index("--ray-address") < places[2]
    assert places[2] < out.index("--offline") < places[3] < out.index("--json")
    with cli.commands["search"].make_context("search", [], resilient_parsing=True) as context:
        for parameter in context.command.get_params(context):
            if isinstance(parameter, click.Option):
                assert out.count(f" {parameter.opts[-1]} ") <= out.count(parameter.opts[-1])
                assert parameter.opts[-1] in out


@pytest.mark.parametrize(("name", "line"), EXAMPLE_LINES)
def test_examples_work(name: str, line: str, place: Path, call: Call) -> None:
    program, command, *arguments = shlex.split(line.partition(" >> ")[0])
    assert (program, command) == ("cellsearch", name)
    if name in LONG:
        with cli.commands[name].make_context(name, arguments) as context:
            assert context.params
        return
    code, _, err = call(command, *arguments, *(["--dry-run"] if name == "search" else []))
    assert code == 0, err
    assert "error" not in err


# -- what was probably meant -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("serch quickstart", "search"),
        ("search quickstrt", "quickstart"),
        ("search quickstart --tirals 3", "--trials"),
        ("search quickstart --dry-run --set strategy=genetc", "genetic"),
        ("search quickstart --dry-run --set strategy_options.popul=3", "population"),
        ("search quickstart --dry-run --set schedule=halvin", "halving"),
        ("search quickstart --dry-run --set task=char", "char_lm"),
        ("search quickstart --dry-run --set space=lstmgru", "lstm_gru"),
        ("search quickstart --dry-run --set traning.steps=3", "training"),
        ("search quickstart --dry-run --set training.stps=3", "steps"),
        ("show lsmt", "lstm"),
        ("evaluate lstm --task paritty", "parity"),
        ("evaluate lstm --suite standrd", "standard"),
        ("evaluate lstm --task parity --set traning.steps=3", "training"),
        ("import a.cell --from drats", "darts"),
        ("zoo --family lst", "lstm"),
        ("export lstm --to sorce -o x", "source"),
        ("ls runs/quickstart --sort scor", "score"),
        ("finals runs/quickstart --against lsmt", "lstm"),
        ("ops sigm", "sigmoid"),
        ("ops σ", "sigmoid"),
        ("tasks char", "char_lm"),
        ("spaces lstmgru", "lstm_gru"),
        ("help serch", "search"),
        ("completion bsh", "bash"),
    ],
)
def test_what_was_meant_is_guessed(arguments: str, meant: str, place: Path, call: Call) -> None:
    (place / "a.cell").write_text("", "utf-8")
    code, out, err = call(*shlex.split(arguments))
    assert code in (2, 3)
    assert out == ""
    assert meant in err.lower().partition("did you mean ")[2].partition("?")[0]


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("sensors.csv", "search --csv sensors.csv --predict COLUMN"),
        ("my sensors.TSV", "search --csv 'my sensors.TSV' --predict COLUMN"),
        ("sensors.xlsx", "save it as CSV"),
        ("data.npz", "search --npz data.npz"),
        ("folder/novel.txt", "task_options.text=folder/novel.txt"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_data_in_place_of_an_experiment(
    file: str, advice: str, there: bool, place: Path, call: Call
) -> None:
    if there:
        (place / file).parent.mkdir(exist_ok=True)
        with open(place / file, "wb") as opened:
            np.savez(opened, x=np.zeros(3))
    code, out, err = call("search", file)
    assert (code, out) == (2, "")
    assert "is data, not an experiment" in err
    assert advice in err.partition("hint: ")[2]


# -- files and runs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "better"),
    [
        ("show lstm --svg -o fig.pdf", "fig.svg"),
        ("show lstm --svg -o fig.html", "fig.svg"),
        ("show lstm --dot -o fig.svg", "fig.dot"),
        ("show lstm --latex -o fig.PNG", "fig.tex"),
        ("diff lstm gru --svg fig.png", "fig.svg"),
        ("report runs/quickstart -o page.pdf", "page.html"),
        ("export lstm --to source -o cell.svg", "cell.py"),
        ("export lstm --to json -o cell.py", "cell.json"),
        ("export lstm --to cell -o cell.json", "cell.cell"),
    ],
)
def test_a_file_is_named_for_what_is_in_it(
    arguments: str, better: str, place: Path, call: Call
) -> None:
    words = shlex.split(arguments)
    code, _, err = call(*words)
    assert code == 2
    assert better in err.partition("hint: ")[2]
    assert not (place / words[-1]).exists()
    assert call(*words[:-1], better)[0] == 0
    assert call(*words[:-1], "odd.name")[0] == 0


def test_a_drawing_without_a_file_is_printed(call: Call) -> None:
    code, out, err = call("diff", "lstm", "gru", "--svg")
    assert (code, err) == (0, "")
    assert out.startswith("<svg")
    assert out.rstrip().endswith("</svg>")


def test_a_folder_of_runs_is_listed(place: Path, call: Call) -> None:
    shutil.copytree(STORED, place / "runs" / "deep" / "other")
    (place / "runs" / "broken").mkdir()
    (place / "runs" / "broken" / "store.sqlite").write_bytes(b"no store")
    for arguments in (("ls",), ("ls", "runs")):
        code, out, err = call(*arguments)
        assert (code, err) == (0, "")
        lines = {line.split()[0]: line for line in out.splitlines()[1:] if line.strip()}
        assert {"runs/quickstart", "runs/deep/other", "runs/broken"} <= set(lines)
        assert "genetic" in lines["runs/quickstart"]
        assert "cannot be read" in lines["runs/broken"]
    found = json.loads(call("ls", "runs", "--json")[1])
    assert [run["run"] for run in found] == ["runs/broken", "runs/deep/other", "runs/quickstart"]
    assert found[1]["completed"] == found[2]["completed"] > 0
    code, _, err = call("best", "runs")
    assert code == 4
    assert "runs/quickstart" in err.partition("hint: ")[2]
    code, _, err = call("ls", "nowhere")
    assert code == 4
