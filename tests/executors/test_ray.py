from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from cellsearch.errors import ConfigError, EnvironmentFailure
from cellsearch.executors.ray import Ray
from cellsearch.executors.ray_cluster import check_trust
from cellsearch.job import Limits
from cellsearch.testing.executors import (
    TASK,
    ExecutorContract,
    collect,
    make_job,
    run_all,
    train_lines,
)
from cellsearch.testing.noop import EVALUATION

pytestmark = pytest.mark.alone


@pytest.mark.usefixtures("ray_cluster")
class TestRay(ExecutorContract):
    def make(self, evaluation: str = EVALUATION) -> Ray:
        return Ray(2, evaluation=evaluation)


def wait_for_begin(executor: Ray, log: Path, trial: int, count: int = 1) -> int:
    """The process that began this trial for the ``count``-th time; no outcome may come before."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert list(executor.events(0.02)) == []
        begun = [process for number, _, process in train_lines(log, "begin") if number == trial]
        if len(begun) >= count:
            return begun[-1]
    raise AssertionError(f"trial {trial} did not begin {count} times")


@pytest.mark.usefixtures("ray_cluster")
def test_workers_are_two_single_threaded_processes() -> None:
    with Ray(2, evaluation="cellsearch.testing.noop:threads") as executor:
        executor.start(TASK, {}, {})
        outcomes = run_all(executor, [make_job(n) for n in range(10)])
    assert len({outcome.worker for outcome in outcomes.values()}) == 2
    assert {o.result.metrics["threads"] for o in outcomes.values() if o.result} == {1.0}


@pytest.mark.usefixtures("ray_cluster")
def test_job_of_a_killed_worker_is_done_by_another(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = {"log": str(log), "sleep": 0.7}
    with Ray(2, evaluation=EVALUATION, log_dir=tmp_path) as executor:
        executor.start(TASK, options, {})
        for n in range(2):
            executor.submit(make_job(n, options))
        os.kill(wait_for_begin(executor, log, 0), signal.SIGKILL)
        outcomes = collect(executor, 2)
        outcomes |= run_all(executor, [make_job(n, options) for n in range(2, 5)])
    assert all(outcome.failure is None for outcome in outcomes.values())
    assert sorted(trial for trial, _, _ in train_lines(log, "end")) == [0, 1, 2, 3, 4]
    assert len([trial for trial, _, _ in train_lines(log, "begin") if trial == 0]) == 2


@pytest.mark.usefixtures("ray_cluster")
def test_candidate_that_kills_its_worker_fails_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = {"log": str(log), "exit": 9, "trials": [1]}
    with Ray(1, evaluation=EVALUATION, log_dir=tmp_path, crash_retries=1) as executor:
        executor.start(TASK, options, {})
        outcomes = run_all(executor, [make_job(n, options) for n in range(3)])
    failure = outcomes[1].failure
    assert failure is not None
    assert failure.kind == "crash"
    assert "2 times" in failure.message
    assert outcomes[0].result is not None
    assert outcomes[2].result is not None
    assert [trial for trial, _, _ in train_lines(log, "begin")] == [0, 1, 1, 2]


@pytest.mark.usefixtures("ray_cluster")
def test_hung_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = {"log": str(log), "hang": True, "trials": [0]}
    with Ray(1, evaluation=EVALUATION, grace=1.0, grace_seconds=0.5) as executor:
        executor.start(TASK, options, {})
        executor.submit(make_job(0, options, limits=Limits(seconds=1)))
        process = wait_for_begin(executor, log, 0)
        failure = collect(executor, 1)[0].failure
        assert failure is not None
        assert failure.kind == "timeout"
        assert run_all(executor, [make_job(1, options)])[1].result is not None
    end = time.monotonic() + 20
    while Path(f"/proc/{process}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists()


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("kill", [False, True])
def test_close_waits_unless_told_to_kill(tmp_path: Path, kill: bool) -> None:
    log = tmp_path / "log"
    options = {"log": str(log), "sleep": 1.0}
    executor = Ray(1, evaluation=EVALUATION)
    executor.start(TASK, options, {})
    executor.submit(make_job(0, options))
    wait_for_begin(executor, log, 0)
    executor.close(kill=kill)
    assert len(train_lines(log, "end")) == (0 if kill else 1)


@pytest.mark.usefixtures("ray_cluster")
def test_data_is_shared_not_copied() -> None:
    """Arrays in a worker are views of the object store: they do not own their memory."""
    with Ray(1, evaluation="cellsearch.testing.noop:ownership") as executor:
        executor.start(TASK, {}, {"x": np.zeros(1_000_000)})
        result = run_all(executor, [make_job(0)])[0].result
    assert result is not None
    assert result.metrics["owned"] == 0.0


@pytest.mark.parametrize(
    "address", ["127.0.0.1:6379", "localhost:6379", "[::1]:6379", "auto", "local"]
)
def test_loopback_is_trusted(address: str) -> None:
    check_trust(address, {})


def test_network_needs_a_token() -> None:
    with pytest.raises(EnvironmentFailure, match="without a token") as caught:
        check_trust("192.0.2.7:6379", {})
    assert "RAY_AUTH_MODE=token" in caught.value.hint
    with pytest.raises(EnvironmentFailure, match="without a token"):
        check_trust("192.0.2.7:6379", {"RAY_AUTH_MODE": "disabled"})
    check_trust("192.0.2.7:6379", {"RAY_AUTH_MODE": "token"})


def test_environment_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.7:6379")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(EnvironmentFailure, match=r"192\.0\.2\.7"):
        Ray(1, evaluation=EVALUATION)
    Ray(1, evaluation=EVALUATION, allow_unauthenticated=True)


@pytest.mark.parametrize(
    "address", ["ray://127.0.0.1:10001", "somewhere", "host:", ":6379", "host:port"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        check_trust(address, {})


def test_negative_number_of_workers() -> None:
    with pytest.raises(ConfigError, match="workers"):
        Ray(-1)
