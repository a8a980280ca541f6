"""Training of one candidate: it learns, it is reproducible, it fails in the right way at the right
step.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from cellsearch import tasks, zoo
from cellsearch.errors import CheckpointError, ConfigError, TrainingError
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.settings import Limits, Training
from cellsearch.tasks.adding import Adding
from cellsearch.tasks.base import Arrays, Batch, Split
from cellsearch.tasks.char_lm import CharLM
from cellsearch.training import checkpoint, evaluate
from cellsearch.training.loop import validation_steps
from cellsearch.trial import Result

LM: dict[str, Any] = {"valid_tokens": 2048, "tbptt": 8, "batch_size": 16}
SHORT = Training(steps=12, hidden_size=12, learning_rate=1e-2, evaluations=3)


@pytest.fixture(scope="module")
def text() -> Arrays:
    return tasks.get("char_lm").load(LM)


def job(
    cell: str | Genome = "lstm",
    *,
    task: str = "char_lm",
    steps: int = 12,
    training: Training = SHORT,
    **changes: Any,
) -> Job:
    genome = zoo.load(cell) if isinstance(cell, str) else cell
    options = {"char_lm": LM, "adding": {"length": 6, "evaluation_size": 100}}.get(task, {})
    return Job(
        trial=0,
        rung=0,
        genome=genome.to_json(),
        task=task,
        task_options=options,
        training=training,
        steps=steps,
        **{"seed": 1, **changes},
    )


def facts(result: Result) -> dict[str, Any]:
    """All of a result that must be the same every time: not how long it took, nor where the
    checkpoint went.
    """
    return {
        name: value
        for name, value in asdict(result).items()
        if name not in ("seconds", "checkpoint")
    }


# -- learning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_it_learns_more_than_how_frequent_characters_are(text: Arrays, cell: str) -> None:
    counts = np.bincount(text["train"])
    share = counts[counts > 0] / counts.sum()
    unigram = float(-(share * np.log2(share)).sum())
    assert 4.2 < unigram < 4.4
    losses: list[float] = []
    training = replace(SHORT, hidden_size=24, learning_rate=2e-2)
    result = evaluate(
        job(cell, steps=120, training=training),
        text,
        progress=lambda step, loss: losses.append(loss),
    )
    assert result.score < unigram - 0.4
    assert losses[0] > math.log(63) * 0.95
    assert np.mean(losses[-20:]) < losses[0] - 1.0
    assert result.metrics["train_loss"] == pytest.approx(np.mean(losses[-20:]), abs=0.15)
    assert result.metric == result.score == min(score for _, score in result.curve)


def test_every_weight_moves(text: Arrays, tmp_path: Path) -> None:
    first, later = str(tmp_path / "first"), str(tmp_path / "later")
    evaluate(job(steps=1, checkpoint=first), text)
    evaluate(job(steps=2, checkpoint=later), text)
    a, b = checkpoint.read(first).group("model."), checkpoint.read(later).group("model.")
    assert a.keys() == b.keys()
    assert {"cell.l0.i.weight_x", "cell.l0.f.bias", "embedding.weight", "readout.bias"} <= a.keys()
    assert [name for name in a if torch.equal(a[name], b[name])] == []


def test_the_result_says_what_was_done(text: Arrays) -> None:
    result = evaluate(job("gru", steps=10, training=replace(SHORT, evaluations=4)), text)
    assert [step for step, _ in result.curve] == [2, 5, 8, 10]
    assert result.steps == 10
    assert result.cell_parameters == sum(
        int(np.prod(spec.sizes(12, 12))) for spec in zoo.load("gru").parameters
    )
    assert result.parameters == result.cell_parameters + 63 * 12 + 63 * 13
    assert result.checkpoint == ""
    assert result.connections == {}


def test_validations_are_spread_over_what_is_granted() -> None:
    assert validation_steps(0, 100, 4) == {25, 50, 75, 100}
    assert validation_steps(100, 300, 2) == {200, 300}
    assert validation_steps(0, 2, 5) == {1, 2}
    assert validation_steps(7, 7, 3) == frozenset()


@pytest.mark.parametrize(
    "training",
    [
        replace(SHORT, num_layers=2, dropout=0.2),
        replace(SHORT, dtype="float64"),
        replace(SHORT, weight_decay=0.1),
    ],
)
def test_other_settings_train_too(text: Arrays, training: Training) -> None:
    assert evaluate(job(training=training), text).score < 6.2


def test_bidirectional_where_the_task_allows_it(text: Arrays) -> None:
    both = replace(SHORT, bidirectional=True)
    assert math.isfinite(
        evaluate(
            job(task="adding", training=both),
            tasks.get("adding").load(job(task="adding").task_options),
        ).score
    )
    with pytest.raises(ConfigError, match="both directions"):
        evaluate(job(training=both), text)


class _AlwaysFirst(CharLM):
    """The same segments, each treated as the beginning of a text."""

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        for batch in super().batches(split, seed, start):
            yield replace(batch, first=True) if split == "train" else batch


def test_the_state_is_carried_from_segment_to_segment(
    text: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: dict[str, list[float]] = {"carried": [], "forgotten": []}
    evaluate(job(steps=3), text, progress=lambda step, loss: losses["carried"].append(loss))
    monkeypatch.setattr(tasks, "get", lambda name: _AlwaysFirst)
    evaluate(job(steps=3), text, progress=lambda step, loss: losses["forgotten"].append(loss))
    assert losses["carried"][0] == losses["forgotten"][0]
    assert losses["carried"][1] != losses["forgotten"][1]


def test_segments_have_no_meaning_for_whole_sequences() -> None:
    arrays = tasks.get("adding").load(job(task="adding").task_options)
    short, long = (
        evaluate(job(task="adding", steps=3, training=replace(SHORT, tbptt=tbptt)), arrays)
        for tbptt in (0, 3)
    )
    assert facts(short) == facts(long)


# -- reproducibility -------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits(text: Arrays) -> None:
    one = facts(evaluate(job(), text))
    torch.manual_seed(99)
    assert facts(evaluate(job(), text)) == one
    assert facts(evaluate(job(seed=2), text)) != one


def test_another_process_gives_the_same_bits(text: Arrays) -> None:
    script = """
