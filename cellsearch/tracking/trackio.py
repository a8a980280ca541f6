"""Trackio: a run of the project ``cellsearch`` (or TRACKIO_PROJECT) in Trackio's own folder on this
machine; ``trackio show`` draws it. Points that are there already are left out.
"""

from __future__ import annotations

import os
import secrets
from typing import Any, ClassVar

import trackio
from trackio import SQLiteStorage

from cellsearch.tracking.base import TrackedCell, TrackedRun, TrackedTrial, Tracker, code_block

__all__ = ["Trackio"]


class Trackio(Tracker):
    """Logs to Trackio. Nothing is sent to a Space: that is ``trackio sync``."""

    name: ClassVar[str] = "trackio"
    package: ClassVar[str] = "trackio"
    extra: ClassVar[str] = "trackio"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self._project = os.environ.get("TRACKIO_PROJECT", "cellsearch")
        self._held: set[tuple[str, int]] = set()

    def open(self, identity: str, known: int) -> str:
        """Go on with the run of this name, if the project has it."""
        there = SQLiteStorage.get_logs(self._project, identity) if identity else []
        self._held = {(key, int(point["step"])) for point in there for key in point}
        self._name = identity if there else f"{self.run.title}-{secrets.token_hex(3)}"
        self.where = f'trackio show --project "{self._project}"'
        self._begin()
        return self._name

    def trial(self, trial: TrackedTrial) -> None:
        """One point of each series, and its learning curve by optimizer steps."""
        self._log(dict(trial.values), trial.step)
        for step, score in trial.curve:
            self._log({f"curve/{trial.step:05} {trial.name}": score}, step)

    def best(self, cell: TrackedCell) -> None:
        """Its equations."""
        said = f"{cell.trial.name}, {cell.origin}\n\n{code_block(cell.text)}"
        self._log({"best cell": trackio.Markdown(said)}, cell.trial.step)

    def winner(self, cell: TrackedCell) -> None:
        """The cell, its drawing, and its trained weights if they are kept, as an artifact."""
        folder = self.run.path / "tracking" / "trackio"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "best.cell").write_text(cell.text, "utf-8")
        (folder / "best.svg").write_text(cell.svg, "utf-8")
        artifact = trackio.Artifact(f"{self._name}-best", type="cell")
        for path in (folder / "best.cell", folder / "best.svg", cell.checkpoint):
            if path is not None:
                artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def flush(self) -> None:
        """Trackio writes from a thread of its own; what ends a run waits for it."""
        self._run.finish()
        self._begin()

    def close(self, *, finished: bool) -> None:
        """The run is left as it is; Trackio knows no other end."""
        self._run.finish()

    def _begin(self) -> None:
        self._run = trackio.init(
            project=self._project,
            name=self._name,
            config=dict(self.run.options),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def _log(self, values: dict[str, Any], step: int) -> None:
        new = {key: value for key, value in values.items() if (key, step) not in self._held}
        if new:
            self._run.log(new, step=step)
