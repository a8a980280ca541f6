"""Wrote store_v1.sqlite, once, with the program of version 1. Kept to show what is in the file; not
to be run again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cellsearch import zoo
from cellsearch.job import Outcome
from cellsearch.store import Duplicate, Store
from cellsearch.trial import Budget, Connection, Failure, Proposal, Result, Rung, Status, Trial


def result(score: float) -> Result:
    return Result(
        score,
        score,
        100,
        2.0,
        1000,
        800,
        ((50, 2.0), (100, score)),
        {"a": 0.5},
        {"n.scale": Connection(0.3, 0.4)},
        "checkpoints/trial-00000.safetensors",
    )


def main(folder: Path) -> None:
    with Store.open(folder) as store:
        store.describe('name = "version 1"\n')
        store.add_environment({"torch": "2.13.0"})
        store.add_event("test", "a text")
        for number, cell in enumerate(["lstm", "gru", "mgu", "gru", "rnn_tanh", "lstm_cifg"]):
            genome = zoo.load(cell)
            proposal = Proposal(
                genome,
                (0, 1) if number == 2 else (),
                f"origin {number}",
                inherit=0 if number == 2 else None,
            )
            if number == 3:
                trial = Trial(3, proposal, Status.DUPLICATE, duplicate_of=1)
            else:
                trial = Trial(number, proposal, Status.RUNNING, rungs=(Rung(Budget(100, 0)),))
            duplicates = (Duplicate(3, 0, 1),) if number == 3 else ()
            store.add_trial(
                trial,
                key=genome.key,
                genome=genome.to_json(),
                attempt=0,
                seed=number,
                horizon=number,
                duplicates=duplicates,
            )
        store.add_outcome(
            Outcome(0, 0, result(1.5), worker="host:1", wall_seconds=2.5), Status.COMPLETED
        )
        store.add_outcome(
            Outcome(1, 0, result(1.25), worker="host:2", wall_seconds=2.5), Status.COMPLETED
        )
        store.add_outcome(
            Outcome(2, 0, failure=Failure("nan", "at step 3"), worker="host:1", wall_seconds=0.5),
            Status.FAILED,
        )
        store.add_outcome(
            Outcome(4, 0, result(1.75), worker="host:1", wall_seconds=2.5), Status.RUNNING
        )
        store.add_rung(4, Budget(200, 1), horizon=6)
        store.add_outcome(
            Outcome(4, 1, result(1.5), worker="host:1", wall_seconds=2.5), Status.RUNNING
        )
        store.stop(4)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
