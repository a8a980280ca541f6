"""Tasks that give a step more than x: their answers are known, cells that read it get them, others
do not; resets reach every layer.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from cellsearch import Genome, compile_cell, tasks, zoo
from cellsearch.compiler.torch_rnn import load_torch_gru, load_torch_lstm
from cellsearch.errors import ConfigError
from cellsearch.tasks.base import CellFactory, Task
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.synthetic import NOTHING
from cellsearch.testing.tasks import TaskContract

EXACT = Genome.from_text("h[t] = exp(-dt[t]) * h[t-1] + linear(x[t])")
GATED = Genome.from_text("h[t] = exp(-softplus(linear(dt[t]))) * h[t-1] + linear(x[t])")


def made(name: str, **options: Any) -> Task:
    kind = tasks.get(name)
    return kind.create(options, kind.load(options))


def factory(genome: Genome, hidden_size: int = 16) -> CellFactory:
    return CellFactory(
        lambda width: compile_cell(genome, input_size=width, hidden_size=hidden_size),
        hidden_size=hidden_size,
    )


class TestIrregular(TaskContract):
    task = "irregular"
    options: ClassVar = {"length": 12, "evaluation_size": 100}
    beats = 0.5
    steps = 150


class TestEpisodes(TaskContract):
    task = "episodes"
    options: ClassVar = {"length": 8, "evaluation_size": 100}
    beats = 1.9  # guessing: ln 8 = 2.08
    steps = 150


def test_the_answer_is_that_of_a_cell_that_decays_with_the_time() -> None:
    task = made("irregular", evaluation_size=50)
    model = task.model(factory(EXACT, 1))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(float(name.endswith(("weight", "weight_x"))))
    score, metric = task.score(model, "test")
    assert score == metric < 1e-10


def test_missing_impulses_are_zero_and_masked() -> None:
    batch = next(iter(made("irregular", missing=0.5).batches("valid", 0)))
    assert batch.beside.keys() == {"dt", "mask"}
    assert batch.beside["mask"].shape == batch.x.shape
    assert torch.equal(batch.x == 0, batch.beside["mask"] == 0)
    assert 0.45 < float(batch.beside["mask"].mean()) < 0.55
    wide = next(iter(made("irregular", time_feature=True).batches("valid", 0)))
    assert torch.equal(wide.x[..., 1], wide.beside["dt"])


def test_training_learns_the_decay_from_the_times() -> None:
    task, blind = made("irregular"), zoo.load("indrnn_relu")
    scores = {}
    for name, genome in (("gated", GATED), ("blind", blind)):
        torch.manual_seed(0)
        model = task.model(factory(genome))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for batch in islice(task.batches("train", 0), 120):
            optimizer.zero_grad()
            task.training_loss(model, batch)[0].backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        scores[name] = task.score(model, "valid")[0]
    assert scores["gated"] < 0.02 < 0.1 < scores["blind"]


def test_an_episode_asks_for_its_first_symbol() -> None:
    batch = next(iter(made("episodes").batches("valid", 0)))
    reset = batch.beside["reset"]
    assert reset[0].all()
    assert torch.equal(reset, batch.y == NOTHING)
    for b in range(5):
        first = 0
        for t in range(len(batch.x)):
            first = int(batch.x[t, b]) if reset[t, b] else first
            assert reset[t, b] or int(batch.y[t, b]) == first


@pytest.mark.parametrize(("kind", "load"), [(nn.LSTM, load_torch_lstm), (nn.GRU, load_torch_gru)])
def test_layers_of_torch_start_afresh_too(kind: Any, load: Any) -> None:
    torch.manual_seed(0)
    batch = next(iter(made("episodes", evaluation_size=4).batches("valid", 0)))
    layer = kind(6, 6)
    model = SequenceModel(CellFactory(lambda _: layer, 6), tokens=8, outputs=8)
    other = SequenceModel(CellFactory(lambda _: load(layer), 6), tokens=8, outputs=8)
    for part in ("embedding", "readout"):
        getattr(other, part).load_state_dict(getattr(model, part).state_dict())
    torch.testing.assert_close(batch.read_by(model), batch.read_by(other))
    plain = model(batch.x)[0]
    assert not torch.allclose(plain, batch.read_by(model)[0])
    linear = SequenceModel(CellFactory(lambda _: nn.Linear(6, 6), 6), tokens=8, outputs=8)
    with pytest.raises(ConfigError, match="Linear cannot start afresh"):
        batch.read_by(linear)


def test_a_mask_needs_the_width_of_x() -> None:
    task = made("irregular", evaluation_size=5)
    model = task.model(
        CellFactory(
            lambda width: compile_cell(zoo.load("gru_d"), input_size=width, hidden_size=4),
            hidden_size=4,
            square=True,
        )
    )
    batch = next(iter(task.batches("valid", 0)))
    with pytest.raises(ConfigError, match="as wide as x"):
        batch.read_by(model)


def test_examples_do_not_depend_on_what_was_drawn_before() -> None:
    kind = tasks.get("irregular")
    a, b = (kind.load({"evaluation_size": 7}) for _ in range(2))
    assert (
        a.keys()
        == b.keys()
        == {f"{split}_0_{part}" for split in ("valid", "test") for part in ("x", "y", "dt", "mask")}
    )
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_prediction_from_x_alone_is_refused_where_the_cell_reads_times() -> None:
    task = made("irregular", evaluation_size=5)
    model = task.model(factory(GATED))
    model.described = task.interface()
    with pytest.raises(ConfigError, match="no times are given"):
        model.predict(np.zeros((4, 1)))
    assert model.predict(np.zeros((4, 1)), times=np.arange(4)).shape == (4, 1)
