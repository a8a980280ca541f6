"""Parts that other installed packages declare: found, refused where the name is taken, and named
where they are broken.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cellsearch as cs
from cellsearch import files, ops, schedules, strategies, tasks, zoo
from cellsearch.compiler import backends
from cellsearch.errors import ConfigError, GenomeError
from cellsearch.experiment import catalog
from cellsearch.genome.graph import Genome

MODULE = """
from dataclasses import dataclass
from typing import ClassVar

from cellsearch.ops import Op
from cellsearch.schedules import Fixed
from cellsearch.strategies.random import Random
from cellsearch.tasks.adding import Adding


@dataclass(frozen=True, slots=True)
class Mine(Random):
    name: ClassVar[str] = "mine"


@dataclass(frozen=True, slots=True)
class Once(Fixed):
    name: ClassVar[str] = "once"


class Twice(Adding):
    name = "twice"


CUBE = Op("cube", 1, 1, "{0} * {0} * {0}", ("g * 3 * a * a",), "power of three")
WRONG = Op("wrong", 1, 1, "torch.sin({0})", (), "no gradient")
NUMBER = 3
"""
CELL = '''"""A cell of another package.

Paper: none
Year: 2024
Family: simple
Also: {also}

Equations:
    h' = tanh(W x + U h + b)
"""
h[t] = tanh(linear(x[t], h[t-1]))
'''
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install("[group]\\nname = place", package="other")``: an installed package with these entry
    points; returns the folder of its module ``other_parts``.
    """
    monkeypatch.chdir(tmp_path)

    def add(entries: str, package: str = "other") -> Path:
        site = tmp_path / f"site-{package}"
        code = site / f"{package}_parts"
        info = site / f"{package}-1.0.dist-info"
        code.mkdir(parents=True)
        info.mkdir()
        (code / "__init__.py").write_text(MODULE, "utf-8")
        (code / "raises.py").write_text("raise RuntimeError('no licence')\n", "utf-8")
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", "utf-8"
        )
        (info / "entry_points.txt").write_text(entries, "utf-8")
        monkeypatch.syspath_prepend(site)
        return code

    yield add
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("_parts")]:
        del sys.modules[name]


def test_each_kind_of_class_is_found_by_name(install: Install) -> None:
    install(
        "[cellsearch.strategies]\nmine = other_parts:Mine\n"
        "[cellsearch.schedules]\nonce = other_parts:Once\n"
        "[cellsearch.tasks]\ntwice = other_parts:Twice\n"
        "[cellsearch.ops]\ncube = other_parts:CUBE\n"
    )
    assert strategies.names()[-1] == "mine"
    assert strategies.create("mine", {}).name == "mine"
    assert schedules.names()[-1] == "once"
    assert schedules.create("once").rungs(9) == (9,)
    assert "twice" in tasks.names()
    assert tasks.get("twice").name == "twice"
    assert "cube" in ops.names()


def test_an_op_is_loaded_when_a_cell_first_names_it(install: Install) -> None:
    install("[cellsearch.ops]\ncube = other_parts:CUBE\n")
    assert "cube" not in ops.OPS
    try:
        genome = Genome.from_text("h[t] = cube(linear(x[t], h[t-1]))")
        assert "cube" in ops.OPS
        assert Genome.from_json(genome.to_json()).key == genome.key
        module = cs.compile_cell(genome, input_size=3, hidden_size=3)
        assert module.backend_report()["aten"] == "taken"
    finally:
        ops.OPS.pop("cube", None)
        ops.POINTWISE.pop("cube", None)
        ops.WEIGHT_FREE.discard("cube")


GROUPS = [
    ("strategy", "strategies", strategies.get, "random"),
    ("schedule", "schedules", schedules.get, "fixed"),
    ("task", "tasks", tasks.get, "adding"),
    ("op", "ops", ops.get, "tanh"),
    ("backend", "backends", backends.get, "aten"),
]


