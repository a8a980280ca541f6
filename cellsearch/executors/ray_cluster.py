"""Starting, joining and leaving a Ray cluster, quietly: what Ray says goes to a file, what it
leaves on the disk goes away.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray._private.worker as ray_worker
from ray.exceptions import RayError

from cellsearch.errors import ConfigError, EnvironmentFailure, visible

__all__ = ["RayCluster", "check_trust"]

_LOG_NAME = "ray.log"
_FOLDER_PREFIX = "cellsearch-"
_MEGABYTE = 1024 * 1024
_logger = logging.getLogger("ray")


class RayCluster:
    """One connection to Ray. A cluster that was running before, or that this process was connected
    to before, is left running.
    """

    def __init__(
        self, address: str | None, *, allow_unauthenticated: bool, log_dir: Path | None
    ) -> None:
        self._address = (
            None if address == "local" else address or os.environ.get("RAY_ADDRESS") or None
        )
        if self._address is not None and not allow_unauthenticated:
            check_trust(self._address, os.environ)
        self._log_dir = log_dir
        self._handler: logging.Handler | None = None
        self._other_handlers: list[logging.Handler] = []
        self._folder: Path | None = None
        self._ours = False
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
            if not ray.is_initialized():
                self._initialise(workers, data_bytes)
                self._ours = True
        except (OSError, RuntimeError, ValueError, RayError) as error:
            hint = self.hint()
            self.disconnect()
            what = (
                f"the Ray cluster at {self._address} cannot be joined"
                if self._address
                else "Ray does not start"
            )
            raise EnvironmentFailure(f"{what}: {str(error).strip()[:500]}", hint=hint) from error
        self.connected = True

    def _initialise(self, workers: int, data_bytes: int) -> None:
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
        if self._address is None:
            # "local": never a cluster that happens to be found, for example what is left of a
            # killed search.
            self._folder = _private_folder()
            options |= {
                "address": "local",
                "num_cpus": workers or None,
                "_temp_dir": str(self._folder / "ray"),
            }
            options["object_store_memory"] = 128 * _MEGABYTE + 2 * data_bytes
        else:
            options["address"] = self._address
        with _own_signal_handlers():
            ray.init(**options)

    def cpus(self) -> int:
        """CPUs of the whole cluster."""
        return int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]

    def hint(self) -> str:
        """Where to look when something of Ray is wrong."""
        if isinstance(self._handler, logging.FileHandler):
            return (
                f"see {self._handler.baseFilename}, or use --workers 0 to train in this "
                f"process, without Ray"
            )
        return "use --workers 0 to train in this process, without Ray"

    def log(self, text: str) -> None:
        """Add a line to the log of this connection."""
        _logger.warning("%s", text)

    def disconnect(self) -> None:
        """Leave the cluster; end it if it was started here. May be called twice."""
        if self._ours and ray.is_initialized():
            ray.shutdown()
        self._ours = self.connected = False
        if self._folder is not None:
            shutil.rmtree(
                self._folder, ignore_errors=True
            )  # Ray's last processes may still write their logs
            self._folder = None
        if self._handler is not None:
            _logger.handlers = self._other_handlers
            self._handler.close()
            self._handler = None

    def _open_log(self, folder: Path | None) -> None:
        if folder is None:
            self._handler = logging.NullHandler()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._handler = logging.FileHandler(folder / _LOG_NAME, encoding="utf-8", delay=True)
            self._handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))
        self._other_handlers, _logger.handlers = _logger.handlers, [self._handler]
        # Ray prints the cluster's error messages on the terminal of the driver, whatever its
        # logging options say.
        ray_worker.print_to_stdstream = _log_instead_of_print


def check_trust(address: str, environment: Mapping[str, str]) -> None:
    """Refuse a cluster on another host that asks for no token: whoever is there could run code in
    our workers, and read our data.

    Raises :class:`EnvironmentFailure` for such a cluster, :class:`ConfigError` for an address that
    is none.
    """
    if "://" in address:
        raise ConfigError(
            f"{address!r} is an address of the Ray client",
            hint="run the search on a node of the cluster, with HOST:PORT or auto",
        )
    if address in ("auto", "local"):
        return
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit() or not host:
        raise ConfigError(
            f"{address!r} is not the address of a Ray cluster",
            hint="write HOST:PORT, for example 127.0.0.1:6379, or auto",
        )
    if _is_loopback(host.strip("[]")) or environment.get("RAY_AUTH_MODE", "").lower() == "token":
        return
    raise EnvironmentFailure(
        f"the Ray cluster at {address} is on the network and would be joined without a token",
        hint="start it with RAY_AUTH_MODE=token and set that here, or allow it explicitly if "
        "you trust the whole network",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Lines(logging.Formatter):
    """Lines of a log that a terminal may show."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def _log_instead_of_print(data: Mapping[str, Any], *_: object, **__: object) -> None:
    for line in data.get("lines", ()):
        _logger.warning("%s", line)


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep our handler of SIGTERM, which ``ray.init`` replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _private_folder() -> Path:
    """A folder for Ray's session that only we may enter, because Ray makes what is inside writable
    for everybody.

    Short, because Ray puts sockets into it, whose paths may have 107 characters. What killed
    processes have left is removed.
    """
    base = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())
    for folder in base.glob(f"{_FOLDER_PREFIX}[0-9]*-*"):
        owner = int(folder.name.split("-")[1])
        if (
            folder.stat().st_uid == os.getuid()
            and not Path(f"/proc/{owner}").exists()
            and Path("/proc/self").exists()
        ):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir=base))
