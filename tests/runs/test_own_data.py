"""A run belongs to its owner, not to a folder: it knows its data by what they hold, and finds them,
or is told where they lie, by every command that reads them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cellsearch as cs
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import CellsearchError, ConfigError, RunError
from cellsearch.options import render_toml
from cellsearch.store import Store
from cellsearch.tasks import arrays
from cellsearch.tasks.own_data import data_options, with_data
from cellsearch.training import results

SETTINGS = {
    "strategy": "random",
    "space": "tiny",
    "trials": 3,
    "workers": 0,
    "baselines": ["gru"],
    "training": {"steps": 4, "hidden_size": 6, "evaluations": 1, "batch_size": 4},
}
SUITE = {
    "name": "ours",
    "seeds": [1],
    "aggregation": "mean",
    "training": {"hidden_size": 6, "learning_rate": 0.02, "batch_size": 4},
    "tasks": [
        {"name": "a", "task": "char_lm", "steps": 20, "chance": 5.0, "options": {"text": "data"}},
        {"name": "b", "task": "copy", "steps": 20, "chance": 2.08, "options": {"delay": 1}},
    ],
}


def text(seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("abcdef \n"), 9000))


def write_text(path: Path, seed: int = 0) -> Path:
    path.write_bytes(text(seed).encode())
    return path


def write_arrays(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 5, 2))
    arrays.save(cs.tasks.from_arrays(x, (x[:, :, 0].sum(1) > 0).astype(int)), path)
    return path


@dataclass(frozen=True)
class Kind:
    """A task whose data are a file."""

    write: Callable[..., Path]
    task: str
    options: dict[str, Any]
    key: str


KINDS = {
    "text": Kind(write_text, "char_lm", {"text": "data"}, "task_options.text"),
    "arrays": Kind(write_arrays, "arrays", {"path": "data"}, "task_options.path"),
    "suite": Kind(write_text, "suite:ours.toml", {}, ""),
}


@dataclass
class Place:
    """A folder with an experiment file, its data and its run."""

    folder: Path
    kind: Kind

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def search(self, *more: str) -> int:
        file = str(self.folder / "mine.toml")
        return guarded(cli, ["search", file, "--run", str(self.run), "--plain", *more])


@pytest.fixture(scope="module", params=sorted(KINDS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that was searched from its own folder, with a relative path."""
    kind = KINDS[request.param]
    folder = tmp_path_factory.mktemp("home")
    kind.write(folder / "data")
    document = {**SETTINGS, "name": "mine", "task": kind.task, "task_options": kind.options}
    if request.param == "suite":
        (folder / "ours.toml").write_text(render_toml(SUITE), "utf-8")
        document.pop("training")
        document.pop("task_options")
    (folder / "mine.toml").write_text(render_toml(document), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "cache_folder", lambda: folder / "cache")
        patch.chdir(folder)
        assert guarded(cli, ["search", "mine.toml", "--run", "run", "--plain"]) == 0
    return Place(folder, kind)


