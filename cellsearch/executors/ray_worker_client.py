"""What Ray starts as a worker in a cluster of our own: asks the template for a copy of itself
(``ray_template.py``) and lives as long as that. Run as a file; it imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
import socket
import sys

_OF_SETUP = ("--language=", "--serialized-runtime-env-context=")
_OPTIONS = ("--language", "--serialized-runtime-env-context")


def _worker_arguments(arguments: list[str]) -> list[str]:
    """The arguments that Ray's setup hands on to the worker."""
    kept, following = [], False
    for argument in arguments:
        if following or argument in _OPTIONS:
            following = not following
        elif not argument.startswith(_OF_SETUP):
            kept.append(argument)
    return kept


def _ask(path: str, arguments: list[str]) -> socket.socket | None:
    """The connection to a copy of the template, or ``None`` if there is none."""
    request = {
        "arguments": _worker_arguments(arguments),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(path)
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        if connection.recv(1) == b"y":
            return connection
    except OSError as error:
        print(f"no copy of the template: {error}", file=sys.stderr)
    return None


def main() -> None:
    """Be there while the copy is; without one, do what Ray does."""
    arguments = sys.argv[1:]
    connection = _ask(os.environ.pop("CELLSEARCH_WORKER_TEMPLATE", ""), arguments)
    if connection is None:
        setup = os.path.join(os.path.dirname(arguments[0]), "setup_worker.py")
        os.execv(sys.executable, [sys.executable, setup, *arguments])
    connection.recv(1)


if __name__ == "__main__":
    main()
