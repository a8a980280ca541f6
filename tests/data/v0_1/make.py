"""How this folder was made: by cellsearch 0.1, commit 154705d, with its own names of modules.

``git worktree add /tmp/old 154705d && PYTHONPATH=/tmp/old python tests/data/v0_1/make.py FOLDER``

Four experiments, each as a finished run and as one that was stopped on the way: ``genetic`` (with
halving), ``prune`` (supernets, gates), ``suite`` (two tasks) and ``grow`` (stopped only, for later
versions grow otherwise). Of the finished ones only the table is kept (``NAME.json``), except of
``genetic``, which keeps its store and its checkpoints; of the stopped ones the store and the
checkpoints that they go on from. ``exported``: what ``export``
wrote of the finished genetic run, and what the layer answers.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

import cellsearch as cs
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment import parse_experiment

PARITY = {"max_length": 6, "valid_lengths": [6], "evaluation_size": 64}
TRAINING = {"hidden_size": 6, "evaluations": 2, "learning_rate": 0.02, "dtype": "float64"}
COMMON: dict[str, Any] = {
    "space": "tiny",
    "seed": 3,
    "workers": 0,
    "deterministic": True,
    "lookahead": 1,
}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "genetic": {
        "strategy": "genetic",
        "strategy_options": {"initial": 3},
        "schedule": "halving",
        "task": "parity",
        "task_options": PARITY,
        "training": {**TRAINING, "steps": 27, "batch_size": 8},
        "trials": 10,
    },
    "prune": {
        "strategy": "prune",
        "task": "parity",
        "task_options": PARITY,
        "training": {**TRAINING, "steps": 12, "batch_size": 8},
        "trials": 6,
    },
    "suite": {
        "strategy": "random",
        "task": "suite",
        "task_options": {
            "name": "small",
            "seeds": [3, 4],
            "training": TRAINING,
            "tasks": [
                {"task": "parity", "steps": 30, "chance": 0.6, "options": PARITY},
                {
                    "task": "adding",
                    "steps": 20,
                    "chance": 1.0,
                    "options": {"length": 4, "evaluation_size": 50},
                },
            ],
        },
        "training": {**TRAINING, "steps": 50},
        "trials": 5,
    },
    "grow": {
        "strategy": "grow",
        "strategy_options": {"inherit": True, "beam": 1},
        "schedule": "lookahead",
        "task": "parity",
        "task_options": PARITY,
        "training": {**TRAINING, "steps": 12, "batch_size": 8},
        "trials": 8,
    },
}
STOP_AFTER = {"genetic": 6, "prune": 3, "suite": 3, "grow": 6}


def run(folder: Path, name: str, stop_after: int = 0) -> list[dict[str, Any]]:
    """Run an experiment, or a part of it; its table."""
    document = {**COMMON, "name": name, **EXPERIMENTS[name]}
    experiment = parse_experiment(document, source=name)
    ended = 0

    def on_event(event: object) -> None:
        nonlocal ended
        ended += type(event).__name__ == "TrialEnded"
        if stop_after and ended >= stop_after:
            search.stop()

    with cs.Search.open(folder, experiment) as search, InProcess() as executor:
        search.run(executor, on_event)
        return [
            {
                "number": trial.number,
                "cell": trial.genome.to_text(),
                "origin": trial.proposal.origin,
                "parents": list(trial.proposal.parents),
                "status": trial.status.value,
                "scores": [rung.result.score for rung in trial.rungs if rung.result is not None],
            }
            for trial in search.history
        ]


def answers(source: Path, weights: Path) -> dict[str, Any]:
    """What an exported layer makes of a fixed input."""
    names: dict[str, Any] = {}
    exec(source.read_text("utf-8"), names)
    state = torch.load(weights, weights_only=True)
    inputs = next(w for n, w in state.items() if "weight_x" in n).shape[1]
    layer = names["Recurrent"]().double()
    layer.load_state_dict(state)
    x = torch.linspace(-1, 1, 5 * 2 * inputs, dtype=torch.float64).view(5, 2, inputs)
    output, _ = layer(x)
    return {"input_size": inputs, "output": output.detach().tolist()}


def main(target: Path) -> None:
    """Write the folder."""
    for name in EXPERIMENTS:
        whole, part = target / f"{name}_whole", target / f"{name}_part"
        if name != "grow":
            table = json.dumps(run(whole, name), indent=1) + "\n"
            (target / f"{name}.json").write_text(table, "utf-8")
        run(part, name, STOP_AFTER[name])
        if name not in ("genetic", "grow"):
            shutil.rmtree(whole)
    exported = target / "exported"
    exported.mkdir()
    for form, suffix in (
        ("source", "py"),
        ("json", "json"),
        ("cell", "cell"),
        ("state-dict", "pt"),
    ):
        path = exported / f"{form.replace('-', '_')}.{suffix}"
        code = guarded(
            cli, ["export", str(target / "genetic_whole"), "--to", form, "--output", str(path)]
        )
        assert code == 0, form
    found = answers(exported / "source.py", exported / "source.pt")
    (exported / "answers.json").write_text(json.dumps(found) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
