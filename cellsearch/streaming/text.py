"""Text from a trained language model: one symbol at a time, each fed back as the next input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.tasks.adaptive import AdaptiveModel
from cellsearch.tasks.heads import SequenceModel, evaluation

__all__ = ["decode", "generate", "step"]


def step(model: SequenceModel, x: Tensor, state: object) -> tuple[Tensor, object]:
    """One position of a model with a readout at every position: ``x [B]`` tokens or ``[B, I]`` ->
    (prediction ``[B, outputs]``, state).

    The same numbers as the model over the whole sequence, with carried state. Raises
    :class:`ConfigError` for a model that predicts once a sequence, or reads in both directions.
    """
    if model.readout_kind != "every" or model.directions != 1:
        raise ConfigError(
            "the model predicts once a sequence, or reads it in both directions",
            hint="only a causal model can run in a stream",
        )
    if model.embedding is not None:
        given = model.embedding(x)
    else:
        given = x.to(model.readout.weight.dtype)
        given = given if model.projection is None else model.projection(given)
    output, state = model.cell.step(given, state)  # type: ignore[operator]
    prediction = model.readout(model.dropout(output))
    return model.logarithms(prediction) if isinstance(model, AdaptiveModel) else prediction, state


@checked_arguments
def generate(
    model: nn.Module, prompt: Sequence[int], length: int, *, temperature: float = 1.0, seed: int = 0
) -> list[int]:
    """``length`` token numbers that follow ``prompt`` (at least one token), sampled with
    softmax(logits / temperature).

    Temperature 0 takes the most probable token each time (of equal ones the first). Equal arguments
    give equal tokens. Source: Graves 2013, arXiv 1308.0850, section 2 (each sample is the next
    input). Raises :class:`ConfigError` for an empty prompt, a negative temperature or length, a
    token that the model does not know, and a model that cannot run in a stream.
    """
    if not isinstance(model, SequenceModel) or model.embedding is None:
        raise ConfigError(
            "the model does not read tokens",
            hint="text comes from a model trained for a language modelling task",
        )
    vocabulary = model.embedding.num_embeddings
    if not prompt or any(not 0 <= token < vocabulary for token in prompt):
        raise ConfigError(f"a prompt is one or more tokens from 0 to {vocabulary - 1}")
    if not temperature >= 0 or length < 0:
        raise ConfigError(f"temperature {temperature} or length {length} is negative")
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = []
    with evaluation(model):
        state: object = None
        for token in prompt:
            logits, state = step(model, torch.tensor([token]), state)
        for _ in range(length):
            tokens.append(_choose(logits[0].double(), temperature, generator))
            logits, state = step(model, torch.tensor([tokens[-1]]), state)
    return tokens


def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if not torch.isfinite(logits).all():
        raise ConfigError(
            "the model's prediction is not finite",
            hint="its weights have blown up; take another trial",
        )
    if temperature == 0:
        return int(logits.argmax())
    # The largest logit first, so that no temperature makes the quotient infinite.
    weights = torch.softmax((logits - logits.max()) / temperature, 0)
    return int(torch.multinomial(weights, 1, generator=generator))


@checked_arguments
def decode(tokens: Sequence[int], symbols: Sequence[int]) -> str:
    """Token numbers as text; ``symbols``: the code point of each number."""
    return "".join(chr(symbols[token]) for token in tokens)
