"""What the tests of tasks share: one thread, and the folder of data sets that are not shipped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from cellsearch.tasks.base import Task
from cellsearch.testing.tasks import torch_factory

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


Train = Callable[..., nn.Module]


@pytest.fixture
def train() -> Train:
    """Trains the model of a task around a layer of torch."""

    def trained(
        task: Task,
        kind: str,
        width: int,
        *,
        steps: int,
        learning_rate: float = 1e-2,
        seed: int = 0,
    ) -> nn.Module:
        torch.manual_seed(seed)
        model = task.model(torch_factory(kind, width))
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
        for batch in islice(task.batches("train", 0), steps):
            optimizer.zero_grad()
            task.loss(model(batch.x)[0], batch).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return model

    return trained
