"""Your own data: any (x, y) arrays become a task."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cellsearch import tasks, zoo
from cellsearch.errors import ConfigError, InputFileError, RunError
from cellsearch.experiment import load_experiment
from cellsearch.job import Job, Training
from cellsearch.search import Search
from cellsearch.tasks import own_sequences, sequences
from cellsearch.tasks.arrays import ArraysTask, digest, read, save
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.data import npz
from cellsearch.tasks.registry import TaskData
from cellsearch.testing.tasks import TaskContract, same_batch, torch_factory
from cellsearch.training import evaluate

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(3, 9, 120)
SIGNALS = [RNG.normal(size=(n, 2)).astype(np.float32) for n in LENGTHS]
LABELS = np.array(["down" if s[:, 0].sum() < 0 else "up" for s in SIGNALS])
SUMS = np.array([5.0 + 3.0 * s[:, 0].sum() for s in SIGNALS])


def train(data: TaskData, steps: int = 60, **training: Any) -> Any:
    job = Job(
        trial=0,
        rung=0,
        genome=zoo.load("gru").to_json(),
        task=data.name,
        task_options=data.options,
        training=Training(
            steps=steps, hidden_size=16, learning_rate=2e-2, evaluations=2, **training
        ),
        steps=steps,
        seed=0,
    )
    return evaluate(job, data.arrays)


class TestOwnArrays(TaskContract):
    task = "arrays"
    beats = 0.3
    steps = 120

    def arrays(self) -> Any:
        return tasks.from_arrays(SIGNALS, LABELS).arrays

    @property
    def options(self) -> Any:  # type: ignore[override]
        return tasks.from_arrays(SIGNALS, LABELS, batch_size=16).options


def test_labels_of_sequences_of_different_lengths() -> None:
    data = tasks.from_arrays(SIGNALS, LABELS)
    result = train(data)
    assert result.score < 0.3
    assert result.metric == pytest.approx(1 - result.score)
    assert data.arrays["classes"].tolist() == ["down", "up"]


def test_numbers_are_predicted_in_their_own_unit() -> None:
    data = tasks.from_arrays(SIGNALS, SUMS, kind="regression")
    result = train(data, steps=150)
    valid = SUMS[data.arrays["split"] == 1]
    assert result.score < 0.5
    assert result.metric == pytest.approx(
        np.sqrt(result.score) * SUMS[data.arrays["split"] == 0].std()
    )
    assert result.metric < valid.std()


def test_the_mean_of_regression_targets_scores_about_one() -> None:
    data = tasks.from_arrays(SIGNALS, SUMS, kind="regression")
    task = data.create()

    class Mean(torch.nn.Module):
        def forward(
            self, x: torch.Tensor, state: object, lengths: object
        ) -> tuple[torch.Tensor, None]:
            return torch.zeros(x.shape[1], 1), None

    score, metric = task.score(Mean(), "valid")
    valid, known = (SUMS[data.arrays["split"] == k] for k in (1, 0))
    assert metric == pytest.approx(np.sqrt(np.mean((valid - known.mean()) ** 2)), rel=1e-5)
    assert score == pytest.approx(np.mean((valid - known.mean()) ** 2) / known.var(), rel=1e-5)


def test_a_target_at_every_position() -> None:
    """Predict the running sign of a running sum; padding must not count."""
    targets = [(np.cumsum(s[:, 0]) > 0).astype(int) for s in SIGNALS]
    data = tasks.from_arrays(SIGNALS, targets, readout="every")
    assert train(data).score < 0.3
    batch = next(b for b in data.create().batches("train", 0) if b.lengths is not None)
    assert batch.y.shape == batch.x.shape[:2]


def test_tokens_and_several_targets() -> None:
    x = RNG.integers(0, 5, (60, 7))
    y = np.stack([x.sum(1), (x == 2).sum(1)], axis=1).astype(float)
    task = tasks.from_arrays(x, y, kind="regression", readout="mean").create()
    assert isinstance(task, ArraysTask)
    assert (task.tokens, task.targets, task.classes) == (5, 2, 0)
    model = task.model(torch_factory())
    batch = next(task.batches("train", 0))
    assert batch.lengths is None  # all of one length
    assert model(batch.x)[0].shape == (32, 2)


def test_both_directions_see_the_whole_sequence() -> None:
    """The label stands at the first position: the backward half reads it last."""
    x = RNG.normal(size=(150, 12, 1))
    data = tasks.from_arrays(x, (x[:, 0, 0] > 0).astype(int))
    assert train(data, steps=80, bidirectional=True).score < 0.2


def test_the_split_is_disjoint_and_always_the_same() -> None:
    first, second = (tasks.from_arrays(SIGNALS, LABELS).arrays["split"] for _ in range(2))
    assert np.array_equal(first, second)
    assert [(first == k).sum() for k in range(3)] == [96, 12, 12]
    in_order = tasks.from_arrays(SIGNALS, LABELS, shuffle=False).arrays["split"]
    assert in_order.tolist() == [0] * 96 + [1] * 12 + [2] * 12


def test_splits_can_be_given() -> None:
    data = tasks.from_arrays(
        SIGNALS[:80],
        LABELS[:80],
        valid=(SIGNALS[80:100], LABELS[80:100]),
        test=(SIGNALS[100:], LABELS[100:]),
    )
    assert data.arrays["split"].tolist() == [0] * 80 + [1] * 20 + [2] * 20
    only_test = tasks.from_arrays(SIGNALS[:100], LABELS[:100], test=(SIGNALS[100:], LABELS[100:]))
    assert [(only_test.arrays["split"] == k).sum() for k in range(3)] == [90, 10, 20]


def test_inputs_are_standardised_by_the_training_sequences() -> None:
    shifted = [s * [10.0, 1e-3] + [100.0, 0.0] for s in SIGNALS]
    arrays = tasks.from_arrays(shifted, LABELS).arrays
    inside = np.repeat(arrays["split"] == 0, arrays["lengths"])
    assert np.allclose(arrays["x"][inside].mean(0), 0, atol=1e-5)
    assert np.allclose(arrays["x"][inside].std(0), 1, atol=1e-4)
    assert not np.allclose(arrays["x"][~inside].mean(0), 0, atol=1e-5)
    raw = tasks.from_arrays(shifted, LABELS, standardise=False).arrays["x"]
    assert np.allclose(raw, np.concatenate(shifted), rtol=1e-5)


def test_buckets_pad_little() -> None:
    lengths = RNG.integers(5, 200, 2000)
    x = [np.zeros((n, 1)) + n for n in lengths]
    task = tasks.from_arrays(x, lengths % 2, standardise=False).create()
    real, padded, seen = 0, 0, 0
    for batch in islice(task.batches("train", 0), 50):
        assert batch.lengths is not None
        assert (batch.x[batch.lengths - 1, torch.arange(32), 0] == batch.lengths).all()
        real += int(batch.lengths.sum())
        padded += batch.x.shape[0] * batch.x.shape[1]
        seen += 32
    assert padded / real < 1.10
    assert seen == 1600  # one epoch: every training sequence once


def test_an_epoch_holds_every_sequence_once() -> None:
    x = np.arange(100, dtype=float).reshape(100, 1, 1)
    task = tasks.from_arrays(x, np.arange(100) % 2, standardise=False, batch_size=16).create()
    for epoch in range(2):
        batches = list(islice(task.batches("train", 0, epoch * 5), 5))
        assert len({float(v) for b in batches for v in b.x.flatten()}) == 80


@pytest.mark.parametrize("readout", ["last", "every"])
def test_batches_are_the_same_with_and_without_padded_copies(
    monkeypatch: pytest.MonkeyPatch, readout: str
) -> None:
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(n, 3)) for n in rng.integers(1, 40, 300)]
    y = (
        [rng.integers(0, 2, len(part)) for part in x]
        if readout == "every"
        else rng.integers(0, 2, 300)
    )
    data = tasks.from_arrays(x, y, readout=readout)
    with_copies = data.create()
    monkeypatch.setattr(sequences, "PADDED", 0)
    without = data.create()
    pairs = list(
        islice(zip(with_copies.batches("train", 1), without.batches("train", 1), strict=True), 20)
    )
    assert all(same_batch(a, b) for a, b in pairs)
    places = sum(a.x.shape[0] * a.x.shape[1] for a, _ in pairs)
    inside = sum(
        a.x.shape[0] * a.x.shape[1] if a.lengths is None else int(a.lengths.sum()) for a, _ in pairs
    )
    assert (
        1 - inside / places < 0.15
    )  # seven batches an epoch: the more there are, the less is padded


@pytest.mark.parametrize("readout", ["last", "every"])
@pytest.mark.parametrize(("length", "features"), [(1, 1), (3, 1), (9, 3)])
def test_batches_of_one_length_are_fetched_in_groups_that_do_not_show(
    monkeypatch: pytest.MonkeyPatch, readout: str, length: int, features: int
) -> None:
    """Groups end within an epoch, at its end, and where a training goes on from a checkpoint."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, length, features)).astype(np.float32)
    y = rng.integers(0, 2, (300, length) if readout == "every" else 300)
    data = tasks.from_arrays(x, y, readout=readout, batch_size=7, standardise=False)
    target = {
        sequence.tobytes(): np.asarray(wanted).tolist()
        for sequence, wanted in zip(x, y, strict=True)
    }
    in_groups = data.create()
    monkeypatch.setattr(sequences, "PADDED", 0)
    one_by_one = data.create()
    for start in (0, 1, 16, 33, 34, 100):
        pairs = list(
            islice(
                zip(
                    in_groups.batches("train", 1, start),
                    one_by_one.batches("train", 1, start),
                    strict=True,
                ),
                70,
            )
        )
        assert all(same_batch(a, b) for a, b in pairs)
        assert all(a.x.is_contiguous() and a.y.is_contiguous() for a, _ in pairs)
        for batch, _ in pairs[:20]:
            found = [
                target[sequence.numpy().tobytes()]
                for sequence in batch.x.transpose(0, 1).contiguous()
            ]
            assert found == (batch.y.T if readout == "every" else batch.y).tolist()


