"""The public names are exactly those of ``__all__``; each has a docstring; the names that scripts
rely on are there.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import cellsearch as cs
import cellsearch.executors

PUBLIC = {
    "Budget",
    "CellsearchError",
    "Experiment",
    "Genome",
    "History",
    "InProcess",
    "Proposal",
    "Ray",
    "Result",
    "Run",
    "Search",
    "SearchSpace",
    "Trial",
    "__version__",
    "compare",
    "compile_cell",
    "load_experiment",
    "load_model",
    "load_space",
    "open_run",
    "progress",
    "strategies",
    "tasks",
    "zoo",
}


def test_all_is_exactly_the_public_names() -> None:
    assert set(cs.__all__) == PUBLIC
    assert cs.__all__ == sorted(cs.__all__)
    assert dir(cs) == sorted(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_each_public_name_loads_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(cs, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        cs.nosuch  # noqa: B018


def test_type_checkers_see_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "all.py").write_text(f"from cellsearch import {', '.join(sorted(PUBLIC))}\n")
    (tmp_path / "none.py").write_text("from cellsearch import nosuch, import_module\n")
    stub = Path(cs.__file__).with_suffix(".pyi")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports", "skip", stub, tmp_path],
        capture_output=True,
        text=True,
        timeout=280,
    )
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 2, done.stdout
    assert all("none.py" in line and "has no attribute" in line for line in errors)


@pytest.mark.parametrize("name", ["InProcess", "Ray"])
def test_executors_are_handed_on(name: str) -> None:
    assert getattr(cellsearch.executors, name) is getattr(cs, name)


def test_the_version_is_that_of_the_project_file() -> None:
    project = Path(cs.__file__).parents[1] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("not a checkout")
    assert f'\nversion = "{cs.__version__}"\n' in project.read_text("utf-8")
    citation = project.with_name("CITATION.cff").read_text("utf-8")
    assert f"\nversion: {cs.__version__}\n" in citation


@pytest.mark.parametrize("name", ["load", "names", "import_cell"])
def test_the_zoo_has_its_functions(name: str) -> None:
    assert callable(getattr(cs.zoo, name))


@pytest.mark.parametrize(
    "name", ["from_text", "from_json", "to_text", "to_json", "to_networkx", "key", "simplify"]
)
def test_genomes_have_their_members(name: str) -> None:
    assert inspect.getdoc(inspect.getattr_static(cs.Genome, name))


@pytest.mark.parametrize(
    "name",
    [
        "contains",
        "sample",
        "mutate",
        "crossover",
        "full",
        "prunings",
        "extensions",
        "neighbours",
        "from_toml",
        "to_toml",
    ],
)
def test_spaces_have_their_members(name: str) -> None:
    assert inspect.getdoc(inspect.getattr_static(cs.SearchSpace, name))


@pytest.mark.parametrize("name", ["open", "ask", "tell", "run", "history"])
def test_searches_have_their_members(name: str) -> None:
    assert inspect.getdoc(inspect.getattr_static(cs.Search, name))


@pytest.mark.parametrize("name", ["path", "experiment", "trials", "best", "trial", "finals"])
def test_runs_have_their_members(name: str) -> None:
    assert name in cs.Run.__dataclass_fields__ or inspect.getdoc(
        inspect.getattr_static(cs.Run, name)
    )


def test_compile_cell_takes_the_arguments_that_scripts_use() -> None:
    wanted = {
        "input_size",
        "hidden_size",
        "num_layers",
        "batch_first",
        "dropout",
        "bidirectional",
        "backend",
    }
    assert wanted <= set(inspect.signature(cs.compile_cell).parameters)
