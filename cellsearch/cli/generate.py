"""``cellsearch generate``: text from a trained character or word model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from cellsearch.cli.output import data_option, emit_json, json_option
from cellsearch.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellsearch.runs.trained import Trained

__all__ = ["COMMANDS"]


@click.command("generate")
@click.argument("run")
@click.option(
    "--length",
    type=click.IntRange(min=1),
    default=400,
    show_default=True,
    help="Characters (or words) to write.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.8,
    show_default=True,
    help="0: always the most probable one.",
)
@click.option(
    "--prompt",
    help="Text to go on from; without it the model starts after the end of a line, or a space.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Decides what is sampled.",
)
@data_option
@json_option
def generate(
    run: str, length: int, temperature: float, prompt: str | None, seed: int, as_json: bool
) -> None:
    """Write text with a language model that a search has trained.

    RUN is a run folder (its best cell) or RUN:TRIAL, of a search on a language task (char_lm,
    time_machine, tiny_shakespeare, word_lm).
    """
    from cellsearch.runs.locate import locate
    from cellsearch.streaming import generate as sample

    located = locate(run)
    trained = located.trained.trained()
    symbols = _symbols(trained)
    start = _start(prompt, symbols)
    text = _text(sample(trained.model, start, length, temperature=temperature, seed=seed), symbols)
    if as_json:
        settings = {"length": length, "temperature": temperature, "prompt": prompt, "seed": seed}
        emit_json({"cell": located.label, "task": trained.job.task, **settings, "text": text})
        return
    shown = (prompt or "") + (" " if prompt and symbols.dtype.kind == "U" else "") + text
    # A terminal or pipe may not know every character of the text.
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(shown.encode(encoding, errors="replace").decode(encoding))


def _symbols(trained: Trained) -> NDArray[Any]:
    """The code points, or words, of a language model's tokens. Raises :class:`ConfigError` for a
    model of something else.
    """
    from cellsearch.tasks.language import LanguageModel

    symbols = trained.task.arrays.get("symbols")
    if (
        not isinstance(trained.task, LanguageModel)
        or symbols is None
        or symbols.dtype.kind not in "iuU"
    ):
        raise ConfigError(
            f"the cell was trained for {trained.job.task}, which is no text",
            hint="search on char_lm, time_machine, tiny_shakespeare or word_lm",
        )
    return symbols


def _text(tokens: list[int], symbols: NDArray[Any]) -> str:
    """What the tokens stand for; words apart from each other, lines ended where the model ends
    them.
    """
    from cellsearch.streaming import decode
    from cellsearch.tasks.word_lm import END_OF_LINE

    if symbols.dtype.kind != "U":
        return decode(tokens, symbols.tolist())
    lines = " ".join(str(symbols[token]) for token in tokens).split(END_OF_LINE)
    return "\n".join(line.strip() for line in lines)


def _start(prompt: str | None, symbols: NDArray[Any]) -> list[int]:
    """The tokens of the prompt. Raises :class:`ConfigError` for a character or word that the model
    does not know.
    """
    from cellsearch.tasks.char_lm import encode
    from cellsearch.tasks.word_lm import END_OF_LINE

    known = symbols.tolist()
    if symbols.dtype.kind == "U":
        words = [END_OF_LINE] if prompt is None else prompt.split()
        strange = [word for word in words if word not in known]
        if strange or not words:
            what = f"the model does not know {strange[0]!r}" if strange else "the prompt is empty"
            raise ConfigError(
                f"--prompt: {what}",
                hint=f"it knows {len(known):,} words of its training text; <unk> stands for "
                f"any other",
            )
        return [known.index(word) for word in words]
    if prompt is None:
        return [next((known.index(ord(start)) for start in "\n " if ord(start) in known), 0)]
    if not prompt:
        raise ConfigError(
            "the prompt is empty",
            where="--prompt",
            hint="leave it out, or give a character or more",
        )
    try:
        return [int(token) for token in encode(prompt, symbols)]
    except ConfigError as error:
        raise ConfigError(
            f"--prompt: {error.message}", hint=f"symbols: {''.join(map(chr, known))!r}"
        ) from None


COMMANDS = (generate,)
