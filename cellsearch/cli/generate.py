"""``cellsearch generate``: text from a trained character or word model."""

from __future__ import annotations

import sys

import click

from cellsearch.cli.output import data_option, emit_json, json_option, own_data_option
from cellsearch.runs.locate import locate

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
@own_data_option
@data_option
@json_option
def generate(
    run: str,
    length: int,
    temperature: float,
    prompt: str | None,
    seed: int,
    data: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write text with a language model that a search has trained.

    RUN is a run folder (its best cell) or RUN:TRIAL, of a search on a language task (char_lm,
    time_machine, tiny_shakespeare, word_lm).
    """
    from cellsearch.streaming.language import symbols_of, write_text  # loads torch

    located = locate(run, data)
    trained = located.trained.trained()
    text = write_text(
        trained.model, trained.task, length, prompt=prompt, temperature=temperature, seed=seed
    )
    if as_json:
        settings = {"length": length, "temperature": temperature, "prompt": prompt, "seed": seed}
        emit_json({"cell": located.label, "task": trained.task.name, **settings, "text": text})
        return
    by_words = symbols_of(trained.task).dtype.kind == "U"
    shown = (prompt or "") + (" " if prompt and by_words else "") + text
    # A terminal or pipe may not know every character of the text.
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(shown.encode(encoding, errors="replace").decode(encoding))


COMMANDS = (generate,)