@pytest.mark.parametrize(
    ("x", "y", "options", "says"),
    [
        (SIGNALS, LABELS[:-1], {}, "120 sequences, but 119 targets"),
        ([], [], {}, "no sequences"),
        ([*SIGNALS[:20], np.zeros((3, 5))], LABELS[:21], {}, "sequence 20 has shape"),
        ([*SIGNALS[:20], np.zeros((0, 2))], LABELS[:21], {}, "sequence 20 has shape"),
        ([*SIGNALS[:20], np.full((3, 2), np.nan)], LABELS[:21], {}, "not finite"),
        (np.full((20, 4), -1), np.arange(20) % 2, {}, "tokens are numbers from 0 on"),
        (SIGNALS, np.zeros(120), {}, "1 classes"),
        (SIGNALS, LABELS, {"kind": "regression"}, "not strings"),
        (SIGNALS, SUMS * np.inf, {"kind": "regression"}, "not finite"),
        (SIGNALS, LABELS, {"kind": "clustering"}, "not a kind"),
        (SIGNALS, LABELS, {"readout": "first"}, "not a readout"),
        (SIGNALS[:9], LABELS[:9], {}, "cannot be split"),
        (SIGNALS, [np.zeros(2)] * 120, {"readout": "every"}, "positions, but 2 targets"),
        (SIGNALS, LABELS, {"valid": (np.zeros((4, 3, 7)), ["up"] * 4)}, "differ in width"),
    ],
)
def test_what_does_not_fit_is_refused(x: Any, y: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        tasks.from_arrays(x, y, **options)


def test_a_resumed_run_cannot_mix_data() -> None:
    one, other = tasks.from_arrays(SIGNALS, LABELS), tasks.from_arrays(SIGNALS[::-1], LABELS[::-1])
    with pytest.raises(ConfigError, match="not those that this task was made from"):
        dataclasses.replace(one, arrays=other.arrays).create()


def test_a_file_keeps_the_data(tmp_path: Path) -> None:
    data = tasks.from_arrays(SIGNALS, LABELS)
    save(data, tmp_path / "mine.npz")
    options = {"path": str(tmp_path / "mine.npz")}
    arrays = ArraysTask.load(options)
    assert arrays.keys() == data.arrays.keys()
    assert all(np.array_equal(arrays[name], data.arrays[name]) for name in arrays)
    assert ArraysTask.create({**options, "digest": data.options["digest"]}, arrays).classes == 2


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    save(tasks.from_arrays(SIGNALS, LABELS), path)
    whole = path.read_bytes()
    for damaged in (whole[:200], whole[: len(whole) // 2], b"", b"PK nothing", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(InputFileError, match="damaged"):
            ArraysTask.load({"path": str(path)})
    np.savez(path, x=np.zeros(3))
    with pytest.raises(InputFileError, match="holds"):
        ArraysTask.load({"path": str(path)})
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputFileError, match="damaged"):
        ArraysTask.load({"path": str(path)})
    with pytest.raises(ConfigError, match="no file"):
        ArraysTask.load({"path": str(tmp_path / "missing.npz")})
    with pytest.raises(ConfigError, match="given in memory"):
        ArraysTask.load({})


def test_the_data_cross_a_process_border() -> None:
    """Options as JSON, arrays as bytes: what an executor sends to a worker."""
    data = tasks.from_arrays(SIGNALS, LABELS)
    script = """
import io, json, sys
import numpy as np
from cellsearch.tasks import TaskData
options = json.loads(sys.stdin.buffer.readline())
arrays = dict(np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False))
batch = next(TaskData("arrays", options, arrays).create().batches("train", 0))
print(float(batch.x.sum()), batch.y.tolist())
"""
    packed = io.BytesIO()
    np.savez(packed, **data.arrays)  # type: ignore[arg-type]
    sent = json.dumps(dict(data.options)).encode() + b"\n" + packed.getvalue()
    done = subprocess.run(
        [sys.executable, "-c", script], input=sent, capture_output=True, check=True
    )
    batch = next(data.create().batches("train", 0))
    assert done.stdout.decode().strip() == f"{float(batch.x.sum())} {batch.y.tolist()}"


# -- files of others -------------------------------------------------------------------------------

EVERY = [RNG.integers(0, 2, len(s)) for s in SIGNALS]
KINDS = (
    tasks.from_arrays(SIGNALS[:30], LABELS[:30]),
    tasks.from_arrays(SIGNALS[:30], RNG.normal(size=(30, 2)), kind="regression"),
    tasks.from_arrays(SIGNALS[:30], EVERY[:30], readout="every"),
    tasks.from_arrays(RNG.integers(0, 5, (30, 7)), np.arange(30) % 3, readout="mean"),
)
ODD: tuple[Any, ...] = (
    *(np.zeros(0), np.zeros(3), np.array(5), np.full((4, 4), np.nan), np.zeros((30, 0))),
    *(np.full(30, 2**62), np.full(30, -1), np.zeros(30, np.uint8), np.full(30, 255, np.uint8)),
    *(np.zeros((30, 0), np.float32), np.zeros((1,) * 32, np.float32), np.ones(30, bool)),
    *(np.zeros(30, "S3"), np.zeros(30, "M8[s]"), np.zeros(30, complex), np.zeros(30, ">i8")),
    *(np.zeros(30, [("a", "i4")]), np.zeros(30, object), np.array([np.inf]), np.array([0.0])),
    *(np.array(text) for text in ("x", "mean", "every", "last", "regression", "classification")),
    np.array(["classification"] * 2),
)


def outcome(path: Path, content: bytes) -> str:
    """``"same"``, ``"other"`` or ``"refused"``: what is read can be trained on, what is wrong with
    it is said by an error of ours.
    """
    path.write_bytes(content)
    try:
        arrays = ArraysTask.load({"path": str(path)})
        task = ArraysTask.create({}, arrays)
    except (InputFileError, ConfigError) as error:
        assert "allow_pickle" not in f"{error} {error.hint}"  # noqa: PT017  (both may be raised)
        return "refused"
    model = task.model(torch_factory())
    batch = next(task.batches("train", 0))
    model(batch.x, None, batch.lengths)
    task.score(model, "valid")
    return "same" if digest(arrays) in {data.options["digest"] for data in KINDS} else "other"


def packed(arrays: Mapping[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("data", KINDS)
def test_a_damaged_file_is_refused_or_whole(tmp_path: Path, data: TaskData) -> None:
    """Cut off, or with bits flipped: never another error, never other numbers."""
    path, rng = tmp_path / "a.npz", np.random.default_rng(0)
    save(data, path)
    whole = path.read_bytes()
    assert outcome(path, whole) == "same"
    for cut in rng.integers(0, len(whole), 60):
        assert outcome(path, whole[:cut]) == "refused"
    for last in (len(whole), 700):  # everywhere, and in the list of what the file holds
        for _ in range(200):
            flipped = bytearray(whole)
            flipped[len(whole) - 1 - rng.integers(last)] ^= 1 << int(rng.integers(8))
            assert outcome(path, bytes(flipped)) != "other"


@pytest.mark.parametrize("data", KINDS)
def test_headers_that_lie_are_refused(tmp_path: Path, data: TaskData) -> None:
    """Whole members with another header than what follows it."""
    rng = np.random.default_rng(0)
    for name in data.arrays:
        for _ in range(25):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                for other, array in data.arrays.items():
                    member = io.BytesIO()
                    np.lib.format.write_array(member, np.asarray(array))
                    content = bytearray(member.getvalue())
                    if other == name:
                        place = rng.integers(8 if rng.integers(2) else 70)
                        content[place] = rng.choice([*b"()'{},:0123456789<>|OifU ", 255])
                    archive.writestr(f"{other}.npy", bytes(content))
            outcome(tmp_path / "a.npz", file.getvalue())


@pytest.mark.parametrize("data", KINDS)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path, data: TaskData) -> None:
    refused = 0
    for name, odd in product(data.arrays, ODD):
        refused += outcome(tmp_path / "a.npz", packed({**data.arrays, name: odd})) == "refused"
    assert refused > 0.9 * len(data.arrays) * len(ODD)


def test_sizes_are_checked_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, file, path = io.BytesIO(), io.BytesIO(), tmp_path / "a.npz"
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    path.write_bytes(file.getvalue())
    with pytest.raises(InputFileError, match=r"x\.npy. needs 4398046511104 bytes and has 0"):
        read(path)
    save(KINDS[0], path)
    assert read(path)
    with monkeypatch.context() as small:
        small.setattr("os.sysconf", lambda _: 10)
        with pytest.raises(InputFileError, match=r"its arrays take \d+ MiB, this machine has 0"):
            read(path)
    monkeypatch.setattr(npz, "_MOST_PACKED", 0.1)
    with pytest.raises(InputFileError, match=r"cannot hold \d+ bytes"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("sensors.csv", b"time,a,b\n1,2,3\n" * 300, "the file holds text, such as a table"),
        ("sensors.csv", b"\xef\xbb\xbfa;b\r\n1;\xc3\xa4\r\n", "the file holds text"),
        ("a.npz", packed({"x": np.zeros(3), "z": np.zeros(3)}), "the file holds x, z, and not"),
        ("a.npz", packed({"X_train": np.zeros(3)}), "the file holds X_train, and not"),
        ("a.npz", packed({"x": np.array([{}], object)}), "holds Python objects, not plain numbers"),
        ("a.parquet", b"PAR1\x00\x01", "a Parquet table"),
        ("a.npy", b"\x93NUMPY\x01\x00v\x00{}", "one array"),
        ("a.pkl", b"\x80\x04\x95\x00\x00", "damaged or not an .npz file"),
    ],
)
def test_what_another_file_holds_and_what_to_do(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputFileError, match=says) as caught:
        ArraysTask.load({"path": str(tmp_path / name)})
    assert "cellsearch.tasks.arrays.save(cellsearch.tasks.from_arrays(x, y)" in caught.value.hint
    assert "pickle" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.ma.masked])
