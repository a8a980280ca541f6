"""Character language modelling: the shipped text, the split, the streams, the score."""

from __future__ import annotations

import lzma
import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cellsearch import tasks
from cellsearch.errors import ConfigError, DataWarning, InputFileError
from cellsearch.tasks import data
from cellsearch.tasks.base import Task
from cellsearch.tasks.char_lm import CharLM, encode, text_arrays


@pytest.fixture(scope="module")
def text() -> str:
    return data.shipped_text()


def made(**options: object) -> Task:
    return CharLM.create(options, CharLM.load(options))


def test_the_shipped_text_is_the_new_testament(text: str) -> None:
    assert text.startswith("The book of the generation of Jesus Christ")
    assert "In the beginning was the Word" in text
    assert (len(text), len(set(text))) == (949_481, 63)


def test_a_damaged_text_is_refused(text: str) -> None:
    packed = lzma.compress(text.encode(), preset=0)
    assert data.decode_text(packed, "here") == text
    with pytest.raises(InputFileError, match="here: the shipped text is damaged"):
        data.decode_text(packed[:-100], "here")
    with pytest.raises(InputFileError, match="not the expected one"):
        data.decode_text(lzma.compress(text[:-1].encode(), preset=0), "here")
    with pytest.raises(InputFileError, match="not the expected one"):
        data.decode_text(lzma.compress(text.replace("Word", "word", 1).encode(), preset=0), "here")


def test_the_split_is_90_5_5_in_order(text: str) -> None:
    arrays = CharLM.load({})
    assert [len(arrays[name]) for name in ("train", "valid", "test", "symbols")] == [
        854_532,
        47_474,
        47_475,
        63,
    ]
    symbols = [chr(point) for point in arrays["symbols"]]
    assert (
        "".join(
            symbols[n]
            for n in np.concatenate([arrays[name] for name in ("train", "valid", "test")])
        )
        == text
    )


