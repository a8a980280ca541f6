"""Joining a cluster that somebody else has started: nobody there, something else there, a token;
and two hosts as README describes them, here two nodes on the loopback interface.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from cellsearch.errors import EnvironmentFailure
from cellsearch.executors.ray_joining import check_answers
from cellsearch.store import Store

pytestmark = pytest.mark.alone

SEARCH = "from cellsearch.cli import main; main()"
EXPERIMENT = """
question = "Do two hosts work?"
space = "tiny"
strategy = "random"
task = "parity"
trials = 8
[task_options]
batch_size = 4
[training]
steps = 100
hidden_size = 4
evaluations = 1
"""


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nothing is said."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield server.getsockname()[1]


@pytest.fixture
def web_port() -> Iterator[int]:
    """A port where another protocol is spoken."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as visitor:
                        visitor.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("kind", ["closed_port", "silent_port", "web_port"])
def test_nobody_there_is_one_sentence_in_time(
    kind: str, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{request.getfixturevalue(kind)}"
    began = time.monotonic()
    with pytest.raises(EnvironmentFailure, match="cannot be joined") as caught:
        check_answers(address, seconds=4)
    assert time.monotonic() - began < 8
    assert "\n" not in str(caught.value)
    assert address in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(EnvironmentFailure, match="nobody answers there"):
        check_answers("no-such-host.invalid:6379", seconds=4)


class TwoHosts:
    """``ray start`` twice, as on two hosts, with a token. ``address``: of the head."""

    def __init__(self, folder: Path) -> None:
        self.token = secrets.token_hex(32)
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        head = ["--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"]
        self._nodes = [self._start(head)]
        self._nodes.append(self._start([f"--address={self.address}"]))

    def _start(self, arguments: list[str]) -> subprocess.Popen[str]:
        node = subprocess.Popen(
            [
                *(sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start"),
                *("--block", "--num-cpus=1", "--object-store-memory=100000000", *arguments),
                "--disable-usage-stats",
            ],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said = []
        assert node.stdout is not None
        for line in node.stdout:
            said.append(line)
            if "--block" in line:
                return node
        raise AssertionError("".join(said))

    def environment(self, token: str = "") -> dict[str, str]:
        return {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token or self.token}

    def end(self) -> None:
        """Kill all that was started, and wait for it."""
        sessions = {node.pid for node in self._nodes}
        for entry in Path("/proc").iterdir():
            with suppress(ValueError, ProcessLookupError):
                if os.getsid(int(entry.name)) in sessions:
                    os.kill(int(entry.name), signal.SIGKILL)
        for node in self._nodes:
            node.communicate()


@pytest.fixture(scope="module")
def two_hosts() -> Iterator[TwoHosts]:
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="two-hosts-"))
    hosts = TwoHosts(folder)
    yield hosts
    hosts.end()
    shutil.rmtree(folder, ignore_errors=True)


def search(
    folder: Path, address: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    (folder / "mine.toml").write_text(EXPERIMENT)
    arguments = ["search", str(folder / "mine.toml"), "--run", str(folder / "run"), "--plain"]
    return subprocess.run(
        [sys.executable, "-c", SEARCH, *arguments, "--workers", "2", "--ray-address", address],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_two_hosts_with_a_token(two_hosts: TwoHosts, tmp_path: Path) -> None:
    done = search(tmp_path, two_hosts.address, two_hosts.environment())
    assert (done.returncode, done.stderr) == (0, "")
    with Store.read(tmp_path / "run") as store:
        assert len({timing.worker for timing in store.timings()}) == 2


@pytest.mark.parametrize("token", ["", "0" * 64], ids=["none", "wrong"])
def test_a_token_that_is_missing_or_wrong(two_hosts: TwoHosts, tmp_path: Path, token: str) -> None:
    environment = two_hosts.environment(token)
    if not token:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            environment.pop(name)
    began = time.monotonic()
    done = search(tmp_path, two_hosts.address, environment)
    assert time.monotonic() - began < 60
    assert done.returncode == 6
    error, hint = done.stderr.splitlines()
    assert error == (
        f"error: the Ray cluster at {two_hosts.address} asks for a token, and refuses the one that "
        f"is set here or misses it"
    )
    assert "RAY_AUTH_MODE=token" in hint
    assert "RAY_AUTH_TOKEN" in hint