@pytest.mark.parametrize("where", ["x", "valid x", "every y"])
def test_what_is_missing_is_counted_by_feature(bad: Any, where: str) -> None:
    array: Any = np.ma.masked_array(RNG.normal(size=(40, 6, 3)))
    for sequence, position, feature in ((7, 0, 2), (7, 3, 2), (30, 5, 0)):
        array[sequence, position, feature] = bad
    x, labels = RNG.normal(size=(40, 6, 3)), np.arange(40) % 2
    says = (
        r"3 of the values, in 2 of the 40 sequences, the first of them \w+ 7; "
        r"(feature|column) 0: 1, (feature|column) 2: 2"
    )
    given: dict[str, Any] = {
        "x": {"x": array, "y": labels},
        "valid x": {"x": x, "y": labels, "valid": (array, labels)},
        "every y": {"x": x, "y": array, "kind": "regression", "readout": "every"},
    }
    with pytest.raises(ConfigError, match=says) as caught:
        tasks.from_arrays(**given[where])
    assert caught.value.where == ("valid x" if where == "valid x" else f"train {where[-1]}")
    assert "fill them in" in caught.value.hint


def test_missing_targets_are_counted_by_column() -> None:
    y = RNG.normal(size=(40, 3))
    y[[7, 9, 30], [2, 2, 0]] = np.nan
    says = "3 of the values, in 3 of the 40 targets, .* target 7; column 0: 1, column 2: 2"
    with pytest.raises(ConfigError, match=says):
        tasks.from_arrays(RNG.normal(size=(40, 6, 3)), y, kind="regression")


