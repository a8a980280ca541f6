"""Joining a Ray cluster that somebody else has started: whom we trust, and whether anybody is there
at all. Ray itself waits without end for a cluster that does not answer, and says so in lines of its
C++ part.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import IO

from cellsearch.errors import ConfigError, EnvironmentFailure

__all__ = ["check_answers", "check_trust", "split"]

JOIN_SECONDS = 20.0
TOKEN_HINT = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token of the cluster or "
    "RAY_AUTH_TOKEN_PATH to a file that holds it (default: ~/.ray/auth_token)"
)
_JOIN = """
import logging, sys
import ray
logging.disable()
ray.init(address=sys.argv[1], include_dashboard=False, log_to_driver=False)
"""
_NO_TOKEN = re.compile(r"InvalidAuthToken|Unauthenticated|AuthenticationError|authentication token")
_OWN_LINE = re.compile(r"^\[[0-9-]+ [0-9:,]+ [A-Z] .*?\] ")


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
    host, _ = split(address)
    if _is_loopback(host) or environment.get("RAY_AUTH_MODE", "").lower() == "token":
        return
    raise EnvironmentFailure(
        f"the Ray cluster at {address} is on the network and would be joined without a token",
        hint="start it with RAY_AUTH_MODE=token and set that here, or allow it explicitly if "
        "you trust the whole network",
    )


def split(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``. Raises :class:`ConfigError` for anything else."""
    host, separator, port = address.rpartition(":")
    if not separator or not re.fullmatch("[0-9]{1,5}", port) or not host or int(port) > 65535:
        raise ConfigError(
            f"{address!r} is not the address of a Ray cluster",
            hint="write HOST:PORT, for example 127.0.0.1:6379, or auto",
        )
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_answers(address: str, seconds: float = JOIN_SECONDS) -> None:
    """Join the cluster once from a process of its own, which can be ended and whose output is ours.

    Raises :class:`EnvironmentFailure` if it cannot be joined, or not within so many seconds.
    """
    end = time.monotonic() + seconds
    if address != "auto":
        try:
            socket.create_connection(split(address), timeout=seconds).close()
        except OSError as error:
            raise _failure(address, f"nobody answers there ({error})") from error
    with tempfile.TemporaryFile() as said:
        joining = subprocess.Popen(
            [sys.executable, "-c", _JOIN, address],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            status, text = _watch(joining, said, end)
        finally:
            joining.kill()
            joining.wait()
    if status == 0:
        return
    if _NO_TOKEN.search(text):
        raise EnvironmentFailure(
            f"the Ray cluster at {address} asks for a token, and refuses the one that is set here "
            f"or misses it",
            hint=TOKEN_HINT,
        )
    if status is None:
        raise _failure(address, f"what is there is not ready within {seconds:.0f} seconds")
    lines = [line for line in text.splitlines() if line.strip() and not _OWN_LINE.match(line)]
    raise _failure(address, (lines or [f"exit status {status}"])[-1].strip()[:500])


def _watch(joining: subprocess.Popen[bytes], said: IO[bytes], end: float) -> tuple[int | None, str]:
    """How the process ended (``None``: not in time, or its token is refused, which it would try
    again and again), and what it said.
    """
    while True:
        status = joining.poll()
        text = os.pread(said.fileno(), 1_000_000, 0).decode("utf-8", "replace")
        if status is not None or time.monotonic() > end or _NO_TOKEN.search(text):
            return status, text
        time.sleep(0.05)


def _failure(address: str, reason: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"the Ray cluster at {address} cannot be joined: {reason}",
        hint="look whether it runs there (ray status); without --ray-address and RAY_ADDRESS, "
        "workers start on this machine, and with --workers 0 the training needs no Ray",
    )
