"""Labels of whole sequences from a table: the rows of a group are one sequence, and a column that
has one value in all of them is its label.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, amount
from cellsearch.tasks.tables.features import choose, scaled
from cellsearch.tasks.tables.options import TableOptions
from cellsearch.tasks.tables.read import Column, TextTable
from cellsearch.tasks.tables.rows import Ordered, ordered, time_column
from cellsearch.tasks.tables.windows import PARTS, WINDOW, Prepared

__all__ = ["is_labelled", "label_arrays"]

FEWEST = 10
"""Groups, at least."""
SAME = 0.999


def is_labelled(table: TextTable, options: TableOptions) -> bool:
    """Whether labels of groups are predicted: one column, the same in all rows of each group."""
    if not options.group or len(options.predict) != 1:
        return False
    label = table.column(options.predict[0], "task_options.predict")
    group = table.column(options.group, "task_options.group")
    if label.kind not in ("text", "number") or group.kind == "empty":
        return False
    return label.kind == "text" or not len(_varying(label, group))


def _varying(label: Column, group: Column) -> NDArray[np.int64]:
    """The groups in which the label has several values."""
    codes, labels = group.labels[0], label.labels[0]
    known = (codes >= 0) & (labels >= 0)
    pairs = np.unique(np.stack([codes[known], labels[known]]), axis=1)
    groups, counts = np.unique(pairs[0], return_counts=True)
    return groups[counts > 1]


def label_arrays(table: TextTable, options: TableOptions) -> Prepared:
    """Sequences and labels of a table. Raises :class:`ConfigError` for labels that vary within a
    group, and for too few groups.
    """
    label = table.column(options.predict[0], "task_options.predict")
    group = table.column(options.group, "task_options.group")
    groups = group.labels[1]
    varying = _varying(label, group)
    if len(varying):
        raise ConfigError(
            f"{label.name} has several values within {amount(len(varying), 'group')} of "
            f"{group.name}, for example in {groups[varying[0]]}",
            where="task_options.group",
            hint="a label belongs to a whole group; a label of each row is learned with "
            'cellsearch.tasks.from_arrays(x, y, readout="every")',
        )
    time = time_column(table, options.time, (label.name, group.name))
    other = [label.name, group.name, *([time.name] if time else [])]
    chosen = choose(table, options, other, numbers=False)
    order = ordered(table, time, group, WINDOW)
    order = replace(order, segment=order.group)  # a sequence is read as a whole
    members, labels = _labels(order, label)
    keep = np.isin(order.group, members)
    order = replace(
        order,
        rows=order.rows[keep],
        segment=order.group[keep],
        group=order.group[keep],
        moment=None,
    )
    present, y = np.unique(labels, return_inverse=True)
    classes = tuple(label.labels[1][k] for k in present)
    split, notes = _split(y, classes, options)
    _, lengths = np.unique(order.group, return_counts=True)
    made = scaled(chosen.inputs, order, np.repeat(split == 0, lengths), 0)
    notes = [*table.notes, *order.notes, *chosen.notes, *made.notes, *notes]
    notes += _telling(chosen.inputs, label, order)
    arrays: dict[str, NDArray[Any]] = {
        "x": made.values,
        "y": y.astype(np.int64),
        "lengths": lengths.astype(np.int64),
        "split": split,
        "classes": np.array(classes),
        "names": np.array(made.names),
        "x_mean": made.mean,
        "x_scale": made.scale,
    }
    counts = ", ".join(f"{name} {int((split == k).sum()):,}" for k, name in enumerate(PARTS))
    shown = ", ".join(classes[:5]) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
    size = f"{amount(table.rows, 'row')}, {amount(len(table.columns), 'column')}"
    facts = (
        ("table", f"{size}; {table.written}"),
        ("time", time.name if time else "the order of the rows"),
        ("predicts", f"{label.name} of each {group.name}: {len(classes)} classes ({shown})"),
        ("reads", f"{lengths.min()} to {lengths.max()} rows of {', '.join(made.names)}"),
        ("parts", f"whole groups, drawn at random: {counts}"),
        ("scaled", "mean 0, deviation 1 of the training part"),
    )
    return Prepared(arrays, facts, tuple(notes), (label.name,), {"time": time.name if time else ""})


def _labels(order: Ordered, label: Column) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The groups with a label, and their labels."""
    labels = np.where(order.rows >= 0, label.labels[0][order.rows], -1)
    known = labels >= 0
    members, first = np.unique(order.group[known], return_index=True)
    if len(members) < FEWEST:
        raise ConfigError(
            f"only {amount(len(members), 'group')} with a label, at least {FEWEST} are needed",
            where="task_options.group",
            hint="say with --group which column tells the sequences apart",
        )
    return members, labels[known][first]


def _split(
    y: NDArray[np.int64], classes: tuple[str, ...], options: TableOptions
) -> tuple[NDArray[np.uint8], list[str]]:
    """The part of each group, with every class in its share in each part where there are enough."""
    if len(classes) < 2:
        raise ConfigError(
            f"every group has the label {classes[0]}",
            where="task_options.predict",
            hint="predict a column with two labels or more",
        )
    random = np.random.default_rng(0)
    split = np.zeros(len(y), dtype=np.uint8)
    few = []
    # All groups in an order that mixes them and spreads each class over it evenly.
    place = np.empty(len(y))
    for k in range(len(classes)):
        members = random.permutation(np.flatnonzero(y == k))
        place[members] = (np.arange(len(members)) + random.uniform()) / len(members)
        few += [classes[k]] if len(members) < 3 else []
    rank = (np.argsort(np.argsort(place, kind="stable")) + 0.5) / len(y)
    split[rank >= 1 - options.valid - options.test] = 1
    split[rank >= 1 - options.test] = 2
    lacking = [classes[k] for k in range(len(classes)) if not (split[y == k] == 0).any()]
    notes = [f"classes of fewer than 3 groups: {', '.join(few[:5])}"] if few else []
    notes += (
        [f"classes that no group for training has: {', '.join(lacking[:5])}"] if lacking else []
    )
    return split, notes


def _telling(inputs: tuple[Column, ...], label: Column, order: Ordered) -> list[str]:
    """A sentence for each column that is the label in other words."""
    rows = order.rows[order.rows >= 0]
    labels = label.labels[0][rows]
    found = []
    for column in inputs:
        values = column.values[rows]
        known = (labels >= 0) & np.isfinite(values)
        if not known.any():
            continue
        pairs = np.unique(np.stack([values[known], labels[known]]), axis=1)
        distinct = len(np.unique(pairs[0]))
        if distinct == pairs.shape[1] and distinct <= len(np.unique(labels[known])):
            found.append(
                f"WARNING: {column.name} says the same as {label.name}. If it is not known before, "
                "the errors below are far too good: leave it out with inputs"
            )
    return found
