"""A Ray cluster of our own on this machine: nobody else can reach it, and nothing of it stays.

Ray offers no setting for most of this. What is changed inside it is listed in
:meth:`OwnCluster.ways`, and only while it starts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import ray
from ray import _raylet
from ray._private import ray_constants, services
from ray._private.node import Node
from ray._raylet import (  # type: ignore[attr-defined]
    AuthenticationTokenLoader,
    Config,
    persist_port,
)

from cellsearch.errors import EnvironmentFailure
from cellsearch.executors.own_folder import OwnFolder
from cellsearch.executors.ray_template import CLIENT, SOCKET, WorkerTemplate
from cellsearch.executors.worker_environment import allowed

__all__ = ["OwnCluster"]

# Where the kernel does not end processes with us, Ray does, by our process group.
_APART = sys.platform == "linux"
_THREAD_SECONDS = 20.0


class OwnCluster:
    """What a cluster of ours has on this machine: its processes, and its folder.

    ``environment``: variables that the workers get besides the allowed ones. ``template``: what
    workers are copies of; ``None``: they are started in Ray's own way.
    """

    def __init__(
        self,
        folder: OwnFolder,
        environment: Mapping[str, str],
        template: WorkerTemplate | None,
    ) -> None:
        self.folder, self._template = folder, template
        self._environment = dict(environment)
        self._sessions: set[int] = set()
        if template is not None:
            self._sessions.add(template.pid)
            self._environment[SOCKET] = str(template.path)

    @contextmanager
    def ways(self) -> Iterator[None]:
        """While entered, ``ray.init`` starts a cluster that

        - listens on the loopback interface only,
        - asks for a token of its own, and neither reads nor makes one in the home folder,
        - hands its processes, and so the workers, the allowed part of the environment, one thread,
          and what the user named; its workers have this process's priority,
        - has no autoscaler, no log monitor, no dashboard's server and, on Linux, no agent of it:
          nothing here asks them, and they take longer to start than all the rest,
        - and is in sessions of its own, which Ctrl-C and the end of a terminal do not reach.

        Raises :class:`EnvironmentFailure` for a Ray in which that cannot be said.
        """
        with ExitStack() as stack:
            stack.enter_context(_set(ray_constants, "ENABLE_RAY_CLUSTER", lambda _: False))
            stack.enter_context(_set(services, "ConsolePopen", self._started_apart))
            for name in _NOT_NEEDED:
                stack.enter_context(_set(Node, name, lambda _: _start_nothing))
            before = {name: os.environ.pop(name, None) for name in _AUTHENTICATION}
            stack.callback(_put_back, before)
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(self.folder.token)
            _forget_token()
            if self._template is not None:
                name = "SETUP_WORKER_FILENAME"
                stack.enter_context(_set(ray_constants, name, lambda _: str(CLIENT)))
            yield

    def _started_apart(self, popen: Any) -> Callable[..., Any]:
        """How Ray's processes are started, in a session and with an environment of their own."""

        def start(command: list[str], *more: Any, env: dict[str, str], **options: Any) -> Any:
            environment = _PRIORITY | allowed(env) | self._environment
            if _APART:
                command = _without_agent(command)
            started = popen(command, *more, env=environment, start_new_session=_APART, **options)
            if _APART:
                self._sessions.add(started.pid)
            return started

        return start

    @property
    def template_failure(self) -> str:
        """Why the template is gone, so that workers are started in Ray's own, slower way; empty
        where it is not.
        """
        return "" if self._template is None else self._template.failure

    def kill(self) -> None:
        """End all processes that are left, the workers and Ray's agents too, at once."""
        for name in os.listdir("/proc") if self._sessions else ():
            with suppress(ValueError, ProcessLookupError):  # no process, or gone
                if os.getsid(int(name)) in self._sessions:
                    os.kill(int(name), signal.SIGKILL)

    def remove(self) -> None:
        """Kill what is left, and delete the folder, when Ray has been shut down."""
        self.kill()
        if self._template is not None:
            self._template.stop()
        # Ray's own threads end when their connection does; one that asks without a token raises.
        for thread in threading.enumerate():
            if thread.name.startswith("ray_listen"):
                thread.join(_THREAD_SECONDS)
        _forget_token()
        self.folder.remove()


_PRIORITY = {"RAY_worker_niceness": "0"}
"""Ray's own 15 makes a training last many times as long where others use the cores too, so that
trials run out of time that fit into it; ``nice cellsearch search ...`` still yields.
"""
_NOT_NEEDED = ("start_monitor", "start_log_monitor", "start_api_server")


def _start_nothing(*_: object, **__: object) -> None:
    """In place of what starts a process of Ray that nothing here asks."""


_AGENT = "--dashboard_agent_command="
_PORTS_OF_THE_AGENT = (
    "METRICS_AGENT_PORT_NAME",
    "METRICS_EXPORT_PORT_NAME",
    "DASHBOARD_AGENT_LISTEN_PORT_NAME",
)
_NO_PORT = -1  # as the agent itself says it where Ray is installed without metrics
_WAITS = "import sys; sys.stdin.read()"
"""What is run instead of the agent: the node's manager (raylet) ends when the agent does, and holds
its standard input open as long as it lives.
"""


def _without_agent(command: list[str]) -> list[str]:
    """The command that starts a node's manager, without the dashboard's agent, which takes a second
    of a core and 80 MB: the manager waits for the files in which the agent says its ports. Other
    commands are given back as they are.
    """
    if not any(part.startswith(_AGENT) for part in command):
        return command
    told = dict(part.split("=", 1) for part in command if part.startswith("--") and "=" in part)
    for name in _PORTS_OF_THE_AGENT:
        port = getattr(_raylet, name)
        persist_port(told["--session_dir"], told["--node_id"], port, _NO_PORT)
    waits = subprocess.list2cmdline([sys.executable, "-S", "-E", "-c", _WAITS])
    return [_AGENT + waits if part.startswith(_AGENT) else part for part in command]


_AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


def _forget_token() -> None:
    """Let Ray read the environment anew when it is asked for its token the next time."""
    AuthenticationTokenLoader.instance().reset_cache()
    Config.initialize("")


def _put_back(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _set(module: Any, name: str, changed: Callable[[Any], Any]) -> Iterator[None]:
    if not hasattr(module, name):
        raise EnvironmentFailure(
            f"Ray {ray.__version__} starts its processes in a way that is not known here "
            f"({module.__name__} has no {name})",
            hint="install a version of Ray that constraints.txt names, or start a cluster yourself "
            "(ray start --head) and join it with --ray-address auto",
        )
    before = getattr(module, name)
    setattr(module, name, changed(before))
    try:
        yield
    finally:
        setattr(module, name, before)
