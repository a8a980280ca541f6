"""Downloads of data sets, against a real server on this machine: announced, checked, complete or
not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cellsearch import tasks
from cellsearch.cli import cli
from cellsearch.errors import CellsearchError, EnvironmentFailure, InputFileError
from cellsearch.tasks.data import download, registry

TEXT = (
    b"The Time Traveller (for so it will be convenient to speak of him) was expounding "
    b"a recondite matter to us.\n" * 400
)


class _Handler(BaseHTTPRequestHandler):
    """``/good``, ``/other`` (same size), ``/longer``, ``/short`` (the connection ends early),
    ``/slow``, ``/moved``; else 404.
    """

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
            return
        bodies = {
            "/good": TEXT,
            "/other": TEXT[::-1],
            "/longer": TEXT + b"more",
            "/short": TEXT[: len(TEXT) // 2],
            "/slow": TEXT,
        }
        if self.path not in bodies:
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/short":
            self.send_header("Content-Length", str(len(TEXT)))
        self.end_headers()
        if self.path == "/slow":
            time.sleep(0.6)
        self.wfile.write(bodies[self.path])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error: a test reads it."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, no local data, and downloads allowed."""
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path))
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    monkeypatch.delenv(download.OFFLINE)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def offer(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let the data set of ``time_machine`` be the text of the server."""
    row = registry.get("timemachine")
    file = replace(row.files[0], url=url, size=len(TEXT), sha256=hashlib.sha256(TEXT).hexdigest())
    monkeypatch.setitem(registry.DATA_SETS, "timemachine", replace(row, files=(file,)))


@pytest.mark.parametrize("path", ["/good", "/moved"])
def test_what_is_not_there_is_downloaded_once(
    server: str,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    path: str,
) -> None:
    offer(monkeypatch, server + path)
    arrays = tasks.get("time_machine").load({})
    said = capfd.readouterr()
    stored = cache / "data" / "text" / "timemachine.txt"
    assert stored.read_bytes() == TEXT
    assert list(stored.parent.iterdir()) == [stored]
    assert said.out == ""
    for part in (server + path, str(stored), "0.0 MB", "public domain"):
        assert part in said.err
    offer(monkeypatch, server + "/nothing")
    again = tasks.get("time_machine").load({})
    assert all(np.array_equal(again[name], array) for name, array in arrays.items())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("path", "kind", "code", "says"),
    [
        ("/nothing", EnvironmentFailure, 6, "404"),
        ("/short", EnvironmentFailure, 6, "stopped after 21,400 of 42,800 bytes"),
        ("/other", InputFileError, 3, "sha256"),
        ("/longer", InputFileError, 3, "more than 42,800 bytes"),
    ],
)
def test_a_failed_download_leaves_nothing(
    server: str,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    kind: type[CellsearchError],
    code: int,
    says: str,
) -> None:
    offer(monkeypatch, server + path)
    with pytest.raises(kind, match=says) as caught:
        registry.read_text("timemachine")
    assert caught.value.exit_code == code
    assert server + path in str(caught.value)
    assert str(cache / "data" / "text" / "timemachine.txt") in caught.value.hint
    assert list((cache / "data" / "text").iterdir()) == []


def test_nobody_listens(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        offer(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}/good")
        with pytest.raises(EnvironmentFailure, match="refused"):
            registry.read_text("timemachine")


@pytest.mark.parametrize(
    ("bounds", "says"), [({"timeout": 0.1}, "timed out"), ({"longest": 0.1}, "not done after")]
)
def test_waiting_has_an_end(
    server: str, tmp_path: Path, bounds: dict[str, float], says: str
) -> None:
    with pytest.raises(EnvironmentFailure, match=says):
        download.download(
            server + "/slow", tmp_path / "a", sha256="", size=len(TEXT), what="it", **bounds
        )
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "data").write_text("a file where the folder should be")
    offer(monkeypatch, server + "/good")
    with pytest.raises(EnvironmentFailure, match="cannot be written") as caught:
        registry.read_text("timemachine")
    assert "CELLSEARCH_CACHE" in caught.value.hint


def test_a_full_disk(server: str, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="space"), open(full, "wb", buffering=0) as file:
        file.write(b"1")  # what a full disk answers here

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "token_hex", lambda _: "x")
        (tmp_path / f"a.{os.getpid()}-x.tmp").symlink_to(full)
        with pytest.raises(EnvironmentFailure, match="No space left") as caught:
            download.download(
                server + "/good", tmp_path / "a", sha256="", size=len(TEXT), what="it"
            )
    assert caught.value.exit_code == 6
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by", ["variable", "option"])
def test_offline_asks_nobody(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    offer(monkeypatch, server + "/good")
    monkeypatch.setenv(download.OFFLINE, "1" if by == "variable" else "0")
    option = ["--offline"] if by == "option" else []
    done = CliRunner().invoke(
        cli, ["evaluate", "gru", "--task", "time_machine", "--steps", "1", *option]
    )
    assert isinstance(done.exception, EnvironmentFailure)
    assert "offline" in done.exception.hint.lower()
    assert server in done.exception.hint
    assert not (cache / "data").exists()


def test_a_local_copy_comes_first(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server + "/nothing")
    local = cache / "mine" / "text" / "timemachine.txt"
    local.parent.mkdir(parents=True)
    local.write_bytes(TEXT)
    monkeypatch.setenv(registry.VARIABLE, str(cache / "mine"))
    assert registry.read_text("timemachine").encode() == TEXT
    assert not (cache / "data").exists()


def test_tasks_say_what_would_be_downloaded(
    server: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server + "/good")
    listed = {
        row["name"]: row for row in json.loads(CliRunner().invoke(cli, ["tasks", "--json"]).output)
    }
    assert listed["time_machine"]["download"] == [server + "/good"]
    assert listed["time_machine"]["download_bytes"] == len(TEXT)
    assert not listed["time_machine"]["available"]
    assert listed["translation"]["download"] == []
    table = CliRunner().invoke(cli, ["tasks"]).output
    assert "download 0.0 MB" in table
    assert server + "/good" in table
    registry.read_text("timemachine")
    described = {info.name: info for info in tasks.describe()}
    assert described["time_machine"].missing == ""
    assert described["time_machine"].download == ()
    monkeypatch.setenv(download.OFFLINE, "1")
    assert {info.name: info for info in tasks.describe()}["jsb"].download == ()


def test_every_download_is_of_the_unpacked_file(data_folder: Path) -> None:
    """Size and checksum of the table are those of the content that the local copy has."""
    offered = [
        (name, number)
        for name, row in registry.DATA_SETS.items()
        for number, file in enumerate(row.files)
        if file.url
    ]
    assert len(offered) >= 4
    for name, number in offered:
        file = registry.get(name).files[number]
        content = registry.read_text(name, number).encode("utf-8")
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256), name
        assert file.url.startswith("https://")
