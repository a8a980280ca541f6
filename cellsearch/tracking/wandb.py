"""Weights & Biases: a run of the project ``cellsearch`` (or WANDB_PROJECT), below ``RUN/wandb``.

Nothing is sent unless WANDB_MODE says ``online``: ``wandb sync RUN/wandb/offline-run-*`` does it
later. Every sitting adds a folder to the same run. A trial has the same step in all of them, by
which the server keeps one row of it.
"""

from __future__ import annotations

import os
import secrets
from html import escape
from typing import Any, ClassVar

import wandb

from cellsearch.files import write_atomically
from cellsearch.tracking.base import TrackedCell, TrackedRun, TrackedTrial, Tracker

__all__ = ["WeightsAndBiases"]


class WeightsAndBiases(Tracker):
    """Logs to wandb, offline if the user does not ask for more."""

    name: ClassVar[str] = "wandb"
    package: ClassVar[str] = "wandb"
    extra: ClassVar[str] = "wandb"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self._ended = run.path / "tracking" / "wandb.ended"
        """Names what was written whole: wandb keeps rows in memory until a sitting ends."""

    def open(self, identity: str, known: int) -> str:
        """Go on with the run of this id; told everything again where a sitting was torn off."""
        folder = self.run.path / "wandb"
        self._id, _, part = identity.partition("-")
        there = bool(identity) and any(folder.glob(f"*run-*-{self._id}"))
        whole = there and self._ended.exists() and self._ended.read_text("utf-8") == identity
        self._ended.unlink(missing_ok=True)
        if not there:
            self._id = secrets.token_hex(4)
        if not whole:
            part = secrets.token_hex(4)
        self._identity = f"{self._id}-{part}"
        self._row: dict[str, Any] = {}
        self._step = -1
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "cellsearch"),
            name=self.run.title,
            id=self._id,
            resume="allow",
            notes=self.run.question or None,
            config=dict(self.run.options),
            mode=os.environ.get("WANDB_MODE", "offline"),
            dir=str(self.run.path),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
            ),
        )
        self.where = str(folder)
        return self._identity

    def trial(self, trial: TrackedTrial) -> None:
        """A row of numbers, with a table of its learning curve."""
        self._send()
        self._step, self._row = trial.step, dict(trial.values)
        if trial.curve:
            table = wandb.Table(["optimizer step", "score"], [list(point) for point in trial.curve])
            self._row[f"curves/{trial.step:05} {trial.name}"] = table

    def best(self, cell: TrackedCell) -> None:
        """Its equations and its drawing, in the row of its trial."""
        said = f"{cell.trial.name}, score {cell.score:.6g}, {cell.origin}"
        page = f"<p>{escape(said)}</p><pre>{escape(cell.text)}</pre>{cell.svg}"
        self._row["best cell"] = wandb.Html(page, inject=False)

    def winner(self, cell: TrackedCell) -> None:
        """The cell, its drawing, and its trained weights if they are kept, as an artifact."""
        self._send()
        artifact = wandb.Artifact(f"best-{self._id}", "cell", metadata={"score": cell.score})
        for name, text in (("best.cell", cell.text), ("best.svg", cell.svg)):
            with artifact.new_file(name) as file:
                file.write(text)
        if cell.checkpoint is not None:
            artifact.add_file(str(cell.checkpoint))
        self._run.log_artifact(artifact)

    def flush(self) -> None:
        """The rows are with wandb's own process. If that dies as well, they are told again."""
        self._send()

    def close(self, *, finished: bool) -> None:
        """This sitting is over; wandb has written everything when this returns."""
        self._send()
        self._run.finish()
        write_atomically(self._ended, self._identity)

    def _send(self) -> None:
        if self._row:
            self._run.log(self._row, step=self._step)
        self._row = {}
