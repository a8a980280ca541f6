"""An evaluation that trains nothing: for measuring what a search costs besides training, and for
tests of executors and of crashes.

Its score is a digest of the genome and the seed, so it is the same on every machine.
``task_options`` say what else it does: ``sleep`` seconds; ``log``: append a line ``trial rung
begin|end pid`` to this file; ``fail``: raise the training error of this kind; ``raise``: fail with
another exception; ``exit``, ``signal``: end its process at once; ``hang``: never return. The checks
before training that the job asks for are made.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace

import numpy as np

from cellsearch.errors import ConfigError, EnvironmentFailure, TrainingError
from cellsearch.genome.graph import Genome
from cellsearch.job import Job
from cellsearch.tasks.base import Arrays
from cellsearch.trial import Result

__all__ = ["EVALUATION", "environment", "evaluate", "ownership", "spoil", "threads"]

EVALUATION = "cellsearch.testing.noop:evaluate"


def evaluate(job: Job, arrays: Arrays) -> Result:
    """A result without training; see the module."""
    start = time.perf_counter()
    options = job.task_options
    _log(job, "begin")
    if options.get("sleep"):
        time.sleep(options["sleep"])
    _misbehave(job)
    if job.prefilter.any:
        from cellsearch.training.prefilter import check_job  # torch

        check_job(job, Genome.from_json(job.genome))
    digest = hashlib.blake2b(f"{job.genome}{job.seed}".encode(), digest_size=8).digest()
    chance = int.from_bytes(digest, "big") / 2**64
    score = chance + 1.0 / job.steps
    data = float(sum(int(array.sum()) for array in arrays.values()))
    _log(job, "end")
    return Result(
        score=score,
        metric=score,
        steps=job.steps,
        seconds=time.perf_counter() - start,
        parameters=len(job.genome),
        cell_parameters=len(job.genome),
        curve=((job.steps, score),),
        metrics={"data": data},
    )


def _log(job: Job, what: str) -> None:
    path = job.task_options.get("log")
    if path:
        # One write of one short line to a file opened for appending is atomic, so many processes
        # may share the log.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{job.trial} {job.rung} {what} {os.getpid()}\n".encode())
        finally:
            os.close(descriptor)


def _misbehave(job: Job) -> None:
    options = job.task_options
    if job.trial not in options.get("trials", [job.trial]):
        return
    if "fail" in options:
        raise TrainingError("told to fail", kind=options["fail"])
    if "raise" in options:
        raise {
            "value": ValueError,
            "memory": MemoryError,
            "config": ConfigError,
            "environment": EnvironmentFailure,
        }[options["raise"]]("told to raise")
    if "exit" in options:
        os._exit(options["exit"])
    if "signal" in options:
        os.kill(os.getpid(), options["signal"])
    while "hang" in options:
        time.sleep(1.0)


def spoil(job: Job, arrays: Arrays) -> Result:
    """An evaluation that tries to change the data."""
    for array in arrays.values():
        array[...] = 7
    return evaluate(job, arrays)


def threads(job: Job, arrays: Arrays) -> Result:
    """An evaluation that tells how many threads torch uses for one operation."""
    import torch

    return replace(evaluate(job, arrays), metrics={"threads": float(torch.get_num_threads())})


def environment(job: Job, arrays: Arrays) -> Result:
    """An evaluation that tells which environment variables its process has."""
    return replace(evaluate(job, arrays), metrics=dict.fromkeys(os.environ, 1.0))


def ownership(job: Job, arrays: Arrays) -> Result:
    """An evaluation that tells how many bytes of its arrays belong to this process, and not to a
    store that all workers share.
    """
    owned = 0
    for array in arrays.values():
        base = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        owned += base.nbytes if base.flags.owndata else 0
    return replace(evaluate(job, arrays), metrics={"owned": float(owned)})
