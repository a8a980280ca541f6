"""How long it takes until the first trial of a search starts, and one evaluation in all.

    python benchmarks/startup.py [--repeats 5] [--workers 2]

``search``: wall clock from the command ``cellsearch search quickstart`` to the start of its first
trial in a worker, Ray included. ``evaluate``: the whole command ``cellsearch evaluate lstm --task
char_lm --steps 20``. ``torch``: ``python -c "import torch"``, which sets the scale for a machine
that others use too. Processor seconds are of the command and all that it has waited for; workers
are not among them. The first of the repeats warms the disk up and is left out; it leaves bytecode
there as well, also where the environment forbids that. Goals on a quiet machine: 3 s, 1.5 s.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median

_FIRST = re.compile(r"^\[1/\d+\].* (\d+\.\d) s ")
_COMMAND = [sys.executable, "-m", "cellsearch"]
_EVALUATE = [*_COMMAND, "evaluate", "lstm", "--task", "char_lm", "--steps", "20"]


def processor_seconds() -> float:
    """Of all children that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def first_start(workers: int) -> float:
    """Seconds until the first trial started: when its end was told, less its own time."""
    with tempfile.TemporaryDirectory() as folder:
        began, started = time.perf_counter(), 0.0
        command = [*_COMMAND, "search", "quickstart", "--plain", "--run", f"{folder}/run"]
        command += ["--workers", str(workers), "--trials", "2", "--set", "training.steps=20"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as search:
            assert search.stdout is not None
            for line in search.stdout:
                if not started and (found := _FIRST.match(line)):
                    started = time.perf_counter() - began - float(found[1])
        if search.returncode or not started:
            raise SystemExit(f"the search ended with {search.returncode}, its trials unseen")
    return started


def whole(command: list[str]) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure in turn, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    rows: dict[str, list[tuple[float, float]]] = {"search": [], "evaluate": [], "torch": []}
    for _ in range(arguments.repeats + 1):
        for name, found in rows.items():
            before = processor_seconds()
            if name == "search":
                seconds = first_start(arguments.workers)
            else:
                seconds = whole(
                    _EVALUATE if name == "evaluate" else [sys.executable, "-c", "import torch"]
                )
            found.append((seconds, processor_seconds() - before))
    print(f"{'':10}{'seconds':>8}{'fastest':>9}{'processor':>11}")
    for name, found in rows.items():
        wall, used = zip(*found[1:], strict=True)
        print(f"{name:10}{median(wall):8.2f}{min(wall):9.2f}{median(used):11.2f}")


if __name__ == "__main__":
    main()
