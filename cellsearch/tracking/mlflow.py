"""MLflow: a run of the experiment ``cellsearch``, on the server that MLFLOW_TRACKING_URI names, or
in the file ``RUN/mlflow/mlflow.db``.

Points are sent with the time at which their trial ended, and those that the server holds already
are left out, so that a point is there once, whatever process died.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, ClassVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from cellsearch.tracking.base import TrackedCell, TrackedRun, TrackedTrial, Tracker

__all__ = ["MLflow"]

_EXPERIMENT = "cellsearch"
_AT_ONCE = 100
"""Parameters that a server takes in one call."""
_LONGEST = 500
"""Letters of a parameter that every server takes."""


class MLflow(Tracker):
    """Logs to MLflow; the experiment is MLFLOW_EXPERIMENT_NAME, if that is set."""

    name: ClassVar[str] = "mlflow"
    package: ClassVar[str] = "mlflow"
    extra: ClassVar[str] = "mlflow"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self._folder = run.path / "mlflow"
        self._pending: list[Any] = []
        self._held: dict[str, set[int]] = {}

    def open(self, identity: str, known: int) -> str:
        """Go on with the MLflow run of this id, unless it was deleted."""
        address = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not address:
            self._folder.mkdir(parents=True, exist_ok=True)
            address = f"sqlite:///{self._folder / 'mlflow.db'}"
        self._client = MlflowClient(tracking_uri=address)
        self.where = address
        found = self._existing(identity)
        if found is None:
            self._id = self._begun(has_server="MLFLOW_TRACKING_URI" in os.environ)
        else:
            self._id = identity
            self._client.update_run(self._id, status="RUNNING")
            self._held = {key: self._steps(key) for key in found.data.metrics}
        return self._id

    def trial(self, trial: TrackedTrial) -> None:
        """One point of each series, and its learning curve by optimizer steps."""
        when = round(trial.time * 1000)
        for key, value in trial.values.items():
            self._point(key, value, when, trial.step)
        for step, score in trial.curve:
            self._point(f"curve/{trial.step:05} {_plain(trial.name)}", score, when, step)

    def best(self, cell: TrackedCell) -> None:
        """Its equations and its drawing, as artifacts."""
        self._client.log_text(self._id, cell.text, "best.cell")
        self._client.log_text(self._id, cell.svg, "best.svg")
        self._client.set_tag(self._id, "best cell", f"{cell.trial.name}, {cell.origin}"[:_LONGEST])

    def winner(self, cell: TrackedCell) -> None:
        """The cell, and its trained weights if they are kept."""
        self.best(cell)
        if cell.checkpoint is not None:
            self._client.log_artifact(self._id, str(cell.checkpoint))

    def flush(self) -> None:
        """Everything is sent when this returns."""
        while self._pending:
            self._client.log_batch(self._id, metrics=self._pending[:_AT_ONCE])
            del self._pending[:_AT_ONCE]

    def close(self, *, finished: bool) -> None:
        """The run is over; one that is left for now can go on."""
        self.flush()
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")

    def _existing(self, identity: str) -> Any:
        if not identity:
            return None
        try:
            found = self._client.get_run(identity)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _begun(self, *, has_server: bool) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            experiment = known.experiment_id
        else:
            place = None if has_server else (self._folder / "artifacts").as_uri()
            experiment = self._client.create_experiment(name, artifact_location=place)
        began = round(self.run.created * 1000)
        run = self._client.create_run(experiment, start_time=began, run_name=self.run.title)
        identity: str = run.info.run_id
        parameters = [Param(key, text[:_LONGEST]) for key, text in self.run.options.items()]
        for few in _parts(parameters):
            self._client.log_batch(identity, params=few)
        tags = [RunTag("mlflow.note.content", self.run.question)] if self.run.question else []
        self._client.log_batch(identity, tags=tags)
        self._client.log_text(identity, self.run.settings, "experiment.toml")
        return identity

    def _steps(self, key: str) -> set[int]:
        return {point.step for point in self._client.get_metric_history(self._id, key)}

    def _point(self, key: str, value: float, when: int, step: int) -> None:
        if step not in self._held.get(key, ()):
            self._pending.append(Metric(key, value, when, step))


def _plain(name: str) -> str:
    """What MLflow takes as the name of a series."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name)[:40]


def _parts(values: list[Any]) -> Iterable[list[Any]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
