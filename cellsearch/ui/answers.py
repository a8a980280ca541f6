"""What the page asks of one run, answered as plain data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cellsearch import ops, zoo
from cellsearch.ablation import AblationTable
from cellsearch.errors import CellsearchError, ConfigError, InputFileError, command
from cellsearch.files import read_plain
from cellsearch.genome.drawing.svg import diff_svg
from cellsearch.genome.graph import Genome
from cellsearch.genome.recognise import difference
from cellsearch.reporting.ablation import HEADERS, RIGHT, ablation_grid, ablation_notes
from cellsearch.reporting.causes import failure_kinds
from cellsearch.reporting.lineage import family
from cellsearch.reporting.operators import operators, verdict
from cellsearch.reporting.vertices import removals_of_vertices, vertex_facts
from cellsearch.reporting.workers import Span, worker_lines
from cellsearch.runs import open_run
from cellsearch.runs.facts import cell_facts, relatives
from cellsearch.runs.snapshot import FINALS, ablation_files
from cellsearch.runs.trial import trial_record
from cellsearch.space import LayerSizes
from cellsearch.trial import Trial
from cellsearch.ui.live import LiveRun

__all__ = ["ANSWERS", "MOST_CURVES", "MOST_TEXTS"]

MOST_CURVES = 200
MOST_TEXTS = 1000
"""So many curves and cells are answered at once, at most."""
MOST_CHILDREN = 200
MAX_FINALS = 16 << 20
MOST_SPANS = 20_000
"""So many trainings are drawn, the last ones."""
Question = Mapping[str, str]


def about_trial(run: LiveRun, question: Question) -> dict[str, Any]:
    """Everything about one trial: record, trainings, cell, drawing, relatives by blood."""
    number = run.number(question.get("n", ""))
    with run.lock:
        trial = run.store.trial(number)
        children = run.store.lookup.children(number)
        twins = run.store.lookup.answered_by(number)
        seed = run.store.lookup.seed(number)
        results = trial
        if trial.duplicate_of is not None:
            results = run.store.trial(trial.duplicate_of)
    sizes = run.sizes()
    genome = trial.genome
    learned = results.result.connections if results.result is not None else {}
    gates, damaged = _gates(run, number)
    unmeasured = not gates and any(ops.OPS[node.op].gate for node in genome.nodes)
    return {
        **trial_record(trial),
        "seed": seed,
        "duplicate_of": trial.duplicate_of,
        "children": children[:MOST_CHILDREN],
        "children_count": len(children),
        "twins": twins[:MOST_CHILDREN],
        "rungs": [
            {
                "rung": rung.budget.rung,
                "granted": rung.budget.steps,
                **(
                    {
                        "score": rung.result.score,
                        "metric": rung.result.metric,
                        "steps": rung.result.steps,
                        "seconds": rung.result.seconds,
                        "curve": list(rung.result.curve),
                        "metrics": dict(rung.result.metrics),
                    }
                    if rung.result is not None
                    else {}
                ),
            }
            for rung in results.rungs
        ],
        "cell": genome.to_text(),
        "svg": genome.to_svg(),
        "vertices": vertex_facts(genome, sizes, gates, learned),
        "measure_gates": command("diagnose", f"{run.path}:{number}", "--keep")
        if unmeasured and results.result is not None
        else "",
        "gates_error": damaged,
        "facts": cell_facts(genome, sizes or LayerSizes(64, 64)),
        "sizes_known": sizes is not None,
    }


def _gates(run: LiveRun, number: int) -> tuple[dict[str, dict[str, float]], str]:
    """The activity of the gates of a trial, where a diagnosis of it was kept; and what is wrong
    with its file.
    """
    path = run.path / f"diagnosis-{number}.json"
    found: dict[str, dict[str, float]] = {}
    if not path.is_file():
        return found, ""
    try:
        document = _read_json(run, path.name)
        for gate in document["cells"][0]["gates"]:  # of the first layer, where there are several
            measured = {key: float(gate[key]) for key in ("closed", "open", "mean")}
            found.setdefault(str(gate["node"]), measured)
    except (CellsearchError, TypeError, ValueError, LookupError) as error:
        return {}, f"{path} is no diagnosis ({error})"
    return found, ""


def about_ablation(run: LiveRun, question: Question) -> dict[str, Any]:
    """What each part of the cell of a trial is worth, the most expensive removal first, where that
    was measured.
    """
    number = run.number(question.get("n", ""))
    path = ablation_files(run.path).get(number)
    asked = command("ablate", f"{run.path}:{number}")
    if path is None:
        return {"command": asked, "rows": []}
    try:
        document = AblationTable.read(path).to_document()
    except CellsearchError as error:
        return {"command": asked, "rows": [], "error": str(error)}
    rows, grid = document["rows"], ablation_grid(document)
    removed = [[row["removed"], *row["also"]] for row in rows]
    drawn = ("cost", "low", "high", "said", "kind", "also", "cell")
    return {
        "command": asked,
        "headers": [[name, k in RIGHT] for k, name in enumerate(HEADERS)],
        "whole": grid[0],
        "rows": [
            {"texts": texts, **{name: row[name] for name in drawn}}
            for row, texts in zip(rows, grid[1:], strict=True)
        ],
        "notes": ablation_notes(document),
        "protocol": document["protocol"],
        "vertices": removals_of_vertices(_genome(run, number), removed),
    }


def about_relatives(run: LiveRun, question: Question) -> dict[str, Any]:
    """Which published cells the cell of a trial is, or is nearest to."""
    return relatives(_genome(run, run.number(question.get("n", ""))))


def about_difference(run: LiveRun, question: Question) -> dict[str, Any]:
    """The edits from another cell to that of a trial, and one drawing of both. ``to``: ``parent``,
    a number of a trial, or a name of the zoo.
    """
    number = run.number(question.get("n", ""))
    other = question.get("to", "parent")
    with run.lock:
        parents = run.store.trial(number).proposal.parents
    if other == "parent":
        if not parents:
            raise ConfigError(f"trial {number} has no parent")
        other = str(parents[0])
    if other.isdecimal():
        base, label = _genome(run, run.number(other)), f"trial {int(other)}"
    elif other in zoo.names():
        base, label = zoo.load(other), other
    else:
        raise ConfigError(f"no cell is called {other[:40]!r}", hint="parent, a number, a zoo name")
    found = difference(base, _genome(run, number))
    title = f"from {label} to trial {number}"
    return {
        "from": label,
        "distance": found.distance,
        "edits": [str(edit) for edit in found.edits],
        "svg": diff_svg(found.one, found.other, dict(found.pairs), title=title),
    }


def _genome(run: LiveRun, number: int) -> Genome:
    with run.lock:
        return run.store.trial(number).genome


def about_curves(run: LiveRun, question: Question) -> dict[str, Any]:
    """The learning curves of trials: steps and scores of every training."""
    numbers = _numbers(run, question.get("trials", ""), MOST_CURVES)
    curves = {}
    for number in numbers:
        with run.lock:
            trial = run.store.trial(number)
            if trial.duplicate_of is not None:
                trial = run.store.trial(trial.duplicate_of)
        curves[number] = [
            [list(point) for point in rung.result.curve]
            for rung in trial.rungs
            if rung.result is not None
        ]
    return {"curves": curves}


def about_texts(run: LiveRun, question: Question) -> dict[str, Any]:
    """Equations, nodes and multiply-adds of ``trials``."""
    return {"texts": run.texts(_numbers(run, question.get("trials", ""), MOST_TEXTS))}


def about_having(run: LiveRun, question: Question) -> dict[str, Any]:
    """Numbers of the cells, among the first ``count``, that hold all ``ops``, and of which all
    ``words`` are somewhere in what is stored: whether a text is in the equations of a cell needs to
    be asked of these alone.
    """
    ops, words = (
        [one for one in question.get(key, "")[:2000].split(",") if one] for key in ("ops", "words")
    )
    signs = [(f'"op":"{op}"', "genome") for op in ops]
    signs += [(word.lower(), "lower(genome)") for word in words]
    test = " AND ".join(f"instr({column}, ?) > 0" for _, column in signs) or "1"
    with run.lock:
        count = run.store.lookup.count
        rows = run.store.lookup.rows(
            f"SELECT number FROM trials WHERE number < ? AND {test} ORDER BY number",
            *(count, *(text for text, _ in signs)),
        )
    return {"count": count, "numbers": [number for (number,) in rows]}


def _numbers(run: LiveRun, text: str, most: int) -> list[int]:
    return [run.number(part) for part in text.split(",")[:most] if part]


def about_operators(run: LiveRun, question: Question) -> dict[str, Any]:
    """What each operator paid."""
    rows = operators(open_run(run.path).trials)
    return {"operators": [row.to_document() for row in rows], "verdict": verdict(rows)}


def about_failures(run: LiveRun, question: Question) -> dict[str, Any]:
    """Failures by kind, what they say, and whom they befell."""
    with run.lock:
        rows = run.store.lookup.rows(
            "SELECT number, failure_kind, coalesce(failure_message, '') FROM trials "
            "WHERE status = 'failed' ORDER BY number"
        )
    kinds = [
        {
            "kind": kind.kind,
            "meaning": kind.meaning,
            "count": kind.count,
            "causes": [
                {
                    "message": cause.message[:4000],
                    "count": len(cause.trials),
                    "trials": cause.trials[:MOST_CHILDREN],
                }
                for cause in kind.causes[:MOST_CHILDREN]
            ],
        }
        for kind in failure_kinds(rows)
    ]
    return {"kinds": kinds, "count": len(rows)}


def about_lineage(run: LiveRun, question: Question) -> dict[str, Any]:
    """Ancestors and descendants of a trial, with operators, reasons and scores."""
    trials = open_run(run.path).trials
    number = question.get("n", "")
    if number:
        trial: Trial | None = trials[run.number(number)]
    else:
        trial = trials.best(baselines=False)
    if trial is None:
        return {"trial": None, "family": [], "more": False}
    found, more = family(trial, trials)
    return {
        "trial": trial.number,
        "more": more,
        "family": [
            {
                "number": one.trial.number,
                "name": one.trial.name,
                "depth": one.depth,
                "origin": str(one.trial.proposal.origin),
                "parents": list(one.trial.proposal.parents),
                "reason": one.trial.proposal.reason[:2000],
                "score": one.trial.score,
                "status": one.trial.status.value,
                "failure": one.trial.failure.kind if one.trial.failure is not None else "",
            }
            for one in found
        ],
    }


def about_workers(run: LiveRun, question: Question) -> dict[str, Any]:
    """When each worker trained what, the last ``MOST_SPANS`` trainings; and what is under way."""
    with run.lock:
        rows = run.store.lookup.rows(
            "SELECT coalesce(worker, ''), trial, rung, started, ended, "
            "CASE WHEN checkpoint IS NULL THEN coalesce(failure_kind, '') ELSE '' END "
            "FROM rungs JOIN trials ON number = trial WHERE ended IS NOT NULL "
            "AND started IS NOT NULL ORDER BY ended DESC LIMIT ?",
            MOST_SPANS,
        )
        under_way = run.store.lookup.rows(
            "SELECT trial, rung, started FROM trials JOIN rungs ON trial = number "
            "WHERE status = 'running' AND ended IS NULL ORDER BY started"
        )
        whole = run.store.lookup.rows("SELECT count(*) FROM rungs WHERE ended IS NOT NULL")[0][0]
        events = [[one.time, one.kind, one.text[:2000]] for one in run.store.events()[-500:]]
    lines = worker_lines((worker, Span(*rest)) for worker, *rest in rows)
    return {
        "workers": [
            {
                "worker": line.worker,
                "busy": line.busy,
                "share": line.share,
                "deaths": line.deaths,
                "spans": [[s.trial, s.started, s.ended, s.failure] for s in line.spans],
            }
            for line in lines
        ],
        "left_out": whole - len(rows),
        "under_way": under_way,
        "events": events,
    }


def about_finals(run: LiveRun, question: Question) -> dict[str, Any]:
    """The tables of finals that lie in the folder, and what ablations have said."""
    names = [FINALS] if (run.path / FINALS).is_file() else []
    names += sorted(path.name for path in run.path.glob("finals-*.json"))[:40]
    tables = []
    for name in names:
        try:
            tables.append({"file": name, "table": _read_json(run, name)})
        except CellsearchError as error:
            tables.append({"file": name, "error": str(error)})
    ablations: list[dict[str, Any]] = []
    for trial, path in ablation_files(run.path).items():
        try:
            ablations.append({"trial": trial, "said": AblationTable.read(path).sentence})
        except CellsearchError as error:
            ablations.append({"trial": trial, "error": str(error)})
    return {
        "finals": tables,
        "ablations": ablations[:MOST_CHILDREN],
        "command": command("finals", run.path),
    }


def _read_json(run: LiveRun, name: str) -> Any:
    """A JSON file of the run's folder, whoever wrote it."""
    path = run.path / name
    try:
        if path.stat().st_size > MAX_FINALS:
            raise InputFileError("this file is too large to be shown", where=str(path))
        return json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputFileError(f"this is not JSON ({error})", where=str(path)) from error


def about_settings(run: LiveRun, question: Question) -> dict[str, Any]:
    """The resolved experiment, and the machines and versions that searched."""
    with run.lock:
        environments = run.store.environments()
        text = run.store.experiment
    return {
        "experiment": text,
        "environments": [
            {"opened": one.opened, "fingerprint": one.fingerprint} for one in environments
        ],
        "path": str(run.path),
    }


ANSWERS: Mapping[str, Callable[[LiveRun, Question], dict[str, Any]]] = {
    "trial": about_trial,
    "ablation": about_ablation,
    "relatives": about_relatives,
    "difference": about_difference,
    "curves": about_curves,
    "texts": about_texts,
    "having": about_having,
    "operators": about_operators,
    "failures": about_failures,
    "lineage": about_lineage,
    "workers": about_workers,
    "finals": about_finals,
    "settings": about_settings,
}
"""Functions by the last part of the address."""
