"""Every data set, from the form in which its home publishes it or a package holds it, to a task."""

from __future__ import annotations

import hashlib
import importlib
import lzma
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache as once
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.http import Home, serving
from support.published import HOMES, Content, Made, sunspot_table, vowel_arrays, vowel_tables

from cellsearch import tasks
from cellsearch.errors import DataWarning, EnvironmentFailure, InputFileError
from cellsearch.tasks.data import download, registry, speech, transfer
from cellsearch.tasks.data.forms import Remote
from cellsearch.tasks.registry import TaskData

TASKS = {tasks.get(name).dataset: name for name in tasks.names() if tasks.get(name).dataset}
DIFFERS = ("eng_fra", "fsdd")
"""Those whose home has other content than our own form."""

made_once = once(lambda name: HOMES[name]())


@pytest.fixture
def home() -> Iterator[Home]:
    with serving(Home()) as found:
        yield found


@pytest.fixture(autouse=True)
def _empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data, no packages that hold some, and downloads allowed."""
    monkeypatch.setattr(transfer, "PAUSES", (0.0,))
    monkeypatch.setenv("CELLSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    monkeypatch.delenv(download.OFFLINE)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def digest(content: Content) -> str:
    if content is None:
        return "0" * 64
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    return registry.arrays_digest(content)


def offer(monkeypatch: pytest.MonkeyPatch, name: str, made: Made, home: Home | None) -> None:
    """Let the row of the table have the checksums of what was made, and its files be at home."""
    contents, packed = made
    row = registry.get(name)
    assert {r.path for r in remotes(name)} == packed.keys()

    def moved(remote: Remote | None) -> Remote | None:
        if remote is None or home is None:
            return remote
        data = packed[remote.path]
        home.files["/" + remote.path] = data
        kind = remote.checksum.partition(":")[0]
        return replace(
            remote,
            urls=(f"{home.url}/{remote.path}",),
            size=len(data) if remote.size else 0,
            checksum=f"{kind}:{hashlib.new(kind, data).hexdigest()}" if kind else "",
        )

    files = tuple(
        replace(
            file,
            sha256=digest(content),
            sources=tuple(
                replace(source, remote=moved(source.remote))
                for source in file.sources
                if not source.package
            ),
        )
        for file, content in zip(row.files, contents, strict=True)
    )
    monkeypatch.setitem(registry.DATA_SETS, name, replace(row, files=files))


def remotes(name: str) -> list[Remote]:
    sources = [source for file in registry.get(name).files for source in file.sources]
    return list(dict.fromkeys(s.remote for s in sources if s.remote is not None))


def loaded(name: str) -> TaskData:
    """The data of the task; where they differ from those of our own form, a warning says so."""
    task = TASKS[name]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = TaskData(task, {}, tasks.get(task).load({}))
    told = [str(w.message) for w in said if issubclass(w.category, DataWarning)]
    assert [w for w in told if "cannot be compared" in w] == (told if name in DIFFERS else [])
    assert bool(told) == (name in DIFFERS)
    return data


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 32]) + data[place + 1 :]


def content(name: str, number: int) -> Any:
    return registry._content(name, number)[0]


def test_the_grid_has_every_data_set() -> None:
    assert set(HOMES) | {"mnist1d"} == set(registry.DATA_SETS) == set(TASKS)


@pytest.mark.parametrize("name", sorted(HOMES))
def test_a_task_is_made_from_what_its_home_offers(
    name: str, home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    made = made_once(name)
    offer(monkeypatch, name, made, home)
    assert registry.state(name).startswith("download")
    assert [r.urls[0] for r in registry.to_download(name)] == [r.urls[0] for r in remotes(name)]
    data = loaded(name)
    said = capfd.readouterr()
    assert said.out == ""
    assert registry.get(name).licence in said.err
    assert sorted(home.asked) == sorted((f"/{r.path}", "") for r in remotes(name))
    task = data.create()
    assert next(iter(task.batches("train", 0))).x.numel()
    assert next(iter(task.batches("test", 0))).x.numel()
    folder = download.data_cache()
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert kept == {remote.path for remote in remotes(name)}
    monkeypatch.setenv(download.OFFLINE, "1")
    again = loaded(name).arrays
    assert all(np.array_equal(again[key], value) for key, value in data.arrays.items())
    assert registry.state(name) == "there"
    assert len(home.asked) == len(remotes(name))
    if name not in DIFFERS:
        for number, expected in enumerate(made[0]):
            if expected is not None:
                assert digest(content(name, number)) == digest(expected)


@pytest.mark.parametrize(
    "trouble", ["cut", "page", "shorter", "longer", "flipped", "another", "404"]
)
@pytest.mark.parametrize("name", sorted(HOMES))
def test_whatever_else_the_home_sends_is_never_kept(
    name: str, trouble: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, name, made_once(name), home)
    path = f"/{remotes(name)[0].path}"
    good = home.files[path]
    if trouble == "cut":  # the rest comes with the second attempt
        home.cut, home.cuts = len(good) // 2, 1
        loaded(name)
        assert (path, f"bytes={len(good) // 2}-") in home.asked
        return
    other = {
        "page": b"<!doctype html><html><body>Please accept our cookies</body></html>",
        "shorter": good[: len(good) * 2 // 3],
        "longer": good + good,
        "flipped": flipped(good, len(good) // 2),
        "another": good[::-1],
    }
    if trouble == "404":
        del home.files[path]
    else:
        home.files[path] = other[trouble]
    if trouble == "longer" and not remotes(name)[0].checksum:
        loaded(name)  # an archive may follow other bytes: what is read has the right checksum
        return
    kind = EnvironmentFailure if trouble == "404" else InputFileError
    with pytest.raises(kind) as caught:
        loaded(name)
    assert home.url in str(caught.value)
    assert str(download.data_cache() / path[1:]) in caught.value.hint
    assert not [p for p in download.data_cache().rglob("*") if p.is_file()]
    home.files[path] = good
    loaded(name)


@pytest.mark.parametrize("name", sorted(HOMES))
def test_a_damaged_file_among_the_downloads_is_refused(
    name: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, name, made_once(name), home)
    loaded(name)
    path = download.data_cache() / remotes(name)[0].path
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputFileError) as caught:
        loaded(name)
    assert str(path) in str(caught.value)
    assert "delete it and get it again" in caught.value.hint
    path.unlink()
    loaded(name)


@pytest.mark.parametrize("name", sorted(HOMES))
def test_published_files_that_were_put_there_by_hand_are_read(
    name: str, home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, name, made_once(name), home)
    for path, data in made_once(name)[1].items():
        (tmp_path / "mine" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / path).write_bytes(data)
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "mine"))
    loaded(name)
    assert home.asked == []
    assert str(tmp_path / "mine") in registry.description(name)


@pytest.mark.parametrize("name", sorted(registry.DATA_SETS))
def test_the_description_says_all_that_is_needed(name: str) -> None:
    row = registry.get(name)
    said = registry.description(name)
    for part in (row.licence, row.origin, registry.VARIABLE, row.content):
        assert part in said
    for remote in remotes(name):
        assert all(url in said for url in remote.urls)
        assert not remote.checksum or not remote.published or remote.checksum in said
    assert len(registry.state(name)) < 40


# -- packages of the registries --------------------------------------------------------------------


def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str]) -> None:
    """A package whose import would fail, with files in its folder; no other has any data."""
    for path, text in files.items():
        place = tmp_path / "site" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        root = tmp_path / "site" / Path(path).parts[0] / "__init__.py"
        root.write_text("raise SystemExit('imported')\n")
    elsewhere = [place for place in sys.path if not place.endswith(("-packages", "site"))]
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *elsewhere])
    importlib.invalidate_caches()


@pytest.mark.parametrize("package", ["aeon", "sktime", "statsmodels"])
def test_data_inside_a_package_are_read_without_importing_it(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "sunspots" if package == "statsmodels" else "japanese_vowels"
    arrays, table = sunspot_table()
    files = (
        vowel_tables()
        if name == "japanese_vowels"
        else {"datasets/sunspots/src/sunspots_monthly.dat": table}
    )
    expected = vowel_arrays() if name == "japanese_vowels" else arrays
    row = registry.get(name)
    file = replace(row.files[0], sha256=digest(expected))
    monkeypatch.setitem(registry.DATA_SETS, name, replace(row, files=(file,)))
    monkeypatch.setenv(download.OFFLINE, "1")
    install(monkeypatch, tmp_path, {})
    with pytest.raises(EnvironmentFailure) as caught:
        registry.read_arrays(name)
    assert "cellsearch[data]" in caught.value.hint
    install(monkeypatch, tmp_path, {f"{package}/{path}": text for path, text in files.items()})
    assert registry.state(name) == "there"
    assert digest(registry.read_arrays(name)) == digest(expected)
    TaskData(TASKS[name], {}, tasks.get(TASKS[name]).load({})).create()
    damaged = {f"{package}/{path}": text[: len(text) // 2] for path, text in files.items()}
    install(monkeypatch, tmp_path, damaged)
    with pytest.raises(InputFileError):
        registry.read_arrays(name)


@pytest.mark.parametrize("package", ["aeon", "sktime", "statsmodels"])
def test_the_real_package_holds_the_real_data(package: str) -> None:
    """By the checksum of the table, which was computed from other copies."""
    spec = find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed (pip install 'cellsearch[data]')")
    name = "sunspots" if package == "statsmodels" else "japanese_vowels"
    assert digest(registry.read_arrays(name)) == registry.get(name).files[0].sha256


def test_mnist1d_is_made_here_and_is_the_published_one() -> None:
    """Its checksum was computed from the published data."""
    assert registry.state("mnist1d") == "there"
    task = TaskData("mnist1d", {}, tasks.get("mnist1d").load({})).create()
    assert next(iter(task.batches("train", 0))).x.shape[0] == 40


# -- coefficients of speech ------------------------------------------------------------------------


def test_frames_are_those_of_the_recordings_of_our_own_form(data_folder: Path) -> None:
    """The local file was made elsewhere: its lengths say which windows were used."""
    import json

    index = json.loads(lzma.decompress((data_folder / "speech/fsdd_index.json.xz").read_bytes()))
    lens = registry.read_arrays("fsdd")["lens"]
    assert [1 + (n - 200) // 80 for n in index["lens"]] == lens.tolist()


def test_coefficients_tell_tones_apart_and_follow_loudness() -> None:
    samples = np.sin(2 * np.pi * 440 / 8000 * np.arange(2000))
    low, loud = speech.mfcc(0.1 * samples), speech.mfcc(0.2 * samples)
    high = speech.mfcc(0.1 * np.sin(2 * np.pi * 1760 / 8000 * np.arange(2000)))
    assert low.shape == (1 + (2000 - 200) // 80, 13)
    # Twice as loud: log 4 more in each filter, which only the first coefficient sees.
    assert np.allclose(loud[:, 0] - low[:, 0], np.log(4) * np.sqrt(26), atol=0.05)
    assert np.allclose(loud[:, 1:], low[:, 1:], atol=0.05)
    assert np.abs(high - low)[:, 1:].mean() > 1
