"""TensorBoard: files of events in the run's folder, written without torch or tensorflow.

``tensorboard --logdir runs`` shows all runs. Each sitting adds a file, which begins by taking back
whatever an earlier one may have written of trials that were not known to be written; a learning
curve is a file that is there whole or not at all. So nothing is shown twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from html import escape
from io import BytesIO
from typing import Any, ClassVar

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from cellsearch.files import write_atomically
from cellsearch.tracking.base import TrackedCell, TrackedRun, TrackedTrial, Tracker, code_block

__all__ = ["TensorBoard"]

_STRING = 7
"""The number of the type string in TensorProto."""


class TensorBoard(Tracker):
    """Writes events below ``RUN/tensorboard``."""

    name: ClassVar[str] = "tensorboard"
    package: ClassVar[str] = "tensorboard"
    extra: ClassVar[str] = "tensorboard"

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self._folder = run.path / "tensorboard"

    def open(self, identity: str, known: int) -> str:
        """Another file of events; a folder that was removed is begun anew."""
        old = sorted(self._folder.glob("events.out.tfevents.*"))
        if not old or not identity:
            known = 0
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.name.split(".")[3]) for path in old), default=0)
        path = self._folder / f"events.out.tfevents.{number:010}.cellsearch"
        self._file = open(path, "ab")  # noqa: SIM115  (closed in close)
        self._records = RecordWriter(self._file)
        self._write([_first(time.time())])
        if old:
            again = SessionLog(status=SessionLog.START)
            self._write([Event(wall_time=time.time(), step=known, session_log=again)])
        if not known:
            self._write([_text("settings", self._settings(), 0, self.run.created)])
        self.flush()
        self.where = str(self._folder)
        return identity if known else secrets.token_hex(8)

    def trial(self, trial: TrackedTrial) -> None:
        """One point of each series."""
        self._write([_numbers(trial.values, trial.step, trial.time)])
        if trial.curve:
            self._write_curve(trial)

    def best(self, cell: TrackedCell) -> None:
        """Its equations; TensorBoard shows no drawing that is not made of pixels."""
        self._write([_text("best cell", _described(cell), cell.trial.step, cell.trial.time)])

    def winner(self, cell: TrackedCell) -> None:
        """The cell as a file, and its drawing, beside the events."""
        write_atomically(self._folder / "best.cell", cell.text)
        write_atomically(self._folder / "best.svg", cell.svg)

    def flush(self) -> None:
        """The file is the system's when this returns."""
        self._file.flush()

    def close(self, *, finished: bool) -> None:
        """No more events for now."""
        self._file.close()

    def _write(self, events: Iterable[Event]) -> None:
        for event in events:
            self._records.write(event.SerializeToString())

    def _write_curve(self, trial: TrackedTrial) -> None:
        folder = self._folder / "curves" / f"{trial.step:05} {_plain(trial.name)}"
        folder.mkdir(parents=True, exist_ok=True)
        file = BytesIO()
        records = RecordWriter(file)
        records.write(_first(trial.time).SerializeToString())
        for step, score in trial.curve:
            event = _numbers({"learning curve": score}, step, trial.time)
            records.write(event.SerializeToString())
        write_atomically(folder / "events.out.tfevents.0000000001.cellsearch", file.getvalue())

    def _settings(self) -> str:
        question = f"{escape(self.run.question)}\n\n" if self.run.question else ""
        return f"{question}{code_block(self.run.settings)}"


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in " ._-" else "_" for c in name)[:40]


def _described(cell: TrackedCell) -> str:
    reason = f"\n\n{escape(cell.reason)}" if cell.reason else ""
    return (
        f"{escape(cell.trial.name)}, score {cell.score:.6g}, {cell.weights:,} weights, "
        f"{escape(cell.origin)}{reason}\n\n{code_block(cell.text)}"
    )


def _first(when: float) -> Any:
    """The event with which each file begins."""
    return Event(wall_time=when, file_version="brain.Event:2")


def _numbers(values: Mapping[str, float], step: int, when: float) -> Any:
    """Simple values: what every version of TensorBoard reads."""
    found = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    return Event(wall_time=when, step=step, summary=Summary(value=found))


def _text(tag: str, text: str, step: int, when: float) -> Any:
    """A text in Markdown, for the plugin of texts."""
    tensor = TensorProto(
        dtype=_STRING,
        string_val=[text.encode()],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    metadata = create_summary_metadata(display_name=tag, description="")
    value = Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
    return Event(wall_time=when, step=step, summary=Summary(value=[value]))