import json, sys
from dataclasses import asdict
from cellsearch import tasks
from cellsearch.training import evaluate
from cellsearch.job import Job
from cellsearch.settings import Limits, Prefilter, Training
given = json.loads(sys.stdin.read())
given |= {name: kind(**given[name]) for name, kind in (("training", Training), ("limits", Limits), ("prefilter", Prefilter))}
job = Job(**given)
print(json.dumps(asdict(evaluate(job, tasks.get(job.task).load(job.task_options)))))
"""
    wanted = job(training=replace(SHORT, dropout=0.1))
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(asdict(wanted)),
        capture_output=True,
        text=True,
        check=True,
    )
    there = json.loads(done.stdout)
    here = json.loads(json.dumps(asdict(evaluate(wanted, text))))
    assert {k: v for k, v in there.items() if k != "seconds"} == {
        k: v for k, v in here.items() if k != "seconds"
    }


def test_torch_is_left_as_it_was(text: Arrays) -> None:
    torch.manual_seed(5)
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    evaluate(job(steps=2), text)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads


# -- resume ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "training", [SHORT, replace(SHORT, dropout=0.3, num_layers=2, weight_decay=0.01)]
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_resumed_training_equals_one_without_interruption(
    text: Arrays, tmp_path: Path, cell: str, training: Training
) -> None:
    paths = {name: str(tmp_path / name) for name in ("whole", "half", "resumed")}
    training = replace(training, evaluations=1)
    evaluate(job(cell, steps=14, training=training, checkpoint=paths["whole"]), text)
    evaluate(job(cell, steps=5, training=training, checkpoint=paths["half"]), text)
    result = evaluate(
        job(cell, steps=14, training=training, resume=paths["half"], checkpoint=paths["resumed"]),
        text,
    )
    whole, resumed = checkpoint.read(paths["whole"]), checkpoint.read(paths["resumed"])
    for prefix in ("model.", "optimizer.", "state.", "rng"):
        a, b = whole.group(prefix), resumed.group(prefix)
        assert a.keys() == b.keys()
        assert a
        assert all(torch.equal(a[name], b[name]) for name in a), prefix
    assert whole.meta["progress"]["train_loss"] == resumed.meta["progress"]["train_loss"]
    assert [step for step, _ in result.curve] == [5, 14]
    assert result.steps == 14


def test_a_generated_task_resumes_too(tmp_path: Path) -> None:
    arrays = tasks.get("adding").load(job(task="adding").task_options)
    half = str(tmp_path / "half")
    evaluate(job(task="adding", steps=4, checkpoint=half), arrays)
    resumed = evaluate(job(task="adding", steps=9, resume=half), arrays)
    assert resumed.curve[-1] == evaluate(job(task="adding", steps=9), arrays).curve[-1]


def test_resuming_at_the_end_only_reports(text: Arrays, tmp_path: Path) -> None:
    path = str(tmp_path / "end")
    done = evaluate(job(checkpoint=path), text)
    again = evaluate(job(resume=path), text)
    assert facts(again) == facts(done)
    with pytest.raises(ConfigError, match="12 steps are done"):
        evaluate(job(resume=path, steps=11), text)


def test_the_best_weights_are_kept(text: Arrays, tmp_path: Path) -> None:
    """With a far too large learning rate the last validation is worse than an earlier one; that one
    counts.
    """
    path = str(tmp_path / "best")
    training = replace(SHORT, learning_rate=0.5, evaluations=12)
    result = evaluate(job(training=training, checkpoint=path), text)
    stored = checkpoint.read(path)
    assert result.metrics["best_step"] < 12
    assert result.score == min(score for _, score in result.curve) < result.curve[-1][1]
    task = tasks.get("char_lm").create(LM, text)
    from cellsearch.training.model import cell_factory

    model = task.model(cell_factory(zoo.load("lstm"), training))
    model.load_state_dict(stored.weights())
    assert task.score(model, "valid")[0] == pytest.approx(result.score, rel=1e-6)
    assert stored.cell_weights()["l0.i.weight_x"].shape == (12, 12)


def test_the_test_split_is_read_with_the_weights_that_validation_chose(
    text: Arrays, tmp_path: Path
) -> None:
    from cellsearch.training.model import cell_factory

    path = str(tmp_path / "best")
    training = replace(SHORT, learning_rate=0.5, evaluations=12)
    result = evaluate(job(training=training, checkpoint=path, test=True), text)
    assert result.metrics["best_step"] < 12
    task = tasks.get("char_lm").create(LM, text)
    model = task.model(cell_factory(zoo.load("lstm"), training))
    model.load_state_dict(checkpoint.read(path).weights())
    assert (result.metrics["test_score"], result.metrics["test_metric"]) == task.score(
        model, "test"
    )
    assert "test_score" not in evaluate(job(training=training), text).metrics


def test_another_trainings_checkpoint_is_refused(text: Arrays, tmp_path: Path) -> None:
    path = str(tmp_path / "lstm")
    evaluate(job(steps=2, checkpoint=path), text)
    for other, differs in (
        (job("gru", steps=4, resume=path), "genome"),
        (job(steps=4, resume=path, seed=2), "seed"),
        (job(steps=4, resume=path, training=replace(SHORT, learning_rate=1e-3)), "training"),
    ):
        with pytest.raises(CheckpointError, match=f"another training: {differs} differ"):
            evaluate(other, text)


# -- inherit ---------------------------------------------------------------------------------------


def test_weights_of_a_parent_are_taken_over(text: Arrays, tmp_path: Path) -> None:
    path = str(tmp_path / "parent")
    parent = evaluate(job(steps=60, checkpoint=path), text)
    child = Genome.from_text(
        """
