"""The whole trained model as a value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.small_tasks import small_task

from cellsearch import zoo
from cellsearch.errors import ConfigError
from cellsearch.export.whole import whole_model
from cellsearch.job import Training
from cellsearch.tasks.adaptive import AdaptiveModel
from cellsearch.training.model import cell_factory


@pytest.mark.parametrize(
    ("name", "cell", "first"),
    [
        ("arrays: values", "lstm", "cell.l0.i.weight_x"),
        ("arrays: labels", "sru", "projection.weight"),  # needs I = H
        ("parity", "gru", "embedding.weight"),
    ],
)
def test_it_holds_all_weights_by_name(name: str, cell: str, first: str) -> None:
    task = small_task(name)
    genome = zoo.load(cell)
    layers = 1 if cell == "sru" else 2  # a second layer would be 2H wide
    training = Training(hidden_size=5, num_layers=layers, bidirectional=name != "parity")
    model = task.model(cell_factory(genome, training))
    whole = whole_model(model, task.interface())
    assert whole.genome == genome
    assert first in whole.weights
    assert set(whole.weights) == set(model.state_dict())
    assert all(
        np.array_equal(whole.weights[key], tensor.numpy())
        for key, tensor in model.state_dict().items()
    )
    assert set(whole.cell_weights) == set(model.cell.state_dict())  # type: ignore[union-attr]
    assert (whole.hidden_size, whole.num_layers) == (5, layers)
    assert whole.input_size == model.cell.input_size  # type: ignore[union-attr]
    assert whole.weights["readout.weight"].shape[1] == 5 * whole.directions
    with torch.no_grad():
        model.readout.bias += 1  # type: ignore[operator, union-attr]
    assert not np.array_equal(whole.weights["readout.bias"], model.state_dict()["readout.bias"])


def test_models_of_another_kind_are_refused() -> None:
    interface = small_task("parity").interface()
    factory = cell_factory(zoo.load("gru"), Training(hidden_size=4))
    with pytest.raises(ConfigError, match="adaptive"):
        whole_model(AdaptiveModel(factory, tokens=9, cutoffs=[3]), interface)
    with pytest.raises(ConfigError, match="Linear"):
        whole_model(torch.nn.Linear(2, 2), interface)
