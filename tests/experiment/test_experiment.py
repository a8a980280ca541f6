"""Experiments: shipped ones load, the resolved text loads alone, and every mistake is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cellsearch.errors import ConfigError
from cellsearch.experiment import catalog, load_experiment
from cellsearch.job import Training

MINIMAL = 'space = "tiny"\nstrategy = "random"\ntask = "parity"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    "name",
    ["quickstart", "genetic_charlm", "prune_charlm", "grow_charlm", "random_charlm", "parity"],
)
def test_shipped_experiments_load_and_resolve(name: str, tmp_path: Path) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.question.endswith("?")
    assert set(experiment.baselines) >= {"lstm", "gru"}
    resolved = experiment.to_toml()
    again = load_experiment(write(tmp_path, resolved))
    assert again.to_toml() == resolved
    assert (again.strategy, again.schedule, again.training, again.limits) == (
        experiment.strategy,
        experiment.schedule,
        experiment.training,
        experiment.limits,
    )
    assert again.space.full().key == experiment.space.full().key


def test_no_shipped_file_is_forgotten() -> None:
    assert set(catalog.entries(catalog.EXPERIMENTS)) >= {
        "quickstart",
        "prune_charlm",
        "grow_charlm",
        "random_charlm",
        "parity",
    }
    assert set(catalog.entries(catalog.SPACES)) >= {"lstm_gru", "single_state", "tiny"}


def test_what_is_left_out_has_the_documented_default(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, MINIMAL))
    assert experiment.name == "mine"
    assert experiment.trials == 40
    assert experiment.baselines == ("lstm", "gru")
    assert experiment.training == Training()
    assert experiment.schedule.name == "fixed"
    assert not experiment.deterministic


def test_a_space_file_beside_the_experiment_is_found(tmp_path: Path) -> None:
    text = catalog.find(catalog.SPACES, "tiny").text.replace('name = "tiny"', 'name = "own"')
    (tmp_path / "own.toml").write_text(text, "utf-8")
    experiment = load_experiment(write(tmp_path, MINIMAL.replace('"tiny"', '"own.toml"')))
    assert experiment.space.name == "own"


def test_a_name_in_the_current_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "quickstart.toml").write_text(MINIMAL + "trials = 3\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_experiment("quickstart").trials == 3
    assert load_experiment("parity").task == "parity"


def test_values_can_be_replaced() -> None:
    changed = load_experiment(
        "quickstart", {"trials": 5, "training.steps": 7, "limits.seconds": 2, "baselines": ["gru"]}
    )
    assert (changed.trials, changed.training.steps, changed.limits.seconds, changed.baselines) == (
        5,
        7,
        2.0,
        ("gru",),
    )
    assert changed.training.hidden_size == load_experiment("quickstart").training.hidden_size


def test_another_strategy_or_task_starts_from_its_own_options(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        MINIMAL.replace("random", "genetic")
        + "[strategy_options]\npopulation = 3\n[task_options]\nbatch_size = 4\n",
    )
    assert load_experiment(path).strategy.population == 3  # type: ignore[attr-defined]
    changed = load_experiment(path, {"strategy": "random", "task": "copy"})
    assert changed.strategy.name == "random"
    assert dict(changed.task_options) == {}
    assert load_experiment(path, {"strategy": "genetic"}).strategy.population == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        (MINIMAL + "trails = 3", "unknown key 'trails'", "did you mean trials?"),
        (
            MINIMAL + "[training]\nstep = 3",
            "mine.toml: training.step: unknown key 'step'",
            "did you mean steps?",
        ),
        (
            MINIMAL + "[limits]\nhours = 3",
            "limits.hours: unknown key 'hours'",
            "allowed: memory_mb, seconds",
        ),
        (MINIMAL + 'trials = "many"', "mine.toml: trials: 'many' is not a whole number", ""),
        (MINIMAL + "trials = true", "trials: True is not a whole number", ""),
        (MINIMAL + "trials = 0", "trials: 0 is out of range", "a whole number, at least 1"),
        (
            MINIMAL + "deterministic = 1",
            "deterministic: 1 is not true or false",
            "the default is false",
        ),
        (
            MINIMAL + "[training]\nlearning_rate = -1",
            "training.learning_rate: -1 is out of range",
            "above 0",
        ),
        (
            MINIMAL + "[training]\nlearning_rate = nan",
            "training.learning_rate: nan is not a finite number",
            "above 0",
        ),
        (
            MINIMAL + "[training]\nlearning_rate = inf",
            "training.learning_rate: inf is not a finite number",
            "above 0",
        ),
        (
            MINIMAL + "[training]\nsteps = 9223372036854775808",
            "training.steps: 9223372036854775808 is too large",
            "9223372036854775807",
        ),
        (
            MINIMAL + "seed = 9223372036854775808",
            "seed: 9223372036854775808 is too large",
            "9223372036854775807",
        ),
        (MINIMAL + 'name = ""', "name: '' is not a name", "without /"),
        (
            MINIMAL + 'name = "../../elsewhere"',
            "name: '../../elsewhere' is not a name",
            "without /",
        ),
        (MINIMAL + "[training]\nsteps = 1.5", "training.steps: 1.5 is not a whole number", ""),
        (MINIMAL + "training = 3", "training: 3 is not a table", "a table with steps, hidden_size"),
        (
            MINIMAL + 'baselines = "lstm"',
            "baselines: 'lstm' is not a list",
            'a list of zoo cells; the default is ["lstm", "gru"]',
        ),
        (MINIMAL + 'baselines = ["lsmt"]', "baselines: there is no cell 'lsmt'", "lstm"),
        (MINIMAL + "[strategy_options]\npopulation = 3", "population", ""),
        (MINIMAL + "[task_options]\nlenght = 3", "lenght", ""),
        (MINIMAL.replace('"random"', '"randm"'), "'randm'", "random"),
        (MINIMAL.replace('"parity"', '"party"'), "'party'", "parity"),
        (MINIMAL.replace('"tiny"', '"tyni"'), "unknown search space 'tyni'", "did you mean tiny?"),
        (
            MINIMAL.replace('"tiny"', "3"),
            "space: 3 is not text or a table",
            "a name, a path, or a table",
        ),
        (MINIMAL + 'schedule = "asha"', "'asha'", "halving"),
        ('space = "tiny"\nstrategy = "random"\n', "the key task is missing", "task ="),
        ("trials = ", "not valid TOML", "toml.io"),
        # What would stop the first training, or the first proposal, is found before a run begins.
        (
            MINIMAL + '[training]\nbackend = "cuda"',
            "training.backend: there is no backend 'cuda'",
            "allowed: auto, ",
        ),
        (
            MINIMAL + '[training]\nrelaxation = "l1"',
            "training.relaxation: unknown value 'l1'",
            "none, l0",
        ),
        (
            MINIMAL + '[training]\ndtype = "float8"',
            "training.dtype: unknown value 'float8'",
            "float32, float64",
        ),
        (
            MINIMAL + "[training]\nnum_layers = 0",
            "training.num_layers: 0 is out of range",
            "at least 1",
        ),
        (
            MINIMAL + "[training]\ndropout = 1.5",
            "training.dropout: 1.5 is out of range",
            "below 1",
        ),
        (
            MINIMAL + "[training]\nbidirectional = true",
            "training.bidirectional: task parity",
            "set it to false",
        ),
        (
            MINIMAL + "[prefilter]\npositions = 2",
            "prefilter.positions: 2 is out of range",
            "at least 5",
        ),
        (
            MINIMAL.replace('"random"', '"grow"') + '[strategy_options]\nstart = "gruu"',
            "strategy_options.start: ",
            "seed genomes of tiny",
        ),
        (
            MINIMAL.replace('"random"', '"prune"') + '[strategy_options]\nstart = "gruu"',
            "strategy_options.start: ",
            "seed genomes of tiny",
        ),
        (
            MINIMAL.replace('"random"', '"nsga2"')
            + '[strategy_options]\nobjectives = ["score", "share.parity"]',
            "strategy_options.objectives: the objective 'share.parity' is of a task, "
            "but this experiment has no suite",
            "allowed: score, parameters",
        ),
        (
            'space = "tiny"\nstrategy = "nsga2"\ntask = '
            '"suite:long_memory"\n[strategy_options]\nobjectives = ["score", "share.txt"]',
            "'share.txt' is of a task, which the suite does not have",
            "share.text, share.parity",
        ),
    ],
)
def test_mistakes_are_named(text: str, where: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(tmp_path, text))
    assert where in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["quickstrat", "./nosuch.toml", "folder/nosuch", "quickstart.tml"])
def test_an_unknown_experiment_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(name)
    assert "quickstart" in caught.value.hint


@pytest.mark.parametrize(
    ("key", "value"), [("training.nosuch", 1), ("trials", "x"), ("trials.steps", 1), ("nosuch", 1)]
)
def test_wrong_replacements_are_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        load_experiment("quickstart", {key: value})