def test_training_streams_are_the_text_as_a_ring() -> None:
    task = made(batch_size=4, tbptt=5)
    train = CharLM.load({})["train"]
    n = len(train)
    batches = list(islice(task.batches("train", 7), 3))
    offset = int(np.random.default_rng(7).integers(n))
    for stream in range(4):
        begin = stream * (n // 4) + offset
        read = torch.cat([batch.x[:, stream] for batch in batches])
        assert read.tolist() == [int(train[(begin + k) % n]) for k in range(15)]
        assert torch.cat([batch.y[:, stream] for batch in batches]).tolist() == [
            int(train[(begin + k + 1) % n]) for k in range(15)
        ]
    assert [batch.first for batch in batches] == [True, False, False]


def test_evaluation_reads_every_prediction_once() -> None:
    task = made(valid_tokens=0)
    assert isinstance(task, CharLM)
    tokens = torch.from_numpy(task.tokens("test").astype(np.int64))
    batches = list(task.batches("test", 0))
    x, y = (
        torch.cat([getattr(batch, name) for batch in batches]).t().flatten() for name in ("x", "y")
    )
    assert len(x) == (len(tokens) - 1) // 32 * 32
    assert torch.equal(x, tokens[: len(x)])
    assert torch.equal(y, tokens[1 : len(y) + 1])
    assert [batch.first for batch in batches] == [True] + [False] * (len(batches) - 1)


def test_validation_reads_the_documented_prefix() -> None:
    assert sum(batch.y.numel() for batch in made().batches("valid", 0)) == 32_767 // 32 * 32
    assert (
        sum(batch.y.numel() for batch in made(valid_tokens=0).batches("valid", 0))
        == 47_473 // 32 * 32
    )


class _Bigram(nn.Module):
    """Predicts from the present character alone, by counting: its score is known without any
    training.
    """

    def __init__(self, train: np.ndarray, symbols: int) -> None:
        super().__init__()
        counts = np.full((symbols, symbols), 0.1)
        np.add.at(counts, (train[:-1], train[1:]), 1.0)
        self.table = torch.from_numpy(np.log(counts / counts.sum(1, keepdims=True)))

    def forward(self, x: torch.Tensor, state: object = None) -> tuple[torch.Tensor, None]:
        return self.table[x], None


def test_the_score_is_bits_per_character() -> None:
    """The published bigram figure on the last 10 % of the text is 3.233 bits; validation and test
    are its two halves.
    """
    task = made(valid_tokens=0)
    model = _Bigram(CharLM.load({})["train"], 63)
    valid, test = task.score(model, "valid"), task.score(model, "test")
    assert valid[0] == valid[1]
    assert (valid[0] + test[0]) / 2 == pytest.approx(3.233, abs=0.003)


def test_carried_state_equals_one_long_sequence() -> None:
    task = made(valid_tokens=32 * 300 + 1)
    torch.manual_seed(0)
    from cellsearch.testing.tasks import torch_factory

    model = task.model(torch_factory("gru"))
    batches = list(task.batches("valid", 0))
    assert len(batches) == 3
    with torch.no_grad():
        prediction, _ = model(torch.cat([b.x for b in batches]))
        loss = nn.functional.cross_entropy(
            prediction.flatten(0, 1), torch.cat([b.y for b in batches]).flatten()
        )
    assert task.score(model, "valid")[0] == pytest.approx(float(loss) / math.log(2), rel=1e-5)


def test_a_text_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("Grüße, 世界! " * 500, encoding="utf-8")
    made = tasks.from_text_file(path, batch_size=4, tbptt=8)
    task = made.create()
    assert isinstance(task, CharLM)
    assert task.vocabulary == len(set("Grüße, 世界! "))
    assert next(task.batches("train", 0)).x.shape == (8, 4)
    assert CharLM.load(made.options).keys() == made.arrays.keys()


def test_rare_and_unseen_characters_become_one_symbol() -> None:
    arrays = text_arrays("abcab" * 100 + "z" * 30, max_symbols=3)
    assert [chr(point) for point in arrays["symbols"]] == ["a", "b", "\ufffd"]
    unseen = text_arrays("ab" * 450 + "Q" * 100, max_symbols=8)
    assert chr(unseen["symbols"][unseen["test"][-1]]) == "\ufffd"


def test_an_unknown_character_is_refused_where_nothing_stands_for_it() -> None:
    symbols = np.array([97, 98])
    assert encode("abba", symbols).tolist() == [0, 1, 1, 0]
    with pytest.raises(ConfigError, match="'c'"):
        encode("abc", symbols)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no text file"):
        tasks.from_text_file(tmp_path / "missing.txt")
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)) * 100)
    with pytest.raises(InputFileError, match="not UTF-8"):
        tasks.from_text_file(tmp_path / "binary")
    (tmp_path / "short.txt").write_text("too short")
    with pytest.raises(ConfigError, match="needed"):
        tasks.from_text_file(tmp_path / "short.txt")
    with pytest.raises(ConfigError, match="tbptt"):
        tasks.from_text_file(tmp_path / "short.txt", tbptt=0)


TABLES = {
    "series.csv": "time,a,b\n" + "".join(f"2020-01-{k % 28},{k},{k / 7}\n" for k in range(90)),
    "gaps.csv": "a;b;c\n" + "".join(f"{k};;{k * 1e-9}\n" for k in range(90)),
    "one.txt": "".join(f"{k / 3}\n" for k in range(90)),
    "tabs.tsv": "".join(f"{k}\t{-k}\tnan\n" for k in range(90)),
}
TEXTS = {
    "prose.txt": "It was the best of times, it was the worst of times,\n" * 60,
    "poem.txt": "one, two,\nbuckle my shoe;\nthree, four\n\nknock at the door, he said\n" * 40,
    "code.py": "def f(a, b):\n    return a, b, 1\nx = [1, 2, 3, 4, 5]\n" * 40,
    "numbered.txt": "".join(f"{k}, verse: in the beginning, there was\n" for k in range(90)),
    "short.csv": "1,2,3\n" * 4 + "x" * 3000,
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_read_as_text_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TABLES[name], "utf-8")
    with pytest.warns(DataWarning, match=f"{name} looks like a table of numbers .* --csv"):
        CharLM.load({"text": str(tmp_path / name)})


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_no_table(tmp_path: Path, name: str) -> None:
    """Warnings are errors in these tests."""
    (tmp_path / name).write_text(TEXTS[name], "utf-8")
    CharLM.load({"text": str(tmp_path / name)})


def test_arrays_are_no_text(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(300))
    with pytest.raises(InputFileError, match="not UTF-8") as caught:
        CharLM.load({"text": str(tmp_path / "a.npz")})
    assert "task = arrays" in caught.value.hint
