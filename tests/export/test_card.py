"""The card beside an export says what it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cellsearch as cs
from cellsearch.export.card import Facts, card_path, model_card, plain
from cellsearch.finals.table import FinalRow, judge
from cellsearch.search import Search
from cellsearch.tasks.interface import Answer, Interface, features

SETTINGS = {
    "strategy": "random",
    "space": "tiny",
    "trials": 3,
    "seed": 3,
    "training.steps": 5,
    "training.hidden_size": 4,
    "training.evaluations": 1,
    "task_options.batch_size": 4,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "a"
    experiment = cs.load_experiment("parity", SETTINGS)
    with Search.open(folder, experiment) as search, cs.InProcess() as executor:
        search.run(executor)
    return folder


@pytest.mark.filterwarnings("ignore::cellsearch.errors.SearchWarning")
@pytest.mark.parametrize(
    ("form", "name", "card"),
    [
        ("source", "best.py", "best.py.md"),
        ("model", "best.py", "best.py.md"),
        ("package", "best", "best/README.md"),
        ("state-dict", "best.pt", "best.pt.md"),
        ("json", "best.json", "best.json.md"),
    ],
)
def test_every_form_has_a_card(
    folder: Path, tmp_path: Path, form: str, name: str, card: str
) -> None:
    trial = cs.open_run(folder).best()
    done = trial.export(tmp_path / name, form)  # type: ignore[arg-type]
    assert done.card == tmp_path / card
    text = done.card.read_text(encoding="utf-8")
    for line in trial.genome.to_text().splitlines():
        assert line in text
    assert f"Trial {trial.number} of 3 trials of the experiment parity" in text
    assert f"| this one | {trial.score:.6g} |" in text
    assert "LSTM |" in text
    assert "parity of bit strings" in text
    assert "took no part in finals" in text
    assert ("bare recurrent layer" in text) == (form not in ("model", "json"))
    assert ("Reads characters: 2 symbols (0, 1)" in text) == (form == "model")
    assert bool(re.search(r"\d weights\.", text)) == (form != "json")


@pytest.mark.filterwarnings("ignore::cellsearch.errors.SearchWarning")
def test_finals_are_told_with_their_seeds(folder: Path, tmp_path: Path) -> None:
    trial = cs.open_run(folder).best()
    rows = [
        FinalRow(name, base, 4, 99, 1e-3, (0.25, 0.5), (0.75, 0.5), 1.0, failures)
        for name, base, failures in ((trial.trial.name, False, 0), ("LSTM", True, 1))
    ]
    path = folder / "finals.json"
    path.write_text(judge(tuple(rows)).to_json())
    try:
        text = trial.export(tmp_path / "best.py").card.read_text()  # type: ignore[union-attr]
        assert "| 0.375 ± 0.18 | 2 | 0 | 99 |" in text
        assert "| LSTM | none | 3 | 1 | 99 |" in text
        assert "took no part" not in text
        path.write_text("{")
        assert trial.export(tmp_path / "again.py").card is not None
    finally:
        path.unlink()


def test_nothing_of_others_is_markup() -> None:
    evil = "<img src=x>|`a`\n# head [x](y) \x1b[2J*"
    interface = Interface(
        inputs=features((evil,), units=(evil,)), answer=Answer(kind="bits", names=(evil,))
    )
    text = model_card(
        evil,
        cs.zoo.load("gru"),
        form="It.",
        interface=interface,
        facts=Facts(search=(plain(evil),)),
    )
    assert "<img" not in text
    assert "\x1b" not in text
    assert "\n# head" not in text


def test_a_card_of_an_untrained_cell_says_so(tmp_path: Path) -> None:
    text = model_card("gru.onnx", cs.zoo.load("gru"), form="It.", more={"Format": ["- opset 21"]})
    assert "no trained weights" in text
    assert "## Format\n\n- opset 21" in text
    assert card_path(tmp_path / "a.onnx").name == "a.onnx.md"
    assert card_path(tmp_path).name == "README.md"
