"""Compares runs: how fast each kind of search came how far, whether that is more than chance, and
which cells they share.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.finals.effect import Effect
from cellsearch.finals.statistics import SIGNIFICANCE, holm, rank_test, smallest_p
from cellsearch.options import unknown
from cellsearch.reporting.compared import ComparedGroup, ComparedRun, SharedCell, mean
from cellsearch.reporting.comparison import AXES, RunComparison, spent_text
from cellsearch.runs.compute import Meter
from cellsearch.runs.grouping import group_names, grouped, require_one_task, settings_of
from cellsearch.runs.run import Run, open_run
from cellsearch.store.database import FILE_NAME, runs_below
from cellsearch.store.lookup import Course
from cellsearch.trial import BASELINE

__all__ = ["compare"]

CONTROL = "random"
"""The strategy that the others are compared with, where it is there."""


@checked_arguments
def compare(
    *runs: str | Path | Run, by: str = "trials", at: float = 0.0, against: str = ""
) -> RunComparison:
    """Compare runs of one task. Runs that differ by their seed alone (and by how many trials they
    were allowed) are one group; each is tested against a control by the exact rank test of their
    best scores, with Holm's correction.

    runs: open runs, their folders, or folders that hold runs.
    by: what every group is given as much of: ``"trials"`` (baselines and what costs nothing left
        out), ``"seconds"`` of searching, or ``"compute"``, optimizer steps times multiply-adds,
        which reads every trial and the data.
    at: of which so much; 0: as much as the shortest run has had.
    against: name of the control; ``""``: random search, or else the first group.

    Raises :class:`ConfigError` for runs that cannot be compared, :class:`RunError` for a folder
    without a run.
    """
    if by not in AXES:
        raise unknown("axis", by, AXES, where="by")
    opened = list(_opened(runs))
    if not opened:
        raise ConfigError("no run is named", hint="say which folders hold them")
    settings = [settings_of(run) for run in opened]
    require_one_task(opened, settings)
    found = grouped(opened, settings)
    names, differing = group_names([said for said, _ in found])
    groups = [
        ComparedGroup(name, tuple(_curve(run, by) for run in members))
        for name, (_, members) in zip(names, found, strict=True)
    ]
    limit, notes = _limit(groups, by, at)
    if differing:
        notes.append(f"the groups differ in more than their names say: {', '.join(differing)}")
    control = _control(groups, against, [said.get("strategy") for said, _ in found])
    judged, sentences = _judged(groups, control, limit)
    named = {run.path: name for name, (_, m) in zip(names, found, strict=True) for run in m}
    shared, count = _shared(opened, named)
    return RunComparison(
        axis=by,
        task=str(opened[0].declared["task"]),
        metric=opened[0].metric,
        at=limit,
        groups=tuple(sorted(judged, key=lambda group: _order(group.scores(limit)))),
        control=control,
        sentences=sentences,
        baselines=_baselines(opened),
        cells=count,
        shared=shared,
        notes=tuple(notes),
    )


def _opened(runs: Sequence[str | Path | Run]) -> Iterator[Run]:
    """The runs, each once, in the order given."""
    seen = set()
    for run in runs:
        if isinstance(run, Run):
            found = [run]
        else:
            folder = Path(run)
            inside = [] if (folder / FILE_NAME).exists() else runs_below(folder)
            found = [open_run(path) for path in inside or [folder]]
        for one in found:
            if one.path.resolve() not in seen:
                seen.add(one.path.resolve())
                yield one


def _curve(run: Run, by: str) -> ComparedRun:
    """How the best score fell, without baselines; steps on the way to other cells have none."""
    points: list[tuple[float, float]] = []
    spent, best, trials = 0.0, math.inf, 0
    for step, cost in _costs(run, by):
        trials += step.counts
        spent = max(spent, cost) if by == "seconds" else spent + cost
        if step.standing < best:
            best = step.standing
            if points and points[-1][0] == spent:
                points.pop()
            points.append((spent, best))
    return ComparedRun(
        str(run.path), int(run.declared.get("seed", 0)), tuple(points), spent, trials
    )


def _costs(run: Run, by: str) -> Iterator[tuple[Course, float]]:
    """The trials that have ended, and what each cost; of seconds when it ended, in that order."""
    course = [step for step in run.course() if step.kind != BASELINE]
    if by == "trials":
        yield from ((step, float(step.counts)) for step in course)
    elif by == "seconds":
        # an imported trial, and one that is answered, ends nowhere: it is there from the start
        ended = ((run.ended.get(step.number, 0.0), step) for step in course)
        yield from ((s, at) for at, s in sorted(ended, key=lambda item: (item[0], item[1].number)))
    else:
        meter = Meter.of(run.experiment, run.load_arrays())
        steps = {step.number: step for step in course}
        for trial in run.trials:
            if trial.number in steps:
                yield steps[trial.number], meter.work(trial)


def _limit(groups: Sequence[ComparedGroup], by: str, at: float) -> tuple[float, list[str]]:
    """Up to where all runs are compared, and what to say of it."""
    runs = sorted((run for group in groups for run in group.runs), key=lambda run: run.end)
    shortest, longest = runs[0], runs[-1]
    if not at:
        if not shortest.end:
            raise ConfigError(
                f"no trial of {shortest.path} has ended yet",
                hint="leave it out, or wait for it",
            )
        if longest.end <= shortest.end * 1.05 or by != "trials":
            return shortest.end, []
        note = (
            f"{shortest.path} has {spent_text(shortest.end)} {AXES[by]}, so all are compared "
            f"there; {longest.path} has {spent_text(longest.end)}"
        )
        return shortest.end, [note]
    short = [run for run in runs if run.end < at]
    if short:
        raise ConfigError(
            f"{short[0].path} has {spent_text(short[0].end)} {AXES[by]} only",
            where=f"at {spent_text(at)}",
            hint=f"leave out the runs that are shorter ({len(short)}), search on with them, or "
            "compare earlier",
        )
    return at, []


def _control(
    groups: Sequence[ComparedGroup], against: str, strategies: Sequence[str | None]
) -> str:
    """The name of the control."""
    names = [group.name for group in groups]
    if against:
        if against not in names:
            raise unknown("group", against, names, where="against")
        return against
    random = [n for n, s in zip(names, strategies, strict=True) if s == f'"{CONTROL}"']
    return random[0] if random else names[0]


def _order(scores: Sequence[float]) -> tuple[bool, float]:
    middle = mean(scores)
    return math.isnan(middle), middle


def _judged(
    groups: Sequence[ComparedGroup], control: str, at: float
) -> tuple[list[ComparedGroup], tuple[str, ...]]:
    """The groups with their tests, and what these say."""
    ends = {group.name: group.scores(at) for group in groups}
    base = ends[control]
    others = [n for n, s in ends.items() if n != control and min(len(s), len(base)) > 1]
    p_values = holm([rank_test(ends[name], base) for name in others])
    tests = dict(zip(others, p_values, strict=True))
    judged, sentences = [], []
    for group in groups:
        if group.name not in tests:
            judged.append(group)
            continue
        p, effect = tests[group.name], Effect.of(ends[group.name], base, control)
        low, high = effect.superiority_low, effect.superiority_high
        judged.append(replace(group, p=p, superiority=effect.superiority, low=low, high=high))
        if p <= SIGNIFICANCE:
            word = "better" if effect.superiority > 0.5 else "worse"
            sentences.append(f"{group.name} is {word} than {control} (p = {p:.3f}).")
        else:
            sentences.append(f"{group.name} and {control} are equal within noise (p = {p:.3f}).")
    least = min((len(tests) * smallest_p(len(ends[n]), len(base)) for n in tests), default=0.0)
    if least > SIGNIFICANCE:
        sentences.append(
            f"With so few seeds no difference could have been significant (smallest possible "
            f"p = {min(1.0, least):.3f}): use more seeds."
        )
    alone = [n for n, s in ends.items() if len(s) < 2]
    if alone and len(groups) > 1:
        sentences.append(
            f"One run says nothing of a search: {', '.join(alone)} "
            f"{'need' if len(alone) > 1 else 'needs'} runs with other seeds for a test."
        )
    return judged, tuple(sentences)


def _baselines(runs: Sequence[Run]) -> dict[str, float]:
    """Mean score of each baseline over the runs that trained it, best first."""
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        for trial in run.trials.of_kind(BASELINE):
            if trial.is_scored:
                scores[trial.name].append(trial.score)
    means = {name: mean(found) for name, found in scores.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


def _shared(runs: Sequence[Run], names: Mapping[Path, str]) -> tuple[tuple[SharedCell, ...], int]:
    """The cells that more than one run has found, by the key of their genome, and how many there
    are in all; baselines left out.
    """
    found: defaultdict[str, dict[Path, tuple[float, int]]] = defaultdict(dict)
    for run in runs:
        for key, number, score in run.cells():
            one = found[key].get(run.path)
            found[key][run.path] = min(one or (score, number), (score, number))
    opened = {run.path: run for run in runs}
    shared = []
    for places in found.values():
        if len(places) > 1:
            ordered = sorted((score, str(path), number) for path, (score, number) in places.items())
            best = opened[Path(ordered[0][1])]
            shared.append(
                SharedCell(
                    best.find(ordered[0][2]).genome,
                    tuple((path, number, score) for score, path, number in ordered),
                    tuple(dict.fromkeys(names[path] for path in places)),
                )
            )
    shared.sort(key=lambda cell: (-len(cell.groups), cell.mean))
    return tuple(shared), len(found)
