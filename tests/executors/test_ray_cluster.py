"""Whole processes with Ray clusters of their own: what the terminal shows, Ctrl-C, two hosts, real
training.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cellsearch import load_experiment
from cellsearch.executors.in_process import InProcess
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.testing.executors import train_lines
from cellsearch.testing.search import differing_rows, final_table

pytestmark = pytest.mark.alone

OWN_CLUSTER = """
import sys
from pathlib import Path
from cellsearch.executors.ray import Ray
from cellsearch.search import Search
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment

folder = Path(sys.argv[1])
experiment = small_experiment(trials=int(sys.argv[2]), task_options={"sleep": 0.3, "log": str(folder / "log")})
try:
    with Search.open(folder / "run", experiment) as search, Ray(2, evaluation=EVALUATION) as executor:
        search.run(executor, arrays={})
        print(len(search.history))
except KeyboardInterrupt:
    print("interrupted")
"""

TWO_HOSTS = """
import json
import sys
from pathlib import Path
from ray.cluster_utils import Cluster
from cellsearch import load_experiment
from cellsearch.executors.ray import Ray
from cellsearch.search import Search

folder = Path(sys.argv[1])
experiment = load_experiment("quickstart", json.loads(sys.argv[2]))
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 2**27, "include_dashboard": False})
cluster.add_node(num_cpus=1, object_store_memory=2**27)
with Search.open(folder / "run", experiment) as search:
    with Ray(2, address=cluster.address, allow_unauthenticated=True) as executor:
        search.run(executor)
cluster.shutdown()
print("done")
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process and group of its own, in which every warning is an error, as in these tests."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_lines(log: Path, count: int, process: subprocess.Popen[str]) -> list[int]:
    """The processes of the first trainings that began."""
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        lines = train_lines(log, "begin")
        if len(lines) >= count:
            return [worker for _, _, worker in lines]
        time.sleep(0.02)
    raise AssertionError(f"trainings did not begin: {process.communicate()}")


def test_the_terminal_stays_clean_even_when_a_worker_is_killed(tmp_path: Path) -> None:
    process = start(OWN_CLUSTER, str(tmp_path), "12")
    os.kill(wait_for_lines(tmp_path / "log", 1, process)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert (out, err, process.returncode) == ("12\n", "", 0)
    log = (tmp_path / "run" / "ray.log").read_text()
    assert "died with trial" in log
    assert "Started a local Ray instance" in log
    assert not list(Path("/tmp").glob(f"cellsearch-{process.pid}-*"))
    with Store.read(tmp_path / "run") as store:
        assert all(trial.status.finished and trial.failure is None for trial in store.history())
        assert len({timing.worker for timing in store.timings()}) >= 2


def test_control_c_ends_everything_cleanly(tmp_path: Path) -> None:
    process = start(OWN_CLUSTER, str(tmp_path), "200")
    workers = set(wait_for_lines(tmp_path / "log", 4, process))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    end = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    with Store.read(tmp_path / "run") as store:
        states = {trial.status.value for trial in store.history()}
    assert "running" not in states
    assert "completed" in states


@pytest.mark.slow
def test_two_hosts_run_the_demo_as_one_process_does(tmp_path: Path) -> None:
    """The demo experiment, with fewer and shorter trainings: bit-identical in this process and on
    the workers of two hosts.
    """
    bounded = {"trials": 8, "training.steps": 24, "deterministic": True}
    process = start(TWO_HOSTS, str(tmp_path), json.dumps(bounded))
    with (
        Search.open(tmp_path / "here", load_experiment("quickstart", bounded)) as search,
        InProcess() as executor,
    ):
        search.run(executor)
        expected = final_table(search.history)
    out, err = process.communicate(timeout=180)
    assert out.splitlines()[-1:] == ["done"], err
    with Store.read(tmp_path / "run") as store:
        history = store.history()
        workers = {timing.worker for timing in store.timings()}
    assert differing_rows(final_table(history), expected) == []
    assert [str(trial.proposal.origin) for trial in history][:2] == [
        "baseline:lstm",
        "baseline:gru",
    ]
    assert len(workers) == 2
    assert all(
        (tmp_path / "run" / trial.result.checkpoint).is_file() for trial in history if trial.result
    )
    assert sum(trial.result is not None for trial in history) >= 4
