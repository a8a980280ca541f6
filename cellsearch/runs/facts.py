"""What can be said of a cell without training it, as plain data, and its drawings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cellsearch.compiler import cost
from cellsearch.compiler.scheduling.listing import program_report
from cellsearch.errors import BackendError
from cellsearch.genome import measures
from cellsearch.genome.checks import static_checks
from cellsearch.genome.drawing import svg
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.genome.parameters import parameter_count, requires_square
from cellsearch.genome.recognise import recognise_among
from cellsearch.job import SUITE
from cellsearch.runs.snapshot import Snapshot
from cellsearch.space import LayerSizes, layer_weights
from cellsearch.zoo.outlines import known_cells, outlines

__all__ = ["DRAWINGS", "cell_facts", "drawing", "predicted", "relatives", "trained_sizes"]

_LANGUAGES = {
    "svg": svg.to_svg,
    "dot": svg.to_dot,
    "mermaid": svg.to_mermaid,
    "latex": svg.to_latex,
}
DRAWINGS = (*_LANGUAGES, "program")


def drawing(genome: Genome, form: str) -> str:
    """The cell as text of one of :data:`DRAWINGS`; ``"program"``: what the compiler makes of it."""
    if form == "program":
        return program_report(genome)
    return _LANGUAGES[form](genome)


_LOOKED_AT = 5
"""Trials whose numbers of weights are looked at for the width of the input."""


def trained_sizes(run: Snapshot) -> LayerSizes:
    """The sizes of the recurrent layer that a run trains, of a suite those of its first task.

    How wide its input is follows from how many weights a trained cell has; before there is one,
    I = H.
    """
    declared = run.declared
    training = dict(declared["training"])
    if declared["task"] == SUITE:
        training |= declared["task_options"]["tasks"][0].get("training", {})
    hidden = training["hidden_size"]
    sizes = LayerSizes(
        hidden,
        hidden,
        training.get("num_layers", 1),
        2 if training.get("bidirectional") else 1,
        tuple((training.get("sizes") or {}).items()),
    )
    for trial in run.trials.top(_LOOKED_AT):
        if trial.result is None or requires_square(trial.genome):
            continue
        one, two = (
            layer_weights(trial.genome, replace(sizes, input_size=width)) for width in (1, 2)
        )
        more, rest = divmod(trial.result.cell_parameters - one, (two - one) or 1)
        if two > one and rest == 0 and more >= 0:
            return replace(sizes, input_size=more + 1)
    return sizes


MAX_PREDICTED = 500
"""Nodes of the largest cell whose time is predicted."""


def cell_facts(genome: Genome, sizes: LayerSizes) -> dict[str, Any]:
    """What is known about a cell from its graph alone; counts for these sizes: ``cell_weights`` of
    the whole layer, ``parameters`` and ``multiply_adds`` of one layer in one direction.
    """
    input_size, hidden_size, named = sizes.input_size, sizes.hidden_size, dict(sizes.named)
    return {
        "key": genome.key,
        "cell": genome.to_text(),
        "states": list(genome.state_names),
        "output": genome.output_name,
        "nodes": len(genome.nodes),
        "matrices": measures.matrices(genome),
        "input_size": input_size,
        "hidden_size": hidden_size,
        "layers": sizes.layers,
        "directions": sizes.directions,
        "cell_weights": layer_weights(genome, sizes),
        "parameters": parameter_count(genome, input_size, hidden_size, named),
        "multiply_adds": measures.multiply_adds(genome, input_size, hidden_size, named),
        "state_floats": measures.state_floats(genome, input_size, hidden_size, named),
        "class": measures.recurrence_class(genome),
        "gemm_depth": measures.gemm_depth(genome),
        "needs_equal_sizes": bool(requires_square(genome)),
    }


def predicted(
    genome: Genome,
    input_size: int,
    hidden_size: int,
    named: Mapping[str, int | str] | None = None,
) -> dict[str, Any] | None:
    """What one position of 32 sequences costs on this machine; ``None`` where nothing can be
    predicted. ``named``: what names of sizes stand for.

    That is where the native runtime cannot be had, for a cell that needs I = H in other sizes, and
    for one of more than ``MAX_PREDICTED`` nodes, which would have to be compiled for seconds.
    """
    if len(genome.nodes) > MAX_PREDICTED or (requires_square(genome) and input_size != hidden_size):
        return None
    found: dict[str, Any] = {"sequences": cost.BATCH, "positions": cost.POSITIONS}
    try:
        for name, training in (("training", True), ("inference", False)):
            counted = cost.estimate(
                genome,
                input_size=input_size,
                hidden_size=hidden_size,
                steps=cost.POSITIONS,
                batch=cost.BATCH,
                training=training,
                sizes=named,
            )
            seconds = cost.predicted_seconds(counted) / cost.POSITIONS
            found[name] = {
                "microseconds": 1e6 * seconds,
                "multiply_adds": counted.multiply_adds // cost.POSITIONS,
                "bytes": counted.bytes // cost.POSITIONS,
            }
    except BackendError:
        return None
    return found


def relatives(genome: Genome) -> dict[str, Any]:
    """The zoo cells that the cell equals or is nearest to, the edits from the nearest, and what the
    graph alone says against it.
    """
    found = recognise_among(genome, known_cells(search_key(genome)), outlines())
    edits = found.difference.edits if found.difference is not None else ()
    return {
        "equals": list(found.same),
        "nearest": [{"name": name, "edits": distance} for name, distance in found.near],
        "edits_from_nearest": [str(edit) for edit in edits],
        "findings": [
            {"code": finding.code, "text": str(finding)} for finding in static_checks(genome)
        ],
    }
