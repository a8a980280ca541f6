"""A Ray cluster of our own on this machine: nobody else can reach it, and nothing of it stays.

Ray offers no setting for most of this. What is changed inside it is listed in
:meth:`OwnCluster.ways`, and only while it starts.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray
from ray._private import ray_constants, services
from ray._private.node import Node
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

from cellsearch.errors import EnvironmentFailure
from cellsearch.executors.ray_template import CLIENT, SOCKET, WorkerTemplate
from cellsearch.executors.worker_environment import allowed

__all__ = ["OwnCluster"]

# Where the kernel does not end processes with us, Ray does, by our process group.
_APART = sys.platform == "linux"
_PREFIX = "cellsearch-"
_OURS = re.compile(re.escape(_PREFIX) + r"([0-9]{1,10})-[A-Za-z0-9_]+")
_LOCK = "lock"
_TOKEN = "token"
_THREAD_SECONDS = 20.0


class OwnCluster:
    """What a cluster of ours has on this machine: its processes, and ``path``, a folder that only
    we may enter, because Ray makes what is inside writable for everybody.

    The path is short, because Ray puts sockets there, whose paths may have 107 characters. What
    killed processes of this user have left is removed: folders whose process is gone and whose lock
    nobody holds (another container has other process numbers).

    ``environment``: variables that the workers get besides the allowed ones. ``template``: whether
    workers are copies of one process that has loaded what trains (on Linux).
    """

    def __init__(
        self, environment: Mapping[str, str] = MappingProxyType({}), *, template: bool = False
    ) -> None:
        self._environment = dict(environment)
        self._wants_template = template and _APART
        self._template: WorkerTemplate | None = None
        base = _base()
        for folder in base.iterdir():
            if _is_left_over(folder):
                shutil.rmtree(folder, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._token = self.path / _TOKEN
        self._token.touch(mode=0o600)
        self._token.write_text(secrets.token_hex(32), encoding="ascii")
        self._sessions: set[int] = set()

    @contextmanager
    def ways(self) -> Iterator[None]:
        """While entered, ``ray.init`` starts a cluster that

        - listens on the loopback interface only,
        - asks for a token of its own, and neither reads nor makes one in the home folder,
        - hands its processes, and so the workers, the allowed part of the environment, one thread,
          and what the user named,
        - has no autoscaler, no log monitor and no dashboard's server: nothing here asks them, and
          they take longer to start than all the rest,
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
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(self._token)
            _forget_token()
            if self._wants_template:
                self._template = WorkerTemplate(self.path, allowed(os.environ) | self._environment)
                self._sessions.add(self._template.pid)
                self._environment[SOCKET] = str(self._template.path)
                name = "SETUP_WORKER_FILENAME"
                stack.enter_context(_set(ray_constants, name, lambda _: str(CLIENT)))
            yield

    def _started_apart(self, popen: Any) -> Callable[..., Any]:
        """How Ray's processes are started, in a session and with an environment of their own."""

        def start(*arguments: Any, env: dict[str, str], **options: Any) -> Any:
            environment = allowed(env) | self._environment
            started = popen(*arguments, env=environment, start_new_session=_APART, **options)
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
        os.close(self._lock)
        for _ in range(3):  # what is being killed may still write its logs
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                return


def _base() -> Path:
    return Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())


def _is_left_over(folder: Path) -> bool:
    """Whether a name in the temporary folder is a folder of ours that nobody uses any more."""
    name = _OURS.fullmatch(folder.name)
    if name is None or not Path("/proc/self").exists() or Path(f"/proc/{name[1]}").exists():
        return False
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # not a folder, not ours to read, or gone
        return False
    try:
        if os.fstat(directory).st_uid != os.getuid():
            return False
        with suppress(FileNotFoundError):  # of a version that made none
            lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(lock)
    except OSError:  # somebody holds it
        return False
    finally:
        os.close(directory)
    return True


_NOT_NEEDED = ("start_monitor", "start_log_monitor", "start_api_server")


def _start_nothing(*_: object, **__: object) -> None:
    """In place of what starts a process of Ray that nothing here asks."""


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
