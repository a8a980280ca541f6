"""A web server on this machine that offers files as public homes do, or as badly as they can."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Home:
    """What a server offers by path, how it behaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    """Whether it sends the rest of a file."""
    version: str = '"1"'
    """The ETag of its files; "": none."""
    lengths: bool = True
    """Whether it declares how long a file is."""
    cut: int = 0
    """It closes the connection after so many bytes (0: never) of the next answers."""
    cuts: int = 0
    """So many answers are cut."""
    failures: list[int] = field(default_factory=list)
    """Codes that the next requests are answered with."""
    moved: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0
    """Seconds before each of the pieces of ``piece`` bytes."""
    piece: int = 1 << 16
    extra: dict[str, str] = field(default_factory=dict)
    """Further headers, which replace its own."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range of each request."""
    url: str = ""


@contextmanager
def serving(home: Home) -> Iterator[Home]:
    """The server of this home, at ``home.url``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, home)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on standard error: tests read it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        home.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield home
        finally:
            server.shutdown()
            thread.join()


def answer(request: BaseHTTPRequestHandler, home: Home) -> None:
    """One answer, as the home behaves now."""
    span = request.headers.get("Range", "")
    home.asked.append((request.path, span))
    if home.failures:
        request.send_error(home.failures.pop(0))
    elif request.path in home.moved:
        request.send_response(302)
        request.send_header("Location", home.moved[request.path])
        request.end_headers()
    elif request.path not in home.files:
        request.send_error(404)
    else:
        _send(request, home, home.files[request.path], span)


def _send(request: BaseHTTPRequestHandler, home: Home, body: bytes, span: str) -> None:
    begin = 0
    if span and home.ranges and request.headers.get("If-Range") == home.version:
        begin = int(span.removeprefix("bytes=").removesuffix("-"))
    if begin and begin >= len(body):
        request.send_error(416)
        return
    headers = {"ETag": home.version, "Content-Length": str(len(body) - begin)}
    headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}" if begin else ""
    if not home.lengths:
        headers["Content-Length"] = ""
    request.send_response(206 if begin else 200)
    for name, value in {**headers, **home.extra}.items():
        if value:
            request.send_header(name, value)
    request.end_headers()
    rest = body[begin:]
    if home.cut and home.cuts:
        home.cuts -= 1
        rest = rest[: home.cut]
    try:
        for k in range(0, len(rest), home.piece):
            time.sleep(home.pause)
            request.wfile.write(rest[k : k + home.piece])
            request.wfile.flush()
    except OSError:
        pass  # the client has had enough
    request.close_connection = True
