"""Trainings that are paid once: results of cells under a fixed protocol, kept in the user's cache
folder.

A suite compares every candidate with references, LSTM and GRU trained in the same way. Such results
are kept under everything that they depend on: the cell's search key, task, options, data, training,
steps, seed, the versions of cellsearch, torch and numpy, the processor, and the source text of
everything that trains, a task and ops of other packages included. Of two versions, or of a checkout
before and after an edit, each has its own entries: they never mix.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from cellsearch import tasks
from cellsearch.errors import TrainingError
from cellsearch.files import cache_folder, write_atomically
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.job import Connection, Job, Result
from cellsearch.ops import OPS
from cellsearch.tasks.base import Arrays
from cellsearch.training.environment import decisive
from cellsearch.training.loop import evaluate
from cellsearch.training.model import decoded

__all__ = ["ResultCache", "code_version"]

FORMAT = 2
_PACKAGE = Path(__file__).resolve().parents[1]
_TRAINING = (
    *("training/**/*", "compiler/**/*", "genome/**/*", "tasks/**/*"),
    *("ops.py", "options.py", "settings.py"),
)
"""The files that decide what a training gives: those that train, and those that say what the
declared options and settings mean. A rounding that changes is a change: training amplifies it. A
file too many costs a training, one too few a wrong number.
"""
_NO_MATTER = frozenset(
    {"trial", "rung", "genome", "limits", "checkpoint", "resume", "inherit", "quiet", "test"}
    | {"targets", "repeat"}
)
"""What a training from scratch does not depend on (or, of the genome, what its key says)."""
_LASTING = frozenset({"nan", "diverged", "invalid"})
"""Failures that the same training would meet again; time and memory are not among them."""


class ResultCache:
    """Results by what they depend on, a small JSON file each. ``folder``: default ``results`` in
    the user's cache folder.

    Any number of processes may use one folder: files appear whole or not at all. A file that is
    damaged or answers another question counts as not there, and is written anew.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else cache_folder() / "results"

    def train(
        self,
        job: Job,
        arrays: Arrays,
        *,
        genome: Genome | None = None,
        on_known: Callable[[bool], None] | None = None,
    ) -> tuple[Result, bool]:
        """The result of a training from scratch, and whether it was there already.

        ``genome``: the job's, where the caller has decoded it; ``on_known`` is told whether it was
        there, before anything is trained. Raises what :func:`cellsearch.training.loop.evaluate`
        raises; a failure that would come again is kept like a result.
        """
        cell = decoded(job) if genome is None else genome
        question = _question(job, cell, arrays)
        answer = self._look_up(question)
        if on_known is not None:
            on_known(answer is not None)
        if isinstance(answer, TrainingError):
            raise answer
        if answer is not None:
            return answer, True
        try:
            result = evaluate(job, arrays, genome=cell)
        except TrainingError as error:
            self._keep(question, error)
            raise
        self._keep(question, result)
        return result, False

    def known(
        self, job: Job, arrays: Arrays, *, genome: Genome | None = None
    ) -> Result | TrainingError | None:
        """What is kept of a training from scratch: its result or its failure; ``None``: nothing."""
        return self._look_up(_question(job, decoded(job) if genome is None else genome, arrays))

    def keep(
        self,
        job: Job,
        arrays: Arrays,
        answer: Result | TrainingError,
        *,
        genome: Genome | None = None,
    ) -> None:
        """Keep what came out of a training from scratch, wherever it was done on this machine; of
        failures those that would come again.
        """
        self._keep(_question(job, decoded(job) if genome is None else genome, arrays), answer)

    def _look_up(self, question: Mapping[str, Any]) -> Result | TrainingError | None:
        return _read(self._path(question), question)

    def _keep(self, question: Mapping[str, Any], answer: Result | TrainingError) -> None:
        path = self._path(question)
        if isinstance(answer, Result):
            _write(path, question, {"result": asdict(answer)})
        elif answer.kind in _LASTING:
            _write(path, question, {"failure": {"kind": answer.kind, "message": answer.message}})

    def _path(self, question: Mapping[str, Any]) -> Path:
        return self.folder / f"{_digest(question)}.json"


def _question(job: Job, genome: Genome, arrays: Arrays) -> dict[str, Any]:
    if job.resume or job.inherit or job.checkpoint:
        raise ValueError(
            "only trainings from scratch that leave nothing behind can be answered from the cache"
        )
    asked = {
        "job": {name: value for name, value in asdict(job).items() if name not in _NO_MATTER}
        | ({"test": True} if job.test else {}),
        "cell": search_key(genome),
        "data": _data_digest(arrays),
        "made by": {**_machine(), "torch": torch.__version__, "code": code_version()},
        "from outside": _from_outside(job.task),
        "ops": {op: [OPS[op].torch, OPS[op].gradient] for op in {node.op for node in genome.nodes}},
    }
    plain: dict[str, Any] = json.loads(json.dumps(asked))
    return plain


@cache
def code_version() -> str:
    """A digest of the source text of everything that trains."""
    digest = sha256()
    files = {
        path
        for pattern in _TRAINING
        for path in _PACKAGE.glob(pattern)
        if path.suffix in (".py", ".c", ".h", ".inc")
    }
    for path in sorted(files):
        digest.update(
            path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
        )
    return digest.hexdigest()[:20]


def _from_outside(task: str) -> dict[str, str]:
    """A digest of each file of another package that a class of the task stands in."""
    ours = {__name__.partition(".")[0], *sys.stdlib_module_names}
    classes = [c for c in tasks.get(task).__mro__ if c.__module__.partition(".")[0] not in ours]
    files = {c.__module__: inspect.getsourcefile(c) for c in classes}
    return {
        module: sha256(Path(file).read_bytes()).hexdigest() if file else ""
        for module, file in files.items()
    }


_machine = cache(decisive)


def _data_digest(arrays: Arrays) -> str:
    digest = sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _digest(*parts: Any) -> str:
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(path: Path, question: Mapping[str, Any]) -> Result | TrainingError | None:
    """The answer in this file, if there is a whole one to this very question."""
    try:
        if not path.is_file():
            return None
        document = json.loads(path.read_text("utf-8"))
        answer = document["answer"]
        if document["question"] != question or document["digest"] != _digest(question, answer):
            return None
        return _answered(answer) if document["format"] == FORMAT else None
    # Whatever a damaged file makes of our own: it is made again.
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None


def _answered(answer: Mapping[str, Any]) -> Result | TrainingError:
    if "failure" in answer:
        return TrainingError(answer["failure"]["message"], kind=answer["failure"]["kind"])
    values = dict(answer["result"])
    values["curve"] = tuple((int(step), float(score)) for step, score in values["curve"])
    values["connections"] = {
        name: Connection(**found) for name, found in values["connections"].items()
    }
    return Result(**values)


def _write(path: Path, question: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    plain = json.loads(json.dumps(answer))
    document = {"format": FORMAT, "question": question, "answer": plain}
    text = json.dumps(document | {"digest": _digest(question, plain)})
    write_atomically(path, text, what="result", hint="set CELLSEARCH_CACHE to a folder to write to")
