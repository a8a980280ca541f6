"""Runs beside one another: which are one group, best scores over trials, seconds and compute, the
tests, the shared cells; the command with its page and its figure.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import cellsearch as cs
from cellsearch.errors import ConfigError
from cellsearch.finals.statistics import holm, rank_test
from cellsearch.runs.compute import Meter
from cellsearch.testing.noop import EVALUATION

SEEDS = range(4)
STRATEGIES = ("random", "genetic", "grow")
EVIL = '<img src=x onerror="alert(1)">'


def search(folder: Path, **changes: object) -> Path:
    """A search whose trainings do nothing; scores are chance."""
    values = {"space": "tiny", "trials": 10, "workers": 0, "training.steps": 20, **changes}
    experiment = cs.load_experiment("parity", values)
    with (
        cs.Search.open(folder, experiment) as opened,
        cs.InProcess(evaluation=EVALUATION) as executor,
    ):
        opened.run(executor)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs")
    for seed in SEEDS:
        for strategy in STRATEGIES:
            search(made / f"{strategy}-{seed}", strategy=strategy, seed=seed)
    return made


def best(run: cs.Run, count: int) -> float:
    """The best score of the first ``count`` trials that count, baselines left out."""
    trials = [t for t in run.trials if not (t.is_baseline or t.is_rejected or t.is_imported)]
    return min((t.standing for t in trials[:count]), default=math.inf)


def test_runs_that_differ_by_seed_alone_are_a_group(folder: Path) -> None:
    found = cs.compare(folder)
    assert {group.name for group in found.groups} == set(STRATEGIES)
    for group in found.groups:
        assert [run.seed for run in group.runs] == list(SEEDS)
        assert all(Path(run.path).name.startswith(group.name) for run in group.runs)
    assert found.control == "random"
    assert found.notes == ()


def test_best_scores_are_those_of_the_trials(folder: Path) -> None:
    found = cs.compare(folder)
    for group in found.groups:
        for run in group.runs:
            opened = cs.open_run(run.path)
            course = [run.best(float(count)) for count in range(9)]
            assert course == [best(opened, count) for count in range(9)]
            assert course[0] == math.inf
            assert run.end == run.trials == 8
    by_time = cs.compare(folder, by="seconds")
    assert by_time.at == min(run.end for group in by_time.groups for run in group.runs)
    ends = [run for group in by_time.groups for run in group.runs]
    assert all(run.best(run.end) == best(cs.open_run(run.path), 8) for run in ends)


def test_compute_counts_steps_times_multiply_adds(folder: Path) -> None:
    run = cs.open_run(folder / "grow-0")
    (group,) = cs.compare(run, by="compute").groups
    meter = Meter.of(run.experiment, run.load_arrays())
    costs = {t.number: meter.work(t) for t in run.trials if not t.is_baseline}
    assert group.runs[0].end == pytest.approx(sum(costs.values()))
    winner = run.best().trial.number
    until = sum(cost for number, cost in costs.items() if number <= winner)
    assert group.runs[0].points[-1] == (pytest.approx(until), run.best().score)
    hidden, task = 128, run.experiment
    lstm = meter.full(cs.zoo.load("lstm")) / task.training.steps
    hidden = task.training.hidden_size
    assert lstm >= 4 * hidden * (hidden + 2)  # its products, and a readout


def test_groups_are_tested_against_the_control_with_correction(folder: Path) -> None:
    found = cs.compare(folder, against="grow", at=6)
    scores = {group.name: group.scores(6) for group in found.groups}
    others = [name for name in STRATEGIES if name != "grow"]
    expected = holm([rank_test(scores[name], scores["grow"]) for name in others])
    p = {group.name: group.p for group in found.groups}
    assert [p[name] for name in others] == pytest.approx(expected)
    assert math.isnan(p["grow"])
    means = [sum(group.scores(6)) / len(SEEDS) for group in found.groups]
    assert means == sorted(means)
    assert all(any(name in text for text in found.sentences) for name in others)


def test_few_seeds_are_said_to_be_too_few(folder: Path) -> None:
    found = cs.compare(*(folder / f"{name}-{seed}" for name in STRATEGIES for seed in (0, 1)))
    assert all(not group.p < 0.3 for group in found.groups)
    assert any("smallest possible p" in text for text in found.sentences)
    alone = cs.compare(folder / "random-0", folder / "grow-0")
    assert all(math.isnan(group.p) for group in alone.groups)
    assert any("other seeds" in text for text in alone.sentences)


def test_shared_cells_are_those_with_one_key(folder: Path) -> None:
    found = cs.compare(folder)
    runs = defaultdict(set)
    for path in folder.iterdir():
        for trial in cs.open_run(path).trials.ranked:
            if not trial.is_baseline:
                runs[trial.genome.key].add(str(path))
    shared = {key for key, them in runs.items() if len(them) > 1}
    assert shared
    assert {cell.genome.key for cell in found.shared} == shared
    assert found.cells == len(runs)
    for cell in found.shared:
        assert {path for path, _, _ in cell.found} == runs[cell.genome.key]
        for path, number, score in cell.found:
            trial = cs.open_run(path).trials[number]
            assert (trial.genome.key, trial.score) == (cell.genome.key, score)


def test_what_else_differs_is_in_the_name_or_in_a_note(folder: Path, tmp_path: Path) -> None:
    long = search(tmp_path / "a", strategy="random", seed=0, **{"training.steps": 30})
    found = cs.compare(folder / "random-0", folder / "random-1", long)
    names = {group.name: len(group.runs) for group in found.groups}
    assert names == {"random, training.steps=20": 2, "random, training.steps=30": 1}
    other = search(tmp_path / "b", strategy="grow", seed=9, **{"training.steps": 30})
    noted = cs.compare(folder / "random-0", other)
    assert [group.name for group in noted.groups if "," in group.name] == []
    assert any("training.steps" in note for note in noted.notes)


def test_more_trials_of_the_same_search_are_the_same_group(folder: Path, tmp_path: Path) -> None:
    more = search(tmp_path / "more", strategy="random", seed=7, trials=14)
    found = cs.compare(folder / "random-0", more)
    assert [len(group.runs) for group in found.groups] == [2]
    assert found.at == 8
    assert any("has 8 trials" in note for note in found.notes)


def test_what_cannot_be_compared_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder / "random-0", tmp_path / "copy")
    other = search(tmp_path / "other", task="copy", seed=1)
    with pytest.raises(ConfigError, match="the same search with the same seed"):
        cs.compare(folder / "random-0", copy)
    with pytest.raises(ConfigError, match="scored on something else: task is"):
        cs.compare(folder / "random-0", other)
    with pytest.raises(ConfigError, match="unknown axis 'weeks'"):
        cs.compare(folder, by="weeks")
    with pytest.raises(ConfigError, match="unknown group 'darts'"):
        cs.compare(folder, against="darts")
    with pytest.raises(ConfigError, match="has 8 trials only"):
        cs.compare(folder, at=9)


def test_the_command_prints_and_writes(
    folder: Path, tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    page, figure = tmp_path / "page.html", tmp_path / "curves.svg"
    code, out, err = call("compare", folder, "-o", page, "--figure", figure)
    assert (code, err) == (0, "")
    assert "random (control)" in out
    assert "p (Holm)" in out
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert not re.search(r"""(src|href)=["']?http""", text)
    ElementTree.fromstring(figure.read_text("utf-8"))
    assert 'width="84mm"' in figure.read_text("utf-8")
    code, _, err = call("compare", folder, "-o", page)
    assert (code, "--force" in err) == (2, True)
    code, out, _ = call("compare", folder, "--json")
    found = json.loads(out)
    assert code == 0
    assert {g["name"] for g in found["groups"]} == set(STRATEGIES)
    assert len(found["groups"][0]["runs"][0]["points"]) > 0


def test_hostile_names_stay_text(folder: Path, tmp_path: Path) -> None:
    evil = tmp_path / f"{EVIL}\x1b[31m".replace("/", "")
    paths = [evil / "a", evil / "b"]
    for k, path in enumerate(paths):
        shutil.copytree(folder / f"random-{k}", path)
    found = cs.compare(*paths, folder / "grow-0")
    for html in (found.to_html(), found._repr_html_()):
        assert "<img" not in html
        assert "&lt;img" in html
