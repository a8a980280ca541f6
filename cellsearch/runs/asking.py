"""What an outside proposer needs to know of a run: the task, what a cell may be and how it is
written, the best cells, and what failed and why; as plain data, and as a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from cellsearch import ops, tasks, zoo
from cellsearch.errors import amount, command
from cellsearch.runs.snapshot import Snapshot
from cellsearch.runs.telling import declared_space
from cellsearch.search.told import REFUSED
from cellsearch.space import SearchSpace
from cellsearch.store import Inbox, Store
from cellsearch.tasks.suite import SUITE
from cellsearch.trial import BASELINE, Status, Trial

__all__ = ["as_text", "briefing"]

WRITTEN = (
    "A cell is a few statements, one a line: name = op(operands). A name is assigned once, before "
    "it is read.",
    "x[t] is the input; h[t-1], c[t-1], ... are the states of the step before; h[t] = ... makes "
    "the next state. What is assigned with [t] and read with [t-1] is a state. h[t] is the output, "
    "or y[t] = ..., if y[t-1] is never read. h[t-3] and x[t-2] reach up to 16 steps back, through "
    "states that hold the values in between; conv(x[t], 4) = diag(x[t]) + ... + diag(x[t-3]).",
    "linear(a, b, ...) = W_a a + W_b b + ... + bias, each W a trainable matrix of its own; "
    "linear(a, bias=False) has no bias. Two linear are different weights even when written alike; "
    "to share one, give it a name.",
    "diag(a) = w * a with a trainable vector w; blend(g, a, b) = g*a + (1-g)*b; + - * and numbers "
    "are written as such, all element by element.",
    "Comments (# ...) before the first statement are the reason of the cell.",
)
"""How a cell is written, for whoever has not read the documents."""


def briefing(run: Snapshot, *, best: int = 8, failed: int = 8) -> dict[str, Any]:
    """All of it as plain data.

    best, failed: so many of the best cells, and of the newest that failed or were refused.
    """
    declared = run.declared
    space = declared_space(run)
    found = run.trials.ranked[: best + len(declared.get("baselines", ()))]
    controls = [trial for trial in run.trials.of_kind(BASELINE) if trial.is_scored]
    leaders = [trial for trial in found if not trial.is_baseline][:best]
    waiting = [_cell(trial) for trial in run.trials.unfinished]
    waiting += [
        {"cell": told.genome.to_text(), "reason": told.reason} for told in Inbox(run.path).waiting()
    ]
    counts = run.counts
    used = run.trials.counted
    return {
        "run": str(run.path),
        "experiment": declared["name"],
        "question": declared.get("question", ""),
        "strategy": declared["strategy"],
        "task": {
            "name": declared["task"],
            "what": tasks.info(declared["task"]).summary
            if declared["task"] != SUITE
            else "a suite",
            "options": declared.get("task_options", {}),
            "training": declared["training"],
            "metric": run.metric if run.trials.ranked else "",
            "score": "lower is better",
            "without_a_cell": [{"name": one.name, "score": one.score} for one in run.naive],
        },
        "space": _space(space),
        "how_a_cell_is_written": list(WRITTEN),
        "example": _example(space),
        "baselines": [_cell(trial) for trial in controls],
        "best": [_cell(trial) for trial in leaders],
        "failed": [_cell(trial) for trial in _failed(run, failed)],
        "refused": _refused(run, failed),
        "waiting": waiting,
        "trials": {
            "asked_for": counts["asked_for"],
            "used": used,
            "left": max(counts["asked_for"] - used, 0),
        },
        "searched_by": run.writer,
        "tell": command("tell", run.path, "FILE", "--reason", "WHY"),
        "tell_json": '[{"cell": "h[t] = ...", "reason": "why", "parents": [3]}, ...]',
    }


def _space(space: SearchSpace) -> dict[str, Any]:
    limits, rules = space.limits, space.constraints
    sizes = space.counted_at[0]
    allowed = {
        "states": f"at most {len(space.states)}, starting from "
        + " or ".join(f"{value:g}" for value in space.initial),
        "nodes": f"at most {limits.max_nodes} (one an op)",
        "depth": f"at most {limits.max_depth} nodes above one another",
        "operands": f"at most {limits.max_operands} of a linear, a sum or a product; a linear "
        "reads each value once",
        "weights": f"at most {limits.max_parameters:,} with {sizes}",
        "numbers": ", ".join(f"{value:g}" for value in space.constants) or "none",
        "class": rules.recurrence,
    }
    if limits.max_gemm_depth < limits.max_depth:
        allowed["dense products after one another"] = f"at most {limits.max_gemm_depth}"
    if len(space.inputs) > 1:
        allowed["inputs"] = (
            " and ".join(f"{name}[t]" for name in space.inputs)
            + "; dt is the time since the step before, one number, mask is 1 where x was observed"
        )
    if limits.max_delay:
        allowed["steps back"] = (
            f"at most {limits.max_delay}, as in h[t-{limits.max_delay}]; what only holds an "
            "earlier value does not count as a state"
        )
    if limits.max_blocks > 1:
        allowed["blocks"] = (
            f"at most {limits.max_blocks} of a product that reads no x, as in linear(h[t-1], "
            f"blocks={limits.max_blocks}), and heads of a head_norm"
        )
    if limits.max_bottleneck > 1:
        allowed["sizes"] = (
            f"H/2 down to H/{limits.max_bottleneck}, as in linear(linear(h[t-1], bias=False, "
            f"size=H/{limits.max_bottleneck}))"
        )
    allowed |= {name: f"at most {most:,}" for name, most in space.device.bounds.items()}
    wanted = {
        "x[t] reaches the output within the step": rules.output_sees_input,
        "every state influences the output": rules.states_reach_output,
        "x influences every state": rules.states_see_input,
        "every node influences the output": rules.no_idle_nodes,
        "x[t] is read by linear only": rules.hidden_width,
        f"every cell has {', '.join(rules.require_ops)}": bool(rules.require_ops),
    }
    if space.frozen is not None:
        kept = ", ".join(space.frozen.nodes)
        wanted[f"{kept} as in:\n{space.frozen.cell.to_text()}"] = True
    return {
        "name": space.name,
        "description": space.description,
        "ops": {name: _op(name) for name in ops.OPS if name in space.ops},
        "limits": allowed,
        "rules": [rule for rule, holds in wanted.items() if holds],
    }


def _op(name: str) -> str:
    row = ops.get(name)
    meaning = f"; {row.torch}" if row.torch else ""
    return f"operands: {row.arity_text()}{meaning}"


def _example(space: SearchSpace) -> str:
    """A cell of the space: a seed genome, a zoo cell, or what growth starts from."""
    for name, genome in {**space.seeds, "gru": zoo.load("gru"), "mgu": zoo.load("mgu")}.items():
        if space.contains(genome) is None:
            return genome.to_text(f"{name}, which is in the space")
    return space.start().to_text()


def _cell(trial: Trial) -> dict[str, Any]:
    result, failure = trial.result, trial.failure
    proposal = trial.proposal
    return {
        "trial": trial.number,
        "name": trial.name,
        "score": trial.score if result is not None else None,
        "weights": result.cell_parameters if result is not None else None,
        "status": trial.status.value,
        "origin": str(proposal.origin),
        "parents": list(proposal.parents),
        "reason": proposal.reason,
        "failure": {"kind": failure.kind, "message": failure.message} if failure else None,
        "cell": trial.genome.to_text(),
    }


def _failed(run: Snapshot, most: int) -> list[Trial]:
    """The newest trials that failed, newest first."""
    count = min(most, run.trials.totals.statuses[Status.FAILED])
    failures = (trial for trial in reversed(run.trials) if trial.status is Status.FAILED)
    return list(islice(failures, count))


def _refused(run: Snapshot, most: int) -> list[Mapping[str, Any]]:
    """What the search refused after it was told, newest first."""
    with Store.read(run.path) as store:
        events = [event for event in store.events() if event.kind == REFUSED]
    return [json.loads(event.text) for event in events[::-1][:most]]


# -- as a text -------------------------------------------------------------------------------------


def as_text(brief: Mapping[str, Any]) -> str:
    """The briefing for people, and for what reads as they do."""
    return "\n".join(_lines(brief))


def _lines(brief: Mapping[str, Any]) -> Iterator[str]:
    task, space, trials = brief["task"], brief["space"], brief["trials"]
    steps = task["training"].get("steps")
    yield f"{brief['experiment']}: {brief['question']}".rstrip(": ")
    yield f"task: {task['name']} ({task['what']})"
    yield f"  {amount(steps, 'step')} of training; score: lower is better"
    used = amount(trials["asked_for"], "trial")
    yield f"trials: {trials['used']} of {used} used, {trials['left']} left"
    yield ""
    yield f"A cell of the space {space['name']} ({space['description']}):"
    yield from (f"  {what}: {allowed}" for what, allowed in space["limits"].items())
    yield from (f"  {rule}" for rule in space["rules"])
    yield "Ops:"
    yield from (f"  {name}: {meaning}" for name, meaning in space["ops"].items())
    yield "How a cell is written:"
    yield from (f"  {line}" for line in brief["how_a_cell_is_written"])
    yield "For example:"
    yield _indented(brief["example"])
    for title, key in (
        ("Baselines", "baselines"),
        ("The best cells", "best"),
        ("What failed", "failed"),
        ("What was refused", "refused"),
        ("What waits or is being trained", "waiting"),
    ):
        if brief[key]:
            yield f"\n{title}:"
            yield from _cells(brief[key])
    yield f"\nPropose: {brief['tell']}"
    yield "  FILE: one or several .cell texts with lines of --- between them, or JSON:"
    yield f"  {brief['tell_json']}"


def _cells(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in cells:
        facts = [one.get("name", "")]
        if one.get("score") is not None:
            facts.append(f"score {one['score']:.6g}")
        if one.get("weights") is not None:
            facts.append(amount(one["weights"], "weight"))
        if one.get("failure"):
            facts.append(f"{one['failure']['kind']}: {one['failure']['message']}")
        facts += [one[key] for key in ("why", "origin") if one.get(key)]
        yield "  # " + ", ".join(filter(None, facts))
        if one.get("reason"):
            yield _indented(one["reason"], "  # reason: ")
        yield _indented(one["cell"])


def _indented(text: str, with_what: str = "  ") -> str:
    return "\n".join(f"{with_what}{line}" for line in text.rstrip("\n").split("\n"))
