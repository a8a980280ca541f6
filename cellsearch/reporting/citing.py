"""The text to cite: how the run was made, in a paragraph for a paper, and whom to name."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from cellsearch.errors import amount
from cellsearch.history import History
from cellsearch.reporting.checklist import AboutRun
from cellsearch.reporting.workload import duration
from cellsearch.trial import BASELINE, Status

__all__ = ["bibliography", "citation_section", "methods_text"]

_LINDAUER = """@article{lindauer2020best,
  author  = {Marius Lindauer and Frank Hutter},
  title   = {Best Practices for Scientific Research on Neural Architecture Search},
  journal = {Journal of Machine Learning Research},
  volume  = {21},
  number  = {243},
  pages   = {1--18},
  year    = {2020}
}"""


def methods_text(about: AboutRun, history: History, metric: str) -> str:
    """How the run was made, in a paragraph."""
    declared, counts = about.declared, history.totals.statuses
    training: Mapping[str, Any] = declared.get("training", {})
    trained = counts[Status.COMPLETED] + counts[Status.STOPPED]
    strategy = f"the strategy {declared.get('strategy', '')}"
    if about.paper:
        strategy += f" ({about.paper})"
    parts = [
        f"Recurrent cells were searched with cellsearch {_version(about)}, {strategy}, seed "
        f"{declared.get('seed', 0)}, on the task {declared.get('task', '')} ({metric}).",
        f"Of {amount(len(history), 'trial')}, {trained:,} were trained, "
        f"{counts[Status.DUPLICATE]:,} were duplicates that were not trained again, and "
        f"{counts[Status.FAILED]:,} failed.",
        f"A full training has {amount(int(training.get('steps', 0)), 'optimizer step')} of AdamW "
        f"with learning rate {float(training.get('learning_rate', 0)):g} and hidden size "
        f"{training.get('hidden_size', '')}; cells were chosen by validation data.",
    ]
    if controls := [trial.name for trial in history.of_kind(BASELINE)]:
        parts.append(f"{' and '.join(controls)} were trained alike.")
    parts.append(
        f"The search took {duration(about.searched)} ({duration(about.trained)} of training, all "
        f"workers together){_machine(about)}."
    )
    if about.finals is not None:
        terms = about.finals.get("terms", "at equal model weights")
        parts.append(f"Finalists were trained from scratch {terms}: {about.finals['sentence']}")
    return " ".join(parts)


def bibliography(about: AboutRun) -> str:
    """BibTeX of the program and of the checklist."""
    program = f"""@software{{cellsearch,
  author  = {{{{The cellsearch authors}}}},
  title   = {{cellsearch: discovery of recurrent neural-network cells}},
  version = {{{_version(about)}}},
  license = {{Apache-2.0}}
}}"""
    return f"{program}\n\n{_LINDAUER}"


def citation_section(about: AboutRun, history: History, metric: str) -> str:
    """The section of a report, escaped; ``""`` where the experiment is not known."""
    if not about.declared:
        return ""
    return (
        f"<h2>Text to cite</h2><p>{escape(methods_text(about, history, metric))}</p>"
        f"<pre>{escape(bibliography(about))}</pre>"
    )


def _version(about: AboutRun) -> str:
    return about.machine.get("cellsearch", "")


def _machine(about: AboutRun) -> str:
    processor = about.machine.get("processor", "")
    return f" on {processor}, {about.machine.get('cpus', '?')} CPUs" if processor else ""
