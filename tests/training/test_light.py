"""What trainings do without: torch's compiler, which takes over a second to load in each worker."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from cellsearch.training.shapes import shapes_only

_TRAIN = """
import sys
from cellsearch import tasks, training, zoo
from cellsearch.errors import CellsearchError
from cellsearch.job import Job, Training
settings = Training(steps=2, hidden_size=8, evaluations=1)
cell = zoo.load("lstm").to_json()
for name in tasks.names():
    try:
        arrays = tasks.get(name).load({})
    except CellsearchError:  # it needs data from elsewhere
        continue
    training.layer_sizes(name, {}, settings, arrays)
    training.evaluate(Job(0, 0, cell, name, {}, settings, steps=2, seed=0), arrays)
    print(name)
    assert "torch" in sys.modules
    assert "torch._dynamo" not in sys.modules, name
"""


def test_a_training_loads_no_compiler_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLSEARCH_OFFLINE", "1")
    said = subprocess.run(
        [sys.executable, "-c", _TRAIN], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert {"anbncn", "char_lm", "mackey_glass", "online_drift"} <= set(said.stdout.split())


def test_shapes_are_those_of_real_models_and_nothing_is_drawn() -> None:
    def model() -> nn.Module:
        own = nn.Sequential(nn.Embedding(7, 5), nn.LSTM(5, 3), nn.Linear(3, 2))
        nn.init.orthogonal_(own[2].weight)
        own[2].bias.data.uniform_(-1, 1).normal_()
        return own

    state = torch.get_rng_state()
    with shapes_only():
        shapes = [(weight.shape, weight.device.type) for weight in model().parameters()]
    assert torch.equal(torch.get_rng_state(), state)
    assert shapes == [(weight.shape, "meta") for weight in model().parameters()]
