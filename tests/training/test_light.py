"""What trainings do without: torch's compiler, which takes over a second to load in each worker."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from cellsearch.training.shapes import shapes_only

_TRAIN = """
import sys
from cellsearch import tasks, training, zoo
from cellsearch.job import Job, Training
arrays = tasks.get("anbncn").load({})
settings = Training(steps=3, hidden_size=8)
training.layer_sizes("anbncn", {}, settings, arrays)
cell = zoo.load("lstm").to_json()
training.evaluate(Job(0, 0, cell, "anbncn", {}, settings, steps=3, seed=0), arrays)
assert "torch" in sys.modules
print(sorted(name for name in sys.modules if name == "torch._dynamo"))
"""


def test_a_training_loads_no_compiler_of_torch() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _TRAIN], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


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