@pytest.fixture
def place(made: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of it on another machine, so to speak, while somebody stands elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(results, "cache_folder", lambda: made.folder / "cache")
    copy = shutil.copytree(made.folder, tmp_path / "copy")
    forget_places(copy / "run")
    return Place(copy, made.kind)


def forget_places(run: Path, *, keep_relative: bool = False) -> None:
    """As if the run came from another machine: where its data have lain is nowhere here."""
    with Store.open(run) as store:
        changed = {key: {**one, "places": ["/nowhere/data"]} for key, one in store.data.items()}
        if keep_relative:
            for key, one in store.data.items():
                changed[key]["places"] += [p for p in one["places"] if not p.startswith("/")]
        store.remember_data(changed)


def as_before(run: Path) -> None:
    """As version 0.1 left it: without a digest."""
    with Store.open(run) as store:
        store.remember_data({})


def digest(run: Path) -> str:
    with Store.read(run) as store:
        (known,) = store.data.values()
    return str(known["digest"])


def loaded(run: Path, data: Any = None) -> None:
    assert cs.open_run(run, data=data).load_arrays()


# -- finding ---------------------------------------------------------------------------------------


def test_data_that_lie_still_are_found_from_any_folder(
    made: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded(made.run)
    moved = Path(shutil.copytree(made.run, tmp_path / "run"))
    loaded(moved)  # where they lay at the time


@pytest.mark.parametrize("where", ["run", "current folder"])
def test_they_are_found_beside(place: Place, where: str) -> None:
    target = Path("data") if where == "current folder" else place.run / "data"
    shutil.move(place.data, target)
    loaded(place.run)


def test_what_is_nowhere_is_named_with_places_and_digest(place: Place) -> None:
    place.data.unlink()
    with pytest.raises(ConfigError) as caught:
        loaded(place.run)
    said = str(caught.value)
    for part in ("'data'", digest(place.run), str(Path("data").absolute()), "/nowhere/data"):
        assert part in said
    assert str((place.run / "data").absolute()) in said
    assert "--data" in caught.value.hint


def test_other_data_in_its_place_are_refused_with_both_digests(place: Place) -> None:
    expected = digest(place.run)
    place.kind.write(Path("data"), seed=1)
    with pytest.raises(RunError, match="other data") as caught:
        loaded(place.run)
    assert expected in str(caught.value)
    assert len(set(str(caught.value).split()) & {expected}) == 1
    with pytest.raises(RunError, match=f"have {expected}"):
        loaded(place.run, "data")
    assert place.search("--set", "trials=4", "--data", "data") == 4


@pytest.mark.parametrize("form", ["text", "path", "list", "by option"])
def test_python_says_where_they_lie(place: Place, tmp_path: Path, form: str) -> None:
    moved = Path(shutil.move(place.data, tmp_path / "a b'c;$(x)=1"))
    (key,) = cs.open_run(place.run).remembered
    data = {"text": str(moved), "path": moved, "list": [moved], "by option": {key: moved}}[form]
    loaded(place.run, data)


def test_a_project_that_was_copied_whole_is_found_whole(
    made: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    copy = Path(shutil.copytree(made.folder, tmp_path / "deep" / "copy"))
    forget_places(copy / "run", keep_relative=True)
    loaded(copy / "run")
    loaded(Path("deep/copy/run"))


# -- going on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
def test_data_replaced_while_the_run_is_open_are_refused(
    place: Place, tmp_path: Path, begun: bool
) -> None:
    experiment = cs.load_experiment(place.folder / "mine.toml")
    with cs.Search.open(place.run if begun else tmp_path / "new", experiment) as search:
        place.kind.write(place.data, seed=5)
        with pytest.raises(RunError, match=r"replaced while the run was open: .*data has the dig"):
            search.prepare()
        place.kind.write(place.data)
        assert search.prepare().arrays


def test_a_search_goes_on_from_another_folder(place: Place) -> None:
    assert place.search("--set", "trials=5") == 0  # beside the experiment file
    assert len(cs.open_run(place.run).trials) == 5


def test_a_search_goes_on_with_data_moved(place: Place, tmp_path: Path) -> None:
    moved = shutil.move(place.data, tmp_path / "moved")
    assert place.search("--set", "trials=5") == 2
    assert place.search("--set", "trials=5", "--data", str(moved)) == 0
    assert len(cs.open_run(place.run).trials) == 5
    loaded(place.run)  # it has seen them there
    assert place.search("--set", "trials=6") == 0


def test_another_path_in_the_experiment_is_the_same_experiment(
    place: Place, tmp_path: Path
) -> None:
    if not place.kind.key:
        pytest.skip("the paths of a suite stand in its file")
    moved = shutil.move(place.data, tmp_path / "moved")
    before = (place.run / "experiment.toml").read_text("utf-8")
    assert place.search("--set", f"{place.kind.key}={moved}", "--set", "trials=5") == 0
    after = (place.run / "experiment.toml").read_text("utf-8")
    assert after == before.replace("trials = 3", "trials = 5")
    other = place.kind.write(tmp_path / "other", seed=1)
    assert place.search("--set", f"{place.kind.key}={other}", "--set", "trials=6") == 4


def test_equal_data_packed_otherwise_are_the_same(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "other"
    if place.kind is KINDS["arrays"]:
        with np.load(place.data) as held:
            np.savez(other.with_suffix(".npz"), **held)
        other = other.with_suffix(".npz")
    else:
        other.write_bytes(b"\xef\xbb\xbf" + place.data.read_bytes().replace(b"\n", b"\r\n"))
    place.data.unlink()
    assert other.read_bytes()
    assert place.search("--set", "trials=4", "--data", str(other)) == 0


def test_trials_are_imported_whatever_the_path(place: Place, tmp_path: Path) -> None:
    moved = Path(shutil.move(place.data, tmp_path / "moved"))
    new = ["search", str(place.folder / "mine.toml"), "--plain", "--import", str(place.run)]
    assert guarded(cli, [*new, "--run", str(tmp_path / "new"), "--data", str(moved)]) == 0
    assert sum(trial.is_imported for trial in cs.open_run(tmp_path / "new").trials)
    other = place.kind.write(tmp_path / "other", seed=1)
    assert guarded(cli, [*new, "--run", str(tmp_path / "newer"), "--data", str(other)]) == 4


def test_a_higher_rung_goes_on_from_a_checkpoint_with_data_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def experiment(path: str) -> cs.Experiment:
        settings = {"task": "char_lm", "task_options.text": path, "schedule": "halving"}
        flat = {f"training.{key}": value for key, value in SETTINGS["training"].items()}
        more = {"training.steps": 40, "trials": 8, "strategy": "random", "space": "tiny"}
        return cs.load_experiment("parity", settings | flat | more | {"deterministic": True})

    def row(run: Path) -> list[Any]:
        return [(t.number, t.score, len(t.rungs)) for t in cs.open_run(run).trials]

    monkeypatch.chdir(tmp_path)
    write_text(Path("data"))
    with cs.Search.open("whole", experiment("data")) as search:
        search.run(cs.InProcess())
    with cs.Search.open("cut", experiment("data")) as search:
        count = 0

        def stop(event: object) -> None:
            nonlocal count
            count += 1
            if count == 9:
                search.stop()

        search.run(cs.InProcess(), stop)
    shutil.move("data", "moved")
    with cs.Search.open("cut", experiment("moved")) as search:
        search.run(cs.InProcess())
    assert row(Path("cut")) == row(Path("whole"))


def test_a_run_that_has_no_trial_yet_binds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text("a,b\n1,2\n", "utf-8")
    write_arrays(Path("data.npz"))
    flat = [f"training.{key}={value}" for key, value in SETTINGS["training"].items()]
    settings = [word for one in (*flat, "trials=1", "task=arrays") for word in ("--set", one)]
    command = ["search", "quickstart", "--run", "run", "--workers", "0", "--plain", *settings]
    assert guarded(cli, [*command, "--data", "table.csv"]) == 3
    assert guarded(cli, [*command, "--data", "data.npz"]) == 0


# -- runs of before --------------------------------------------------------------------------------


def test_a_run_of_before_goes_on_and_takes_data(place: Place, tmp_path: Path) -> None:
    as_before(place.run)
    assert place.search("--set", "trials=4") == 0  # as it did: the path it was given
    assert digest(place.run)
    as_before(place.run)
    moved = shutil.move(place.data, tmp_path / "moved")
    with pytest.raises(ConfigError, match="not known"):
        loaded(place.run)
    loaded(place.run, moved)
    if place.kind.key:
        assert place.search("--set", f"{place.kind.key}={moved}", "--set", "trials=5") == 4
    assert place.search("--set", "trials=5", "--data", str(moved)) == 0
    loaded(place.run)


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["generate", "RUN:0", "--length", "5"],
        ["diagnose", "RUN:0", "--positions", "3", "--examples", "2"],
        ["finals", "RUN", "--top", "1", "--seeds", "2", "--steps", "2", "--hidden", "90"],
        ["export", "RUN:0", "--to", "source", "-o", "OUT/cell.py", "--precision", "int8"],
        ["export", "RUN:0", "--to", "state-dict", "-o", "OUT/w.pt", "--precision", "float16"],
    ],
    ids=lambda command: command[0],
)
def test_each_command_takes_data_and_names_it(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    if place.kind is KINDS["suite"] or (command[0] == "generate" and place.kind.task != "char_lm"):
        pytest.skip("there are no such models")
    out = tmp_path / "out"
    out.mkdir()
    words = [w.replace("RUN", str(place.run)).replace("OUT", str(out)) for w in command]
    moved = shutil.move(place.data, tmp_path / "moved")
    capsys.readouterr()
    assert guarded(cli, words) == 2
    assert "--data" in capsys.readouterr().err
    assert list(out.iterdir()) == []
    other = place.kind.write(tmp_path / "other", seed=1)
    assert guarded(cli, [*words, "--data", str(other)]) == 4
    assert digest(place.run) in capsys.readouterr().err
    assert list(out.iterdir()) == []
    assert guarded(cli, [*words, "--data", str(moved)]) == 0


def test_evaluate_takes_data_for_any_cell(place: Place, tmp_path: Path) -> None:
    moved = shutil.move(place.data, tmp_path / "moved")
    if place.kind is KINDS["suite"]:
        command = ["evaluate", "gru", "--suite", str(place.folder / "ours.toml")]
    else:
        command = ["evaluate", f"{place.run}:0", "--task", place.kind.task, "--steps", "2"]
        command += ["--hidden", "4"]
    assert guarded(cli, command) == 2 or place.kind is KINDS["text"]
    assert guarded(cli, [*command, "--data", str(moved)]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "gru"],
        ["export", "gru", "--to", "json", "-o", "out.json"],
        ["evaluate", "gru", "--task", "parity"],
        ["search", "parity"],
        ["search", "quickstart", "--dry-run", "--data", "b.text=data"],
    ],
)
def test_data_that_nobody_reads_are_refused(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    extra = [] if "--data" in words else ["--data", "data"]
    code = guarded(cli, [*words, *extra])
    assert code == (0 if "--dry-run" in words else 2)
    assert not Path("out.json").exists()


@pytest.mark.parametrize("what", ["missing", "fifo", "long", "nul", "closed", "large"])
def test_what_cannot_be_data_is_refused_in_words(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = {"long": "x" * 5000, "nul": "a\0b"}.get(what, what)
    if what == "fifo":
        os.mkfifo(path)
    if what == "large":
        with open(path, "wb") as file:
            file.truncate((1 << 30) + 1)
    if what == "closed":
        write_text(Path(path)).chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
    code = guarded(cli, ["search", "quickstart", "--workers", "0", "--run", "r", "--data", path])
    assert code in (2, 3)
    assert "internal" not in capsys.readouterr().err


# -- which options ---------------------------------------------------------------------------------


def test_paths_are_found_by_type_in_tasks_and_suites() -> None:
    assert set(data_options("char_lm", {})) == {"text"}
    assert set(data_options("arrays", {})) == {"path"}
    assert set(data_options("parity", {})) == set()
    assert set(data_options("suite", SUITE)) == {"a.text"}
    changed = with_data("suite", SUITE, "here")
    assert changed["tasks"][0]["options"] == {"text": "here"}
    assert changed["tasks"][1] == SUITE["tasks"][1]
    assert SUITE["tasks"][0]["options"] == {"text": "data"}


def test_several_paths_are_told_apart() -> None:
    two = {**SUITE, "tasks": [SUITE["tasks"][0], {**SUITE["tasks"][0], "name": "c"}]}
    with pytest.raises(CellsearchError, match=r"a\.text or c\.text"):
        with_data("suite", two, "here")
    changed = with_data("suite", two, ["a.text=here", "c.text=there"])
    assert [task["options"]["text"] for task in changed["tasks"]] == ["here", "there"]
