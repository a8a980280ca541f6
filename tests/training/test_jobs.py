"""The door: one way in for a task and a suite, and nothing is read or built twice on the way."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.suites import declared, one_training
from support.trainings import facts, job

from cellsearch import zoo
from cellsearch.errors import ConfigError, TrainingError
from cellsearch.genome.graph import Genome
from cellsearch.job import Job, Prefilter, Training
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.suite import Suite, load_suite_data
from cellsearch.training import checkpoint, evaluate, model, prefilter, prepare
from cellsearch.training.results import ResultCache
from cellsearch.training.suite import train_suite

CHILD = """
i = sigmoid(linear(x[t], h[t-1]))
f = sigmoid(linear(x[t], h[t-1]))
g = tanh(linear(x[t], h[t-1]))
o = sigmoid(linear(x[t], h[t-1]))
c[t] = f * c[t-1] + i * g * sigmoid(linear(x[t]))
h[t] = o * tanh(c[t])
"""


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a genome was decoded (by its text), a layer compiled and a checkpoint read."""
    counted: Counter[str] = Counter()

    def counting(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def count_and_call(*given: Any, **more: Any) -> Any:
            counted[what] += 1
            return function(*given, **more)

        return count_and_call

    from_json = Genome.from_json

    def decode(text: str, **more: Any) -> Genome:
        counted[text] += 1
        return from_json(text, **more)

    monkeypatch.setattr(Genome, "from_json", decode)
    monkeypatch.setattr(model, "compile_cell", counting("layer", model.compile_cell))
    monkeypatch.setattr(prefilter, "compile_cell", counting("small cell", prefilter.compile_cell))
    monkeypatch.setattr(checkpoint, "read", counting("read", checkpoint.read))
    return counted


def suite_job(suite: Suite, **changes: Any) -> Job:
    training = Training(steps=suite.steps)
    targets = (0.1,) * len(suite.members)
    whole = Job(
        *(5, 0, zoo.load("gru").to_json(), "suite", suite.to_document(), training, suite.steps, 7),
        targets=targets,
    )
    return replace(whole, **changes)


def test_a_job_decodes_and_compiles_once(text: Arrays, count: Counter[str]) -> None:
    plain = job(steps=2)
    evaluate(plain, text)
    assert count == {plain.genome: 1, "layer": 1}


def test_checks_before_training_decode_nothing_again(text: Arrays, count: Counter[str]) -> None:
    checked = job(steps=2, prefilter=Prefilter(gradient=True, growth=True, output=True))
    evaluate(checked, text)
    assert count == {checked.genome: 1, "layer": 1, "small cell": 1}


def test_a_resumed_job_reads_its_checkpoint_once(
    text: Arrays, tmp_path: Path, count: Counter[str]
) -> None:
    half = job(steps=2, checkpoint=str(tmp_path / "half"))
    evaluate(half, text)
    count.clear()
    evaluate(replace(half, steps=4, resume=half.checkpoint), text)
    assert count == {half.genome: 1, "layer": 1, "read": 1}


@pytest.mark.parametrize("quiet", [False, True])
def test_the_checkpoint_of_a_parent_is_read_once(
    text: Arrays, tmp_path: Path, count: Counter[str], quiet: bool
) -> None:
    parent = job(steps=2, checkpoint=str(tmp_path / "parent"))
    evaluate(parent, text)
    count.clear()
    child = job(Genome.from_text(CHILD), steps=2, inherit=parent.checkpoint, quiet=quiet)
    assert evaluate(child, text).metrics["inherited"] > 0
    expected = {child.genome: 1, "layer": 1, "read": 1}
    assert count == expected | ({parent.genome: 1} if quiet else {})


def test_a_job_of_a_suite_decodes_once_for_all_tasks(count: Counter[str], tmp_path: Path) -> None:
    suite = declared()
    arrays = load_suite_data(suite)
    whole = suite_job(suite, prefilter=Prefilter(growth=True))
    evaluate(whole, arrays)
    assert count == {whole.genome: 1, "layer": 2, "small cell": 1}
    count.clear()
    for _ in range(2):
        train_suite(whole, arrays, cache=ResultCache(tmp_path))
    assert count == {whole.genome: 2, "layer": 2, "small cell": 1}, "the second is known"


def test_references_are_decoded_never(count: Counter[str], tmp_path: Path) -> None:
    suite = declared(seeds=[3])
    prepare("suite", suite.to_document(), cache=ResultCache(tmp_path))
    assert count == {"layer": 4}


def test_one_task_needs_no_targets_and_no_cache() -> None:
    plain, arrays = one_training()
    data = prepare("parity", plain.task_options)
    assert data.targets == ()
    assert data.arrays.keys() == arrays.keys()
    assert facts(evaluate(plain, data.arrays)) == facts(evaluate(plain, arrays))


def test_the_steps_of_a_suite_are_not_followed() -> None:
    suite = declared()
    with pytest.raises(ConfigError, match="cannot be followed"):
        evaluate(suite_job(suite), {}, progress=lambda step, loss: None)


def test_a_text_that_is_not_a_cell_is_an_invalid_candidate(text: Arrays) -> None:
    suite = declared()
    for broken, arrays in (
        (job(), text),
        (suite_job(suite), load_suite_data(suite)),
    ):
        with pytest.raises(TrainingError, match="<json>") as caught:
            evaluate(replace(broken, genome="{}"), arrays)
        assert caught.value.kind == "invalid"


def test_the_door_opens_without_torch() -> None:
    code = (
        "import sys, cellsearch.training, cellsearch.training.environment; "
        "from cellsearch.training import Data, ReferenceTraining; "
        "print({'torch', 'ray', 'numpy'} & set(sys.modules)); "
        "cellsearch.training.evaluate; print('torch' in sys.modules); "
        "from cellsearch.executors.worker import DEFAULT_EVALUATION, load_evaluation; "
        "load_evaluation(DEFAULT_EVALUATION); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nFalse\nTrue\n", "a worker has torch before its first job"


def test_the_door_has_no_other_names() -> None:
    import cellsearch.training

    with pytest.raises(AttributeError, match="no attribute 'train'"):
        cellsearch.training.train  # noqa: B018
