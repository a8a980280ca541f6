"""A Ray cluster of our own: who reaches it, what its workers know, what stays of it; and whose
left-over folders are removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cellsearch.errors import ConfigError
from cellsearch.executors import own_folder
from cellsearch.executors.ray import Ray
from cellsearch.executors.worker_environment import allowed, named
from cellsearch.store import Store
from cellsearch.trial import Status

pytestmark = pytest.mark.alone

OWN_CLUSTER = """
import json, os, sys
from pathlib import Path
from cellsearch.executors.ray import Ray
from cellsearch.testing.executors import TASK, make_job, run_all

def listening():
    inodes = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A":
                inodes[f"socket:[{columns[9]}]"] = columns[1].rpartition(":")[0]
    found = []
    for entry in Path("/proc").iterdir():
        number = int(entry.name) if entry.name.isdigit() else 0
        if number and (number == os.getpid() or os.getsid(number) in sessions):
            for descriptor in (entry / "fd").iterdir():
                try:
                    link = os.readlink(descriptor)
                except OSError:
                    continue
                if link in inodes:
                    found.append(inodes[link])
    return found

def running_agents():
    commands = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        if os.getsid(int(number)) in sessions:
            commands.append(Path("/proc", number, "cmdline").read_text().replace("\\0", " "))
    assert any("raylet/raylet" in command for command in commands)
    return [text.strip() for text in commands if "agent" in text.partition("--")[0].lower()]

def authentication():
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}

before = authentication()
evaluation, passed_on = "cellsearch.testing.noop:environment", ["MY_*", "OTHER_TOKEN"]
for time in range(2):
    with Ray(2, evaluation=evaluation, environment=passed_on) as executor:
        executor.start(TASK, {}, {})
        outcomes = run_all(executor, [make_job(n) for n in range(4)])
        sessions = set(executor._cluster._own._sessions)
        places, agents = listening(), running_agents()
        workers = {int(outcome.worker.split(":")[-1]) for outcome in outcomes.values()}
        nice = [os.getpriority(os.PRIO_PROCESS, number) for number in workers]
        assert set(nice) == {os.getpriority(os.PRIO_PROCESS, 0)}, nice
