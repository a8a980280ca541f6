"""Workers that are copies of a process that has loaded what trains."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from cellsearch import tasks, zoo
from cellsearch.errors import ConfigError
from cellsearch.executors.base import Executor
from cellsearch.executors.in_process import InProcess
from cellsearch.executors.ray import Ray
from cellsearch.executors.ray_template import WorkerTemplate
from cellsearch.executors.ray_worker_client import _worker_arguments
from cellsearch.job import Job, Outcome, Training
from cellsearch.testing.executors import collect, run_all
from cellsearch.training import layer_sizes

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="templates are for Linux"
)
_TASK = "anbncn"
_TRAINING = Training(steps=3, hidden_size=8)


def _job(trial: int, hidden_size: int = 8) -> Job:
    training = replace(_TRAINING, hidden_size=hidden_size)
    cell = zoo.load("lstm").to_json()
    return Job(trial, 0, cell, _TASK, {}, training, steps=3, seed=trial)


def _start(executor: Executor) -> None:
    executor.start(_TASK, {}, tasks.get(_TASK).load({}))


def _parent(worker: str) -> int:
    status = Path(f"/proc/{worker.rpartition(':')[2]}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])


def _score(outcome: Outcome) -> float:
    assert outcome.result is not None, outcome.failure
    return outcome.result.score


def test_copies_train_as_this_process_does_and_are_replaced(tmp_path: Path) -> None:
    jobs = [_job(n) for n in range(4)]
    with InProcess() as here:
        _start(here)
        expected = {n: _score(outcome) for n, outcome in run_all(here, jobs).items()}
    with Ray(2, log_dir=tmp_path) as executor:
        _start(executor)
        own = executor._cluster._own
        assert own is not None
        assert own._template is not None
        template = own._template
        outcomes = run_all(executor, jobs)
        assert {n: _score(outcome) for n, outcome in outcomes.items()} == expected
        workers = {outcome.worker for outcome in outcomes.values()}
        assert {_parent(worker) for worker in workers} == {template.pid}

        os.kill(int(workers.pop().rpartition(":")[2]), signal.SIGKILL)
        again = run_all(executor, jobs)
        assert {n: _score(outcome) for n, outcome in again.items()} == expected
        assert {_parent(outcome.worker) for outcome in again.values()} == {template.pid}

        os.kill(template.pid, signal.SIGKILL)  # its copies die of it, others come without it
        third = run_all(executor, jobs)
        assert {n: _score(outcome) for n, outcome in third.items()} == expected
        left = {int(outcome.worker.rpartition(":")[2]) for outcome in third.values()}
    assert "their template ended with exit status -9" in (tmp_path / "ray.log").read_text()
    assert not any(Path(f"/proc/{number}").exists() for number in left)


def test_an_executor_computes_what_this_process_would() -> None:
    arrays = tasks.get(_TASK).load({})
    about = {"task": _TASK, "task_options": {}, "training": _TRAINING}
    expected = layer_sizes(_TASK, {}, _TRAINING, arrays)
    for executor in (InProcess(), Ray(1)):
        with executor:
            _start(executor)
            name = "cellsearch.training:layer_sizes"
            assert executor.compute(name, arrays, **about) == expected
            with pytest.raises(ConfigError, match="there is no task 'none'"):
                executor.compute(name, arrays, **about | {"task": "none"})
            executor.submit(_job(0))
            assert _score(collect(executor, 1)[0]) > 0


def test_a_template_that_cannot_load_says_why(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    template = WorkerTemplate(tmp_path, environment)
    try:
        template._process.wait(60)
        assert "no torch here" in template.failure
    finally:
        template.stop()


def test_the_worker_gets_the_arguments_that_rays_setup_hands_on() -> None:
    arguments = ["worker.py", "--a=1", "--language=PYTHON", "--b", "2"]
    context = "--serialized-runtime-env-context"
    assert _worker_arguments([*arguments, context, "{}"]) == ["worker.py", "--a=1", "--b", "2"]
    assert _worker_arguments([f"{context}={{}}", "--language", "PYTHON", "c"]) == ["c"]
