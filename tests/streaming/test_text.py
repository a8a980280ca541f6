"""Text from a trained model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cellsearch import tasks, zoo
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import ConfigError
from cellsearch.job import Training
from cellsearch.streaming import decode, generate
from cellsearch.streaming.text import step
from cellsearch.tasks.base import Task
from cellsearch.tasks.heads import SequenceModel
from cellsearch.training.model import cell_factory
from cellsearch.ui.answers import ANSWERS
from cellsearch.ui.live import LiveRun


@pytest.fixture(scope="module")
def task() -> Task:
    kind = tasks.get("char_lm")
    return kind.create({}, kind.load({}))


def model(task: Task, name: str = "gru", layers: int = 1) -> SequenceModel:
    torch.manual_seed(0)
    made = task.model(cell_factory(zoo.load(name), Training(hidden_size=8, num_layers=layers)))
    assert isinstance(made, SequenceModel)
    with (
        torch.no_grad()
    ):  # far from uniform, so that temperatures and seeds matter but do not decide all
        made.readout.weight.mul_(8)
    return made


@pytest.mark.parametrize(("name", "layers"), [("gru", 1), ("lstm", 2), ("rnn_tanh", 1)])
def test_steps_are_the_model_over_the_sequence(task: Task, name: str, layers: int) -> None:
    made = model(task, name, layers).double().eval()
    tokens = torch.arange(12).view(12, 1)
    with torch.no_grad():
        whole, _ = made(tokens)
        state: object = None
        for t in range(12):
            logits, state = step(made, tokens[t], state)
            assert (logits - whole[t]).abs().max() <= 1e-12


def test_temperature_zero_is_the_argmax_of_the_whole_sequence(task: Task) -> None:
    made = model(task)
    prompt = [3, 1, 4]
    written = generate(made, prompt, 30, temperature=0, seed=1)
    assert written == generate(made, prompt, 30, temperature=0, seed=2)
    tokens = [*prompt, *written]
    with torch.no_grad():
        logits, _ = made(torch.tensor(tokens).unsqueeze(1))
    assert logits[2:-1, 0].argmax(-1).tolist() == written


def test_samples_depend_on_the_seed_only_and_are_known_symbols(task: Task) -> None:
    made = model(task)
    first = generate(made, [0], 200, temperature=1.5, seed=7)
    torch.manual_seed(123)
    assert first == generate(made, [0], 200, temperature=1.5, seed=7)
    assert first != generate(made, [0], 200, temperature=1.5, seed=8)
    assert len(first) == 200
    symbols = task.arrays["symbols"].tolist()
    text = decode(first, symbols)
    assert set(text) <= set(map(chr, symbols))
    assert len(set(text)) > 5


def test_samples_follow_the_probabilities(task: Task) -> None:
    made = model(task)
    with torch.no_grad():
        made.cell.get_parameter("l0.n.bias")
        made.readout.weight.zero_()
        made.readout.bias.fill_(-1e4)
        made.readout.bias[5], made.readout.bias[9] = 0.0, 1.0
    written = generate(made, [0], 4000, seed=0)
    share = written.count(9) / 4000
    assert set(written) == {5, 9}
    assert share == pytest.approx(0.7311, abs=0.03)  # e / (1 + e)
    hot = generate(made, [0], 4000, temperature=0.25, seed=0)
    assert hot.count(9) / 4000 == pytest.approx(0.9820, abs=0.01)  # e^4 / (1 + e^4)


def test_the_mode_of_the_model_stays(task: Task) -> None:
    made = model(task)
    made.train()
    generate(made, [0], 3)
    assert made.training


@pytest.mark.parametrize(
    ("prompt", "options"), [([], {}), ([999], {}), ([0], {"temperature": -1.0})]
)
def test_wrong_arguments(task: Task, prompt: list[int], options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        generate(model(task), prompt, 3, **options)  # type: ignore[arg-type]


def test_a_model_that_does_not_write_text_is_refused() -> None:
    kind = tasks.get("adding")
    adding = kind.create({}, kind.load({}))
    with pytest.raises(ConfigError, match="tokens"):
        generate(adding.model(cell_factory(zoo.load("gru"), Training(hidden_size=4))), [0], 3)


def test_weights_that_have_blown_up_are_told(task: Task) -> None:
    made = model(task)
    with torch.no_grad():
        made.readout.bias.fill_(float("nan"))
    with pytest.raises(ConfigError, match="finite"):
        generate(made, [0], 3)


# -- the commands ----------------------------------------------------------------------------------

Call = Callable[..., tuple[int, str, str]]
SETTINGS = [
    "trials=2",
    "training.steps=2",
    "training.hidden_size=8",
    "training.evaluations=1",
    "baselines=['lstm']",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "run"
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    assert (
        guarded(cli, ["search", "quickstart", "--run", str(folder), "--workers", "0", *settings])
        == 0
    )
    return folder


def test_the_command_writes_text(call: Call, run: Path) -> None:
    code, first, err = call("generate", run, "--length", "50", "--seed", "3")
    assert (code, err) == (0, "")
    assert len(first) == 51
    assert call("generate", run, "--length", "50", "--seed", "3")[1] == first
    assert call("generate", run, "--length", "50", "--seed", "4")[1] != first
    code, out, _ = call(
        "generate", f"{run}:0", "--length", "5", "--prompt", "And God", "--temperature", "0"
    )
    assert code == 0
    assert out.startswith("And God")
    code, out, _ = call("generate", run, "--length", "9", "--json")
    document = json.loads(out)
    assert code == 0
    assert len(document["text"]) == 9
    assert document["task"] == "char_lm"


def test_the_command_says_what_to_do(call: Call, run: Path, tmp_path: Path) -> None:
    code, out, err = call("generate", "lstm")
    assert (code, out) == (2, "")
    assert "RUN:TRIAL" in err
    code, _, err = call("generate", run, "--prompt", "€")
    assert code == 2
    assert "symbols" in err
    code, _, err = call("generate", f"{run}:77")
    assert code == 4
    for file in (run / "checkpoints").glob("trial-00001*"):
        file.rename(tmp_path / file.name)
        code, _, err = call("generate", f"{run}:1")
        (tmp_path / file.name).rename(file)
        assert code == 2
        assert "evaluate" in err


def test_a_damaged_checkpoint_is_told(call: Call, run: Path) -> None:
    file = next((run / "checkpoints").glob("trial-00001*"))
    good = file.read_bytes()
    try:
        file.write_bytes(good[:-20] + b"x" * 20)
        code, out, err = call("generate", f"{run}:1")
    finally:
        file.write_bytes(good)
    assert (code, out) == (3, "")
    assert "damaged" in err


def test_diagnose_reads_the_checkpoint_of_a_trial(call: Call, run: Path, tmp_path: Path) -> None:
    arguments = ["--positions", "12", "--examples", "2"]
    page = tmp_path / "a.html"
    code, out, err = call("diagnose", run, *arguments, "-o", page, "--json", "--keep")
    assert (code, err) == (0, "")
    document = json.loads(out)
    cells = document["cells"]
    assert cells[0]["cell"].startswith("run-")
    assert {"gradient", "memory", "gates", "spectrum", "positions", "radius", "score"} <= set(
        cells[0]
    )
    assert len(cells[0]["gradient"]) == 11
    shown = json.loads(call("show", run, "--json")[1])
    assert document["steps"] == 2
    assert shown
    text = page.read_text("utf-8")
    assert text.count("<svg") == 5
    assert "<script" not in text
    code, _, err = call("diagnose", run, *arguments, "-o", page)
    assert code == 2
    assert "--force" in err
    # what was kept is what the live page says of the boxes of the drawing
    number = int(cells[0]["cell"].rpartition("-")[2])
    shown = ANSWERS["trial"](LiveRun(run, "run"), {"n": str(number)})
    measured = [vertex["gate"] for vertex in shown["vertices"] if "gate" in vertex]
    assert len(measured) == len(cells[0]["gates"]) > 0
    assert {gate["mean"] for gate in measured} == {gate["mean"] for gate in cells[0]["gates"]}
    assert call("diagnose", "lstm", "--task", "adding", "--keep")[0] == 2


def test_diagnose_trains_a_zoo_cell_and_draws_one_picture(call: Call, tmp_path: Path) -> None:
    from xml.etree import ElementTree

    picture = tmp_path / "a.svg"
    sizes = [
        "--steps",
        "2",
        "--hidden",
        "6",
        "--set",
        "task_options.length=8",
        "--set",
        "task_options.evaluation_size=20",
    ]
    code, out, err = call("diagnose", "rnn_tanh", "--task", "adding", *sizes, "-o", picture)
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert [row.split()[0] for row in rows[2:5]] == ["rnn_tanh", "lstm", "gru"]
    root = ElementTree.fromstring(picture.read_text("utf-8"))
    assert len(root.findall("{http://www.w3.org/2000/svg}g[@class='chart']")) == 4


def test_diagnose_takes_the_data_folder(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "CELLSEARCH_DATA", "elsewhere"
    )  # so that what the options set is undone afterwards
    monkeypatch.setenv("CELLSEARCH_OFFLINE", "")
    code, out, err = call("diagnose", "lstm", "--task", "jsb", "--data-dir", tmp_path, "--offline")
    assert (code, out) == (6, "")
    assert str(tmp_path / "music" / "jsb-chorales-quarter.json") in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lstm"], "--task"),
        (["lstm", "--steps", "3"], "--task"),
        (["lstm", "--task", "party"], "party"),
        (["lstm", "--task", "adding", "-o", "a.png"], ".html"),
    ],
)
def test_diagnose_wrong_usage(call: Call, arguments: list[str], words: str) -> None:
    code, out, err = call("diagnose", *arguments)
    assert (code, out) == (2, "")
    assert words in err
