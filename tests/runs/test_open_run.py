"""The door to a run: what it holds, what its trained models score, and what it says when something
is not there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import cellsearch as cs
from cellsearch.errors import ConfigError, InputFileError, NoCandidateError, RunError
from cellsearch.job import Outcome
from cellsearch.runs import RunTrial
from cellsearch.runs.locate import locate
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.trial import Failure

EVIL = '<img src=x onerror="alert(1)">&'
SETTINGS = {
    "strategy": "random",
    "space": "tiny",
    "trials": 5,
    "seed": 3,
    "training.steps": 20,
    "training.hidden_size": 8,
    "training.evaluations": 2,
    "task_options.batch_size": 8,
}


def search(folder: Path, **changes: object) -> Path:
    experiment = cs.load_experiment("parity", {**SETTINGS, **changes})
    with Search.open(folder, experiment) as opened, cs.InProcess() as executor:
        opened.run(executor)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return search(tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture
def run(folder: Path) -> cs.Run:
    return cs.open_run(folder)


def test_it_holds_experiment_trials_and_counts(run: cs.Run, folder: Path) -> None:
    assert run.path == folder
    assert run.experiment.strategy.name == "random"
    assert run.experiment.training.hidden_size == run.declared["training"]["hidden_size"] == 8
    assert [trial.number for trial in run.trials] == [0, 1, 2, 3, 4]
    assert run.counts["asked_for"] == 5
    assert run.counts["completed"] + run.counts["failed"] == 5
    assert run.writer == ""
    ended = [run.ended[n] for n in range(5)]
    assert ended == sorted(ended)
    assert ended[0] > 0
    assert "5 trials" in repr(run)
    assert run.best() == run.best() != run.trial(0)


def test_what_only_reads_a_run_does_not_load_torch(folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys, cellsearch as cs; run = cs.open_run(sys.argv[1]); run.best(); "
        "print(run.metric, run.report(sys.argv[2]).name, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(folder), str(tmp_path / "page.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["accuracy", "page.html", "False"], done.stderr


def test_a_run_that_does_not_say_its_metric_asks_the_task(folder: Path, tmp_path: Path) -> None:
    old = shutil.copytree(folder, tmp_path / "old")
    with Store.open(old) as store:
        assert store.metric == "accuracy"
        store.remember_metric("")
    assert cs.open_run(old).metric == "accuracy"


def test_the_best_is_the_best_of_the_history_and_controls_count_when_asked(run: cs.Run) -> None:
    found = [trial for trial in run.trials.ranked if not trial.is_baseline]
    assert run.best().trial == found[0]
    assert run.best().score == found[0].score
    assert run.best(baselines=True).trial == run.trials.ranked[0]
    assert run.trial(0).trial.is_baseline
    assert run.best().genome == found[0].genome


def test_every_kept_model_scores_what_the_run_recorded(run: cs.Run) -> None:
    assert len(run.kept) == 5
    for number in run.kept:
        trial = run.trial(number)
        trained = trial.trained()
        assert trial.result is not None
        assert not trained.model.training
        score, metric = trained.task.score(trained.model, "valid")
        assert (score, metric) == pytest.approx((trial.score, trial.result.metric), rel=1e-6)
        assert trained.job.seed != 0


def test_models_of_version_0_1_score_what_it_recorded(tmp_path: Path) -> None:
    stored = Path(__file__).parents[1] / "data" / "v0_1" / "genetic_whole"
    run = cs.open_run(shutil.copytree(stored, tmp_path / "run"))
    assert len(run.kept) == 10
    for number in run.kept:
        trained = run.trial(number).trained()
        score, _ = trained.task.score(trained.model, "valid")
        assert score == pytest.approx(run.trial(number).score, rel=1e-6)


def test_a_model_of_64_bit_numbers_scores_what_the_run_recorded(tmp_path: Path) -> None:
    run = cs.open_run(search(tmp_path / "run", trials=3, **{"training.dtype": "float64"}))
    for number in run.kept:
        trained = run.trial(number).trained()
        assert trained.task.score(trained.model, "valid")[0] == run.trial(number).score
        assert (
            run.trial(number).layer()(torch.zeros(3, 1, 8, dtype=torch.float64))[0].isfinite().all()
        )


def test_the_layer_is_the_one_in_the_model(run: cs.Run) -> None:
    best = run.best()
    layer, cell = best.layer(batch_first=True), best.model().cell
    x = torch.randn(2, 5, layer.input_size)
    assert torch.allclose(layer(x)[0], cell(x.transpose(0, 1))[0].transpose(0, 1))  # type: ignore[operator]
    assert set(best.weights()) == set(layer.state_dict())


def test_the_data_can_be_handed_in(run: cs.Run) -> None:
    arrays = cs.tasks.get("parity").load({"batch_size": 8, "evaluation_size": 16})
    assert run.best().trained(arrays).task.arrays is arrays


def test_what_was_not_kept_is_said_with_what_was(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for number in (1, 3, 4):
        next((copy / "checkpoints").glob(f"trial-{number:05d}*")).unlink()
    run = cs.open_run(copy)
    assert run.kept == (0, 2)
    assert not run.trial(3).has_weights
    for read in (RunTrial.model, RunTrial.layer, RunTrial.weights):
        with pytest.raises(ConfigError, match="weights of trial 3 were not kept") as caught:
            read(run.trial(3))
        assert "trials 0, 2" in caught.value.hint


def test_what_is_not_there_is_said(run: cs.Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run here"):
        cs.open_run(tmp_path / "nosuch")
    with pytest.raises(RunError, match="no trial 99"):
        run.trial(99)
    with pytest.raises(RunError) as caught:
        cs.open_run(f"{run.path}:3")
    assert "trial(3)" in caught.value.hint
    (tmp_path / "store.sqlite").write_bytes(b"SQLite format 3\0 but not really" * 99)
    with pytest.raises(InputFileError, match=r"store\.sqlite"):
        cs.open_run(tmp_path)


def test_a_cell_is_named_as_on_the_command_line(run: cs.Run) -> None:
    found = locate(f"{run.path}:2")
    assert found.trial is not None
    assert (found.label, found.genome) == ("a-2", run.trial(2).genome)
    assert locate(str(run.path)).genome == run.best().genome
    assert found.provenance.startswith("Trial 2 of the experiment parity (random, parity), score ")
    with pytest.raises(ConfigError, match="'two' is not the number of a trial"):
        locate(f"{run.path}:two")
    with pytest.raises(ConfigError, match="lstm has no trained weights"):
        locate("lstm").trained  # noqa: B018


def test_a_damaged_checkpoint_is_told(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = cs.open_run(copy).trial(2).checkpoint
    path.write_bytes(path.read_bytes()[:-20] + b"x" * 20)
    with pytest.raises(InputFileError, match="damaged"):
        cs.open_run(copy).trial(2).model()


def test_a_run_without_a_find_has_no_best(tmp_path: Path) -> None:
    run = cs.open_run(search(tmp_path / "none", **{"limits.seconds": 1e-6}))
    assert {trial.failure.kind for trial in run.trials if trial.failure} == {"timeout"}
    with pytest.raises(NoCandidateError, match="among 5 trials"):
        run.best()
    assert run.kept == ()
    with pytest.raises(ConfigError) as caught:
        run.trial(1).model()
    assert "no trial's are kept" in caught.value.hint
    assert run.trial(1).score == float("inf")
    assert "<table" in run._repr_html_()


def test_a_run_is_read_while_it_is_written_and_the_writer_goes_on(tmp_path: Path) -> None:
    experiment = cs.load_experiment("parity", {**SETTINGS, "trials": 3})
    with Search.open(tmp_path / "run", experiment) as opened:
        trial = opened.ask()
        assert trial is not None
        run = cs.open_run(tmp_path / "run")
        assert "process" in run.writer
        assert run.counts["running"] == 1
        assert run.to_rows()[0]["score"] is None
        outcome = Outcome(trial.number, 0, failure=Failure("nan", "made up"))
        assert opened.tell(outcome).failure is not None
        assert run.counts["failed"] == 0  # what was opened stays as it was
        assert cs.open_run(run.path).counts["failed"] == 1
    assert cs.open_run(run.path).writer == ""


def test_a_search_of_another_process_is_watched(tmp_path: Path) -> None:
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value!r}")]
    command = ["search", "parity", "--run", tmp_path / "run", "--workers", "0", *settings]
    process = subprocess.Popen(
        [sys.executable, "-m", "cellsearch", *command, "--trials", "400"],
        stdout=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            time.sleep(0.2)
            if (tmp_path / "run" / "experiment.toml").is_file():
                run = cs.open_run(tmp_path / "run")
                if run.kept:
                    break
        assert f"process {process.pid}" in run.writer
        assert run.trial(run.kept[0]).model() is not None
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_names_that_are_markup_stay_text(tmp_path: Path) -> None:
    folder = search(tmp_path / "<b>run<b>&", trials=3, name=EVIL, question=EVIL)
    run = cs.open_run(folder)
    page = run.report().read_text("utf-8")
    shown = (run._repr_html_(), run.best()._repr_html_(), page)
    for text in shown:
        assert "<img" not in text
        assert "<b>run" not in text
    assert "&lt;img src=x" in shown[0]
    assert "&lt;b&gt;run" in shown[0]
    assert "&lt;img src=x" in page
    assert "<svg" in shown[1]


def test_a_report_that_was_asked_for_elsewhere_overwrites_nothing(
    run: cs.Run, tmp_path: Path
) -> None:
    assert run.report() == run.report() == run.path / "report.html"
    other = tmp_path / "other.html"
    assert run.report(other) == other
    other.write_text("mine", "utf-8")
    with pytest.raises(ConfigError, match="exists"):
        run.report(other)
    assert other.read_text("utf-8") == "mine"
    run.report(other, force=True)
    assert other.read_text("utf-8").startswith("<!DOCTYPE html>")


def test_the_best_leaves_as_files(run: cs.Run, tmp_path: Path) -> None:
    done = run.export(tmp_path / "cell.py")
    assert done.weights == tmp_path / "cell.pt"
    weights = torch.load(tmp_path / "cell.pt", weights_only=True)
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        name: tensor.shape for name, tensor in run.best().weights().items()
    }
    assert run.best().to_source().splitlines()[-5:] == done.path.read_text().splitlines()[-5:]
    with pytest.raises(ConfigError, match="exists"):
        run.export(tmp_path / "cell.py")
    run.trial(0).export(tmp_path / "lstm.json", "json")
    assert cs.Genome.from_json((tmp_path / "lstm.json").read_text()) == run.trial(0).genome
    with pytest.raises(ConfigError, match="'wav' is not a form"):
        run.export(tmp_path / "cell.wav", "wav")  # type: ignore[arg-type]
    assert not (tmp_path / "cell.wav").exists()


def test_finals_are_run_kept_and_read_back(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    run = cs.open_run(copy)
    assert run.finals() is None
    told: list[str] = []
    with cs.InProcess() as executor:
        table = run.run_finals(
            executor, lambda name, _: told.append(name), top=1, seeds=2, steps=3, hidden_size=40
        )
    best = f"trial {run.best().number}"
    assert set(told) == {"lstm", "gru", best}
    for row in table.rows:  # every training of the sweep, and two that count
        assert told.count(row.name) == 2 + sum(count for _, _, count in row.sweep)
        assert len(row.sweep) >= 5
    assert {row.name for row in table.rows} == {"lstm", "gru", best}
    kept = run.finals()
    assert kept is not None
    assert kept.to_document() == table.to_document()
    assert table.sentence in run.report().read_text("utf-8")
    for damaged in ("", "[]", '{"rows": [{"name": "lstm"}], "sentence": ""}'):
        (copy / "finals.json").write_text(damaged, "utf-8")
        with pytest.raises(InputFileError, match="not a table of finals"):
            run.finals()


def test_a_diagnosis_of_the_best(run: cs.Run) -> None:
    told: list[tuple[str, int]] = []
    found = run.best().diagnose(positions=6, examples=2, on_training=lambda *t: told.append(t))
    assert [cell.name for cell in found.cells] == [run.best().label, "lstm", "gru"]
    assert told == [("lstm", 20), ("gru", 20)]
    assert found.cells[0].score == pytest.approx(run.best().score, rel=1e-6)
    assert found.to_html().count("<svg") >= 3
    assert found.to_document()["cells"][0]["metric"] == found.cells[0].metric


def test_a_model_of_something_else_writes_no_text(run: cs.Run) -> None:
    with pytest.raises(ConfigError, match="parity, which does not consist of text"):
        run.best().write_text(5)


def test_a_model_by_name(run: cs.Run, folder: Path) -> None:
    trial = run.best()
    model = cs.load_model(f"{folder}:{trial.number}")
    best = cs.load_model(str(folder))
    same = trial.model()
    for found in (best, same, cs.load_model(folder)):
        assert all(
            torch.equal(a, b)
            for a, b in zip(found.state_dict().values(), model.state_dict().values(), strict=True)
        )
    assert model.predict(["0110", "1"], probabilities=True).shape == (2, 2)
    assert set(model.predict(["0110", "1"])) <= {0, 1}
    with pytest.raises(InputFileError, match="'2'"):
        model.predict("012")
    whole = trial.whole()
    assert whole.interface == model.interface
    assert whole.hidden_size == 8


@pytest.mark.parametrize(
    ("name", "error"), [("lstm", ConfigError), ("nowhere/a", ConfigError), ("{}:99", RunError)]
)
def test_a_model_that_is_not_there(folder: Path, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        cs.load_model(name.format(folder))
