"""What models in C take on a Cortex-M4, and how exact they are.

Usage: python benchmarks/device.py [--cells NAME ...] [--hidden N] [--steps N] [--task NAME]

For each cell a model of the task is trained for some steps and written as C in float32 and in 8-bit
integers. Columns: flash as promised (data + code and library), text of the object file
(arm-none-eabi-gcc -Os, library not in it), RAM, multiply-adds a step, the largest error against
torch (golden steps, host), and the score of the task with 32-bit floats and with integers whose
activations have 8 and 16 bits, lower is better.
"""

from __future__ import annotations

import argparse
import copy
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cellsearch import tasks, zoo
from cellsearch.export.c.integers import use_integers
from cellsearch.export.c.write import export_c
from cellsearch.export.whole import whole_model
from cellsearch.job import Job, Training
from cellsearch.runs.trained import train

CELLS = (
    "lstm",
    "gru",
    "lstm_ln",
    "slstm",
    "mgu",
    "fastgrnn",
    "indrnn_relu",
    "mingru",
    "sru",
    "lem",
)
CORTEX = ["-std=c99", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os"]


def measured(whole: Any, precision: Any, folder: Path) -> list[str]:
    """Columns of one model in one precision."""
    done = export_c(whole, folder / "m.c", precision=precision, force=True)
    takes = done.footprint
    subprocess.run(["arm-none-eabi-gcc", *CORTEX, "-c", "m.c"], cwd=folder, check=True)
    size = ["arm-none-eabi-size", "m.o"]
    said = subprocess.run(size, cwd=folder, check=True, capture_output=True, text=True).stdout
    build = ["gcc", "-std=c99", "-O2", "m.c", "m_test.c", "-o", "test", "-lm"]
    subprocess.run(build, cwd=folder, check=True)
    test = subprocess.run([folder / "test"], capture_output=True, text=True, check=True).stdout
    error = re.search(r"error ([\d.e+-]+)", test)
    assert error is not None
    return [
        f"{takes.data_bytes:,} + {takes.code_bytes:,}",
        f"{int(said.splitlines()[1].split()[0]):,}",
        f"{takes.ram_bytes:,}",
        f"{takes.macs_per_step:,}",
        f"{float(error[1]):.0e}",
    ]


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=CELLS)
    parser.add_argument("--hidden", type=int, default=24)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--task", default="sunspots")
    given = parser.parse_args()
    data = tasks.get(given.task).load({})
    print("| cell | precision | flash | object | RAM | MACs | error | score | 16 bits |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in given.cells:
        job = Job(
            trial=0,
            rung=0,
            genome=zoo.load(name).to_json(),
            task=given.task,
            task_options={},
            training=Training(hidden_size=given.hidden, steps=given.steps),
            steps=given.steps,
            seed=0,
        )
        trained, _ = train(job, data)
        model: Any = trained.model
        whole = whole_model(model, trained.task.interface())
        for precision in ("float32", "int8"):
            scores = [trained.task.score(model, "valid")[0]]
            if precision == "int8":
                scores = []
                for bits in (8, 16):
                    changed = copy.deepcopy(model)
                    use_integers(changed, bits)
                    scores.append(trained.task.score(changed, "valid")[0])
            with tempfile.TemporaryDirectory() as folder:
                columns = measured(whole, precision, Path(folder))
            said = [f"{score:.4f}" for score in scores]
            row = [name, precision, *columns, *said, *[""] * (2 - len(said))]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
