"""Text from a trained character or word model, and the tokens that a prompt stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from torch import nn

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.streaming.text import decode, generate
from cellsearch.tasks.base import Task
from cellsearch.tasks.char_lm import encode
from cellsearch.tasks.language import LanguageModel
from cellsearch.tasks.word_lm import END_OF_LINE

__all__ = ["as_text", "prompt_tokens", "symbols_of", "write_text"]


@checked_arguments
def write_text(
    model: nn.Module,
    task: Task,
    length: int,
    *,
    prompt: str | None = None,
    temperature: float = 0.8,
    seed: int = 0,
) -> str:
    """What a language model goes on with.

    model: trained for ``task``.
    length: characters, or words.
    prompt: text to go on from; without it the model starts after the end of a line, or a space.
    temperature: 0 takes the most probable symbol each time.
    seed: decides what is sampled.

    Raises :class:`ConfigError` for a model of something else and for a prompt that it cannot read.
    """
    symbols = symbols_of(task)
    start = prompt_tokens(prompt, symbols)
    return as_text(generate(model, start, length, temperature=temperature, seed=seed), symbols)


def symbols_of(task: Task) -> NDArray[Any]:
    """The code points, or words (a dtype of kind ``"U"``), of a language model's tokens. Raises
    :class:`ConfigError` for a task of something else.
    """
    symbols = task.arrays.get("symbols")
    if not isinstance(task, LanguageModel) or symbols is None or symbols.dtype.kind not in "iuU":
        raise ConfigError(
            f"the cell was trained for {task.name}, which does not consist of text",
            hint="search on char_lm, time_machine, tiny_shakespeare or word_lm",
        )
    return symbols


def as_text(tokens: Sequence[int], symbols: NDArray[Any]) -> str:
    """What the tokens stand for; words apart from each other, lines ended where the model ends
    them.
    """
    if symbols.dtype.kind != "U":
        return decode(tokens, symbols.tolist())
    lines = " ".join(str(symbols[token]) for token in tokens).split(END_OF_LINE)
    return "\n".join(line.strip() for line in lines)


def prompt_tokens(prompt: str | None, symbols: NDArray[Any]) -> list[int]:
    """The tokens of a prompt. Raises :class:`ConfigError` for a character or word that the model
    does not know.
    """
    known, by_words = symbols.tolist(), symbols.dtype.kind == "U"
    if prompt is not None and not (prompt.split() if by_words else prompt):
        raise ConfigError(
            "the prompt is empty", where="--prompt", hint="leave it out, or give a symbol or more"
        )
    if by_words:
        words = [END_OF_LINE] if prompt is None else prompt.split()
        strange = [word for word in words if word not in known]
        if strange:
            raise ConfigError(
                f"the model does not know {strange[0]!r}",
                where="--prompt",
                hint=f"it knows {len(known):,} words of its training text; <unk> stands for any "
                "other",
            )
        return [known.index(word) for word in words]
    if prompt is None:
        return [next((known.index(ord(start)) for start in "\n " if ord(start) in known), 0)]
    try:
        return [int(token) for token in encode(prompt, symbols)]
    except ConfigError as error:
        raise ConfigError(
            error.message, where="--prompt", hint=f"symbols: {''.join(map(chr, known))!r}"
        ) from None
