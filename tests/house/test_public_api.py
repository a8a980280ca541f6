"""The public names are exactly those of ``__all__``; each has a docstring; the names that scripts
rely on are there.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import cellsearch as cs

PUBLIC = {
    "Budget",
    "CellsearchError",
    "Experiment",
    "Genome",
    "History",
    "Proposal",
    "Result",
    "Search",
    "SearchSpace",
    "Trial",
    "__version__",
    "compile_cell",
    "load_experiment",
    "load_space",
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


def test_type_checkers_see_the_same_names() -> None:
    source = Path(cs.__file__).read_text("utf-8")
    block = source.split("if TYPE_CHECKING:")[1].split("__version__")[0]
    seen = set(
        re.findall(
            r"\b(\w+)(?=,|$)",
            "\n".join(
                line.split(" import ")[1] for line in block.splitlines() if " import " in line
            ),
            re.M,
        )
    )
    assert seen | {"__version__"} == PUBLIC


def test_the_version_is_that_of_the_project_file() -> None:
    project = Path(cs.__file__).parents[1] / "pyproject.toml"
    if not project.is_file():
        pytest.skip("not a checkout")
    assert f'\nversion = "{cs.__version__}"\n' in project.read_text("utf-8")


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
