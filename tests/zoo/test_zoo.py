"""The zoo can be found, read, and says where each cell comes from."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import cellsearch.zoo
from cellsearch import zoo
from cellsearch.errors import CellSyntaxError, ConfigError, InputFileError
from cellsearch.genome import Genome
from cellsearch.genome.measures import gemm_depth, recurrence_class
from cellsearch.genome.parameters import requires_square
from cellsearch.zoo.entry import FAMILIES, read_entry

# The cells of the reference sheet, by the names it gives them.
REFERENCE = """
rnn_tanh rnn_relu indrnn_relu scrn lstm lstm_1997 lstm_peephole lstm_NIG lstm_NFG lstm_NOG lstm_NIAF lstm_NOAF lstm_CIFG lstm_LN
janet mult_lstm gru_torch gru_v1 mgu ugrnn intersection mut1 mut2 mut3 minimalrnn star ran cfn atr ligru nascell mingru minlstm
qrnn_fo sru sru_v1 hgrn_real slstm enas enas_lm darts_v1 darts_v2
"""

DOC = """A cell.

Paper: Somebody, Something, 1999
Year: 1999
Family: simple

Equations:
    h' = tanh(W x + U h + b)
"""


def text(doc: str = DOC, body: str = "h[t] = tanh(linear(x[t], h[t-1]))") -> str:
    return f'"""{doc}"""\n{body}\n'


def test_at_least_45_cells_and_all_of_the_reference() -> None:
    assert len(zoo.names()) >= 45
    assert zoo.names() == tuple(sorted(zoo.names()))
    for name in REFERENCE.split():
        assert isinstance(zoo.load(name), Genome)


def test_families_are_all_populated() -> None:
    assert set(Counter(e.family for e in zoo.entries())) == set(FAMILIES)
    assert [e.name for e in zoo.entries()] != list(zoo.names())
    assert sorted(e.name for e in zoo.entries()) == list(zoo.names())


@pytest.mark.parametrize("name", zoo.names())
def test_entry_is_complete(name: str) -> None:
    entry = zoo.entry(name)
    assert entry.name == name
    assert entry.title.endswith(".")
    assert entry.title[0].isupper()
    assert re.search(r"\d{4}", entry.paper)
    assert 1985 <= entry.year <= 2026
    assert (
        str(entry.year) in entry.paper
        or "arXiv" in entry.paper
        or str(entry.year + 1) in entry.paper
    )
    assert all(line.isascii() for line in entry.text.splitlines())
    assert all(len(line) <= 140 for line in entry.text.splitlines())
    for state in entry.genome.state_names:
        assert any(re.match(rf"\s*{state}'", line) for line in entry.equations), (
            f"no equation for {state}'"
        )


@pytest.mark.parametrize("name", zoo.names())
def test_cell_is_tidy(name: str) -> None:
    """No dead nodes, every state and the input matter, and the text form gives the file back."""
    entry = zoo.entry(name)
    genome = entry.genome
    assert genome.live == frozenset(range(genome.n_values))
    assert Genome.from_text(genome.to_text(entry.doc)) == genome
    assert entry.matrices == sum(len(p.shape) == 2 for p in genome.parameters)
    needs_square = bool(requires_square(genome))
    assert needs_square == any(
        "input size must be the hidden size" in line for line in entry.pitfalls
    )


def test_loading_is_cached_and_forgiving_about_case() -> None:
    assert zoo.load("lstm") is zoo.load(" LSTM ")
    assert zoo.load("gru_torch") is zoo.load("gru")


def test_other_names_are_unique() -> None:
    names = [*zoo.names(), *(other for e in zoo.entries() for other in e.also)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["lsmt", "grru", "darts_v3"])
def test_unknown_name_suggests_near_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no cell") as caught:
        zoo.load(name)
    assert "did you mean" in caught.value.hint


@pytest.mark.parametrize("name", ["", "zzzzzzzz", "../lstm", "lstm.cell", "__init__"])
def test_nonsense_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        zoo.load(name)


def test_cells_are_different_functions() -> None:
    """No two zoo cells are the same cell, after simplification either."""
    keys: dict[str, str] = {}
    for name in zoo.names():
        key = zoo.load(name).key
        assert key not in keys, f"{name} is {keys.get(key)}"
        keys[key] = name


def test_classes_and_depths_of_known_cells() -> None:
    classes = {
        name: recurrence_class(zoo.load(name))
        for name in ("mingru", "qrnn_fo", "sru_v1", "sru", "indrnn_relu", "lstm", "rg_lru")
    }
    assert [str(classes[name]) for name in ("mingru", "qrnn_fo", "sru_v1", "rg_lru")] == [
        "affine-diagonal"
    ] * 4
    assert [str(classes[name]) for name in ("sru", "indrnn_relu")] == ["elementwise"] * 2
    assert str(classes["lstm"]) == "dense"
    assert {
        name: gemm_depth(zoo.load(name)) for name in ("lstm", "gru", "gru_cho", "mut1", "mingru")
    } == {
        "lstm": 1,
        "gru": 1,
        "gru_cho": 2,
        "mut1": 2,
        "mingru": 0,
    }


def test_package_holds_nothing_but_cells_and_code() -> None:
    folder = Path(cellsearch.zoo.__file__).parent
    files = {p for p in folder.iterdir() if p.is_file()}
    assert {p.suffix for p in files - {folder / "outlines.json"}} <= {".py", ".cell"}


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("h[t] = tanh(linear(x[t-17], h[t-1]))", "further back than 16 steps", "in a state"),
        ("h[t] = tanh(linear(x[t], h[t+1]))", "a step is [t], or [t-1] to [t-16]", "x[t-2]"),
        (
            "h[t] = tanh(linear(x[t], h[t-1]))\ny[t] = x[t]\nz[t] = x[t]",
            "only one output is allowed",
            "drop the [t]",
        ),
        ("h[t] = transpose(h[t-1])", "unknown op transpose", "allowed:"),
    ],
)
def test_what_is_out_is_refused_with_a_way_out(body: str, message: str, hint: str) -> None:
    with pytest.raises(CellSyntaxError, match=re.escape(message)) as caught:
        Genome.from_text(body)
    assert hint in caught.value.hint


# -- the form of the docstring ---------------------------------------------------------------------


def test_minimal_docstring_is_read() -> None:
    entry = read_entry(text(), name="a", source="a.cell")
    assert (entry.title, entry.year, entry.family, entry.also, entry.check) == (
        "A cell.",
        1999,
        "simple",
        (),
        "",
    )
    assert entry.equations == ("h' = tanh(W x + U h + b)",)


@pytest.mark.parametrize(
    ("doc", "message"),
    [
        ("", "needs a title line"),
        (DOC.replace("A cell.", "A cell"), "needs a title line"),
        (DOC.replace("Paper: Somebody, Something, 1999\n", ""), "'Paper: ...' is missing"),
        (DOC.replace("Year: 1999", "Year: soon"), "'soon' is not a year"),
        (DOC.replace("Family: simple", "Family: zebra"), "'zebra' is none of"),
        (DOC.replace("Family: simple", "Family: simple\nFamily: gru"), "not a header line"),
        (DOC.replace("Family: simple", "Family: simple\nColour: red"), "not a header line"),
        (DOC.replace("Family: simple", "Family: simple\nAlso: A B"), "cannot name a zoo cell"),
        (DOC.replace("Equations:", "Remarks:"), "opens no section"),
        (DOC.replace("    h'", "h'"), "indented by four spaces"),
        (
            DOC.replace("Equations:\n    h' = tanh(W x + U h + b)", "Pitfalls:\n    None."),
            "'Equations:' is missing",
        ),
    ],
)
def test_wrong_docstring_is_refused(doc: str, message: str) -> None:
    with pytest.raises(InputFileError, match=re.escape(message)) as caught:
        read_entry(text(doc), name="a", source="a.cell")
    assert "a.cell" in str(caught.value)


def test_wrong_cell_is_refused() -> None:
    with pytest.raises(CellSyntaxError, match=r"a\.cell:10"):
        read_entry(text(body="h[t] = nonsense(x[t])"), name="a", source="a.cell")
