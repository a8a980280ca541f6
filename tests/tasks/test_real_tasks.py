"""Tasks on data sets that are not shipped: contract, split, and figures that are known from
elsewhere.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from cellsearch import tasks
from cellsearch.errors import ConfigError, InputFileError
from cellsearch.tasks.base import Task
from cellsearch.tasks.data import registry
from cellsearch.tasks.pixels import permutation
from cellsearch.tasks.sequences import SequenceTask
from cellsearch.tasks.word_lm import word_arrays
from cellsearch.testing.tasks import TaskContract


class _OnData(TaskContract):
    @pytest.fixture(autouse=True)
    def _data(self, data_folder: Path) -> None:
        missing = registry.available(tasks.get(self.task).dataset)
        if missing:
            pytest.skip(missing)


class TestTimeMachine(_OnData):
    task = "time_machine"
    options: ClassVar = {"tbptt": 16, "valid_tokens": 2048}
    beats = 3.8  # unigrams: 4.06 bits


class TestTinyShakespeare(_OnData):
    task = "tiny_shakespeare"
    options: ClassVar = {"tbptt": 16, "valid_tokens": 2048}
    beats = 4.5  # unigrams: 4.83 bits


class TestJapaneseVowels(_OnData):
    task = "japanese_vowels"
    beats = 0.3


@pytest.mark.slow
class TestWordLM(_OnData):
    task = "word_lm"
    options: ClassVar = {"max_words": 1000, "valid_tokens": 2048, "tbptt": 16}
    beats = 7.5
    steps = 60


class TestSpokenDigits(_OnData):
    task = "spoken_digits"
    beats = 0.6
    steps = 60


class TestPenDigits(_OnData):
    task = "pen_digits"
    beats = 0.3


class TestMnist1D(_OnData):
    task = "mnist1d"
    beats = 0.85
    steps = 1200
    hidden_size = 32
    learning_rate = 4e-3

    @pytest.mark.slow
    def test_it_can_be_learned(self) -> None:
        super().test_it_can_be_learned()


_read_idx_once = functools.cache(registry.read_idx)


class TestPixels(_OnData):
    task = "pixels"
    options: ClassVar = {"pool": 7, "per_step": 4}
    beats = 0.6  # chance 0.9
    steps = 60

    @pytest.fixture(autouse=True)
    def _unpacked_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unpacking takes a second, and each test of the contract loads the task anew."""
        monkeypatch.setattr(registry, "read_idx", _read_idx_once)


@pytest.mark.slow
class TestPermutedPixels(TestPixels):
    options: ClassVar = {"pool": 7, "permuted": True}
    beats = 0.8
    steps = 120


class TestSentiment(_OnData):
    task = "sentiment"
    beats = 0.4
    steps = 100


class TestSentimentOfAllPositions(_OnData):
    task = "sentiment"
    options: ClassVar = {"readout": "mean"}
    beats = 0.4
    steps = 100

    def test_it_reads_more_than_the_last_position(self) -> None:
        task = self.made()
        assert isinstance(task, SequenceTask)
        assert task.readout == "mean"
        with pytest.raises(ConfigError, match="every"):
            tasks.get(self.task).load({"readout": "every"})


class TestSunspots(_OnData):
    task = "sunspots"
    options: ClassVar = {"history": 24}
    beats = 0.25  # persistence on validation: 0.278


class TestETTh1(_OnData):
    task = "etth1"
    options: ClassVar = {"history": 24, "horizon": 3}
    beats = 0.5
    steps = 80


class TestJSB(_OnData):
    task = "jsb"
    beats = 10.98  # keys with their own frequency
    steps = 100
    hidden_size = 32


def made(name: str) -> Task:
    return tasks.get(name).create({}, tasks.get(name).load({}))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("japanese_vowels", (216, 54, 370)),
        ("spoken_digits", (2400, 300, 300)),
        ("pen_digits", (6245, 1249, 3498)),
        ("mnist1d", (3500, 500, 1000)),
        ("pixels", (55_000, 5_000, 10_000)),
        ("sentiment", (2384, 299, 299)),
        ("jsb", (229, 76, 77)),
    ],
)
def test_the_split_has_the_documented_sizes(
    data_folder: Path, name: str, sizes: tuple[int, ...]
) -> None:
    arrays = tasks.get(name).load({})
    assert tuple(int((arrays["split"] == k).sum()) for k in range(3)) == sizes


def test_the_official_test_parts_are_whole(data_folder: Path) -> None:
    assert (tasks.get("pen_digits").load({})["split"][7494:] == 2).all()
    assert (tasks.get("mnist1d").load({})["split"][4000:] == 2).all()
    assert (tasks.get("japanese_vowels").load({})["split"][270:] == 2).all()
    assert (tasks.get("pixels").load({})["split"][60_000:] == 2).all()


