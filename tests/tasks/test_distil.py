"""Imitating a trained teacher: what it answers is learned, and no code of a file runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import cellsearch as cs
from cellsearch import tasks, zoo
from cellsearch.errors import CellsearchError, ConfigError, InputFileError
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment import parse_experiment
from cellsearch.export.accuracy import exported_layer
from cellsearch.job import Job, Training
from cellsearch.search import Search
from cellsearch.tasks.distil import Distil
from cellsearch.tasks.teacher import CONSENT, load_teacher
from cellsearch.training import evaluate
from cellsearch.training.model import cell_factory

N, T, WIDTH, K = 40, 9, 3, 4
X = np.random.default_rng(0).normal(size=(N, T, WIDTH)).astype(np.float32) * 5 + 2


class Teacher(nn.Module):
    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, **options: Any) -> None:
        super().__init__()
        self.rnn = kind(WIDTH, 6, **options)  # type: ignore[arg-type]
        self.head = nn.Linear(6 * (2 if self.rnn.bidirectional else 1), K)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.head(self.rnn(x)[0]), None


def said(teacher: nn.Module) -> np.ndarray:
    with torch.no_grad():
        output = teacher(torch.from_numpy(X).transpose(0, 1))
    return (output[0] if isinstance(output, tuple) else output).transpose(0, 1).numpy()


def in_unit(data: tasks.TaskData, every: bool = True) -> np.ndarray:
    """The answers that the data hold, in the unit of the teacher."""
    y = data.arrays["y"] * data.arrays["y_scale"] + data.arrays["y_mean"]
    return y.reshape(N, T, -1) if every else y


@pytest.fixture
def sequences(tmp_path: Path) -> str:
    path = tmp_path / "x.npz"
    np.savez(path, x=X)
    return str(path)


SHAPES = [
    (nn.LSTM, {}),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    (nn.GRU, {"bias": False}),
    (nn.RNN, {"num_layers": 2}),
]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("kind", "options"), SHAPES)
def test_a_state_dict_is_recognised(
    kind: type[nn.RNNBase], options: dict[str, Any], suffix: str, sequences: str, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    teacher = Teacher(kind, **options)
    for module, name in ((teacher, "whole"), (teacher.rnn, "bare")):
        path = tmp_path / f"{name}{suffix}"
        (torch.save if suffix == ".pt" else save_file)(module.state_dict(), path)
        arrays = Distil.load({"sequences": sequences, "teacher": str(path)})
        data = tasks.TaskData("distil", {}, arrays)
        assert np.allclose(in_unit(data), said(module), atol=1e-5)
        assert np.allclose(
            arrays["x"] * arrays["x_scale"] + arrays["x_mean"], X.reshape(-1, 3), atol=1e-5
        )


def test_any_module_teaches_in_python() -> None:
    torch.manual_seed(1)
    teacher = Teacher()
    for module in (
        teacher,
        teacher.rnn,
        cs.compile_cell(zoo.load("gru"), input_size=3, hidden_size=5),
    ):
        assert np.allclose(in_unit(tasks.from_teacher(module, X)), said(module), atol=1e-5)
        assert module.training  # as it was
    exported = exported_layer(
        cs.compile_cell(zoo.load("lstm"), input_size=3, hidden_size=5), "int8"
    )
    assert np.allclose(in_unit(tasks.from_teacher(exported, X)), said(exported), atol=1e-5)
    last = tasks.from_teacher(teacher, X, readout="last")
    assert np.allclose(in_unit(last, every=False), said(teacher)[:, -1], atol=1e-5)
    of_last = tasks.from_teacher(lambda x: teacher(x)[0][-1], X, readout="last")
    assert np.array_equal(of_last.arrays["y"], last.arrays["y"])
    turned = nn.LSTM(WIDTH, 6, batch_first=True)
    turned.load_state_dict(teacher.rnn.state_dict())
    assert np.allclose(
        in_unit(tasks.from_teacher(turned, X, batch_first=True)), said(teacher.rnn), atol=1e-5
    )


def test_sequences_of_different_lengths_and_tokens() -> None:
    torch.manual_seed(1)
    teacher = Teacher()
    lengths = [3, 9, 5, 3] * 10
    parts = [x[:n] for x, n in zip(X, lengths, strict=True)]
    data = tasks.from_teacher(teacher, parts)
    y = data.arrays["y"] * data.arrays["y_scale"] + data.arrays["y_mean"]
    expected = np.concatenate([row[:n] for row, n in zip(said(teacher), lengths, strict=True)])
    assert np.allclose(y, expected, atol=1e-5)
    words = nn.Embedding(7, K)
    tokens = np.random.default_rng(0).integers(0, 7, size=(N, T))
    data = tasks.from_teacher(words, tokens, loss="kl")
    assert np.allclose(data.arrays["y"], words.weight.detach().numpy()[tokens.ravel()], atol=1e-5)
    assert data.create().tokens == 7


class Repeats(nn.Module):
    """A model of the task that gives what it is told."""

    def __init__(self, answers: torch.Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[torch.Tensor, None]:
        return self.answers, None


@pytest.mark.parametrize("loss", ["mse", "kl"])
def test_loss_and_score_are_what_they_are_called(loss: Any) -> None:
    torch.manual_seed(1)
    task = tasks.from_teacher(Teacher(), X, loss=loss).create()
    (batch,) = task.batches("valid", 0)
    right = batch.y.clone()
    assert task.score(Repeats(right), "valid")[0] == pytest.approx(0, abs=1e-6)
    wrong = right + torch.randn_like(right)
    score, metric = task.score(Repeats(wrong), "valid")
    if loss == "mse":
        expected = float((wrong - right).square().mean())
        assert task.metric_name(score, metric) == "RMSE"
    else:
        p, q = right.softmax(-1), wrong.softmax(-1)
        expected = float((p * (p.log() - q.log())).sum(-1).mean())
        assert task.metric_name(score, metric) == "KL divergence (nats)"
        assert task.score(Repeats(right + 3), "valid")[0] == pytest.approx(0, abs=1e-6)
        assert task.interface().answer.kind == "classes"
    assert score == pytest.approx(expected, rel=1e-4)
    assert float(task.loss(wrong, batch)) == pytest.approx(expected, rel=1e-4)


def test_a_smaller_cell_learns_what_the_teacher_says() -> None:
    torch.manual_seed(1)
    x = np.random.default_rng(1).normal(size=(300, 8, 2)).astype(np.float32)
    data = tasks.from_teacher(nn.LSTM(2, 16), x)
    training = Training(steps=150, hidden_size=12, evaluations=2, learning_rate=2e-2)
    job = Job(0, 0, zoo.load("gru").to_json(), data.name, data.options, training, 150, 0)
    assert evaluate(job, data.arrays).score < 0.15  # the mean of its answers: 1


def test_a_search_distils_from_files(sequences: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    torch.save(nn.LSTM(WIDTH, 6).state_dict(), tmp_path / "lstm.pt")
    declared = parse_experiment(
        {
            "name": "small",
            "space": "lstm_gru",
            "strategy": "random",
            "task": "distil",
            "task_options": {"sequences": sequences, "teacher": str(tmp_path / "lstm.pt")},
            "trials": 3,
            "training": {"steps": 2, "hidden_size": 4, "evaluations": 1},
        },
        source="small.toml",
    )
    with Search.open(tmp_path / "run", declared) as search:
        search.run(InProcess())
    run = cs.open_run(tmp_path / "run")
    assert run.find_best().score < 3
    (tmp_path / "lstm.pt").rename(tmp_path / "moved.pt")
    moved = cs.open_run(tmp_path / "run", data={"teacher": str(tmp_path / "moved.pt")})
    assert moved.load_arrays()["y"].shape == (N * T, 6)
    torch.save(nn.LSTM(WIDTH, 6).state_dict(), tmp_path / "lstm.pt")
    with pytest.raises(CellsearchError, match="other data"):
        cs.open_run(tmp_path / "run").load_arrays()


# -- what is not run, and what is refused ------------------------------------------------------


class Trap:
    def __reduce__(self) -> Any:
        return (sys.exit, (99,))


def test_nothing_in_a_file_runs(tmp_path: Path) -> None:
    torch.save(Trap(), tmp_path / "trap.pt")
    torch.save(Teacher(), tmp_path / "module.pt")
    (tmp_path / "text.pt").write_text("not weights")
    for name in ("trap.pt", "module.pt", "text.pt"):
        with pytest.raises(InputFileError, match="cannot be read as a state dict") as caught:
            load_teacher(str(tmp_path / name), "")
        assert "state_dict()" in caught.value.hint


def test_code_runs_only_where_a_person_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_distil.py").write_text(
        "import torch\ndef teacher():\n    return torch.nn.LSTM(3, 6)\n"
        "def number():\n    return 3\ndef broken():\n    return 1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(CONSENT, raising=False)
    with pytest.raises(ConfigError, match="runs only where you say so") as caught:
        load_teacher("", "mine_distil:teacher")
    assert f"{CONSENT}=mine_distil:teacher" in caught.value.hint
    monkeypatch.setenv(CONSENT, "mine_distil:other")
    with pytest.raises(ConfigError, match="runs only where you say so"):
        load_teacher("", "mine_distil:teacher")
    assert "mine_distil" not in sys.modules
    monkeypatch.setenv(CONSENT, "mine_distil:teacher")
    made = load_teacher("", "mine_distil:teacher")
    assert isinstance(made, nn.LSTM)
    assert not made.training
    weights = nn.LSTM(3, 6).state_dict()
    torch.save(weights, tmp_path / "w.pt")
    filled = load_teacher(str(tmp_path / "w.pt"), "mine_distil:teacher")
    assert all(torch.equal(filled.state_dict()[name], w) for name, w in weights.items())
    for name, says in (("number", "gives int"), ("broken", "ZeroDivisionError"), ("no", "no")):
        monkeypatch.setenv(CONSENT, f"mine_distil:{name}")
        with pytest.raises(ConfigError, match=says):
            load_teacher("", f"mine_distil:{name}")
    for name in ("mine_distil", "mine:", "os.system:a b", "../mine:f", ":f"):
        with pytest.raises(ConfigError, match="MODULE:FUNCTION"):
            load_teacher("", name)


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"a": torch.zeros(3)},
        nn.Linear(3, 3).state_dict(),
        nn.ModuleList([nn.LSTM(3, 6), nn.GRU(3, 6)]).state_dict(),
        nn.ModuleDict(
            {"rnn": nn.LSTM(3, 6), "a": nn.Linear(6, 2), "b": nn.Linear(6, 2)}
        ).state_dict(),
        nn.ModuleDict({"rnn": nn.LSTM(3, 6), "a": nn.Linear(5, 2)}).state_dict(),
        {**nn.LSTM(3, 6).state_dict(), "weight_hh_l0": torch.zeros(24, 5)},
    ],
    ids=["none", "other", "linear", "two", "two heads", "wide head", "wrong"],
)
def test_what_is_not_one_layer_is_refused(weights: dict[str, Any], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "w.pt")
    with pytest.raises(InputFileError) as caught:
        load_teacher(str(tmp_path / "w.pt"), "")
    assert "task_options.module" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"x": X[0, :, 0]}, "one row of numbers"),
        ({"y": X}, "not sequences"),
        ({"x": X, "lengths": np.array([3])}, "lengths do not fit"),
        ({"x": X, "lengths": np.zeros(N, int)}, "from 1 on"),
        ({"x": np.full((N, T, 2), "a")}, "shape"),
    ],
)
def test_files_without_sequences_are_refused(
    given: dict[str, Any], says: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **given)
    torch.save(nn.LSTM(WIDTH, 6).state_dict(), tmp_path / "w.pt")
    options = {"sequences": str(tmp_path / "x.npz"), "teacher": str(tmp_path / "w.pt")}
    with pytest.raises(CellsearchError, match=says):
        Distil.load(options)


@pytest.mark.parametrize(
    ("teacher", "options", "says"),
    [
        (nn.LSTM(5, 2), {}, "does not take"),
        (lambda x: 3, {}, "gives int"),
        (lambda x: x[:2], {}, "with shape"),
        (lambda x: x[-1], {}, 'readout = "last"'),
        (lambda x: x * float("nan"), {}, "not all finite"),
        (lambda x: x[..., :1], {"loss": "kl"}, "two or more classes"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(
    teacher: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        tasks.from_teacher(teacher, X, **options)
    assert says in f"{caught.value.message} {caught.value.hint}"


def test_what_was_made_in_memory_is_saved_and_found_again(tmp_path: Path) -> None:
    data = tasks.from_teacher(nn.LSTM(WIDTH, 6), X)
    tasks.arrays.save(data, tmp_path / "d.npz")
    again = Distil.load({"path": str(tmp_path / "d.npz")})
    task = tasks.get("distil").create({**data.options, "path": str(tmp_path / "d.npz")}, again)
    assert np.array_equal(again["y"], data.arrays["y"])
    factory = cell_factory(zoo.load("gru"), Training(hidden_size=5))
    assert task.model(factory).readout.out_features == 6
    with pytest.raises(ConfigError, match="no teacher to distil from"):
        Distil.load({"sequences": "x.npz"})
    assert json.dumps(dict(data.options))
