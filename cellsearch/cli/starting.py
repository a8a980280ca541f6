"""``cellsearch new``: a commented start of an experiment, a strategy, a task or a search space."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import click

from cellsearch.errors import ConfigError, command
from cellsearch.files import write_new

__all__ = ["COMMANDS"]

_KINDS = {
    "experiment": ("experiment.toml", ".toml"),
    "strategy": ("strategy.py.txt", ".py"),
    "task": ("task.py.txt", ".py"),
    "space": ("space.toml", ".toml"),
}
"""Which file each is a copy of, and what the name of the copy ends in."""


@click.command("new")
@click.argument("kind", type=click.Choice([*_KINDS]))
@click.argument("name")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file.  [default: NAME.toml or NAME.py, here]",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def new(kind: str, name: str, output: Path | None, force: bool) -> None:
    """Write a commented start of an experiment, a strategy, a task or a search space called NAME,
    which runs as it is.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise ConfigError(
            f"{name!r:.60} is not a name",
            where="NAME",
            hint="allowed: small letters, digits and _, a letter first, at most 40 characters",
        )
    source, suffix = _KINDS[kind]
    target = output or Path(f"{name}{suffix}")
    if target.suffix != suffix:
        raise ConfigError(
            f"{target} is no {suffix} file", where="--output", hint=f"end its name in {suffix}"
        )
    text = (files("cellsearch.cli") / "starts" / source).read_text("utf-8")
    class_name = "".join(word.capitalize() for word in name.split("_"))
    for mark, value in (("@NAME@", name), ("@CLASS@", class_name), ("@FILE@", target.as_posix())):
        text = text.replace(mark, value)
    if re.search(r"[\x00-\x1f\x7f\"\\]", target.as_posix()):
        raise ConfigError(
            "the name of the file has quotes or control characters",
            where="--output",
            hint="choose another",
        )
    write_new(target, text, force=force)
    click.echo(f"{kind}: {target}")
    click.echo(f"try it: {_try(kind, target)}")


def _try(kind: str, target: Path) -> str:
    if kind == "experiment":
        return command("search", target, "--workers", 0)
    if kind == "space":
        return command("spaces", target)
    return command(target).replace("cellsearch", "python", 1)


COMMANDS = (new,)
