"""Modules, and names in them, of version 0.1 under their old names: importing one warns, and gives
what it is now.

The table is looked at only for names that nothing else provides, so it costs nothing elsewhere.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

TYPE_CHECKING = False  # what type checkers take for true; importing typing takes a third more time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
else:
    Loader = object  # importing importlib.abc takes as long as all the rest

__all__ = ["MOVED", "MOVED_NAMES", "install", "value"]

MOVED = {
    "baselines": "training.results",
    "catalog": "experiment.catalog",
    "checkpoint": "training.checkpoint",
    "cli.diagnosis_page": "runs.diagnosis_page",
    "cli.exported": "export.accuracy",
    "cli.locate": "runs.locate",
    "cli.rundata": "runs.run",
    "cli.trained": "runs.trained",
    "cli.weights": "runs.trial",
    "compiler.backends.aten.layout": "compiler.backends.aten.columns",
    "compiler.backends.aten.tasks": "compiler.backends.aten.pending",
    "compiler.classify": "compiler.scheduling.phases",
    "compiler.dataflow": "compiler.scheduling.dataflow",
    "compiler.fusion": "compiler.scheduling.fusion",
    "compiler.hoist": "compiler.scheduling.hoist",
    "compiler.interop": "compiler.torch_rnn",
    "compiler.listing": "compiler.scheduling.listing",
    "compiler.recompute": "compiler.scheduling.recompute",
    "compiler.schedule": "compiler.scheduling.schedule",
    "compiler.scheduler": "compiler.scheduling.schedule",
    "compiler.step": "training.fused",
    "compiler.tokens": "compiler.scheduling.tokens",
    "data": "tasks.data",
    "data.download": "tasks.data.download",
    "data.registry": "tasks.data.registry",
    "environment": "training.environment",
    "evaluate": "training.loop",
    "genome.absorb": "genome.rewriting.weight_rules",
    "genome.algebra": "genome.rewriting.value_rules",
    "genome.draw": "genome.drawing.svg",
    "genome.draw_graph": "genome.drawing.picture",
    "genome.draw_latex": "genome.drawing.latex",
    "genome.draw_layout": "genome.drawing.layers",
    "genome.draw_style": "genome.drawing.style",
    "genome.draw_text": "genome.drawing.languages",
    "genome.forms": "genome.rewriting.sums_products",
    "genome.layout": "genome.builder",
    "genome.rewrite": "genome.rewriting.graph",
    "genome.simplify": "genome.rewriting.simplify",
    "prefilter": "training.prefilter",
    "search.best": "search.run_files",
    "search.checkpoints": "search.run_files",
    "search.decisions": "search.ledger",
    "search.order": "executors.longest_first",
    "search.resume": "search.continuing",
    "search.warm": "search.continuing",
    "settings": "job",
    "space.full_scan": "space.full_cell",
    "space.model": "space",
    "statistics": "finals.statistics",
    "strategies.records": "strategies.ranking",
    "suites": "training.suite",
    "testing.simulate": "simulation.simulate",
    "testing.tabular": "simulation.tabular",
    "tasks.mnist1d": "tasks.classification",
    "tasks.pen_digits": "tasks.classification",
    "tasks.spoken_digits": "tasks.classification",
    "tasks.japanese_vowels": "tasks.classification",
    "tasks.time_machine": "tasks.corpora",
    "tasks.tiny_shakespeare": "tasks.corpora",
    "tasks.sunspots": "tasks.forecasting",
    "tasks.etth1": "tasks.forecasting",
    "tasks.forecast": "tasks.forecasting",
    "tasks.modular_sum": "tasks.parity",
    "tomltext": "options",
    "training_connections": "training.connections",
    "training_gates": "training.gates",
    "training_guard": "training.guard",
    "training_start": "training.quiet_start",
    "training_state": "training.state",
}
"""Old name -> new name, both inside ``cellsearch``."""
MOVED_NAMES = {
    "reporting.progress": {"LiveDisplay": "reporting.live"},
    "trial": {
        "Granted": "history",
        "History": "history",
        "Index": "history",
        "Ranking": "history",
        "Totals": "history",
        "as_frame": "history",
    },
}
"""Module that is still there -> name that was in it -> module that has it now. The module asks
:func:`value`.
"""
_PACKAGE = __name__.partition(".")[0]


class _OldNames:
    """A finder, asked after all others (PEP 451)."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, inside = name.partition(".")
        if package != _PACKAGE or inside not in MOVED:
            return None
        is_package = any(old.startswith(f"{inside}.") for old in MOVED)
        return ModuleSpec(name, _Loader(), is_package=is_package)


class _Loader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None  # Python makes it

    def exec_module(self, module: ModuleType) -> None:
        new = f"{_PACKAGE}.{MOVED[module.__name__.partition('.')[2]]}"
        _warn(module.__name__, new, callers=1)
        real = import_module(new)
        module.__doc__ = real.__doc__
        module.__getattr__ = lambda name: getattr(real, name)  # type: ignore[method-assign]
        module.__dict__["__all__"] = getattr(real, "__all__", [])


def value(module: str, name: str) -> object:
    """What a name that was in a module stands for: its ``__getattr__`` (PEP 562)."""
    home = MOVED_NAMES[module.partition(".")[2]].get(name)
    if home is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    _warn(f"{module}.{name}", f"{_PACKAGE}.{home}.{name}", callers=2)
    return getattr(import_module(f"{_PACKAGE}.{home}"), name)


def _warn(old: str, new: str, callers: int) -> None:
    """Point at the import, whose own frames do not count: so many calls above the caller."""
    warnings.warn(
        f"{old} has moved to {new}; the old name goes in version 0.3",
        DeprecationWarning,
        stacklevel=2 + callers,
    )


def install() -> None:
    """Let the old names be found."""
    if _OldNames not in sys.meta_path:
        sys.meta_path.append(_OldNames)
