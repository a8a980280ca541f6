"""``cellsearch generate``: text from a trained character model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from cellsearch.cli.output import emit_json, json_option
from cellsearch.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellsearch.cli.trained import Trained

__all__ = ["COMMANDS"]


@click.command("generate")
@click.argument("run")
@click.option("--length", type=click.IntRange(min=1), default=400, show_default=True, help="Characters to write.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.8, show_default=True, help="0: always the most probable one.")
@click.option("--prompt", help="Text to go on from; without it the model starts after a new line, or a space.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides what is sampled.")
@json_option
def generate(run: str, length: int, temperature: float, prompt: str | None, seed: int, as_json: bool) -> None:
    """Write text with a character model that a search has trained.

    RUN is a run folder (its best cell) or RUN:TRIAL, of a search on a character task (char_lm, time_machine, tiny_shakespeare).
    """
    from cellsearch.cli.locate import locate
    from cellsearch.cli.trained import checkpoint_path, load_arrays, load_trained, trained_job
    from cellsearch.streaming import decode
    from cellsearch.streaming import generate as sample

    located = locate(run)
    path = checkpoint_path(located)
    job = trained_job(path, 0)
    trained = load_trained(path, job, load_arrays(job))
    symbols = _symbols(trained)
    start = _start(prompt, symbols)
    text = decode(sample(trained.model, start, length, temperature=temperature, seed=seed), symbols.tolist())
    if as_json:
        settings = {"length": length, "temperature": temperature, "prompt": prompt, "seed": seed}
        emit_json({"cell": located.label, "task": job.task, **settings, "text": text})
        return
    shown = (prompt or "") + text
    # A terminal or pipe may not know every character of the text.
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(shown.encode(encoding, errors="replace").decode(encoding))


def _symbols(trained: Trained) -> NDArray[Any]:
    """The code points of a character model's tokens. Raises :class:`ConfigError` for a model of something else."""
    from cellsearch.tasks.language import LanguageModel

    symbols = trained.task.arrays.get("symbols")
    if not isinstance(trained.task, LanguageModel) or symbols is None or symbols.dtype.kind not in "iu":
        raise ConfigError(
            f"the cell was trained for {trained.job.task}, which is no text in characters",
            hint="search on char_lm, time_machine or tiny_shakespeare",
        )
    return symbols


def _start(prompt: str | None, symbols: NDArray[Any]) -> list[int]:
    """The tokens of the prompt. Raises :class:`ConfigError` for a character that the model does not know."""
    from cellsearch.tasks.char_lm import encode

    known = symbols.tolist()
    if prompt is None:
        return [next((known.index(ord(start)) for start in "\n " if ord(start) in known), 0)]
    if not prompt:
        raise ConfigError("the prompt is empty", where="--prompt", hint="leave it out, or give a character or more")
    try:
        return [int(token) for token in encode(prompt, symbols)]
    except ConfigError as error:
        raise ConfigError(f"--prompt: {error.message}", hint=f"symbols: {''.join(map(chr, known))!r}") from None


COMMANDS = (generate,)
