"""The part of a report that is about finals. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cellsearch.reporting.page import cost_columns, cost_text, number, table

__all__ = [
    "effect_texts",
    "errors_table",
    "finals_on_section",
    "finals_section",
    "metric_is_apart",
    "metric_text",
    "rate_text",
    "score_header",
    "tasks_grid",
    "tasks_notes",
]


def rate_text(rate: float, inside: bool | None) -> str:
    """A learning rate, and that it is at the edge of those tried where it is."""
    return f"{rate:g} (edge)" if inside is False else f"{rate:g}"


def metric_is_apart(finals: Mapping[str, Any]) -> bool:
    """Whether the task's own number (an accuracy, say) is another one than its score, of which
    lower is better (the share of errors): then a table of finals has a column of each.
    """
    rows = any(_metrics(row) != row["scores"] for row in finals["rows"])
    return rows or any(one["metric"] != one["score"] for one in finals.get("naive", ()))


def score_header(finals: Mapping[str, Any], metric: str) -> str:
    """What the column of mean test scores is called."""
    return "test score" if metric_is_apart(finals) else f"test {metric}"


def metric_text(row: Mapping[str, Any]) -> str:
    """Mean of the task's own number on test data; a dash where a training failed."""
    found = [math.nan if value is None else value for value in _metrics(row)]
    if row["failures"] or not found:
        return "–"
    return number(sum(found) / len(found))


def _metrics(row: Mapping[str, Any]) -> Sequence[float | None]:
    """The task's own number of each seed; the score where it is not written down."""
    found: Sequence[float | None] = row.get("metrics", row["scores"])
    return found


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


def finals_section(finals: Mapping[str, Any] | None, metric: str, title: str = "Finals") -> str:
    """The section about finals, from their table as plain data; ``""`` before they ran."""
    if finals is None:
        return ""
    costs = cost_columns(row.get("device", {}) for row in finals["rows"])
    apart = metric_is_apart(finals)
    rows = []
    for row in finals["rows"]:
        texts = (
            row["name"],
            number(row["mean"]),
            number(row["deviation"]),
            *([metric_text(row)] if apart else []),
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
    for one in naive:
        own = [number(one["metric"])] if apart else []
        dashes = ["–"] * (9 + len(costs))
        rows.append(("naive", (one["name"], number(one["score"]), "–", *own, *dashes)))
    errors = [(row["name"], row.get("errors", {}), "") for row in finals["rows"]]
    errors += [(one["name"], one["errors"], "naive") for one in naive]
    columns = (
        "cell",
        score_header(finals, metric),
        "deviation",
        *([metric] if apart else []),
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
    terms = finals.get("terms", "at equal model weights")
    note = f"Retrained from scratch, {terms}; test data read once a training."
    drawn += errors_table([row for row in errors if row[1]])
    note += "".join(f" {row['note']}." for row in finals["rows"] if row.get("note"))
    about = escape(finals["sentence"])
    return f'<h2>{escape(title)}</h2><p>{about}</p>{drawn}<p class="soft">{escape(note)}</p>'


def tasks_grid(finals: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the table over tasks, out of the plain data of
    :class:`cellsearch.finals.FinalTables`: a row a task, a column a cell, mean test score or how
    many trainings failed; for found cells p against the best baseline; then ranks and wins.
    """
    standings = finals["standings"]
    rows = []
    for task in finals["tasks"]:
        found = {row["name"]: row for row in task["table"]["rows"]}
        texts = [_result_text(found[one["name"]]) for one in standings]
        rows.append([task["name"], *texts])
    rows.append(["mean rank", *(number(one["mean_rank"], 2) for one in standings)])
    rows.append(["tasks won", *(f"{one['won']:.0%}" for one in standings)])
    lost = [f"{one['failures']} of {one['trainings']}" for one in standings]
    rows.append(["trainings failed", *lost])
    names = [one["name"] + " (baseline)" * one["baseline"] for one in standings]
    return ["task", *names], rows


def tasks_notes(finals: Mapping[str, Any]) -> list[str]:
    """What stands below the table over tasks: its tests, and what is to be known of its rows."""
    together = (
        f"Mean ranks differ significantly by more than {finals['critical_difference']:.2f} "
        f"(Nemenyi, all pairs, 5 %); Friedman's test that all cells are alike: "
        f"p = {finals['friedman_p']:.3f}."
    )
    notes = [together]
    for task in finals["tasks"]:
        table_of = task["table"]
        if terms := table_of.get("terms", ""):
            notes.append(f"{task['name']}: {terms}.")
        notes += [f"{task['name']}: {row['note']}." for row in table_of["rows"] if row.get("note")]
        edge = [row["name"] for row in table_of["rows"] if row.get("rate_inside") is False]
        if edge:
            listed = ", ".join(edge)
            notes.append(f"{task['name']}: learning rate at the edge of the sweep: {listed}.")
    return notes


def finals_on_section(finals: Mapping[str, Any]) -> str:
    """The section about finals on other tasks, from their table as plain data."""
    name = finals["name"]
    if len(finals["tasks"]) == 1:
        only = finals["tasks"][0]
        return finals_section(only["table"], only["metric"], f"Finals on {name}")
    headers, rows = tasks_grid(finals)
    drawn = table([(h, k > 0) for k, h in enumerate(headers)], [("", tuple(r)) for r in rows])
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in tasks_notes(finals))
    each = "".join(
        finals_section(one["table"], one["metric"], f"{name}: {one['name']}")
        for one in finals["tasks"]
    )
    said = escape(finals["sentence"])
    return f"<h2>Finals on {escape(name)}</h2><p>{said}</p>{drawn}{notes}{each}"


def _result_text(row: Mapping[str, Any]) -> str:
    """The mean, or how many trainings failed, and p."""
    if row["failures"]:
        text = f"failed {row['failures']} of {row['failures'] + len(row['scores'])}"
    else:
        text = number(row["mean"])
    return text if row["p"] is None else f"{text} (p {number(row['p'], 3)})"