@pytest.mark.parametrize(("what", "group", "get", "own"), GROUPS, ids=[g[1] for g in GROUPS])
def test_a_broken_declaration_names_package_entry_and_reason(
    install: Install, what: str, group: str, get: Callable[[str], object], own: str
) -> None:
    install(
        f"[cellsearch.{group}]\nraises = other_parts.raises:Mine\nabsent = other_parts:Absent\n"
        "number = other_parts:NUMBER\n"
    )
    for name, reason in (
        ("raises", r"cannot be imported: RuntimeError: no licence"),
        ("absent", r"cannot be imported: AttributeError: .*Absent"),
        ("number", rf"names no {what} called 'number', but 3"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            get(name)
        assert "package other" in caught.value.message
        assert f"entry point {name} = other_parts" in caught.value.where
        assert "other" in caught.value.hint
    assert get(own)  # the others work as ever


@pytest.mark.parametrize(("what", "group", "get", "own"), GROUPS, ids=[g[1] for g in GROUPS])
def test_a_name_that_is_taken_is_refused(
    install: Install, what: str, group: str, get: Callable[[str], object], own: str
) -> None:
    install(f"[cellsearch.{group}]\n{own} = other_parts:Mine\n")
    said = rf"the package other declares the {what} '{own}', and so does cellsearch"
    with pytest.raises(ConfigError, match=said):
        get("anything")
    assert get(own)


def test_a_list_of_names_says_which_are_taken(install: Install) -> None:
    install("[cellsearch.tasks]\nadding = other_parts:Twice\n")
    with pytest.raises(ConfigError, match="'adding', and so does cellsearch"):
        tasks.names()


def test_two_packages_may_not_declare_one_name(install: Install) -> None:
    install("[cellsearch.strategies]\nmine = other_parts:Mine\n")
    install("[cellsearch.strategies]\nmine = third_parts:Mine\n", package="third")
    with pytest.raises(ConfigError, match=r"the package third .* 'mine', and so does other"):
        strategies.get("mine")


def test_a_class_is_called_as_its_entry_is(install: Install) -> None:
    install("[cellsearch.strategies]\nyours = other_parts:Mine\n")
    with pytest.raises(ConfigError, match="no strategy called 'yours'"):
        strategies.get("yours")


def test_an_op_that_cannot_work_is_refused_where_it_is_used(install: Install) -> None:
    install("[cellsearch.ops]\nwrong = other_parts:WRONG\n")
    with pytest.raises(ConfigError, match="0 gradients"):
        Genome.from_text("h[t] = wrong(linear(x[t], h[t-1]))")
    with pytest.raises(GenomeError, match="unknown op cube") as caught:
        Genome.from_text("h[t] = cube(linear(x[t], h[t-1]))")
    assert "wrong" in caught.value.hint


def test_spaces_experiments_suites_and_cells_are_found_in_declared_folders(
    install: Install, tmp_path: Path
) -> None:
    code = install(
        "[cellsearch.search_spaces]\nother = other_parts.data.spaces\n"
        "[cellsearch.experiments]\nother = other_parts\n"
        "[cellsearch.suites]\nother = other_parts.data.suites\n"
        "[cellsearch.zoo]\nother = other_parts.raises\n"
    )
    (code / "data" / "spaces").mkdir(parents=True)
    (code / "data" / "suites").mkdir()
    text = cs.load_space("tiny").to_toml().replace('"tiny"', '"small"')
    (code / "data" / "spaces" / "small.toml").write_text(text, "utf-8")
    (code / "far.toml").write_text(
        'space = "small"\nstrategy = "random"\ntask = "parity"\n', "utf-8"
    )
    suite = catalog.find(catalog.SUITES, next(iter(catalog.entries(catalog.SUITES)))).text
    (code / "data" / "suites" / "own_suite.toml").write_text(suite, "utf-8")
    (code / "otherrnn.cell").write_text(CELL.format(also="other_rnn_2"), "utf-8")
    assert cs.load_space("small").name == "small"
    assert cs.load_experiment("far").space.name == "small"
    assert "own_suite" in catalog.entries(catalog.SUITES)
    assert "otherrnn" in zoo.names()
    assert zoo.load("other_rnn_2") == zoo.load("otherrnn")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "far.toml").write_text(
        'space = "tiny"\nstrategy = "random"\ntask = "parity"\n', "utf-8"
    )
    assert cs.load_experiment("far").space.name == "tiny"  # the folder one stands in wins


@pytest.mark.parametrize(
    ("group", "file", "find"),
    [
        ("search_spaces", "tiny.toml", lambda: cs.load_space("nosuch")),
        ("experiments", "quickstart.toml", lambda: cs.load_experiment("nosuch")),
        ("zoo", "lstm.cell", lambda: zoo.load("nosuch")),
        ("zoo", "cifg.cell", lambda: zoo.names()),
    ],
)
def test_a_file_whose_name_is_taken_is_refused(
    install: Install, group: str, file: str, find: Callable[[], object]
) -> None:
    code = install(f"[cellsearch.{group}]\nother = other_parts\n")
    (code / file).write_text(CELL.format(also="nothing_else"), "utf-8")
    with pytest.raises(ConfigError, match="and so does cellsearch"):
        find()
    assert cs.load_space("tiny").name == "tiny"
    assert zoo.load("lstm").state_names == ("h", "c")


@pytest.mark.parametrize("place", ["nosuch_package", "other_parts.nosuch", "other_parts:Mine.x"])
def test_a_declared_folder_that_is_not_there_is_named(install: Install, place: str) -> None:
    install(f"[cellsearch.search_spaces]\nother = {place}\n")
    if place.endswith(".x"):  # what stands behind the colon does not matter
        assert "tiny" in catalog.entries(catalog.SPACES)
        return
    with pytest.raises(ConfigError, match=r"package other .* not there"):
        catalog.entries(catalog.SPACES)


def test_names_of_this_package_are_found_without_reading_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(group: str, path: object) -> None:
        raise AssertionError(f"{group} was read")

    monkeypatch.setattr(files, "_entry_points", never)
    assert cs.load_experiment("quickstart").strategy.name
    assert zoo.load("lstm_peephole").key
    assert Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))").key
    with pytest.raises(AssertionError, match="was read"):
        strategies.names()
