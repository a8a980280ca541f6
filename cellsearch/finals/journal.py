"""What finals have given so far, in a file, so that interrupted ones go on: no training is done
twice, and the test data of a seed are read once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cellsearch.files import read_plain, write_atomically
from cellsearch.job import Failure, Outcome, Result
from cellsearch.plain import read_as

__all__ = ["Journal"]

_KEPT = ("score", "metric", "steps", "seconds", "parameters", "cell_parameters", "metrics")
"""What of a result finals need."""
AGAIN = "--again puts it aside and starts anew (in Python, again=True)"


class Journal:
    """Outcomes by which training it is: ``sweep/NAME/...`` or ``final/NAME/SEED``, below the name
    of the task where finals are made on several.

    path: the file, read if it is there.
    plan: who takes part and how, as plain data; outcomes of another plan are not taken over.
    what: what the file is, for messages.
    hint: what to do about a damaged one.

    Raises :class:`InputFileError` for a damaged file.
    """

    def __init__(
        self,
        path: Path,
        plan: Mapping[str, Any],
        what: str = "journal of finals",
        hint: str = AGAIN,
    ) -> None:
        self._path, self._what = path, what
        self.plan = json.loads(json.dumps(plan))
        self.outcomes: dict[str, Outcome] = {}
        self.was_interrupted = False
        """Whether the outcomes are those of finals that did not come to their end."""
        self.others: dict[str, Any] = {}
        """The plan that the file was written for, where it is another one that has begun to read
        test data."""
        if path.is_file():
            self._read(hint)

    def _read(self, hint: str) -> None:
        with read_as(self._what, self._path, hint):
            document = json.loads(read_plain(self._path))
            plan = dict(document["plan"])
            outcomes = {str(key): _outcome(value) for key, value in document["outcomes"].items()}
        if plan == self.plan:
            self.outcomes, self.was_interrupted = outcomes, True
        elif any("/final/" in f"/{key}" for key in outcomes):
            self.others = plan

    def begin(self) -> None:
        """Write the file, before anything is trained: a folder that cannot be written is found
        out now.
        """
        self._write()

    def add(self, key: str, outcome: Outcome) -> None:
        """An outcome, for good."""
        self.outcomes[key] = outcome
        self._write()

    def end(self) -> None:
        """Everything is in the table."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        outcomes = {key: _document(outcome) for key, outcome in self.outcomes.items()}
        text = json.dumps({"plan": self.plan, "outcomes": outcomes})
        write_atomically(self._path, text, what=self._what)


def _document(outcome: Outcome) -> dict[str, Any]:
    if outcome.failure is not None:
        return {"failure": asdict(outcome.failure)}
    return {"result": {name: getattr(outcome.result, name) for name in _KEPT}}


def _outcome(document: Mapping[str, Any]) -> Outcome:
    if "failure" in document:
        return Outcome(0, 0, failure=Failure(**document["failure"]))
    values = {name: document["result"][name] for name in _KEPT}
    metrics = {str(name): float(value) for name, value in values["metrics"].items()}
    return Outcome(0, 0, result=Result(**{**values, "metrics": metrics}))
