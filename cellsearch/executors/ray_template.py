"""A process that has loaded torch and what trains, and makes each worker of our own cluster as
a copy of itself: loading them takes longer than all the rest of a start, and a worker that was
killed is replaced in a tenth of a second.

Ray starts a worker by a command; ours is ``ray_worker_client.py``, which asks the template for a
copy and stays as long as the copy lives. Where there is no template, the client becomes a worker in
Ray's own way.
"""

from __future__ import annotations

import ctypes
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

from cellsearch.executors.worker import DEFAULT_EVALUATION, load_evaluation

__all__ = ["CLIENT", "SOCKET", "WorkerTemplate"]

SOCKET = "CELLSEARCH_WORKER_TEMPLATE"
"""The environment variable that tells the client where the template listens."""
CLIENT = Path(__file__).with_name("ray_worker_client.py")
_ROOT = str(Path(__file__).parents[2])
_LARGEST_MESSAGE = 1 << 20
_PR_SET_PDEATHSIG = 1
_LOG_TAIL = 1000
_WHAT_RAY_LOADS = (
    "asyncio",
    "google.protobuf.descriptor_pb2",
    "jsonschema",
    "msgpack",
    "pdb",
    "psutil",
    "requests",
    "yaml",
)


class WorkerTemplate:
    """The process, seen from the one that starts Ray. It ends when that one does, or by
    :meth:`stop`, and its copies with it.

    folder: one that only this user may enter. environment: what the process gets. ``path``: of the
    socket; ``pid``: also the number of its session.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.path = folder / "template"
        self._log = folder / "template.log"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listener.bind(str(self.path))
            listener.listen(128)
            paths = [_ROOT, *filter(None, [environment.get("PYTHONPATH")])]
            with self._log.open("w") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(listener.fileno())],
                    stdin=subprocess.PIPE,  # held open: its end is the end of this process
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                )
        finally:
            listener.close()
        self.pid = self._process.pid

    @property
    def failure(self) -> str:
        """Why it has ended by itself, in words; empty while it has not."""
        if self._process.poll() is None:
            return ""
        text = self._log.read_text(errors="replace").strip()
        return f"exit status {self._process.returncode}; {text[-_LOG_TAIL:]}"

    def stop(self) -> None:
        """End it and its copies."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()


def serve(listener: socket.socket) -> None:
    """Make a copy of this process for each client, until standard input ends. Returns in the copy
    only by its exit.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # copies that have ended are not waited for
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in ready:
            return
        client, _ = listener.accept()
        with client:
            message, files, _, _ = socket.recv_fds(client, _LARGEST_MESSAGE, 3)
            if not message or len(files) != 3:
                continue
            if os.fork() == 0:
                listener.close()
                _become_worker(message, files, client)
            for file in files:
                os.close(file)
            with suppress(OSError):  # the client has been killed meanwhile
                client.send(b"y")


def _become_worker(message: bytes, files: list[int], client: socket.socket) -> None:
    """Run Ray's worker with the client's arguments, environment, folder and files. ``client`` stays
    open as long as this process lives, and so does the client.
    """
    status = 1
    try:
        os.setpgid(0, 0)  # when a worker dies, Ray ends its process group
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        told = json.loads(message)
        os.environ.clear()
        os.environ.update(told["environment"])
        os.chdir(told["folder"])
        sys.argv = told["arguments"]
        _draw_anew()
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  a copy must not go on as a second template
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _draw_anew() -> None:
    """Copies must not draw the same numbers where nobody gave a seed: Python's own generator sees
    to that itself, and torch begins with the same seed in every process.
    """
    np.random.seed(None)


def _load() -> None:
    """What each copy needs, but for Ray, which reads its settings and the worker's from the
    environment as soon as it is loaded; what Ray loads besides itself, the longer half, is here.
    Raises :class:`RuntimeError` if something of it has started threads, which a copy would not
    have.
    """
    load_evaluation(DEFAULT_EVALUATION)
    for name in _WHAT_RAY_LOADS:
        with suppress(ImportError):  # another version of Ray may do without it
            import_module(name)
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise RuntimeError(f"{threads} threads run after loading")


def _main() -> None:
    sys.path[:] = [path for path in sys.path[1:] if path != _ROOT] + [_ROOT]
    listener = socket.socket(fileno=int(sys.argv[1]))
    _load()
    serve(listener)


if __name__ == "__main__":
    _main()
