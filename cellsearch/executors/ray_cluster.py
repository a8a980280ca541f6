"""Starting, joining and leaving a Ray cluster, quietly: what Ray says goes to a file, what it
leaves on the disk goes away.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any

from cellsearch.errors import EnvironmentFailure, visible
from cellsearch.executors.own_folder import OwnFolder
from cellsearch.executors.ray_joining import check_answers, check_trust, split
from cellsearch.executors.ray_template import WorkerTemplate
from cellsearch.executors.worker_environment import allowed
from cellsearch.later import Later

# Loading Ray takes half a second, in which the template of the workers loads torch.
if TYPE_CHECKING:
    import ray
    from ray import exceptions

    from cellsearch.executors import ray_own
else:
    ray, exceptions = Later("ray"), Later("ray.exceptions")
    ray_own = Later("cellsearch.executors.ray_own")

__all__ = ["RayCluster"]

_LOG_NAME = "ray.log"
_LOOK_SECONDS = 1.0
_SILENCE_SECONDS = 10.0
_MEGABYTE = 1024 * 1024
_logger = logging.getLogger("ray")


class RayCluster:
    """One connection to Ray. A cluster that was running before, or that this process was connected
    to before, is left running.

    ``environment``: variables that workers get. ``template``: whether the workers of a cluster of
    our own are copies of one process that has loaded what trains (on Linux).
    ``connected``: whether it stands; ``lost``: in words, what of the cluster has ended meanwhile.
    """

    def __init__(
        self,
        address: str | None,
        *,
        allow_unauthenticated: bool,
        log_dir: Path | None,
        environment: Mapping[str, str] = MappingProxyType({}),
        template: bool = False,
    ) -> None:
        self._environment, self._template = environment, template
        self._address = (
            None if address == "local" else address or os.environ.get("RAY_ADDRESS") or None
        )
        if self._address is not None and not allow_unauthenticated:
            check_trust(self._address, os.environ)
        self._log_dir = log_dir
        self._handler: logging.Handler | None = None
        self._other_handlers: list[logging.Handler] = []
        self._own: ray_own.OwnCluster | None = None
        self._ours = False
        self._leaving: list[signal.Signals] = []
        self._looked = self._answered = 0.0
        self.lost = ""
        self.connected = False

    def connect(self, *, workers: int, data_bytes: int, folder: Path | None) -> None:
        """Join the cluster, or start one with ``workers`` CPUs (0: all) and room for the data. Does
        nothing when connected.

        Raises :class:`EnvironmentFailure` if Ray does not start or the cluster does not answer.
        """
        if self.connected:
            return
        self._open_log(self._log_dir or folder)
        try:
            if _is_connected():
                self._keep_off_the_terminal()
            else:
                self._ours = True
                self._leave_on_signals()
                self._initialise(workers, data_bytes)
        except (OSError, RuntimeError, ValueError, exceptions.RayError) as error:
            hint = self.hint()
            self.disconnect()
            what = (
                f"the Ray cluster at {self._address} cannot be joined"
                if self._address
                else "Ray does not start"
            )
            raise EnvironmentFailure(f"{what}: {str(error).strip()[:500]}", hint=hint) from error
        except BaseException:
            self.disconnect()
            raise
        self.connected = True
        self._looked = self._answered = time.monotonic()

    def _initialise(self, workers: int, data_bytes: int) -> None:
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
        if self._address is not None:
            check_answers(self._address)
            self._keep_off_the_terminal()
            with _own_signal_handlers():
                ray.init(address=self._address, **options)
            return
        self._own = self._own_cluster()
        self._keep_off_the_terminal()
        # "local": never a cluster that happens to be found, for example what is left of a killed
        # search.
        options |= {
            "address": "local",
            "num_cpus": workers or None,
            "_temp_dir": str(self._own.folder.path / "ray"),
            "object_store_memory": 128 * _MEGABYTE + 2 * data_bytes,
        }
        with self._own.ways(), _own_signal_handlers():
            ray.init(**options)

    def _own_cluster(self) -> ray_own.OwnCluster:
        folder, template = OwnFolder(), None
        try:
            if self._template and sys.platform == "linux":
                environment = allowed(os.environ) | dict(self._environment)
                template = WorkerTemplate(folder.path, environment)
            return ray_own.OwnCluster(folder, self._environment, template)
        except BaseException:
            if template is not None:
                template.stop()
            folder.remove()
            raise

    def require(self) -> None:
        """Raise :class:`EnvironmentFailure` if Ray's processes have ended that nothing goes on
        without. Ray itself would end this process after a while, without a word.
        """
        now = time.monotonic()
        if not self.lost and now >= self._looked + _LOOK_SECONDS:
            self._looked = now
            self.lost = self._look(now)
        if self.lost:
            raise EnvironmentFailure(
                f"the Ray cluster is gone: {self.lost}",
                hint="nothing recorded is lost: the same command goes on; the log of Ray says more"
                + (f" ({self._log_file})" if self._log_file else ""),
            )

    def look_now(self) -> None:
        """:meth:`require`, without regard to when it was looked last."""
        self._looked = -_LOOK_SECONDS
        self.require()

    def _look(self, now: float) -> str:
        """Knock at the node's manager on this machine and at the cluster's head."""
        node = _ray_worker()._global_node
        if node is None:
            return "somebody else has disconnected this process from it"
        if not _opens(socket.AF_UNIX, node.raylet_socket_name):
            return "its process on this machine (raylet) was killed or has crashed"
        if _opens(socket.AF_INET, node.gcs_address):
            self._answered = now
        patience = _SILENCE_SECONDS if self._own is None else 0.0  # ours nobody starts again
        if now > self._answered + patience:
            return f"its head (gcs_server at {node.gcs_address}) was killed or cannot be reached"
        return ""

    @property
    def actor_environment(self) -> dict[str, Any]:
        """What of Ray's options gives an actor the environment. Nothing in a cluster of our own,
        all of which has it: an actor with an environment of its own cannot have one of the
        processes that Ray has started already, and waits seconds for another.
        """
        if self._own is not None:
            return {}
        return {"runtime_env": {"env_vars": dict(self._environment)}}

    def cpus(self) -> int:
        """CPUs of the whole cluster."""
        return int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]

    def hint(self) -> str:
        """Where to look when something of Ray is wrong."""
        look = f"see {self._log_file}, or " if self._log_file else ""
        return f"{look}use --workers 0 to train in this process, without Ray"

    @property
    def _log_file(self) -> str:
        handler = self._handler
        return handler.baseFilename if isinstance(handler, logging.FileHandler) else ""

    def log(self, text: str) -> None:
        """Add a line to the log of this connection."""
        _logger.warning("%s", text)

    def disconnect(self) -> None:
        """Leave the cluster; end it if it was started here. May be called twice."""
        if self._own is not None and (failure := self._own.template_failure):
            self.log(f"workers were started one by one: their template ended with {failure}")
        if self._own is not None and self.lost:
            self._own.kill()  # what is left of it would be waited for
        if self._ours and _is_connected():
            ray.shutdown()
        self._ours = self.connected = False
        self.lost = ""
        if self._own is not None:
            self._own.remove()
            self._own = None
        while self._leaving:
            signal.signal(self._leaving.pop(), signal.SIG_DFL)
        if self._handler is not None:
            if _logger.handlers == [self._handler]:
                _logger.handlers = self._other_handlers
            self._handler.close()
            self._handler = None

    def _leave_on_signals(self) -> None:
        """Let the end of this process be an orderly one where nobody else has seen to that: what is
        started here would outlive it.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, _leave)
                    self._leaving.append(number)

    def _open_log(self, folder: Path | None) -> None:
        if folder is None:
            self._handler = logging.NullHandler()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._handler = logging.FileHandler(folder / _LOG_NAME, encoding="utf-8", delay=True)
            self._handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))

    def _keep_off_the_terminal(self) -> None:
        """Loads Ray, which gives its logger handlers, and puts ours in their place. Ray prints the
        cluster's error messages on the terminal of the driver, whatever its logging options say.
        """
        _ray_worker().print_to_stdstream = _log_instead_of_print
        assert self._handler is not None
        self._other_handlers, _logger.handlers = _logger.handlers, [self._handler]


def _ray_worker() -> Any:
    """The module of Ray that knows this process's connection, some of whose names change."""
    return import_module("ray._private.worker")


def _is_connected() -> bool:
    """Whether this process is connected to a cluster; if not, without loading Ray."""
    return "ray" in sys.modules and ray.is_initialized()


class _Lines(logging.Formatter):
    """Lines of a log that a terminal may show."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def _log_instead_of_print(data: Mapping[str, Any], *_: object, **__: object) -> None:
    for line in data.get("lines", ()):
        _logger.warning("%s", line)


def _opens(family: socket.AddressFamily, address: str) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.socket(family) as knocking:
            knocking.settimeout(_LOOK_SECONDS)
            knocking.connect(address if family == socket.AF_UNIX else split(address))
    except OSError:
        return False
    return True


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep our handler of SIGTERM, which ``ray.init`` replaces by one that raises
    :class:`SystemExit`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        if error.code == signal.SIGTERM and callable(handler):
            handler(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, handler)
