"""The one writer of files: whole or not at all, on the disk before it has its name, clean after a
failure.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cellsearch import files
from cellsearch.errors import EnvironmentFailure, InputFileError
from cellsearch.files import cache_folder, replacing, write_atomically


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "best.cell"
    for data in ("long text\n" * 100, "short\r\n", b"\x00\xff"):
        write_atomically(path, data)
        assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert [p.name for p in path.parent.iterdir()] == ["best.cell"]


def test_what_is_written_is_on_the_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def record_sync(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size == 4
        done.append("fsync")
        sync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        assert source.parent == target.parent, "a rename is one step within a folder only"
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_atomically(tmp_path / "a", "text")
    assert done == ["fsync", "replace"]


@pytest.mark.parametrize("error", [InputFileError("of another kind"), KeyboardInterrupt()])
def test_a_block_left_by_an_error_changes_nothing(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="the table cannot be written: ") as caught:
        write_atomically(tmp_path / "file" / "a", "text", what="table", hint="try elsewhere")
    assert caught.value.where == str(tmp_path / "file" / "a")
    assert caught.value.hint == "try elsewhere"
    (tmp_path / "folder").mkdir()
    with pytest.raises(EnvironmentFailure, match="the file cannot be written: "):
        write_atomically(tmp_path / "folder", "text")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}


def test_a_full_disk(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")

    def write() -> None:
        with replacing(tmp_path / "a") as temporary:
            temporary.unlink()
            temporary.symlink_to(full)
            temporary.write_bytes(b"text")

    with pytest.raises(EnvironmentFailure, match="No space left"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


WRITER = """
import sys
from pathlib import Path
from cellsearch.files import write_atomically
for _ in range(200):
    write_atomically(Path(sys.argv[1]), sys.argv[2] * 20_000)
"""


def test_readers_see_one_of_many_writers_whole(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    path.write_text("a" * 20_000)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "abc"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        text = path.read_text()
        assert len(text) == 20_000
        seen |= set(text)
        assert len(set(text)) == 1
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert seen <= set("abc")
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from cellsearch.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.read_text() == "old"


def test_the_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.setenv("CELLSEARCH_CACHE", "~/a")
    assert cache_folder() == Path.home() / "a"
    monkeypatch.delenv("CELLSEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" / "cellsearch"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "cellsearch"


def test_what_a_killed_process_began_is_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    dead = gone.stdout.strip()
    token = "0123456789abcdef"
    abandoned = tmp_path / f"best.cell.{dead}-{token}.tmp"
    abandoned.touch()
    link = tmp_path / f"report.html.{dead}-{token}.tmp"
    link.symlink_to(tmp_path / "mine.tmp")
    kept = [
        tmp_path / "mine.tmp",
        tmp_path / f"best.cell.{os.getpid()}-{token}.tmp",
        tmp_path / f"best.cell.{dead}-{token}",
        tmp_path / f"best.cell.{dead}-{token[1:]}.tmp",
    ]
    for path in kept:
        path.touch()
    folder = tmp_path / f"folder.{dead}-{token}.tmp"
    folder.mkdir()
    files.remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, folder])