def test_tokens_plain_cells_are_no_vocabulary() -> None:
    with pytest.raises(ConfigError, match="the largest token is 1700000000"):
        tasks.from_arrays(np.full((20, 3), 1_700_000_000), np.arange(20) % 2)


def test_save_is_reached_from_the_package_at_once(tmp_path: Path) -> None:
    code = "import cellsearch as cs; cs.tasks.arrays.save"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_search_reads_its_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, readings = tmp_path / "mine.npz", list[Path]()
    rng = np.random.default_rng(0)
    save(tasks.from_arrays(rng.normal(size=(40, 5, 2)), rng.integers(0, 2, 40)), path)
    really = own_sequences.read

    def counted(file: str | Path) -> Arrays:
        readings.append(Path(file))
        return really(file)

    monkeypatch.setattr(own_sequences, "read", counted)
    experiment = load_experiment(
        "quickstart", {"task": "arrays", "task_options.path": str(path), "trials": 1}
    )
    with Search.open(tmp_path / "a", experiment) as search:
        arrays = search.prepare().arrays
        assert len(readings) == 1
    assert digest(arrays) == digest(really(path))
    with Search.open(tmp_path / "a", experiment) as search:  # resumed: looked at again
        assert search.prepare().arrays is not arrays
        assert len(readings) == 2
    with Search.open(tmp_path / "b", experiment) as search:
        save(tasks.from_arrays(rng.normal(size=(40, 5, 2)), rng.integers(0, 2, 40)), path)
        with pytest.raises(RunError, match="the data were replaced while the run was open"):
            search.prepare()
    assert digest(really(path)) != digest(arrays)
