"""A small search that finals and ablations are made of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cellsearch as cs
from tests.support.small_runs import SETTINGS


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on parity; it is never changed."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    experiment = cs.load_experiment("parity", SETTINGS)
    with cs.Search.open(folder, experiment) as search, cs.InProcess() as executor:
        search.run(executor)
    return folder


@pytest.fixture
def folder(searched: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(searched, tmp_path / "run"))
