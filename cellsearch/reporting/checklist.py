"""What a paper about a search must state, filled in from the run.

The points are those of Lindauer & Hutter, Best Practices for Scientific Research on Neural
Architecture Search, JMLR 21(243), 2020, in our words. A point that the run cannot answer says what
is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cellsearch.errors import amount
from cellsearch.history import History
from cellsearch.reporting.page import table
from cellsearch.reporting.workload import duration
from cellsearch.trial import BASELINE, Status

__all__ = ["AboutRun", "ChecklistItem", "checklist", "checklist_section"]

Answer = Literal["yes", "partly", "no", "you"]
ANSWERS: Mapping[Answer, str] = {
    "yes": "yes",
    "partly": "partly",
    "no": "not yet",
    "you": "for you to state",
}
_ALIKE = ("machine", "processor", "torch", "numpy", "cellsearch")
"""What of an environment may make times or results differ."""


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """One point."""

    point: str
    """Number of the point, as ``1a``."""
    demand: str
    """What is asked."""
    answer: Answer
    """Whether the run has it."""
    said: str
    """What the run says of it, or what is left to do."""


@dataclass(frozen=True)
class AboutRun:
    """What is known of a run besides its trials."""

    declared: Mapping[str, Any] = field(default_factory=dict)
    """The resolved experiment as plain values."""
    machines: Sequence[Mapping[str, str]] = ()
    """The environments that searched in it."""
    data: str = ""
    """The user's own file that was learned from; ``""`` for none."""
    finals: Mapping[str, Any] | None = None
    """The table of finals as plain data."""
    finals_on: Sequence[Mapping[str, Any]] = ()
    """Those on other tasks."""
    ablations: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """What ablations have found."""
    searched: float = 0.0
    """Seconds of searching, pauses left out."""
    trained: float = 0.0
    """Seconds of training, all workers together."""
    paper: str = ""
    """Where the strategy was published."""

    @property
    def machine(self) -> Mapping[str, str]:
        """The environment that searched last; empty where none is known."""
        return self.machines[-1] if self.machines else {}


def checklist(about: AboutRun, history: History) -> list[ChecklistItem]:
    """All points, filled in."""
    return [make(about, history) for make in _POINTS]


def checklist_section(about: AboutRun, history: History) -> str:
    """The section of a report; ``""`` where the experiment is not known."""
    if not about.declared:
        return ""
    items = checklist(about, history)
    css = {"yes": "winner", "partly": "baseline", "no": "failed", "you": "you"}
    rows = [
        (css[one.answer], (one.point, one.demand, ANSWERS[one.answer], one.said)) for one in items
    ]
    columns = [("", False), ("is it there?", False), ("", False), ("in this run", False)]
    counts = ", ".join(
        f"{sum(one.answer == answer for one in items)} {word}" for answer, word in ANSWERS.items()
    )
    note = (
        f"{amount(len(items), 'point')} after Lindauer & Hutter, Best Practices for Scientific "
        f"Research on Neural Architecture Search, JMLR 21(243), 2020: {counts}."
    )
    return (
        f'<h2>What a paper must state</h2><p class="soft">{note}</p>'
        f'<div class="wrap checklist">{table(columns, rows)}</div>'
    )


def _versions(about: AboutRun) -> str:
    machine = about.machine
    known = [f"{name} {machine[name]}" for name in ("cellsearch", "torch") if machine.get(name)]
    return ", ".join(known) or "version unknown"


