"""The part of a report that is about finals. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cellsearch.reporting.page import cost_columns, cost_text, number, table

__all__ = ["effect_texts", "errors_table", "finals_section", "rate_text"]


def rate_text(rate: float, inside: bool | None) -> str:
    """A learning rate, and that it is at the edge of those tried where it is."""
    return f"{rate:g} (edge)" if inside is False else f"{rate:g}"


def effect_texts(effect: Mapping[str, Any] | None) -> tuple[str, str]:
    """Difference of the means, and probability of superiority, each with its interval, out of the
    plain data of a :class:`cellsearch.finals.Effect`; dashes where they do not exist.
    """
    if effect is None:
        return "–", "–"

    def spread(name: str, form: str, unit: str = "") -> str:
        value, low, high = (effect[key] for key in (name, f"{name}_low", f"{name}_high"))
        if value is None or math.isnan(value):
            return "–"
        if low is None or math.isnan(low):
            return f"{value:{form}}{unit}"
        return f"{value:{form}}{unit} [{low:{form}}, {high:{form}}]"

    return spread("percent", "+.1f", " %"), spread("superiority", ".2f")


def errors_table(shown: Sequence[tuple[str, Mapping[str, Any], str]]) -> str:
    """Name, errors by name, and CSS class of each row."""
    if not shown:
        return ""
    names = list(shown[-1][1])
    rows = [
        (css, (name, *(number(found.get(error, math.nan)) for error in names)))
        for name, found, css in shown
    ]
    return table([("forecast", False), *((error, True) for error in names)], rows)


def finals_section(finals: Mapping[str, Any] | None, metric: str) -> str:
    """The section about finals, from their table as plain data; ``""`` before they ran."""
    if finals is None:
        return ""
    costs = cost_columns(row.get("device", {}) for row in finals["rows"])
    rows = []
    for row in finals["rows"]:
        texts = (
            row["name"],
            number(row["mean"]),
            number(row["deviation"]),
            str(len(row["scores"])),
            str(row["failures"]),
            f"{row['cell_weights']:,}" if row.get("cell_weights") else "–",
            f"{row['parameters']:,}" if row["parameters"] else "–",
            *(cost_text(name, row.get("device", {})) for name in costs),
            str(row["hidden_size"]),
            rate_text(row["learning_rate"], row.get("rate_inside")),
            number(row["p"], 3),
            *effect_texts(row.get("effect")),
        )
        rows.append(("baseline" if row["baseline"] else "", texts))
    naive = finals.get("naive", ())
    dashes = ["–"] * (10 + len(costs))
    rows += [("naive", (one["name"], number(one["score"]), *dashes)) for one in naive]
    errors = [(row["name"], row.get("errors", {}), "") for row in finals["rows"]]
    errors += [(one["name"], one["errors"], "naive") for one in naive]
    columns = (
        "cell",
        f"test {metric}",
        "deviation",
        "trainings",
        "failed",
        "cell weights",
        "model weights",
        *costs.values(),
        "H",
        "rate",
        "p",
        "difference (95 %)",
        "P(better)",
    )
    drawn = table([(c, c != "cell") for c in columns], rows)
    equal = "terms" not in finals
    note = "Retrained from scratch with equally many weights; test data read once a training."
    if not equal:
        note = "Retrained from scratch, each as large as the device allows; test data read once."
    drawn += errors_table([row for row in errors if row[1]])
    return f'<h2>Finals</h2><p>{escape(finals["sentence"])}</p>{drawn}<p class="soft">{note}</p>'