def test_pixels_are_read_row_by_row_or_in_one_fixed_disorder(data_folder: Path) -> None:
    images = registry.read_idx("mnist", 2, (10_000, 28, 28)).astype(np.float64)
    averaged = images.reshape(-1, 4, 7, 4, 7).mean((2, 4)).reshape(-1, 16)
    plain, disorder, rows = (
        tasks.get("pixels").load({"pool": 7, **more})
        for more in ({}, {"permuted": True}, {"per_step": 4})
    )
    seen = plain["x"].reshape(-1, 16)[plain["split"] == 0]
    assert (seen.mean(dtype=np.float64), seen.std(dtype=np.float64)) == pytest.approx(
        (0.0, 1.0), abs=1e-4
    )
    read = plain["x"].reshape(-1, 16)[60_000:].astype(np.float64)
    scale, shift = np.polyfit(averaged[0], read[0], 1)
    assert np.allclose(read, scale * averaged + shift, atol=1e-4)
    # By numpy's default_rng(0).permutation(16): results must stay comparable, so it may never
    # change.
    order = [2, 11, 3, 10, 0, 4, 7, 5, 14, 12, 6, 9, 13, 8, 1, 15]
    assert permutation(16).tolist() == order
    assert np.array_equal(disorder["x"].reshape(-1, 16), plain["x"].reshape(-1, 16)[:, order])
    assert np.array_equal(rows["x"].reshape(-1), plain["x"].reshape(-1))
    assert rows["x"].shape[1] == 4
    assert (rows["lengths"] == 4).all()
    assert plain["y"][:5].tolist() == [
        5,
        0,
        4,
        1,
        9,
    ]  # the first labels of the training file, as LeCun's page shows them


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"pool": 3}, "does not divide 28"),
        ({"per_step": 5}, "a picture of 49"),
        ({"pool": 0}, "out of range"),
    ],
)
def test_pixels_refuse_what_does_not_divide_a_picture(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        tasks.get("pixels").load(wrong)


def test_an_idx_file_of_another_shape_is_refused(data_folder: Path) -> None:
    with pytest.raises(InputFileError, match="no IDX file with 9999 bytes"):
        registry.read_idx("mnist", 3, (9999,))
    with pytest.raises(InputFileError, match="no IDX file with 100 x 100 bytes"):
        registry.read_idx("mnist", 3, (100, 100))


def test_no_sentence_is_in_two_parts(data_folder: Path) -> None:
    from cellsearch.tasks.sentiment import sentences

    texts = [text for text, _ in sentences()]
    assert len(texts) == len(set(texts)) == 2982
    folds = [tasks.get("sentiment").load({"fold": fold})["split"] for fold in range(10)]
    assert (sum((split == 2).astype(int) for split in folds) == 1).all()
    with pytest.raises(ConfigError, match="fold: 10 is out of range"):
        tasks.get("sentiment").load({"fold": 10})


class _Answer(torch.nn.Module):
    """A fixed rule in place of a model."""

    def __init__(self, rule: object) -> None:
        super().__init__()
        self.rule = rule

    def forward(
        self, x: torch.Tensor, state: object = None, lengths: object = None
    ) -> tuple[torch.Tensor, None]:
        return self.rule(x), None  # type: ignore[operator]


def test_etth1_gives_the_known_trivial_figures(data_folder: Path) -> None:
    """Repeating the last value gives 1.222, the same hour of the day before 0.424."""
    task = made("etth1")
    last = _Answer(lambda x: torch.zeros(x.shape[1], 24 * 7))
    yesterday = _Answer(lambda x: x[-24:].transpose(0, 1).flatten(1))
    assert task.score(last, "test")[0] == pytest.approx(1.222, abs=5e-4)
    assert task.score(yesterday, "test")[0] == pytest.approx(0.424, abs=5e-4)


def test_sunspots_give_the_known_trivial_figure(data_folder: Path) -> None:
    persistence = _Answer(lambda x: torch.zeros(x.shape[1], 1))
    assert made("sunspots").score(persistence, "test")[0] == pytest.approx(0.2618, abs=5e-4)


def test_jsb_gives_the_known_trivial_figure(data_folder: Path) -> None:
    """Keys with the frequency that they have in training, without memory: 11.09 nats a frame on the
    test.
    """
    task = made("jsb")
    arrays = tasks.get("jsb").load({})
    frames = arrays["y"][np.repeat(arrays["split"] == 0, arrays["lengths"])]
    share = (frames.sum(0) + 0.5) / (len(frames) + 1)
    logits = torch.from_numpy(np.log(share / (1 - share)))
    assert task.score(_Answer(lambda x: logits.expand(*x.shape[:2], 88)), "test")[
        0
    ] == pytest.approx(11.09, abs=5e-3)


def test_words_are_numbered_by_frequency_and_lines_end() -> None:
    arrays = word_arrays(["a b a\n c a\n", "a d\n", "b <unk>"], max_words=0)
    assert arrays["symbols"].tolist() == ["a", "<eos>", "b", "c", "<unk>"]
    assert arrays["train"].tolist() == [0, 2, 0, 1, 3, 0, 1]
    assert arrays["valid"].tolist() == [0, 4, 1]
    assert arrays["test"].tolist() == [2, 4, 1]
    assert word_arrays(["a b a\n c a\n", "", ""], max_words=2)["train"].tolist() == [
        0,
        2,
        0,
        1,
        2,
        0,
        1,
    ]


@pytest.mark.slow
def test_wikitext_has_the_published_counts(data_folder: Path) -> None:
    arrays = tasks.get("word_lm").load({})
    assert [len(arrays[name]) for name in ("train", "valid", "test", "symbols")] == [
        2_088_628,
        217_646,
        245_569,
        33_278,
    ]


@pytest.mark.parametrize(("name", "nats"), [("time_machine", 2.817), ("tiny_shakespeare", 3.347)])
def test_texts_give_the_known_unigram_figures(data_folder: Path, name: str, nats: float) -> None:
    task = made(name)
    arrays = tasks.get(name).load({})
    seen = np.concatenate([arrays["train"], arrays["valid"]])
    counts = np.bincount(seen, minlength=len(arrays["symbols"])) + 0.1
    logits = torch.from_numpy(np.log(counts / counts.sum()))
    score = task.score(_Answer(lambda x: logits.expand(*x.shape, len(logits))), "test")[0]
    assert score * math.log(2) == pytest.approx(nats, abs=3e-3)
