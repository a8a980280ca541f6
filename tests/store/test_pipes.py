"""A pipe in the place of a file keeps no reader waiting."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cellsearch.errors import CellsearchError
from cellsearch.experiment.catalog import load_suite
from cellsearch.export.weights import load_weights
from cellsearch.finals.journal import Journal
from cellsearch.finals.table import FinalTable
from cellsearch.runs.locate import locate
from cellsearch.tasks.char_lm import read_text, text_digest
from cellsearch.tasks.data.npz import read_npz
from cellsearch.tasks.options import contents_digest
from cellsearch.training import checkpoint

READERS: dict[str, Callable[[Path], object]] = {
    "a.cell": lambda path: locate(str(path)),
    "a.json": lambda path: locate(str(path)),
    "a.toml": load_suite,
    "a.txt": lambda path: read_text(str(path)),
    "a.npz": read_npz,
    "a.pt": load_weights,
    "a.pth": load_weights,
    "a.safetensors": load_weights,
    "trial.safetensors": checkpoint.read,
    "finals.json": FinalTable.read,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_a_declared_error(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(CellsearchError):
        READERS[name](tmp_path / name)


@pytest.mark.timeout(20)
def test_a_pipe_beside_weights(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    os.mkfifo(tmp_path / "a.safetensors.sha256")
    with pytest.raises(CellsearchError):
        load_weights(tmp_path / "a.safetensors")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("digest", [text_digest, contents_digest])
def test_a_pipe_has_no_digest(digest: Callable[[Path], str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data")
    with pytest.raises(OSError, match="not a plain file"):
        digest(tmp_path / "data")


@pytest.mark.timeout(20)
def test_a_pipe_is_no_journal_that_goes_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "finals.partial.json")
    assert not Journal(tmp_path / "finals.partial.json", {}).outcomes
