"""Data sets that are not shipped: found, checked, or refused with a clear error."""

from __future__ import annotations

import lzma
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cellsearch import tasks
from cellsearch.errors import ConfigError, EnvironmentFailure, InputFileError
from cellsearch.tasks.data import registry
from cellsearch.tasks.options import TaskOptions, at_least, one_of, parse_options


@pytest.fixture(autouse=True)
def _nothing_downloaded_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", sorted(registry.DATA_SETS))
def test_every_file_has_the_checked_content(name: str, data_folder: Path) -> None:
    data_set = registry.get(name)
    if registry.available(name):
        pytest.skip(registry.available(name))
    for number, file in enumerate(data_set.files):
        if file.path.endswith(".npz"):
            assert registry.read_arrays(name, number)
        elif "-ubyte" in file.path:
            count = 60_000 if "train" in file.path else 10_000
            shape = (count, 28, 28) if "idx3" in file.path else (count,)
            assert registry.read_idx(name, number, shape).max() == (
                255 if "idx3" in file.path else 9
            )
        else:
            assert registry.read_text(name, number)


def test_without_a_folder_the_error_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    assert registry.available("jsb") == "CELLSEARCH_DATA is not set"
    with pytest.raises(EnvironmentFailure, match="jsb is not here") as caught:
        tasks.get("jsb").load({})
    assert caught.value.exit_code == 6
    for said in (
        "CELLSEARCH_DATA",
        "music/jsb-chorales-quarter.json.xz",
        "https://",
        "list of MIDI notes",
    ):
        assert said in caught.value.hint


def test_a_missing_file_and_a_missing_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    assert "jsb-chorales-quarter.json.xz" in registry.available("jsb")
    with pytest.raises(EnvironmentFailure, match=re.escape(str(tmp_path / "music"))):
        registry.read_text("jsb")
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(EnvironmentFailure, match="not a folder"):
        registry.read_text("jsb")


@pytest.mark.parametrize("kind", ["cut", "flipped", "other", "empty", "text"])
@pytest.mark.parametrize("path", ["music/jsb-chorales-quarter.json.xz", "images/pendigits.npz"])
def test_damaged_files_are_refused(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, kind: str
) -> None:
    whole = (data_folder / path).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    other = lzma.compress(b"{}")
    damaged = {
        "cut": whole[: len(whole) // 2],
        "flipped": bytes(flipped),
        "other": other,
        "empty": b"",
        "text": b"hello\n" * 100,
    }
    target = tmp_path / path
    target.parent.mkdir()
    target.write_bytes(damaged[kind])
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    name, read = (
        ("jsb", registry.read_text) if path.endswith(".xz") else ("pendigits", registry.read_arrays)
    )
    with pytest.raises(InputFileError, match=r"damaged|not the expected one") as caught:
        read(name)
    assert caught.value.exit_code == 3
    assert str(target) in str(caught.value)


def test_what_was_packed_anew_is_accepted(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "music" / "jsb-chorales-quarter.json").write_bytes(
        lzma.decompress((data_folder / "music" / "jsb-chorales-quarter.json.xz").read_bytes())
    )
    with np.load(data_folder / "images" / "pendigits.npz") as stored:
        np.savez(
            tmp_path / "images" / "pendigits.npz", **{name: stored[name] for name in stored.files}
        )
    expected = registry.read_text("jsb")
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    assert registry.available("jsb") == registry.available("pendigits") == ""
    assert registry.read_text("jsb") == expected
    assert registry.read_arrays("pendigits")["y"].shape == (10992,)


def test_a_changed_value_is_found(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with np.load(data_folder / "images" / "pendigits.npz") as stored:
        arrays = {name: np.array(stored[name]) for name in stored.files}
    arrays["y"][5000] = (arrays["y"][5000] + 1) % 10
    (tmp_path / "images").mkdir()
    np.savez(tmp_path / "images" / "pendigits.npz", **arrays)  # type: ignore[arg-type]
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    with pytest.raises(InputFileError, match="not the expected one"):
        registry.read_arrays("pendigits")


def test_nothing_pickled_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    np.savez(tmp_path / "images" / "pendigits.npz", x=np.array([{"a": 1}], dtype=object))
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    with pytest.raises(InputFileError, match="damaged"):
        registry.read_arrays("pendigits")


def test_an_unknown_data_set() -> None:
    with pytest.raises(ConfigError, match="no data set"):
        registry.get("imagenet")


def test_tasks_say_whether_their_data_are_there(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    described = {info.name: info for info in tasks.describe()}
    assert described.keys() == set(tasks.names())
    assert all(info.metric and info.summary and info.source for info in described.values())
    assert described["char_lm"].missing == described["parity"].missing == ""
    assert described["char_lm"].options["tbptt"] == 64
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path))
    shutil.copytree(data_folder / "music", tmp_path / "music")
    described = {info.name: info for info in tasks.describe()}
    assert described["jsb"].missing == ""
    assert "pendigits.npz" in described["pen_digits"].missing


@dataclass(frozen=True, slots=True)
class OldOptions(TaskOptions):
    """Options as tasks of other packages declared them for version 0.1."""

    length: int = 5
    mode: str = "a"

    def check(self) -> None:
        """See the class."""
        TaskOptions.check(self)
        at_least(1, length=self.length)
        one_of(("a", "b"), mode=self.mode)


def test_options_that_were_written_for_version_0_1_are_read_and_checked() -> None:
    assert parse_options(OldOptions, {"length": 3, "mode": "b"}, "old") == OldOptions(32, 3, "b")
    for table, place in (
        ({"length": 0}, "task_options.length: 0 is out of range"),
        ({"mode": "c"}, "task_options.mode: unknown value 'c'"),
        ({"batch_size": 0}, "task_options.batch_size: 0 is out of range"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse_options(OldOptions, table, "old")
        assert f"{caught.value.where}: {caught.value.message}" == place
