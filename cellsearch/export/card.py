"""The model card: what an export is, in Markdown, beside it. One function for all forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellsearch.errors import amount
from cellsearch.genome.graph import Genome
from cellsearch.genome.measures import recurrence_class
from cellsearch.tasks.interface import FeatureInputs, Interface, TokenInputs

__all__ = ["Facts", "card_path", "model_card", "plain"]

_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
SHOWN = 20
"""Columns, symbols and labels that are listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a run knows of an exported cell, each a list of Markdown lines without headings."""

    search: tuple[str, ...] = ()
    """Who found it: experiment, strategy, trial, seed, versions."""
    data: tuple[str, ...] = ()
    """What it was trained and judged on."""
    scores: tuple[str, ...] = ()
    """Validation scores, and those of finals with their seeds."""
    limits: tuple[str, ...] = ()
    """What speaks against it, and what nobody has looked at."""


def card_path(path: Path) -> Path:
    """Where the card of an exported file or folder lies: ``README.md`` in a folder, else
    ``NAME.md``, the suffix of the file included.
    """
    return path / "README.md" if path.is_dir() else path.with_name(f"{path.name}.md")


def model_card(
    title: str,
    genome: Genome,
    *,
    form: str,
    sizes: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
    interface: Interface | None = None,
    facts: Facts | None = None,
    doc: str = "",
    more: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The card as Markdown.

    title: name of the file or folder.
    form: what the export holds, in a sentence: "The bare recurrent layer, ...".
    sizes: ``input_size``, ``hidden_size``, ``num_layers``, ``bidirectional``, as far as known.
    weights: by name, anything with a ``shape``; counted.
    interface: of a whole model.
    facts: what the run knows of it; ``None`` for a cell that is not from a run.
    doc: where the cell comes from, in a sentence; left out where there are facts.
    more: further sections of a form, heading to lines (file sizes, opset, memory on a device).
    """
    known = facts or Facts(search=(plain(doc),) if doc.strip() else ())
    sections: dict[str, Sequence[str]] = {
        "What it is": (form,),
        "Equations of the cell, one step": ("```", *genome.to_text().splitlines(), "```"),
        "What it reads and answers": _interface(interface) if interface is not None else (),
        "Sizes": _sizes(genome, sizes or {}, weights or {}),
        **(more or {}),
        "Where it comes from": known.search,
        "Data": known.data,
        "Scores": known.scores,
        "Limits": (*known.limits, *_limits(interface, trained=bool(weights))),
    }
    parts = [f"# {plain(title)}"]
    parts += [f"## {name}\n\n" + "\n".join(lines) for name, lines in sections.items() if lines]
    return "\n\n".join(parts) + "\n"


def plain(text: object) -> str:
    """Text of others on one line, in which nothing is markup."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return "".join(f"\\{c}" if c in "\\`*_[]|#" else _ENTITIES.get(c, c) for c in line)


def _interface(interface: Interface) -> list[str]:
    inputs, answer = interface.inputs, interface.answer
    when = "at every position" if interface.streams else "once a sequence"
    if isinstance(inputs, TokenInputs):
        kind = "numbers" if inputs.level == "number" else f"{inputs.level}s"
        lines = [f"- Reads {kind}: {amount(inputs.vocabulary, 'symbol')}{_listed(inputs.symbols)}."]
    else:
        lines = [
            f"- Reads {amount(len(inputs.names), 'column')} of raw values: {_columns(inputs)}."
        ]
        if inputs.history is not None:
            lines.append(f"- Windows of {amount(inputs.history, 'position')}.")
    if answer.kind == "tokens":
        return [*lines, f"- Answers {when} which symbol comes next."]
    what = {
        "classes": "one of the classes",
        "bits": "the probability of each of these",
        "values": "values",
    }[answer.kind]
    steps = f", the next {answer.horizon} steps" if answer.horizon > 1 else ""
    names = answer.names
    if answer.units:
        names = tuple(
            f"{name} ({unit})" if unit else name
            for name, unit in zip(answer.names, answer.units, strict=True)
        )
    return [*lines, f"- Answers {when} {what}{_listed(names)}{steps}."]


def _columns(inputs: FeatureInputs) -> str:
    units = inputs.units or ("",) * len(inputs.names)
    shown = [
        f"{plain(name)}{f' ({plain(unit)})' if unit else ''}, mean {mean:.6g}, scale {scale:.6g}"
        for name, unit, mean, scale in zip(
            inputs.names, units, inputs.mean, inputs.scale, strict=True
        )
    ]
    return "; ".join(shown[:SHOWN]) + (f"; {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = [plain(repr(name) if not name.strip() else name) for name in names[:SHOWN]]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f" ({', '.join(shown)}{more})"


def _sizes(genome: Genome, sizes: Mapping[str, Any], weights: Mapping[str, Any]) -> list[str]:
    words = {
        "input_size": "input size",
        "hidden_size": "hidden size",
        "num_layers": "layers",
        "bidirectional": "both directions",
    }
    told = [f"{word} {sizes[name]}" for name, word in words.items() if name in sizes]
    lines = [f"- {', '.join(told)}."] if told else []
    lines.append(
        f"- States of the cell: {', '.join(map(plain, genome.state_names))}; recurrence: "
        f"{recurrence_class(genome)}."
    )
    if weights:
        count = 0
        for array in weights.values():
            size = 1
            for length in array.shape:
                size *= int(length)
            count += size
        lines.append(f"- {count:,} weights.")
    return lines


def _limits(interface: Interface | None, *, trained: bool) -> list[str]:
    if not trained:
        return ["- It holds no trained weights."]
    lines = ["- It is known to work on data like those of its training, and on no others."]
    if interface is None:
        lines.append(
            "- It is the bare recurrent layer: embedding or scaling of the inputs and the readout "
            "are not in it."
        )
    elif interface.answer.kind != "values":
        lines.append("- Its probabilities were not calibrated.")
    return lines
