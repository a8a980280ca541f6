"""Serving the page until somebody presses Ctrl-C."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn

from cellsearch.errors import ConfigError, EnvironmentFailure, RunError
from cellsearch.ui.guard import is_loopback
from cellsearch.ui.server import Server

__all__ = ["PORT", "serve"]

PORT = 8737
YIELDS = 5
"""By so much it is nicer than other processes: a search on the same machine goes first."""
_NEXT = 20
"""So many ports are tried where none was asked for."""


def serve(
    folders: Sequence[Path],
    announce: Callable[[Server, str], None],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: bool = False,
) -> None:
    """Serve runs, or folders of runs, until the process is told to stop.

    announce: told the server and its address, once it can be reached.
    host: to listen on; anything but this machine alone makes a token necessary.
    port: ``None``: :data:`PORT`, or the next that is free; 0: any.
    token: ask for one on this machine too.

    Raises :class:`RunError` where there is no run, :class:`EnvironmentFailure` where nothing can
    listen.
    """
    if not host:
        raise ConfigError("no host is given", hint="127.0.0.1 is this machine alone")
    secret = secrets.token_urlsafe(24) if token or not is_loopback(host) else ""
    server = Server(folders, host, secret)
    if not server.runs:
        said = "; ".join(f"{path}: {why}" for path, why in server.unreadable.items())
        raise RunError(
            "there is no run here" + (f" that can be read ({said})" if said else ""),
            where=", ".join(map(str, folders)),
            hint="`cellsearch search EXPERIMENT --run DIR` makes one",
        )
    with _listening(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        announce(server, address + (f"?token={secret}" if secret else ""))
        config = uvicorn.Config(
            server.app,
            log_level="error",
            access_log=False,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        if hasattr(os, "nice"):
            os.nice(YIELDS)
        with suppress(KeyboardInterrupt):  # that is how people end it
            _Ending(config, server).run(sockets=[listening])


class _Ending(uvicorn.Server):
    """A web server that lets its readers go when it is told to end, instead of waiting for them."""

    def __init__(self, config: uvicorn.Config, served: Server) -> None:
        super().__init__(config)
        self._served = served

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._served.end()
        # Answers that nobody waits for any more are no errors.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens, on the next free port where none was asked for."""
    tried = range(PORT, PORT + _NEXT) if port is None else (port,)
    for one in tried:
        try:
            family = socket.getaddrinfo(host, one, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, one), family=family)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and one != tried[-1]:
                continue
            raise EnvironmentFailure(
                f"nothing can listen on {host}, port {one}: {error.strerror or error}",
                hint="choose another with --port, or --port 0 for any that is free",
            ) from error
    raise EnvironmentFailure("no port is free", hint="choose one with --port")
