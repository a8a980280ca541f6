"""Large vocabularies: the adaptive softmax is exact, the tied decoder is one matrix with both
gradients.
"""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from cellsearch import zoo
from cellsearch.errors import ConfigError
from cellsearch.job import Training
from cellsearch.streaming import generate
from cellsearch.streaming.language import as_text, prompt_tokens
from cellsearch.tasks.adaptive import AdaptiveModel
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.word_lm import WordLM, word_arrays
from cellsearch.testing.tasks import TaskContract, torch_factory
from cellsearch.training.model import cell_factory

OPTIONS: dict[str, Any] = {
    "softmax": "adaptive",
    "cutoffs": [10, 40, 10_000],
    "batch_size": 4,
    "tbptt": 12,
}


def text(words: int, seed: int) -> str:
    """Words by Zipf's law; every second one is the one before it again."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, 121)
    drawn = rng.choice(120, size=words // 2, p=weights / weights.sum())
    return " ".join(f"w{n} w{n}" for n in drawn)


def arrays() -> Arrays:
    return word_arrays([text(4000, 0), text(1500, 1), text(1500, 2)], max_words=0)


class TestAdaptiveWordLM(TaskContract):
    task = "word_lm"
    options: ClassVar = OPTIONS
    beats = 5.2  # unigrams: about 5.7 bits
    steps = 250

    def arrays(self) -> Arrays:
        return arrays()


@pytest.fixture
def model() -> AdaptiveModel:
    torch.manual_seed(0)
    made = WordLM.create(OPTIONS, arrays()).model(torch_factory())
    assert isinstance(made, AdaptiveModel)
    return made


def test_log_probabilities_are_those_of_a_distribution(model: AdaptiveModel) -> None:
    x = torch.randint(0, 100, (5, 3))
    prediction, _ = model(x)
    assert prediction.shape == (5, 3, model.softmax.n_classes)
    assert torch.allclose(prediction.exp().sum(-1), torch.ones(5, 3), atol=1e-5)
    assert len(model.softmax.tail) == 2  # a cutoff beyond the vocabulary does not count


def test_the_loss_is_the_full_one_with_its_gradients(model: AdaptiveModel) -> None:
    x, y = torch.randint(0, 100, (5, 3)), torch.randint(0, 100, (5, 3))
    y[0] = torch.tensor([3, 20, 90])  # head and both tails
    other = copy.deepcopy(model)
    loss, _ = model.cross_entropy(x, y)
    full = nn.functional.cross_entropy(other(x)[0].flatten(0, 1), y.flatten())
    assert float(loss.detach()) == pytest.approx(float(full.detach()), rel=1e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    full.backward()  # type: ignore[no-untyped-call]
    for (name, a), (_, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert a.grad is not None, name
        assert b.grad is not None, name
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name


def test_the_score_is_that_of_the_log_probabilities(model: AdaptiveModel) -> None:
    task = WordLM.create(OPTIONS, arrays())
    score, perplexity = task.score(model, "valid")
    total, count, state = 0.0, 0, None
    with torch.no_grad():
        for batch in task.batches("valid", 0):
            prediction, state = model(batch.x, state)
            total -= float(prediction.gather(-1, batch.y.unsqueeze(-1)).sum())
            count += batch.y.numel()
    assert score == pytest.approx(total / count / math.log(2), rel=1e-5)
    assert perplexity == pytest.approx(math.exp(total / count), rel=1e-5)


@pytest.mark.parametrize("cutoffs", [[], [500], [40, 10], [0, 10]])
def test_cutoffs_that_cut_nothing_are_refused(cutoffs: list[int]) -> None:
    task = WordLM.create({**OPTIONS, "cutoffs": cutoffs}, arrays())
    with pytest.raises(ConfigError, match="clusters"):
        task.model(torch_factory())
    with pytest.raises(ConfigError, match="sampled"):
        WordLM.create({"softmax": "sampled"}, arrays())


def test_the_tied_decoder_is_the_embedding_and_gradients_add_up() -> None:
    task = WordLM.create({"batch_size": 4, "tbptt": 12}, arrays())
    torch.manual_seed(0)
    tied = task.model(torch_factory())
    assert isinstance(tied, SequenceModel)
    assert tied.embedding is not None
    assert tied.readout.weight is tied.embedding.weight
    assert tied.readout.weight.data_ptr() == tied.embedding.weight.data_ptr()
    vocabulary, width = tied.embedding.weight.shape
    cell = sum(p.numel() for p in tied.cell.parameters())
    assert sum(p.numel() for p in tied.parameters()) == vocabulary * width + vocabulary + cell
    apart = SequenceModel(torch_factory(), tokens=vocabulary, outputs=vocabulary)
    apart.load_state_dict(tied.state_dict())
    assert apart.embedding is not None
    batch = next(task.batches("train", 0))
    for model in (tied, apart):
        loss, _ = task.training_loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
    grad = tied.embedding.weight.grad
    parts = (apart.embedding.weight.grad, apart.readout.weight.grad)
    assert grad is not None
    assert parts[0] is not None
    assert parts[1] is not None
    assert torch.allclose(grad, parts[0] + parts[1], atol=1e-6)
    assert not torch.allclose(grad, parts[1], atol=1e-6)


def test_words_are_written_from_log_probabilities() -> None:
    torch.manual_seed(0)
    model = WordLM.create(OPTIONS, arrays()).model(
        cell_factory(zoo.load("gru"), Training(hidden_size=8))
    )
    written = generate(model, [3], 12, temperature=0)
    with torch.no_grad():
        whole, _ = model(torch.tensor([3, *written]).unsqueeze(1))
    assert whole[:-1, 0].argmax(-1).tolist() == written


def test_the_command_shows_words_and_lines() -> None:
    symbols = np.array(["the", "<eos>", "king", "<unk>"])
    assert as_text([0, 2, 1, 0, 3, 1], symbols) == "the king\nthe <unk>\n"
    assert prompt_tokens(None, symbols) == [1]
    assert prompt_tokens("the king", symbols) == [0, 2]
    for prompt in ("the queen", ""):
        with pytest.raises(ConfigError, match="--prompt"):
            prompt_tokens(prompt, symbols)
