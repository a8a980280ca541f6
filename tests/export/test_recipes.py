"""The recipes of docs/recipes.md: short, whole, and run as they stand where their library is
installed (``pip install lightning skorch neuralforecast gymnasium``).
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

import cellsearch as cs
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.export.write import export_cell

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
LINES = 20

HEAD, *SECTIONS = re.split(r"^## ", PAGE, flags=re.M)
DATA, SEARCH = (text for language, text in BLOCK.findall(HEAD) if language == "python")
EXPORT = next(text for language, text in BLOCK.findall(HEAD) if language == "sh")
BLOCKS = {section.splitlines()[0]: BLOCK.findall(section) for section in SECTIONS}


@dataclass(frozen=True)
class Recipe:
    """What a recipe needs, and how to tell that it has done what it is for."""

    libraries: tuple[str, ...]
    check: str
    """Run after it: fails unless the model has learned."""
    spoil: tuple[str, str]
    """A text of it and what to put there so that the model learns nothing."""


RECIPES = {
    "Lightning": Recipe(
        ("lightning",),
        """
trainer.save_checkpoint("all.ckpt")
again = Classifier.load_from_checkpoint("all.ckpt", classes=2)
assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))
accuracy = (again.readout(again.layer(x)[0][:, -1]).argmax(1) == y).float().mean()
assert accuracy > 0.9, accuracy
""",
        ("lr=0.01", "lr=0.0"),
    ),
    "skorch": Recipe(
        ("skorch",),
        """
assert len(grid.cv_results_["params"]) == 2
assert grid.best_score_ > 0.65, grid.best_score_  # guessing: 0.5, with deviation 0.02
""",
        ("lr=0.01", "lr=0.0"),
    ),
    "neuralforecast": Recipe(
        ("neuralforecast",),
        """
values = AirPassengersDF["y"].to_numpy()
error, naive = (abs(a - values[-12:]).mean() for a in (forecast.to_numpy(), values[-24:-12]))
assert error < naive, (error, naive)  # better than the year before
assert isinstance(forecaster.models[0].hist_encoder, Recurrent)
""",
        ("max_steps=200", "max_steps=1"),
    ),
    "Reinforcement learning": Recipe(
        ("gymnasium",),
        """
first, last = sum(steps[:5]) / 5, sum(steps[-5:]) / 5
assert last > 2 * first, steps
""",
        ("lr=0.01", "lr=0.0"),
    ),
}
CELLS = ("found", "lstm")
"""What the page's own search finds, which depends on nothing but its seed, and a cell of two
states."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with best_cell.py and best_cell.pt for each of ``CELLS``."""
    folders = {cell: tmp_path_factory.mktemp(cell) for cell in CELLS}
    with contextlib.chdir(folders["found"]):
        exec(compile(DATA + SEARCH, "docs/recipes.md", "exec"), {})
        assert guarded(cli, shlex.split(EXPORT, comments=True)[1:]) == 0
    sizes = {"input_size": 3, "hidden_size": 16}
    lstm = cs.zoo.load("lstm")
    weights = cs.compile_cell(lstm, **sizes).state_dict()
    path = folders["lstm"] / "best_cell.py"
    export_cell(lstm, path, "source", weights=weights, sizes=sizes)
    return folders


def run(name: str, exported: Path, folder: Path, spoiled: bool = False) -> str:
    """What a recipe and its check say to standard error; empty if all was well."""
    recipe = RECIPES[name]
    missing = [library for library in recipe.libraries if find_spec(library) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed: pip install {missing[0]}")
    for file in exported.glob("best_cell.*"):
        shutil.copy(file, folder)
    ((_, code),) = BLOCKS[name]
    if spoiled:
        assert recipe.spoil[0] in code
        code = code.replace(*recipe.spoil)
    alone = "import sys\nassert not [m for m in sys.modules if m.startswith('cellsearch')]\n"
    program = folder / "program.py"
    program.write_text(DATA + code + recipe.check + alone, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, program], cwd=folder, capture_output=True, text=True, timeout=280
    )
    return "" if done.returncode == 0 else f"exit code {done.returncode}\n{done.stderr}"


def test_each_recipe_is_short_and_tested() -> None:
    assert list(BLOCKS) == list(RECIPES)
    for name, blocks in BLOCKS.items():
        ((language, code),) = blocks
        assert language == "python"
        compile(DATA + code, name, "exec")
        assert len([line for line in code.splitlines() if line.strip()]) <= LINES, name
        assert "from best_cell import Recurrent" in code
    for name, recipe in RECIPES.items():
        assert f"`pip install {recipe.libraries[0]}`" in PAGE, name


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_learns(name: str, cell: str, exported: dict[str, Path], tmp_path: Path) -> None:
    assert run(name, exported[cell], tmp_path) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_the_check_of_a_recipe_sees_one_that_does_not_learn(
    name: str, exported: dict[str, Path], tmp_path: Path
) -> None:
    assert "AssertionError" in run(name, exported["lstm"], tmp_path, spoiled=True)
