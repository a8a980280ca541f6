"""A found cell beside LSTM and GRU of the same flash: size in C and error on the test data.

Usage: python benchmarks/small_model.py RUN [--seeds N] [--flash BYTES] [--ram BYTES] [--steps N]
[--precision float32|int8]

RUN is a finished search (cellsearch search tiny_device); its task, training and best cell are
taken. Each of the three cells gets the largest hidden size whose C fits the flash and the memory by
cellsearch.genome.footprint, and is trained anew with each seed. Columns: hidden size, flash as
promised, text of the object file for a Cortex-M4 (arm-none-eabi-gcc -Os), the linked program's
(with the C library, less an empty one), RAM, multiply-adds a step, and mean and deviation over
seeds of the test score (lower is better), of the C in this precision.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from cellsearch import open_run, zoo
from cellsearch.export.c.integers import use_integers
from cellsearch.export.c.write import export_c
from cellsearch.export.whole import whole_model
from cellsearch.genome.footprint import Footprint, footprint
from cellsearch.genome.graph import Genome
from cellsearch.runs.trained import load_arrays, train

CORTEX = ["-std=c99", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-Os"]
LINK = ["--specs=nano.specs", "--specs=nosys.specs", "-nostartfiles", "-Wl,--gc-sections,-emain"]
MAIN = """
#include "m.h"
static m_state state;
static float y[M_OUTPUTS];
float window[M_INPUTS * 200];
int main(void) { m_predict(&state, window, 200, y); return (int)y[0]; }
"""


def text(file: Path) -> int:
    """Bytes of code and constants."""
    size = ["arm-none-eabi-size", str(file)]
    said = subprocess.run(size, check=True, capture_output=True, text=True).stdout
    return int(said.splitlines()[1].split()[0])


def built(whole: Any, precision: Any, folder: Path) -> tuple[int, int]:
    """Text of the object file, and what the linked program has more than an empty one."""
    export_c(whole, folder / "m.c", precision=precision, force=True)
    (folder / "main.c").write_text(MAIN)
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    for sources, name in ((["m.c", "main.c"], "full"), (["empty.c"], "empty")):
        command = ["arm-none-eabi-gcc", *CORTEX, "-ffunction-sections", *sources, "-o", name]
        subprocess.run([*command, *LINK, "-lm"], cwd=folder, check=True, capture_output=True)
    subprocess.run(["arm-none-eabi-gcc", *CORTEX, "-c", "m.c"], cwd=folder, check=True)
    return text(folder / "m.o"), text(folder / "full") - text(folder / "empty")


def largest(genome: Genome, around: Any, given: argparse.Namespace) -> tuple[int, Footprint]:
    """The largest hidden size that fits, and what it takes."""
    found = None
    for hidden_size in range(1, 400):
        takes = footprint(
            genome, around.features, hidden_size, precision=given.precision, around=around
        )
        if takes.flash_bytes > given.flash or takes.ram_bytes > given.ram:
            break
        found = hidden_size, takes
    if found is None:
        raise SystemExit("not one unit fits: give --flash or --ram more")
    return found


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--flash", type=int, default=20000)
    parser.add_argument("--ram", type=int, default=4096)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--precision", choices=["float32", "int8"], default="int8")
    given = parser.parse_args()
    best = open_run(given.run).best()
    job, arrays = best.job, load_arrays(best.job)
    around = best.whole().interface.surroundings()
    cells = {f"found ({best.label})": best.genome, "lstm": zoo.load("lstm"), "gru": zoo.load("gru")}
    print("| cell | H | flash | object | linked | RAM | MACs | test score |")
    print("|---|---|---|---|---|---|---|---|")
    for name, genome in cells.items():
        hidden_size, takes = largest(genome, around, given)
        steps = given.steps or job.training.steps
        training = replace(job.training, hidden_size=hidden_size, steps=steps)
        scores, sizes = [], (0, 0)
        for seed in range(given.seeds):
            own = replace(job, genome=genome.to_json(), training=training, steps=steps, seed=seed)
            trained, _ = train(own, arrays)
            model: Any = trained.model
            if not seed:
                with tempfile.TemporaryDirectory() as folder:
                    whole = whole_model(model, trained.task.interface())
                    sizes = built(whole, given.precision, Path(folder))
            if given.precision == "int8":
                use_integers(model, 8)
            scores.append(trained.task.score(model, "test")[0])
        spread = stdev(scores) if len(scores) > 1 else 0.0
        columns = [hidden_size, takes.flash_bytes, *sizes, takes.ram_bytes, takes.macs_per_step]
        said = " | ".join(f"{column:,}" for column in columns)
        print(f"| {name} | {said} | {mean(scores):.4f} ± {spread:.4f} |", flush=True)


if __name__ == "__main__":
    main()
