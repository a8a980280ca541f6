"""Commands that list what there is by name: ``experiments``, ``spaces``, ``zoo``, ``strategies``,
``schedules``, ``tasks``, ``ops``.
"""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import asdict, fields
from typing import Any

import click

from cellsearch import ops, options, schedules, strategies, tasks, zoo
from cellsearch.cli.output import data_option, emit_json, print_table, table_option, written_form
from cellsearch.cli.parts import (
    show_experiment,
    show_op,
    show_schedule,
    show_space,
    show_strategy,
    show_task,
)
from cellsearch.errors import amount
from cellsearch.experiment import catalog
from cellsearch.genome import measures
from cellsearch.zoo.entry import FAMILIES

__all__ = ["COMMANDS"]

NAME = click.argument("name", required=False)
_FACTS = tuple(field.name for field in fields(ops.Op) if field.type == "bool")
"""The columns of the op table that are true or false."""


@click.command("experiments")
@NAME
@table_option
def list_experiments(name: str | None, as_json: bool) -> None:
    """List the experiments that `cellsearch search` knows by name; with NAME, show one (also a TOML
    file) in full.
    """
    if name is not None:
        show_experiment(name, as_json)
        return
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


@click.command("spaces")
@NAME
@table_option
def list_spaces(name: str | None, as_json: bool) -> None:
    """List the search spaces, with the size of the full cell that pruning starts from; with NAME,
    show one (also a TOML file) in full.
    """
    if name is not None:
        show_space(name, as_json)
        return
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


@click.command("zoo")
@click.option("--family", help="Only the cells of this family.")
@table_option
def list_zoo(family: str | None, as_json: bool) -> None:
    """List the named cells: states, weights in units of n^2, class, GEMM depth, source."""
    if family is not None and family not in FAMILIES:
        raise options.unknown("family", family, FAMILIES, where="--family")
    found: list[dict[str, Any]] = []
    for entry in zoo.entries():
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
    published = [cell for cell in found if cell["family"] != "found"]
    ours = [cell for cell in found if cell["family"] == "found"]
    if published:
        _print_zoo(published)
    if ours:
        click.echo("\nfound by cellsearch itself; cellsearch show NAME prints how it was judged:")
        _print_zoo(ours)


def _print_zoo(cells: list[dict[str, Any]]) -> None:
    """Some cells of the zoo as a table."""
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
        for c in cells
    ]
    print_table(
        ("name", "states", "n^2", "class", "depth", "year", "what"), rows, right=(2, 4, 5), wrap=6
    )


@click.command("strategies")
@NAME
@table_option
def list_strategies(name: str | None, as_json: bool) -> None:
    """List the strategies: what each does, its options and what they mean, and the papers it comes
    from; with NAME, show one in full.
    """
    if name is not None:
        show_strategy(name, as_json)
        return
    _list_parts({name: strategies.create(name, {}) for name in strategies.names()}, as_json)


@click.command("schedules")
@NAME
@table_option
def list_schedules(name: str | None, as_json: bool) -> None:
    """List the schedules (who gets more training): what each does, its options and what they mean,
    and the papers it comes from; with NAME, show one in full.
    """
    if name is not None:
        show_schedule(name, as_json)
        return
    _list_parts({name: schedules.create(name, {}) for name in schedules.names()}, as_json)


@click.command("ops")
@NAME
@table_option
def list_ops(name: str | None, as_json: bool) -> None:
    """List the ops of cells: operands, what is known of the function, source; with NAME, show one
    in full.
    """
    if name is not None:
        show_op(name, as_json)
        return
    found: list[dict[str, Any]] = []
    for row in map(ops.get, ops.names()):
        known = [fact for fact in _FACTS if getattr(row, fact)]
        found.append(
            {
                "name": row.name,
                "operands": row.arity_text(),
                "torch": row.torch,
                "gradient": list(row.gradient),
                "facts": known,
                "source": row.source,
            }
        )
    if as_json:
        emit_json(found)
        return
    rows = [(o["name"], o["operands"], ", ".join(o["facts"]), o["source"]) for o in found]
    print_table(("name", "operands", "known of it", "source"), rows, wrap=3)


@click.command("tasks")
@NAME
@data_option
@table_option
def list_tasks(name: str | None, as_json: bool) -> None:
    """List the tasks: metric, what is learned, source, and whether the data is there; with NAME,
    show one with its options.
    """
    if name is not None:
        show_task(name, as_json)
        return
    found = tasks.describe()
    if as_json:
        emit_json([{**asdict(task), "available": not task.missing} for task in found])
        return
    rows = [(t.name, t.metric, t.data, t.summary, t.source) for t in found]
    print_table(("name", "metric", "data", "what is learned", "source"), rows, wrap=3)
    downloads = [task for task in found if task.download]
    if downloads:
        click.echo(
            f"\ndata to be downloaded when first needed: {amount(len(downloads), 'task')} "
            "(--offline forbids it); `cellsearch tasks NAME` says from where"
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
                "options": options.table_of(part),
            }
        )
    if as_json:
        emit_json(found)
        return
    if written_form():
        rows = [(str(part["name"]), str(part["summary"]), str(part["paper"])) for part in found]
        print_table(("name", "summary", "paper"), rows)
        return
    for k, part in enumerate(found):
        click.echo(f"{chr(10) * (k > 0)}{part['name']}: {part['summary']}")
        lines = {
            "options": options.render_toml(part["options"]).strip().replace("\n", ", "),
            "paper": part["paper"],
        }
        for what, text in lines.items():
            if text:
                click.echo(f"  {what}: {text}")
        if part["details"]:
            click.echo(textwrap.indent(part["details"], "    "))


COMMANDS = (
    list_experiments,
    list_spaces,
    list_zoo,
    list_strategies,
    list_schedules,
    list_tasks,
    list_ops,
)
