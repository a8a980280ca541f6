"""What notebooks show: runs, trials, histories and comparisons show themselves, progress is one
output, and the example notebooks run.
"""

from __future__ import annotations

import json
import re
import runpy
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import cellsearch as cs
from cellsearch.reporting.notebook import NotebookDisplay, framed, in_notebook
from cellsearch.testing.noop import EVALUATION

ROOT = Path(__file__).parents[2]
STORED = ROOT / "tests" / "data" / "v0_1" / "genetic_whole"
MADE: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "make_notebooks.py"), run_name="made")
EVIL = "<img src=x>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> cs.Run:
    return cs.open_run(shutil.copytree(STORED, tmp_path_factory.mktemp("runs") / "a"))


def test_everything_that_a_run_gives_shows_itself(run: cs.Run) -> None:
    for shown in (run, run.trial(3), run.trials, cs.compare(run)):
        html = shown._repr_html_()
        assert "<table" in html or "<svg" in html
        assert "<script" not in html
    assert run.trial(3).genome._repr_svg_().startswith("<svg")


def test_the_style_of_an_output_touches_nothing_else_on_the_page() -> None:
    style = re.search("<style>(.*?)</style>", framed(""), re.S)
    assert style is not None
    rules = re.findall(r"([^{}]+)\{", style[1])
    assert len(rules) > 30
    loose = [
        selector
        for rule in rules
        if not rule.strip().startswith("@")
        for selector in rule.split(",")
        if not selector.strip().startswith(".cellsearch-out")
    ]
    assert loose == []


def test_progress_says_how_far_it_is_and_escapes_names(run: cs.Run) -> None:
    display = NotebookDisplay(EVIL, "", len(run.trials) + 3)
    html = display._html(run.trials)
    assert EVIL not in html
    assert "&lt;img" in html
    assert f"of {len(run.trials) + 3} trials" in html
    assert f"<td>{run.trials.top(1)[0].name}</td>" in html


def test_progress_outside_of_a_notebook_is_a_line_for_each_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"trials": 5, "workers": 0, "training.steps": 5}
    experiment = cs.load_experiment("parity", changes)
    with (
        cs.Search.open(tmp_path / "a", experiment) as search,
        cs.InProcess(evaluation=EVALUATION) as executor,
    ):
        search.run(executor, cs.progress(search))
    assert not in_notebook()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines if line.startswith("[")] == [f"[{k}/5]" for k in range(1, 6)]


@pytest.mark.parametrize("name", MADE["NOTEBOOKS"])
def test_stored_notebooks_are_those_of_the_script_and_clean(name: str) -> None:
    path = MADE["FOLDER"] / f"{name}.ipynb"
    book = json.loads(path.read_text("utf-8"))
    stored = [(cell["cell_type"], "".join(cell["source"])) for cell in book["cells"]]
    assert stored == MADE["NOTEBOOKS"][name]
    assert path.stat().st_size < 100_000
    check(book)


def check(book: dict[str, Any]) -> None:
    """The outputs of a notebook are what a reader wants to see."""
    outputs = [o for cell in book["cells"] for o in cell.get("outputs", ())]
    assert outputs
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    text = json.dumps(outputs)
    assert "/tmp/" not in text
    assert "<script" not in text
    assert all(cell["metadata"] == {} for cell in book["cells"])
    bars = [o for o in outputs if o["output_type"] == "display_data"]
    if "cs.progress" in json.dumps(book["cells"]):
        assert len(bars) == 1  # however often it was drawn
        assert "12 of 12 trials" in "".join(bars[0]["data"]["text/html"])


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("nbclient") is None or find_spec("ipykernel") is None,
    reason="nbclient and ipykernel are not installed (pip install 'cellsearch[notebooks]')",
)
@pytest.mark.filterwarnings("default")  # of the kernel and its sockets
@pytest.mark.parametrize("name", MADE["NOTEBOOKS"])
def test_example_notebooks_run(name: str, tmp_path: Path) -> None:
    check(json.loads(json.dumps(MADE["executed"](name, tmp_path))))
