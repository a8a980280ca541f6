"""What the tests of tasks share: one thread, and the folder of data sets that are not shipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

DATA = Path(os.environ.get("CELLSEARCH_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These models are small: more threads only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data_folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of data sets; skips the test where there is none."""
    if not DATA.is_dir():
        pytest.skip(
            f"no data sets in {DATA}: set CELLSEARCH_DATA (docs/tasks.md says what they are)"
        )
    monkeypatch.setenv("CELLSEARCH_DATA", str(DATA))
    return DATA
