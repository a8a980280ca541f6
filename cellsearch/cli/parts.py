"""One part in full, for the commands that list parts: what it is, where it comes from, its options
with all that is known of them, and a command to try.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from itertools import pairwise
from typing import Any

import click

from cellsearch import ops, options, schedules, strategies, tasks
from cellsearch.cli.output import emit_json, print_table
from cellsearch.errors import ConfigError, amount, command
from cellsearch.experiment import catalog
from cellsearch.experiment.experiment import Experiment, ExperimentFile, load_experiment
from cellsearch.options import keys
from cellsearch.tasks.options import parse_options
from cellsearch.tasks.suite import SUITE, Member, Suite

__all__ = [
    "show_experiment",
    "show_op",
    "show_schedule",
    "show_space",
    "show_strategy",
    "show_suite",
    "show_task",
]

_EXAMPLE = "quickstart"
_OPTION = re.compile(r"(?:^|; )(?:``)?(\w+)(?:``)?: ", re.MULTILINE)
"""The beginning of a line ``name: meaning`` in the docstring of a class."""


def show_strategy(name: str, as_json: bool) -> None:
    """A strategy."""
    _show(_part(strategies.get(name), "strategy"), as_json)


def show_schedule(name: str, as_json: bool) -> None:
    """A schedule."""
    _show(_part(schedules.get(name), "schedule"), as_json)


def show_task(name: str, as_json: bool) -> None:
    """A task, with what there is of its data."""
    kind = tasks.get(name)
    info = tasks.info(name)
    declared = _options(kind.Options)
    # A file of one's own is what such a task is about.
    chosen = [o for o in declared if o["name"] in ("path", "text")] + declared
    setting = ["--set", f"task_options.{_setting(chosen[0])}"] if chosen else []
    _show(
        {
            **asdict(info),
            "available": not info.missing,
            "details": _prose(kind),
            "options": declared,
            "code": _code(kind),
            "example": command("evaluate", "lstm", "--task", name, *setting),
        },
        as_json,
        (
            ("metric", info.metric),
            ("data", info.data),
            *(("", line) for line in info.about_data.splitlines()),
            ("source", info.source),
        ),
    )


def show_space(name: str, as_json: bool) -> None:
    """A search space; its "options" are the keys of its tables, with the values that it has."""
    entry = catalog.find(catalog.SPACES, name)
    space = catalog.load_space(entry.path)
    tables = {
        "limits": space.limits,
        "constraints": space.constraints,
        "full_cell": space.full_cell,
    }
    declared: list[dict[str, Any]] = []
    for table, values in tables.items():
        given = options.table_of(values)
        for option in _options(type(values)):
            value = given.get(option["name"])
            declared.append({**option, "name": f"{table}.{option['name']}", "value": value})
    found = space.describe()
    seeds = ", ".join(f"{seed} ({weights:,} weights)" for seed, weights in found["seeds"].items())
    _show(
        {
            **found,
            "summary": space.description,
            "options": declared,
            "file": str(entry.path),
            "example": command("search", _EXAMPLE, "--set", f"space={name}"),
        },
        as_json,
        (
            ("states", ", ".join(space.states)),
            ("ops", ", ".join(space.ops)),
            ("seed genomes", seeds),
            ("full cell", f"{found['full_cell']['connections']:,} connections"),
            ("file", str(entry.path)),
        ),
    )


def show_experiment(name: str, as_json: bool) -> None:
    """An experiment; its "options" are all keys of its file, with the values that it has."""
    entry = catalog.find(catalog.EXPERIMENTS, name)
    experiment = load_experiment(entry.path)
    space, task = experiment.space, experiment.task
    given: dict[str, Any] = {key: getattr(experiment, key, None) for key in keys(ExperimentFile)}
    given |= {"space": space.name, "strategy": experiment.strategy.name}
    given |= {"schedule": experiment.schedule.name}
    meanings = _meanings(Experiment)
    declared = [
        {**option, "value": given[option["name"]], "meaning": meanings[option["name"]]}
        for option in _options(ExperimentFile)
        if not isinstance(option["default"], Mapping)
    ]
    tables: dict[str, object] = {
        "strategy_options": experiment.strategy,
        "schedule_options": experiment.schedule,
        **{key: getattr(experiment, key) for key in ("training", "limits", "prefilter")},
        "allowance": experiment.allowance,
    }
    if task != SUITE:
        tables["task_options"] = parse_options(tasks.get(task).Options, experiment.task_options)
    for table, part in tables.items():
        values = options.table_of(part)
        declared += [
            {**option, "name": f"{table}.{option['name']}", "value": values.get(option["name"])}
            for option in _options(type(part))
        ]
    told = tasks.info(task).summary if task != SUITE else str(experiment.task_options["name"])
    _show(
        {
            "name": experiment.name,
            "summary": experiment.question or repr(experiment),
            "options": declared,
            "file": str(entry.path),
            "example": command("search", name),
        },
        as_json,
        (
            ("search space", f"{space.name}: {space.description}"),
            ("task", f"{task}: {told}"),
            ("file", str(entry.path)),
        ),
    )


def show_suite(name: str, as_json: bool) -> None:
    """A suite, with its tasks; its "options" are the keys of its file, with the values it has."""
    entry = catalog.find(catalog.SUITES, name)
    suite = catalog.load_suite(entry.path)
    document = suite.to_document()
    names = [member.name for member in suite.members]
    given = {**options.default_table(Suite), **document, "tasks": names}
    _show(
        {
            **document,
            "summary": suite.description or f"{len(suite.members)} tasks",
            "steps": suite.steps,
            "options": [{**one, "value": given[one["name"]]} for one in _options(Suite)],
            "file": str(entry.path),
            "example": command("evaluate", "lstm", "--suite", name),
        },
        as_json,
        (
            *((member.name, _member(member)) for member in suite.members),
            ("file", str(entry.path)),
        ),
    )


def _member(member: Member) -> str:
    """A task of a suite, in a line."""
    text = f"{member.task}, {amount(member.steps, 'step')}, chance {member.chance:g}"
    own = _inline({**member.options, **member.training})
    return f"{text}; {own}" if own else text


def _inline(table: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {options.toml_value(value)}" for key, value in table.items())


def show_op(name: str, as_json: bool) -> None:
    """An op."""
    row = ops.find(name)
    if row is None:
        raise ConfigError(f"there is no op {name!r:.60}", hint=ops.unknown_op_hint(name))
    facts = {
        fact: meaning
        for fact, meaning in _meanings(ops.Op).items()
        if isinstance(getattr(row, fact, None), bool) and getattr(row, fact)
    }
    text = f"h[t] = {_call(row)}"
    example = f"echo '{text}' > my.cell && {command('show', 'my.cell')}"
    formula = row.torch.format("a", "b", "c") if row.torch else _STRUCTURES.get(name, "")
    _show(
        {
            "name": row.name,
            "summary": row.source,
            "kind": row.kind,
            "operands": row.arity_text(),
            "torch": formula,
            "gradient": list(row.gradient),
            "facts": facts,
            "symbol": row.symbol,
            "latex": row.latex,
            "example": example,
        },
        as_json,
        (
            ("kind", row.kind),
            ("operands", row.arity_text()),
            ("formula", formula),
            ("gradient", "; ".join(row.gradient)),
            *((fact, meaning) for fact, meaning in facts.items()),
        ),
    )


_STRUCTURES = {
    "linear": "W_a @ a + W_b @ b + ... + bias, each W dense, or in blocks (blocks=4)",
    "head_norm": "layer_norm of each of n equal parts of a",
    "diag": "w * a, w a vector",
    "scale": "s * a, s one number",
    "bias": "a vector of weights",
    "const": "a number",
    "add": "a + b + ...",
    "mul": "a * b * ...",
}
"""The meaning of the ops whose number of operands, or weights, no expression holds."""


def _call(row: ops.Op) -> str:
    """An expression of a cell in which the op stands."""
    first, second = "linear(x[t], h[t-1])", "h[t-1]"
    infix = {"add": "+", "sub": "-", "mul": "*", "div": "/"}.get(row.name)
    if row.name == "head_norm":
        return f"head_norm({first}, 4)"
    if row.name == "rotate":
        return f"rotate({first}, 0.5)"
    if row.name == "linear":
        return f"tanh({first})"
    if row.name == "const":
        return f"tanh({first}) + 0.5"
    if row.name == "bias":
        return f"tanh({first}) + bias()"
    if infix:
        return f"tanh({first}) {infix} {'softplus(h[t-1])' if infix == '/' else second}"
    operands = {1: first, 2: f"{first}, {second}", 3: f"sigmoid({first}), {second}, tanh({first})"}
    return f"{row.name}({operands[row.min_arity]})"


def _part(kind: type, what: str) -> dict[str, Any]:
    """What is known of a strategy or schedule."""
    name, declared = str(getattr(kind, "name", "")), _options(kind)
    setting = ["--set", f"{what}_options.{_setting(declared[0])}"] if declared else []
    doc = (inspect.getdoc(kind) or "").replace("``", "")
    return {
        "name": name,
        "summary": doc.partition("\n\n")[0].replace("\n", " "),
        "details": _prose(kind),
        "paper": getattr(kind, "paper", ""),
        "options": declared,
        "code": _code(kind),
        "example": command("search", _EXAMPLE, "--set", f"{what}={name}", *setting),
    }


def _show(
    found: Mapping[str, Any], as_json: bool, facts: Sequence[tuple[str, str]] | None = None
) -> None:
    if as_json:
        emit_json(found)
        return
    click.echo(f"{found['name']}: {found['summary']}")
    if found.get("details"):
        click.echo(f"\n{textwrap.indent(found['details'], '  ')}")
    if facts is None:
        facts = (("paper", found["paper"]),)
    code = (("code", found["code"]),) if "code" in found else ()
    click.echo("")
    print_table((), [fact for fact in (*facts, *code) if fact[1]], wrap=1)
    declared = found.get("options")
    if declared:
        value = "value" if "value" in declared[0] else "default"
        rows = [
            (
                o["name"],
                _text(o[value], o["required"] and value == "default"),
                f"{o['allowed']}\n{o['meaning']}".strip(),
            )
            for o in declared
        ]
        click.echo("")
        lines = [
            (name if k == 0 else "", given if k == 0 else "", line)
            for name, given, about in rows
            for k, line in enumerate(about.split("\n"))
        ]
        print_table(("option", value, "allowed, and what it means"), lines, wrap=2)
    elif "options" in found:
        click.echo("\nIt has no options.")
    click.echo(f"\nexample: {found['example']}")


# -- options ---------------------------------------------------------------------------------------


def _options(kind: type) -> list[dict[str, Any]]:
    """Every option: name, type, default, what is allowed, meaning."""
    if not is_dataclass(kind):
        return []
    meanings = _meanings(kind)
    return [
        {
            "name": option.key,
            "type": option.type,
            "default": option.default,
            "required": option.required,
            "allowed": option.allowed,
            "meaning": meanings.get(option.field, ""),
        }
        for option in options.declared_options(kind)
    ]


def _meanings(kind: type) -> dict[str, str]:
    """What each field means: the lines ``name: ...`` of the docstring of the class, or the text
    below the field. Without source code (a frozen program) the latter are not known.
    """
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not is_dataclass(base):
            continue
        found |= _below_fields(base)
        doc = inspect.cleandoc(base.__doc__ or "")
        for start, after in pairwise([*_OPTION.finditer(doc), None]):
            if start is not None:
                text = doc[start.end() : after.start() if after else len(doc)]
                found[start[1]] = _flat(text.partition("\n\n")[0])
    known = {field.name for field in fields(kind)}
    return {name: text for name, text in found.items() if name in known}


def _below_fields(kind: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for field, text in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = _flat(str(text.value.value))
    return found


def _flat(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "")
    return " ".join(text.split()).removesuffix(".")


def _prose(kind: type) -> str:
    """The docstring without its first paragraph and without the lines about options."""
    doc = (inspect.getdoc(kind) or "").partition("\n\n")[2]
    known = _meanings(kind) if is_dataclass(kind) else {}
    paragraphs = [
        p for p in doc.split("\n\n") if not ((m := _OPTION.match(p)) is not None and m[1] in known)
    ]
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", "\n\n".join(paragraphs)).replace("``", "")


def _code(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _text(value: object, required: bool) -> str:
    return "(must be given)" if required else "–" if value is None else options.toml_value(value)


def _setting(option: Mapping[str, Any]) -> str:
    """``key=value`` as ``--set`` takes it."""
    value = option["default"]
    if value in (None, "") or option["required"]:
        value = "my.npz" if option["name"] == "path" else "my.txt"
    return f"{option['name']}={value if isinstance(value, str) else options.toml_value(value)}"