i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1], g))
c[t] = f * c[t-1] + i * g
h[t] = o * tanh(c[t])
"""
    )
    alone = evaluate(job(child, steps=2), text)
    helped = evaluate(job(child, steps=2, inherit=path), text)
    assert alone.metrics["inherited"] == 0
    assert helped.metrics["inherited"] == len(
        checkpoint.read(path).weights()
    )  # all but the new block o.weight_g
    assert helped.score < alone.score - 0.5
    assert helped.score < parent.score + 1.0


# -- failures --------------------------------------------------------------------------------------


class _PoisonedAtStep(Adding):
    """Adding whose training batch number 7 (of steps counted from 1) holds a NaN, or a huge
    number.
    """

    poison: ClassVar[float] = math.nan

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        for number, batch in enumerate(super().batches(split, seed, start), start=start + 1):
            if split == "train" and number == 7:
                batch.y[0] = self.poison
            yield batch


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [(math.nan, "nan", "nan"), (math.inf, "nan", "inf"), (1e3, "diverged", "at first")],
)
def test_a_bad_number_is_found_at_its_step(
    monkeypatch: pytest.MonkeyPatch, value: float, kind: str, says: str
) -> None:
    monkeypatch.setattr(_PoisonedAtStep, "poison", value)
    monkeypatch.setattr(tasks, "get", lambda name: _PoisonedAtStep)
    steps: list[int] = []
    wanted = job(task="adding")
    with pytest.raises(TrainingError, match="at step 7") as caught:
        evaluate(
            wanted, Adding.load(wanted.task_options), progress=lambda step, loss: steps.append(step)
        )
    assert caught.value.kind == kind
    assert says in str(caught.value)
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_cell_that_gives_nan_fails_at_the_first_step(text: Arrays) -> None:
    cell = Genome.from_text("h[t] = sqrt(linear(x[t], h[t-1]))")
    with pytest.raises(TrainingError, match="loss is nan at step 1") as caught:
        evaluate(job(cell), text)
    assert caught.value.kind == "nan"


def test_a_gradient_that_is_not_finite_is_found(text: Arrays) -> None:
    """The value is finite, 0, but the derivative of the root at 0 is not."""
    cell = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1])) + sqrt(square(h[t-1] - h[t-1]))")
    with pytest.raises(
        TrainingError, match=r"norm of the gradient is (nan|inf) at step 1"
    ) as caught:
        evaluate(job(cell), text)
    assert caught.value.kind == "nan"


def test_time_is_limited(text: Arrays) -> None:
    with pytest.raises(TrainingError, match=r"0.05 s are allowed") as caught:
        evaluate(job(steps=10_000, limits=Limits(seconds=0.05)), text)
    assert caught.value.kind == "timeout"


def test_memory_is_limited(text: Arrays) -> None:
    wide = replace(SHORT, hidden_size=1024, batch_size=64, tbptt=64)
    with pytest.raises(TrainingError, match="100 MiB are allowed") as caught:
        evaluate(job(steps=3, training=wide, limits=Limits(memory_mb=100)), text)
    assert caught.value.kind == "memory"
    with pytest.raises(TrainingError, match="weights, which need") as caught:
        evaluate(job(training=replace(SHORT, hidden_size=4096), limits=Limits(memory_mb=100)), text)
    assert caught.value.kind == "memory"


def test_memory_within_the_limit_is_fine(text: Arrays) -> None:
    assert evaluate(job(steps=2, limits=Limits(seconds=100.0, memory_mb=2000)), text).steps == 2


@pytest.mark.parametrize(
    "training",
    [
        replace(SHORT, dtype="float16"),
        replace(SHORT, hidden_size=0),
        replace(SHORT, learning_rate=0.0),
        replace(SHORT, dropout=1.0),
        replace(SHORT, evaluations=0),
        replace(SHORT, clip_norm=-1.0),
        replace(SHORT, backend="no-such-backend"),
    ],
)
def test_settings_that_nobody_could_train_with_are_refused(
    text: Arrays, training: Training
) -> None:
    with pytest.raises(ConfigError):
        evaluate(job(training=training), text)


def test_it_can_be_stopped(text: Arrays, tmp_path: Path) -> None:
    path, seen = str(tmp_path / "stopped"), []
    result = evaluate(
        job(checkpoint=path),
        text,
        progress=lambda step, loss: seen.append(step),
        should_stop=lambda: len(seen) >= 4,
    )
    assert result.steps == 5
    assert result.curve[-1][0] == 5
    assert facts(evaluate(job(resume=path), text))["steps"] == 12


# -- connections -----------------------------------------------------------------------------------

GATED = """
a = tanh(linear(x[t], h[t-1]))
b = sigmoid(linear(x[t], h[t-1]))
h[t] = scale(a) + scale(b) + scale(h[t-1])
"""


def test_connections_have_gate_and_saliency(text: Arrays) -> None:
    genome = Genome.from_text(GATED)
    names = {spec.name for spec in genome.parameters if spec.operand >= 0}
    assert {"a.weight_x", "a.weight_h", "b.weight_x", "b.weight_h"} < names
    result = evaluate(job(genome, steps=20, connections=True), text)
    assert set(result.connections) == names
    assert all(
        c.gate > 0 and c.saliency > 0 and math.isfinite(c.gate + c.saliency)
        for c in result.connections.values()
    )


def test_saliency_estimates_what_removing_costs(tmp_path: Path) -> None:
    """For a small gate the first-order estimate is what really happens to the loss when the gate
    becomes zero.
    """
    from cellsearch.training.connections import ConnectionMeter
    from cellsearch.training.model import cell_factory

    genome = Genome.from_text(GATED)
    options = {"length": 6, "evaluation_size": 100}
    task = Adding.create(options, Adding.load(options))
    torch.manual_seed(0)
    model = task.model(cell_factory(genome, replace(SHORT, dtype="float64"))).double()
    assert isinstance(model.cell, torch.nn.Module)
    meter = ConnectionMeter(genome, model.cell, 1)
    gates = {name: weights[0] for name, weights in meter.weights.items() if name.endswith("scale")}
    assert len(gates) == 3
    with torch.no_grad():
        for gate in gates.values():
            gate.copy_(torch.tensor(1e-4))
    batch = next(task.batches("train", 0))
    loss = task.loss(model(batch.x)[0], batch)
    before = float(loss.detach())
    loss.backward()  # type: ignore[no-untyped-call]
    meter.observe(1)
    for name, gate in gates.items():
        with torch.no_grad():
            kept = gate.clone()
            gate.zero_()
            removed = float(task.loss(model(batch.x)[0], batch))
            gate.copy_(kept)
        assert meter.result()[name].saliency == pytest.approx(abs(removed - before), rel=0.02)
        assert meter.result()[name].gate == pytest.approx(1e-4)


def test_the_gate_penalty_makes_gates_smaller(text: Arrays) -> None:
    genome = Genome.from_text(GATED)
    free = evaluate(job(genome, steps=40, connections=True), text)
    held = evaluate(
        job(genome, steps=40, connections=True, training=replace(SHORT, gate_penalty=0.3)), text
    )
    for name in (name for name in free.connections if name.endswith("scale")):
        assert held.connections[name].gate < free.connections[name].gate
    assert math.isfinite(
        evaluate(job(steps=2, training=replace(SHORT, gate_penalty=0.3)), text).score
    )  # no gates, no penalty
