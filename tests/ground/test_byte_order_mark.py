"""A byte order mark at the head of a file, as editors on Windows write it, is skipped by every
reader of text.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest

from cellsearch import tasks, zoo
from cellsearch.errors import CellsearchError
from cellsearch.experiment import catalog, load_experiment
from cellsearch.genome.graph import Genome
from cellsearch.runs.locate import locate, read_text
from cellsearch.tasks.char_lm import CharLM
from cellsearch.zoo.importers import export_cell

GRU = zoo.load("gru")
SPACE = catalog.find(catalog.SPACES, "lstm_gru").text
SUITE = catalog.find(catalog.SUITES, "long_memory").text
EXPERIMENT = catalog.find(catalog.EXPERIMENTS, "quickstart").text
RECIPE = export_cell(zoo.load("rnn_tanh"))
TEXT = "a text about nothing, again and again.\n" * 200


def _cell(path: Path) -> object:
    return locate(str(path)).genome


def _imported(notation: str) -> Callable[[Path], object]:
    return lambda path: zoo.import_cell(read_text(path), notation)


def _symbols(path: Path) -> object:
    return CharLM.load({"text": str(path)})["symbols"].tolist()


def _own_text(path: Path) -> object:
    return {k: v.tolist() for k, v in tasks.from_text_file(path).arrays.items()}


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a.cell": (GRU.to_text(), _cell),
    "a.json": (GRU.to_json(), _cell),
    "space.toml": (SPACE, lambda path: catalog.load_space(path).to_table()),
    "suite.toml": (SUITE, catalog.load_suite),
    "experiment.toml": (EXPERIMENT, lambda path: load_experiment(path).to_toml()),
    "darts.txt": (
        "Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=range(1, 3))",
        _imported("darts"),
    ),
    "enas.txt": ("0 0 0 1 1", _imported("enas")),
    "recipe.txt": (RECIPE, _imported("nas-bench-nlp")),
    "text.txt": (TEXT, _symbols),
    "own.txt": (TEXT, _own_text),
}


@pytest.mark.parametrize("name", READERS)
def test_a_mark_at_the_head_changes_nothing(tmp_path: Path, name: str) -> None:
    text, read = READERS[name]
    path = tmp_path / name
    path.write_bytes(text.encode())
    expected = read(path)
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    assert read(path) == expected
    path.write_bytes(codecs.BOM_UTF16_LE + text.encode("utf-16-le"))
    with pytest.raises(CellsearchError):
        read(path)


def test_a_mark_in_text_that_python_gives() -> None:
    assert Genome.from_text("\ufeff" + GRU.to_text()) == GRU
    assert Genome.from_json("\ufeff" + GRU.to_json()) == GRU
    assert Genome.from_json(codecs.BOM_UTF8 + GRU.to_json().encode()) == GRU


def test_a_mark_within_a_text_stays(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\ufeffa\ufeff" + TEXT, "utf-8")
    assert ord("\ufeff") in CharLM.load({"text": str(path)})["symbols"]