def _training_code(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Code that trains the final architectures"
    said = f"the training is that of {_versions(about)}; a task of your own needs its code, too"
    return ChecklistItem("1a", demand, "yes", said)


def _space(about: AboutRun, history: History) -> ChecklistItem:
    space = about.declared.get("space")
    name = space if isinstance(space, str) else (space or {}).get("name", "") if space else ""
    said = f"the search space {name or 'of the experiment'} stands whole in the settings below"
    return ChecklistItem("1b", "Code and definition of the search space", "yes", said)


def _final_settings(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Hyperparameters and seeds of the final evaluation"
    if about.finals is None:
        return ChecklistItem("1c", demand, "no", "no finals were made: cellsearch finals")
    rows = about.finals["rows"]
    seeds = max((len(r["scores"]) + r["failures"] for r in rows), default=0)
    said = f"finals.json: {amount(seeds, 'seed')} from 20000 on, rate and hidden size of each cell"
    return ChecklistItem("1c", demand, "yes", said)


def _method_code(about: AboutRun, history: History) -> ChecklistItem:
    strategy = about.declared.get("strategy", "")
    if not about.paper:
        said = f"the strategy {strategy} is of another package: release it"
        return ChecklistItem("1d", "Code of the search method", "you", said)
    said = f"strategy {strategy} of cellsearch, after {about.paper}"
    return ChecklistItem("1d", "Code of the search method", "yes", said)


def _method_settings(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Hyperparameters and seeds of the search method"
    said = f"seed {about.declared.get('seed', 0)}; all options stand in the settings below"
    if not about.declared.get("deterministic", True):
        said += "; not deterministic: another run of this seed may differ"
    return ChecklistItem("1e", demand, "yes", said)


def _same_benchmark(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Same data, split, space and training for all that is compared"
    controls = [trial.name for trial in history.of_kind(BASELINE)]
    if not controls:
        return ChecklistItem("2a", demand, "no", "no baselines were trained in this run")
    said = f"{', '.join(controls)}: same data, split, budget and settings as every candidate"
    if about.data:
        said += "; the data are your own: release them, or say why not"
    return ChecklistItem("2a", demand, "yes", said)


def _confounders(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Hardware and library versions alike"
    kinds = {tuple(machine.get(name, "") for name in _ALIKE) for machine in about.machines}
    if len(kinds) > 1:
        said = f"{len(kinds)} different machines or versions searched in this run, see below"
        return ChecklistItem("2b", demand, "partly", said)
    said = f"one machine, one set of versions ({_versions(about)})"
    return ChecklistItem("2b", demand, "yes", said) if kinds else _unknown("2b", demand)


def _unknown(point: str, demand: str) -> ChecklistItem:
    return ChecklistItem(point, demand, "you", "the run does not say")


def _ablation(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Ablation studies"
    if not about.ablations:
        return ChecklistItem("2c", demand, "no", "none of a cell was made: cellsearch ablate")
    trials = ", ".join(map(str, about.ablations))
    said = f"of the cells of trials {trials}; none of the search method itself"
    return ChecklistItem("2c", demand, "partly", said)


def _protocol(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Same evaluation protocol for all that is compared"
    if about.finals is None:
        said = "one validation score each in the search; no finals were made"
        return ChecklistItem("2d", demand, "partly", said)
    terms = about.finals.get("terms", "at equal model weights")
    said = f"finals {terms}, the same sweep of learning rates, test data read once a training"
    return ChecklistItem("2d", demand, "yes", said)


def _over_time(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Performance over time"
    return ChecklistItem("2e", demand, "yes", "best so far by trial and by time, above")


def _random(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Comparison with random search"
    if about.declared.get("strategy") == "random":
        return ChecklistItem("2f", demand, "yes", "this is a random search")
    said = "not in this run: search with --set strategy=random too, then compare both"
    return ChecklistItem("2f", demand, "no", said)


def _repeats(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Several runs, with their seeds"
    said = f"one search (seed {about.declared.get('seed', 0)})"
    if about.finals is None:
        return ChecklistItem("2g", demand, "no", f"{said}, no finals")
    return ChecklistItem("2g", demand, "partly", f"{said}; its cells in finals with several seeds")


def _tabular(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Tabular or surrogate benchmarks for studies in depth"
    said = "every score here is of a real training"
    return ChecklistItem("2h", demand, "you", f"{said}; such studies are another experiment")


def _tuning(about: AboutRun, history: History) -> ChecklistItem:
    demand = "How hyperparameters were tuned, and what that took"
    said = "how you chose those of the search"
    if about.finals is not None:
        said = f"finals sweep the learning rate alike for every cell; {said}"
    return ChecklistItem("3a", demand, "you", said)


def _whole_time(about: AboutRun, history: History) -> ChecklistItem:
    demand = "Time of the whole method, not of the search alone"
    said = f"search {duration(about.searched)} ({duration(about.trained)} of training)"
    ablated = sum(float(one["seconds"]) for one in about.ablations.values())
    if ablated:
        said += f", ablation {duration(ablated)} of training"
    if about.finals is None:
        return ChecklistItem("3b", demand, "partly", f"{said}; no finals were made")
    return ChecklistItem("3b", demand, "partly", f"{said}; add the time of the finals")


def _details(about: AboutRun, history: History) -> ChecklistItem:
    counts = history.totals.statuses
    said = (
        f"settings and environment stand below; {counts[Status.FAILED]} failed trainings are "
        "listed, not left out"
    )
    return ChecklistItem("3c", "All details of the setup", "yes", said)


_POINTS: tuple[Callable[[AboutRun, History], ChecklistItem], ...] = (
    *(_training_code, _space, _final_settings, _method_code, _method_settings),
    *(_same_benchmark, _confounders, _ablation, _protocol, _over_time, _random, _repeats, _tabular),
    *(_tuning, _whole_time, _details),
)
