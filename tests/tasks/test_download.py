"""Downloads of data sets, against a real server on this machine: announced, checked, gone on with,
complete or not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.http import Home, serving

from cellsearch import tasks
from cellsearch.cli import cli
from cellsearch.errors import CellsearchError, EnvironmentFailure, InputFileError
from cellsearch.tasks.data import download, registry, transfer
from cellsearch.tasks.data.forms import Remote, Source
from cellsearch.tasks.data.published import whole

TEXT = (
    b"The Time Traveller (for so it will be convenient to speak of him) was expounding "
    b"a recondite matter to us.\n" * 400
)
SHA = f"sha256:{hashlib.sha256(TEXT).hexdigest()}"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSES", (0.0, 0.01, 0.01))


@pytest.fixture
def home() -> Iterator[Home]:
    files = {
        "/good": TEXT,
        "/other": TEXT[::-1],
        "/longer": TEXT + b"more",
        "/page": b"\n<!DOCTYPE HTML><title>Log in</title>" + TEXT,
        "/empty": b"",
    }
    with serving(Home(files, moved={"/moved": "/good"})) as found:
        yield found


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, no local data, and downloads allowed."""
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path))
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    monkeypatch.delenv(download.OFFLINE)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def offer(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    """Let the data set of ``time_machine`` be the text of the server."""
    row = registry.get("timemachine")
    remote = Remote("text/timemachine.txt", urls, size=len(TEXT), checksum=SHA)
    sha256 = SHA.removeprefix("sha256:")
    file = replace(row.files[0], sha256=sha256, sources=(Source(whole, remote),))
    monkeypatch.setitem(registry.DATA_SETS, "timemachine", replace(row, files=(file,)))


def get(home: Home, target: Path, path: str = "/good", **more: object) -> None:
    given = {"what": "it", "size": len(TEXT), "checksum": SHA, **more}
    download.download(home.url + path, target, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/good", "/moved"])
def test_what_is_not_there_is_downloaded_once(
    home: Home,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    path: str,
) -> None:
    offer(monkeypatch, home.url + path)
    arrays = tasks.get("time_machine").load({})
    said = capfd.readouterr()
    stored = cache / "data" / "text" / "timemachine.txt"
    assert stored.read_bytes() == TEXT
    assert list(stored.parent.iterdir()) == [stored]
    assert said.out == ""
    for part in (home.url + path, str(stored), "0.0 MB", "public domain"):
        assert part in said.err
    offer(monkeypatch, home.url + "/nothing")
    again = tasks.get("time_machine").load({})
    assert all(np.array_equal(again[name], array) for name, array in arrays.items())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize(
    ("path", "kind", "code", "says"),
    [
        ("/nothing", EnvironmentFailure, 6, "404"),
        ("/short", EnvironmentFailure, 6, "stopped after 21,400 of 42,800 bytes"),
        ("/other", InputFileError, 3, "sha256"),
        ("/longer", InputFileError, 3, "more than 42,800 bytes|has 42,804 bytes"),
        ("/page", InputFileError, 3, "a web page in place of the file"),
        ("/empty", EnvironmentFailure, 6, "stopped after 0 of 42,800 bytes"),
    ],
)
def test_a_failed_download_leaves_nothing(
    home: Home,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    kind: type[CellsearchError],
    code: int,
    says: str,
    lengths: bool,
) -> None:
    home.version, home.lengths = "", lengths
    if path == "/short":
        home.files["/short"], home.cut, home.cuts = TEXT, len(TEXT) // 2, 99
    if path in ("/page", "/empty") and lengths:
        home.extra = {"Content-Length": str(len(TEXT))}
        home.files["/page"] = home.files["/page"][: len(TEXT)]
    offer(monkeypatch, home.url + path)
    with pytest.raises(kind, match=says) as caught:
        registry.read_text("timemachine")
    assert caught.value.exit_code == code
    assert home.url + path in str(caught.value)
    assert str(cache / "data" / "text" / "timemachine.txt") in caught.value.hint
    assert list((cache / "data" / "text").iterdir()) == []


def test_a_file_without_end_fills_no_disk(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.files["/endless"], home.lengths = TEXT * 200, False
    written: list[int] = []
    monkeypatch.setattr(transfer, "_write", lambda file, chunk: written.append(len(chunk)))
    with pytest.raises(InputFileError, match="more than 42,800 bytes"):
        get(home, tmp_path / "a", "/endless")
    assert sum(written) <= len(TEXT) + (1 << 16)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_passing_trouble_is_tried_again(home: Home, tmp_path: Path, code: int) -> None:
    home.failures = [code] * len(transfer.PAUSES)
    get(home, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == TEXT
    home.failures = [code] * (len(transfer.PAUSES) + 1)
    with pytest.raises(EnvironmentFailure, match=str(code)):
        get(home, tmp_path / "b")


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 501])
def test_a_lasting_trouble_is_not(home: Home, tmp_path: Path, code: int) -> None:
    home.failures = [code]
    with pytest.raises(EnvironmentFailure, match=str(code)):
        get(home, tmp_path / "a")
    assert len(home.asked) == 1


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("version", ['"1"', "", 'W/"1"'])
def test_a_cut_connection_is_gone_on_with_where_the_server_can(
    home: Home, tmp_path: Path, ranges: bool, version: str
) -> None:
    home.cut, home.cuts, home.ranges, home.version = 10_000, 2, ranges, version
    get(home, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == TEXT
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    asked = [span for _, span in home.asked]
    if version == '"1"' and ranges:
        assert asked == ["", "bytes=10000-", "bytes=20000-"]
    elif version == '"1"':
        assert asked == ["", "bytes=10000-", "bytes=10000-"]  # the server began anew
    else:
        assert asked == ["", "", ""]


def test_a_date_is_a_version_too(home: Home, tmp_path: Path) -> None:
    date = "Sat, 28 Nov 2026 18:00:00 GMT"
    home.cut, home.cuts, home.version = 10_000, 1, date
    home.extra = {"ETag": 'W/"1"', "Last-Modified": date}
    get(home, tmp_path / "a")
    assert [span for _, span in home.asked] == ["", "bytes=10000-"]
    assert (tmp_path / "a").read_bytes() == TEXT


def kept(home: Home, target: Path) -> None:
    """A first call fails after 10,000 bytes, and keeps them."""
    home.cut, home.cuts = 10_000, 1
    home.failures = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer, "PAUSES", ())
        with pytest.raises(EnvironmentFailure, match="stopped after 10,000") as caught:
            get(home, target)
    assert "it goes on where it stopped" in caught.value.hint
    assert target.with_name(target.name + ".part").stat().st_size == 10_000
    assert not target.exists()
    home.asked.clear()


def test_a_later_call_goes_on(
    home: Home, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kept(home, tmp_path / "a")
    get(home, tmp_path / "a")
    assert home.asked == [("/good", "bytes=10000-")]
    assert "going on after 0.0 MB" in capfd.readouterr().err
    assert (tmp_path / "a").read_bytes() == TEXT
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize(
    "change", ["another version", "another part", "no such part", "note", "bytes", "no note"]
)
def test_what_is_kept_is_never_mixed_with_another_file(
    home: Home, tmp_path: Path, change: str
) -> None:
    kept(home, tmp_path / "a")
    note = tmp_path / "a.part.json"
    if change == "another version":
        home.version = '"2"'
        (tmp_path / "a.part").write_bytes(b"old" * 1000)
    elif change == "another part":
        home.extra = {"Content-Range": f"bytes 5-{len(TEXT) - 1}/{len(TEXT)}"}
    elif change == "no such part":
        home.failures = [416]
    elif change == "note":
        note.write_text('{"url": 3, "total": "x"}')
    elif change == "bytes":
        (tmp_path / "a.part").write_bytes(TEXT[::-1] * 2)
    else:
        note.unlink()
    get(home, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == TEXT


def test_damaged_bytes_that_were_kept_are_thrown_away(home: Home, tmp_path: Path) -> None:
    kept(home, tmp_path / "a")
    (tmp_path / "a.part").write_bytes(b"x" * 10_000)
    with pytest.raises(InputFileError, match="sha256"):
        get(home, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    get(home, tmp_path / "a")


def test_a_whole_file_that_was_kept_is_not_fetched_again(home: Home, tmp_path: Path) -> None:
    kept(home, tmp_path / "a")
    (tmp_path / "a.part").write_bytes(TEXT)
    get(home, tmp_path / "a")
    assert home.asked == []
    assert (tmp_path / "a").read_bytes() == TEXT


def test_another_place_of_the_file_is_tried(
    home: Home, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    urls = [home.url + path for path in ("/nothing", "/other", "/page", "/good")]
    download.download(urls, tmp_path / "a", what="it", size=len(TEXT), checksum=SHA)
    assert (tmp_path / "a").read_bytes() == TEXT
    assert "404" in capfd.readouterr().err
    with pytest.raises(EnvironmentFailure, match=r"/nothing.*404"):
        download.download(urls[:3], tmp_path / "b", what="it", size=len(TEXT), checksum=SHA)
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize(
    "place", ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:text/plain,x", "//[bad"]
)
def test_only_safe_redirects_are_followed(home: Home, tmp_path: Path, place: str) -> None:
    home.moved["/away"] = place
    with pytest.raises(EnvironmentFailure) as caught:
        get(home, tmp_path / "a", "/away")
    assert list(tmp_path.iterdir()) == []
    assert home.url in str(caught.value)


def test_a_redirect_from_https_to_http_is_refused() -> None:
    from urllib.request import Request

    follow = transfer._Redirects().redirect_request
    with pytest.raises(EnvironmentFailure, match="not https"):
        follow(Request("https://a.example/x"), None, 302, "", {}, "http://a.example/x")
    for old, new in (("https", "https"), ("http", "https"), ("http", "http")):
        request = follow(Request(f"{old}://a.example/x"), None, 302, "", {}, f"{new}://b.example/y")
        assert request is not None
        assert request.full_url == f"{new}://b.example/y"


def test_redirects_in_a_circle_end(home: Home, tmp_path: Path) -> None:
    home.moved |= {"/a": "/b", "/b": "/a"}
    with pytest.raises(EnvironmentFailure, match="302"):
        get(home, tmp_path / "x", "/a")


def test_nobody_listens(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        offer(monkeypatch, f"http://127.0.0.1:{taken.getsockname()[1]}/good")
        with pytest.raises(EnvironmentFailure, match="refused"):
            registry.read_text("timemachine")


@pytest.mark.parametrize(
    ("bounds", "says"),
    [({"timeout": 0.1}, "timed out"), ({"longest": 0.1}, "not done in time|timed out")],
)
def test_waiting_has_an_end(
    home: Home, tmp_path: Path, bounds: dict[str, float], says: str
) -> None:
    home.pause, home.piece, home.version = 0.3, 1000, ""
    began = time.monotonic()
    with pytest.raises(EnvironmentFailure, match=says):
        get(home, tmp_path / "a", **bounds)
    assert time.monotonic() - began < 10
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(
    home: Home, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "data").write_text("a file where the folder should be")
    offer(monkeypatch, home.url + "/good")
    with pytest.raises(EnvironmentFailure, match="cannot be written") as caught:
        registry.read_text("timemachine")
    assert "CELLSEARCH_CACHE" in caught.value.hint


def test_a_full_disk(home: Home, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "a.part").symlink_to(full)
    with pytest.raises(EnvironmentFailure, match="No space left") as caught:
        get(home, tmp_path / "a")
    assert caught.value.exit_code == 6
    assert "make room" in caught.value.hint
    assert not (tmp_path / "a").exists()


def test_of_several_processes_one_downloads(home: Home, tmp_path: Path) -> None:
    home.pause, home.piece = 0.1, 8000
    program = (
        "import sys; from pathlib import Path; from cellsearch.tasks.data.download import download;"
        f"download(sys.argv[1], Path(sys.argv[2]), what='it', size={len(TEXT)}, checksum='{SHA}')"
    )
    call = [sys.executable, "-c", program, f"{home.url}/good", str(tmp_path / "a")]
    others = [
        subprocess.Popen(call, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        for _ in range(3)
    ]
    said = [other.communicate(timeout=60)[1] for other in others]
    assert [other.returncode for other in others] == [0, 0, 0], said
    assert home.asked == [("/good", "")]
    assert any("waiting for another process" in text for text in said)
    assert (tmp_path / "a").read_bytes() == TEXT
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_killed_download_is_gone_on_with(home: Home, tmp_path: Path) -> None:
    home.pause, home.piece = 0.1, 8000
    program = (
        "import sys; from pathlib import Path; from cellsearch.tasks.data.download import download;"
        f"download(sys.argv[1], Path(sys.argv[2]), what='it', size={len(TEXT)}, checksum='{SHA}')"
    )
    call = [sys.executable, "-c", program, f"{home.url}/good", str(tmp_path / "a")]
    child = subprocess.Popen(call, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    part = tmp_path / "a.part"
    end = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= 8000) and time.monotonic() < end:
        time.sleep(0.01)
    child.kill()
    child.wait()
    begin = part.stat().st_size
    assert 8000 <= begin < len(TEXT)
    home.pause = 0
    get(home, tmp_path / "a")
    assert home.asked[1:] == [("/good", f"bytes={begin}-")]
    assert (tmp_path / "a").read_bytes() == TEXT


def test_waiting_for_another_process_has_an_end(home: Home, tmp_path: Path) -> None:
    held = threading.Event()
    with download._claimed(tmp_path / "a", time.monotonic() + 9, 9):
        held.set()
        with pytest.raises(EnvironmentFailure, match="another process downloads it"):
            get(home, tmp_path / "a", longest=0.3)
    get(home, tmp_path / "a")


@pytest.mark.parametrize("by", ["variable", "option"])
def test_offline_asks_nobody(
    home: Home, cache: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    offer(monkeypatch, home.url + "/good")
    monkeypatch.setenv(download.OFFLINE, "1" if by == "variable" else "0")
    option = ["--offline"] if by == "option" else []
    done = CliRunner().invoke(
        cli, ["evaluate", "gru", "--task", "time_machine", "--steps", "1", *option]
    )
    assert isinstance(done.exception, EnvironmentFailure)
    assert "offline" in done.exception.hint.lower()
    assert home.url in done.exception.hint
    assert home.asked == []
    assert not (cache / "data").exists()


@pytest.mark.parametrize("name", sorted(registry.DATA_SETS))
def test_offline_no_data_set_asks_anybody(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(download.OFFLINE, "1")
    monkeypatch.setattr(sys, "path", [])  # no package that may hold the data

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr("socket.create_connection", refuse)
    read = registry.read_arrays if registry.get(name).files[0].path.endswith("z") else None
    if name == "mnist1d":
        assert registry.read_arrays(name)["y"].shape == (5000,)
        return
    assert registry.to_download(name) == ()
    assert registry.state(name).startswith("missing: offline, download")
    with pytest.raises(EnvironmentFailure, match="is not here") as caught:
        (read or registry.read_text)(name)
    assert "--offline" in caught.value.hint


def test_a_local_copy_comes_first(home: Home, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, home.url + "/nothing")
    local = cache / "mine" / "text" / "timemachine.txt"
    local.parent.mkdir(parents=True)
    local.write_bytes(TEXT)
    monkeypatch.setenv(registry.VARIABLE, str(cache / "mine"))
    assert registry.read_text("timemachine").encode() == TEXT
    assert not (cache / "data").exists()


def test_tasks_say_what_would_be_downloaded(
    home: Home, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, home.url + "/good")
    listed = {
        row["name"]: row for row in json.loads(CliRunner().invoke(cli, ["tasks", "--json"]).output)
    }
    assert listed["time_machine"]["download"] == [home.url + "/good"]
    assert listed["time_machine"]["download_bytes"] == len(TEXT)
    assert not listed["time_machine"]["available"]
    assert len(listed["pixels"]["download"]) == 4
    assert listed["mnist1d"]["available"]
    table = CliRunner().invoke(cli, ["tasks"]).output
    assert "download 0.0 MB" in table
    assert "http" not in table
    assert home.url + "/good" in registry.description("timemachine")
    registry.read_text("timemachine")
    described = {info.name: info for info in tasks.describe()}
    assert described["time_machine"].missing == ""
    assert described["time_machine"].data == "there"
    assert described["time_machine"].download == ()
    monkeypatch.setenv(download.OFFLINE, "1")
    assert {info.name: info for info in tasks.describe()}["jsb"].download == ()


def test_every_plain_download_is_the_local_file(data_folder: Path) -> None:
    """Size and checksum of the table are those of the content that the local copy has."""
    offered = [
        (name, number, source.remote)
        for name, row in registry.DATA_SETS.items()
        for number, file in enumerate(row.files)
        for source in file.sources
        if source.remote is not None and source.read is whole
    ]
    assert len(offered) >= 4
    for name, number, remote in offered:
        content = registry.read_text(name, number).encode("utf-8")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert (len(content), digest) == (remote.size, remote.checksum), name


def test_every_download_is_bounded_checked_and_over_https() -> None:
    for name, row in registry.DATA_SETS.items():
        for file in row.files:
            assert file.sources, name
            for source in file.sources:
                remote = source.remote
                if remote is None:
                    continue
                assert all(url.startswith("https://") for url in remote.urls)
                assert 0 < (remote.size or remote.most) <= 1 << 24
                # Either our own checksum of the content decides, or one that somebody published.
                assert source.same or (remote.checksum and remote.published), name
                assert not os.path.isabs(remote.path)
