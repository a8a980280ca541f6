"""Translation and BLEU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from cellsearch import tasks, zoo
from cellsearch.errors import InputFileError
from cellsearch.job import Job, Training
from cellsearch.tasks.bleu import corpus_bleu, plain_bleu
from cellsearch.tasks.translation import Translation, TranslationModel
from cellsearch.testing.tasks import TaskContract, torch_factory
from cellsearch.training import evaluate


class TestTranslation(TaskContract):
    task = "translation"
    options: ClassVar = {"attention": True}
    beats = 4.5  # word frequencies alone: about 5 nats
    steps = 80

    @pytest.fixture(autouse=True)
    def _data(self, data_folder: Path) -> None:
        pass

    def test_padding_does_not_count(self) -> None:
        """Sources and answers are padded apart: change both beyond their ends."""
        task = self.made()
        torch.manual_seed(0)
        model = task.model(torch_factory())
        batch = next(task.batches("train", 0))
        assert batch.lengths is not None
        x = batch.x.clone()
        x[0][torch.arange(len(x[0])).unsqueeze(1) >= batch.lengths] = 7
        x[1][(batch.y == 0)] = 7
        assert not torch.equal(x, batch.x)
        with torch.no_grad():
            one, other = (
                task.loss(model(inputs, None, batch.lengths)[0], batch) for inputs in (batch.x, x)
            )
        assert torch.allclose(one, other, atol=1e-6)


def words(*sentences: str) -> list[list[str]]:
    return [sentence.split() for sentence in sentences]


BLEUS = [plain_bleu, corpus_bleu]  # the second is sacrebleu's where that is installed


@pytest.mark.parametrize("bleu", BLEUS)
def test_bleu_of_the_reference_itself_is_100(bleu: Callable[..., float]) -> None:
    assert bleu(words("a b c d e"), [words("x y", "a b c d e")]) == pytest.approx(100)


@pytest.mark.parametrize("bleu", BLEUS)
def test_bleu_clips_repeated_words(bleu: Callable[..., float]) -> None:
    """The classic example of Papineni et al. 2002: "the" seven times has a unigram precision of
    2/7, and no 4-gram.
    """
    assert bleu(words("the the the the the the the"), [words("the cat is on the mat")]) == 0.0


@pytest.mark.parametrize("bleu", BLEUS)
def test_bleu_by_hand(bleu: Callable[..., float]) -> None:
    """Precisions 5/6, 4/5, 3/4, 2/3; the hypothesis is one word short: exp(1 - 7/6)."""
    found = bleu(words("a b c d e x"), [words("a b c d e f g")])
    assert found == pytest.approx(
        100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25 * 2.718281828 ** (1 - 7 / 6)
    )


def test_bleu_equals_sacrebleu() -> None:
    """Different numbers of references, too."""
    pytest.importorskip("sacrebleu")
    rng = np.random.default_rng(0)

    def sentence() -> list[str]:
        return [str(word) for word in rng.choice(list("abcdef"), size=rng.integers(3, 12))]

    hypotheses = [sentence() for _ in range(60)]
    references = [[sentence() for _ in range(rng.integers(1, 4))] for _ in range(60)]
    assert plain_bleu(hypotheses, references) == pytest.approx(
        corpus_bleu(hypotheses, references), abs=1e-9
    )


def test_no_source_is_in_two_parts(data_folder: Path) -> None:
    arrays = Translation.load({})
    parts = [set(arrays["group"][arrays["split"] == k].tolist()) for k in range(3)]
    assert len(parts[0] | parts[1] | parts[2]) == sum(len(part) for part in parts)
    assert len(parts[2]) >= 380


def test_decoding_step_by_step_equals_teacher_forcing(data_folder: Path) -> None:
    """Given back its own words, the model must predict in one go what it said word by word."""
    task = Translation.create({}, Translation.load({}))
    torch.manual_seed(0)
    model = task.model(torch_factory(hidden_size=12))
    assert isinstance(model, TranslationModel)
    batch = next(task.batches("train", 0))
    assert batch.lengths is not None
    with torch.no_grad():
        memory, state = model.encode(batch.x[0], batch.lengths)
        words = torch.full((1, 32), 2)
        said = []
        for _ in range(6):
            scores, state = model.decode(words, state, memory, batch.lengths)
            words = scores.argmax(-1)
            said.append(words)
        given = torch.cat([torch.full((1, 32), 2), *said[:-1]])
        memory, state = model.encode(batch.x[0], batch.lengths)
        whole, _ = model.decode(given, state, memory, batch.lengths)
    assert torch.equal(whole.argmax(-1), torch.cat(said))


@pytest.mark.parametrize("attention", [True, False])
def test_a_compiled_cell_translates(data_folder: Path, attention: bool) -> None:
    options = {"attention": attention}
    job = Job(
        trial=0,
        rung=0,
        genome=zoo.load("lstm").to_json(),
        task="translation",
        task_options=options,
        training=Training(hidden_size=16, evaluations=1, learning_rate=1e-2),
        steps=20,
        seed=0,
        test=True,
    )
    result = evaluate(job, tasks.get("translation").load(options))
    assert result.score < 6.0
    assert 0.0 <= result.metrics["test_metric"] <= 100.0


def own(path: Path, *lines: str) -> dict[str, str]:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return {"pairs": str(path)}


def test_pairs_of_ones_own_keep_their_parts(tmp_path: Path) -> None:
    options = own(
        tmp_path / "pairs.txt",
        *("we run .\tnous courons .\ttrain", "we run .\ton court .\ttrain"),
        *("we go .\tnous allons .\tvalid", "", "you run .\tvous courez .\ttest"),
    )
    arrays = tasks.get("translation").load(options)
    assert arrays["split"].tolist() == [0, 0, 1, 2]
    assert arrays["source_words"].tolist()[4:] == [".", "run", "we"]  # training has them twice
    assert arrays["references"].tolist()[1] == "on court ."
    assert arrays["source"][6:9].tolist() == [6, 1, 4]  # "go" is unknown


def test_pairs_without_parts_are_split_by_source(tmp_path: Path) -> None:
    options = own(tmp_path / "pairs.txt", *(f"go {n % 9} .\tva {n} ." for n in range(18)))
    arrays = tasks.get("translation").load(options)
    assert set(arrays["split"].tolist()) == {0, 1, 2}
    assert arrays["split"][:9].tolist() == arrays["split"][9:].tolist()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "there are no pairs"),
        (["go .\tva ."] * 9, "none in one of the parts"),
        (["go .\tva .\ttrain", "run .\tcours .\ttraining"], "line 2 has the unknown part"),
        (["go .\tva .\ttrain", "run .\tcours ."], "line 2 is not a sentence, a tab"),
        (["go .\t"], "line 1 is not a sentence, a tab"),
        (["go ."], "line 1 is not a sentence, a tab"),
    ],
)
def test_pairs_that_cannot_be_used(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        tasks.get("translation").load(own(tmp_path / "pairs.txt", *lines))
