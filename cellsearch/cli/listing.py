"""Commands that list what there is by name: ``experiments``, ``spaces``, ``zoo``, ``strategies``,
``schedules``, ``tasks``.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import click

from cellsearch import options as tomltext
from cellsearch.cli.output import data_option, emit_json, json_option, print_table

__all__ = ["COMMANDS"]


@click.command("experiments", short_help="List the experiments known by name.")
@json_option
def experiments(as_json: bool) -> None:
    """List the experiments that `cellsearch search` knows by name."""
    from cellsearch.experiment import catalog

    found: list[dict[str, Any]] = []
    for name, path in catalog.entries(catalog.EXPERIMENTS).items():
        document = catalog.read(path).document()
        keys = ("question", "space", "strategy", "task", "trials")
        found.append({"name": name, **{key: document.get(key) for key in keys}, "file": str(path)})
    if as_json:
        emit_json(found)
        return
    rows = [
        (e["name"], e["strategy"], e["task"], str(e["trials"]), e["question"] or "") for e in found
    ]
    print_table(("name", "strategy", "task", "trials", "question"), rows, right=(3,), wrap=4)


@click.command("spaces", short_help="List the search spaces.")
@json_option
def spaces(as_json: bool) -> None:
    """List the search spaces, with the size of the full cell that pruning starts from."""
    from cellsearch.experiment import catalog

    found = []
    for path in catalog.entries(catalog.SPACES).values():
        found.append({**catalog.load_space(path).describe(), "file": str(path)})
    if as_json:
        emit_json(found)
        return
    rows = []
    for space in found:
        full = space["full_cell"]
        rows.append(
            (
                space["name"],
                ", ".join(space["states"]),
                str(len(space["ops"])),
                str(space["max_nodes"]),
                ", ".join(space["seeds"]),
                f"{full['connections']:,}",
                f"{full['parameters']:,} (I = {space['input_size']}, H = {space['hidden_size']})",
            )
        )
    headers = (
        "name",
        "states",
        "ops",
        "nodes at most",
        "seed genomes",
        "full cell: connections",
        "weights",
    )
    print_table(headers, rows, right=(2, 3, 5), wrap=4)


@click.command("zoo", short_help="List the published cells known by name.")
@click.option("--family", help="Only the cells of this family.")
@json_option
def zoo(family: str | None, as_json: bool) -> None:
    """List the named cells: states, weights in units of n^2, class, GEMM depth, source."""
    from cellsearch import zoo as zoo_module
    from cellsearch.genome import measures
    from cellsearch.zoo.entry import FAMILIES

    if family is not None and family not in FAMILIES:
        raise tomltext.unknown("family", family, FAMILIES, where="--family")
    found: list[dict[str, Any]] = []
    for entry in zoo_module.entries():
        if family in (None, entry.family):
            genome = entry.genome
            found.append(
                {
                    "name": entry.name,
                    "title": entry.title,
                    "family": entry.family,
                    "year": entry.year,
                    "paper": entry.paper,
                    "also": list(entry.also),
                    "states": list(genome.state_names),
                    "matrices": measures.matrices(genome),
                    "class": measures.recurrence_class(genome),
                    "gemm_depth": measures.gemm_depth(genome),
                    "key": genome.key,
                }
            )
    if as_json:
        emit_json(found)
        return
    rows = [
        (
            c["name"],
            ", ".join(c["states"]),
            str(c["matrices"]),
            c["class"],
            str(c["gemm_depth"]),
            str(c["year"]),
            c["title"],
        )
        for c in found
    ]
    print_table(
        ("name", "states", "n^2", "class", "depth", "year", "what"), rows, right=(2, 4, 5), wrap=6
    )


@click.command("strategies", short_help="List the strategies and their options.")
@json_option
def strategies(as_json: bool) -> None:
    """List the strategies: what each does, its options and what they mean, and the papers it comes
    from.
    """
    from cellsearch import strategies as module

    _list_parts({name: module.create(name, {}) for name in module.names()}, as_json)


@click.command("schedules", short_help="List the schedules: who gets more training.")
@json_option
def schedules(as_json: bool) -> None:
    """List the schedules (who gets more training): what each does, its options and what they mean,
    and the papers it comes from.
    """
    from cellsearch import schedules as module

    _list_parts({name: module.create(name, {}) for name in module.names()}, as_json)


@click.command("tasks", short_help="List the tasks.")
@data_option
@json_option
def tasks(as_json: bool) -> None:
    """List the tasks: metric, what is learned, source, options, and whether the data is there."""
    from dataclasses import asdict

    from cellsearch import tasks as module

    found = module.describe()
    if as_json:
        emit_json([{**asdict(task), "available": not task.missing} for task in found])
        return
    state = {
        t.name: f"download {t.download_bytes / 1e6:.1f} MB"
        if t.download
        else "missing"
        if t.missing
        else "there"
        for t in found
    }
    rows = [(t.name, t.metric, state[t.name], t.summary, t.source) for t in found]
    print_table(("name", "metric", "data", "what is learned", "source"), rows, wrap=3)
    for task in found:
        if task.download:
            click.echo(
                f"\n{task.name}: downloaded when it is first needed, from "
                f"{', '.join(task.download)} (forbid it with --offline)"
            )
    missing = [task for task in found if task.missing and not task.download]
    if missing:
        click.echo(
            f"\n{len(missing)} tasks lack their data. {missing[0].name}: {missing[0].missing}"
        )


def _list_parts(parts: dict[str, Any], as_json: bool) -> None:
    found = []
    for name, part in parts.items():
        summary, _, details = (inspect.getdoc(type(part)) or "").replace("``", "").partition("\n\n")
        found.append(
            {
                "name": name,
                "summary": summary,
                "details": details,
                "paper": part.paper,
                "options": _options(part),
            }
        )
    if as_json:
        emit_json(found)
        return
    for k, part in enumerate(found):
        click.echo(f"{chr(10) * (k > 0)}{part['name']}: {part['summary']}")
        lines = {
            "options": tomltext.render(part["options"]).strip().replace("\n", ", "),
            "paper": part["paper"],
        }
        for what, text in lines.items():
            if text:
                click.echo(f"  {what}: {text}")
        if part["details"]:
            click.echo(textwrap.indent(part["details"], "    "))


def _options(part: Any) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: getattr(part, field.name) for field in fields(part)}


COMMANDS = (experiments, spaces, zoo, strategies, schedules, tasks)