assert authentication() == before
print(json.dumps([sorted(outcomes[0].result.metrics), places, agents]))
"""
SECRETS = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "GITHUB_TOKEN", "MY_API_KEY", "DATABASE_URL"),
    *("RAY_AUTH_TOKEN", "RAY_REDIS_PASSWORD", "CELLSEARCH_TOKEN", "SSH_AUTH_SOCK", "http_proxy"),
)


def test_it_is_ours_alone_and_leaves_nothing(tmp_path: Path) -> None:
    given = dict.fromkeys(SECRETS, "secret") | {"MY_DATA": "here", "OTHER_TOKEN": "wanted"}
    home = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled", "CELLSEARCH_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", OWN_CLUSTER],
        env={**os.environ, **given, **home},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    names, places, agents = json.loads(out)
    assert agents == ["ray::RuntimeEnvAgent"]  # of the dashboard: a second of a core, and 80 MB
    assert not set(SECRETS) & set(names)
    wanted = {"MY_DATA", "OTHER_TOKEN", "PATH", "HOME", "OMP_NUM_THREADS", "CELLSEARCH_OFFLINE"}
    assert wanted <= set(names)
    assert len(places) >= 4  # head, raylet, workers, this process
    assert set(places) <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1
    assert not (tmp_path / ".ray").exists()
    assert not list(Path("/tmp").glob(f"cellsearch-{process.pid}-*"))


@pytest.mark.parametrize("name", SECRETS)
def test_credentials_reach_no_worker_unless_they_are_named_in_full(name: str) -> None:
    environment = {name: "x"}
    assert allowed(environment) == {}
    assert named(environment, ["MY_DATA", "OMP_*"]) == {}
    assert named(environment, [name]) == environment


def test_a_pattern_leaves_out_credentials() -> None:
    environment = {"HF_HOME": "a", "HF_TOKEN": "b", "HOME": "c", "MY_KEYBOARD": "d", "MY_KEY": "e"}
    assert named(environment, ["HF_*", "MY_*"]) == {"HF_HOME": "a", "MY_KEYBOARD": "d"}
    assert allowed(environment) == {"HOME": "c"}


@pytest.mark.parametrize("name", ["", "A=B", "A B", "9A", "HF-HOME", "A,B"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match="environment variable"):
        Ray(1, environment=[name])


# -- left-over folders -----------------------------------------------------------------------------


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_only_our_own_left_over_folders_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_folder, "_base", lambda: tmp_path)
    dead = dead_process()
    elsewhere = tmp_path / "elsewhere"
    kept = [
        *(f"cellsearch-{number}-a" for number in ("1x", "", "9" * 40, "-1", "١", os.getpid())),
        *("cellsearch-", "cellsearch-error-1a2b", f"cellsearch-{dead}-", f"other-{dead}-a"),
        *("elsewhere", f"cellsearch-{dead}-held"),
    ]
    for name in kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text("x")
    (tmp_path / f"cellsearch-{dead}-link").symlink_to(elsewhere)
    (tmp_path / f"cellsearch-{dead}-file").write_text("x")
    kept += [f"cellsearch-{dead}-link", f"cellsearch-{dead}-file"]
    if os.getuid() == 0:
        (tmp_path / f"cellsearch-{dead}-foreign").mkdir()
        os.chown(tmp_path / f"cellsearch-{dead}-foreign", 12345, -1)
        kept.append(f"cellsearch-{dead}-foreign")
    for name in (f"cellsearch-{dead}-a_b1", f"cellsearch-{dead}-nolock", f"cellsearch-{dead}-fifo"):
        (tmp_path / name / "ray").mkdir(parents=True)
    (tmp_path / f"cellsearch-{dead}-a_b1" / "lock").touch()
    os.mkfifo(tmp_path / f"cellsearch-{dead}-fifo" / "lock")
    with (tmp_path / f"cellsearch-{dead}-held" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        own = own_folder.OwnFolder()
    assert {path.name for path in tmp_path.iterdir()} == {*kept, own.path.name}
    assert (elsewhere / "content").exists()
    assert own.path.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in own.path.iterdir())
    own.remove()
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


# -- a killed part of it ---------------------------------------------------------------------------

EXPERIMENT = """
question = "Does it go on?"
space = "tiny"
strategy = "random"
task = "parity"
trials = 200
baselines = []
[task_options]
batch_size = 4
[training]
steps = 20
hidden_size = 4
evaluations = 1
"""


def of_session(session: int) -> list[str]:
    """What runs in a session: where it has ended, nothing."""
    listed = subprocess.run(
        ["ps", "-s", str(session), "-o", "args="], capture_output=True, text=True, check=False
    )
    return listed.stdout.splitlines()


@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_killed_part_of_ray_ends_the_search_with_a_sentence(tmp_path: Path, part: str) -> None:
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    run = tmp_path / "run"
    program = "from cellsearch.cli import main; main()"
    arguments = ["search", str(tmp_path / "mine.toml"), "--run", str(run), "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--plain"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any("[  2/200]" in line for line in process.stdout)
    killed = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", f"/{part} "],
        capture_output=True,
        text=True,
        check=True,
    )
    session = int(killed.stdout)
    os.kill(session, signal.SIGKILL)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 6, err
    assert not of_session(session)
    assert time.monotonic() - began < 45
    error, hint = err.splitlines()
    assert error.startswith("error: the Ray cluster is gone: ")
    assert part in error
    assert "the same command goes on" in hint
    with Store.read(run) as store:
        statuses = [trial.status for trial in store.history()]
    assert statuses.count(Status.COMPLETED) >= 2
    assert Status.FAILED not in statuses
