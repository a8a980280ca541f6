"""How fast compiled cells train: against torch.nn, the Python loop that other tools use, and the
aten backend.

    python benchmarks/compiler.py                 # all tables, about ten minutes
    # some of them: cells precisions threads short few others products elementwise
    # peak step cost compile
    python benchmarks/compiler.py cells cost
    python benchmarks/compiler.py --quick         # fewer repeats, smaller shapes
    # all with two threads, native by compile_cell(threads=2)
    python benchmarks/compiler.py cells --threads 2
    # products of bf16 as a processor without AMX computes them
    python benchmarks/compiler.py precisions --without-amx

Times are medians of forward and backward of one segment (all weight gradients and the gradient of
x) on one thread unless said otherwise. All that is compared takes turns of five runs, the first of
which does not count. ``threads`` compares native with one and with two threads and torch with two;
on a busy machine look at the best times, and at processor time: what the second thread adds to it
is what waiting and smaller tiles cost.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from compiler_parts import compilation, elementwise, peak, products, rank_correlation, step
from compiler_speed import cells, few, others, precisions, short, two_threads

from cellsearch.compiler.backends.native import build
from cellsearch.compiler.backends.native.build import library, processor

TABLES: dict[str, Callable[[bool], None]] = {
    "cells": cells,
    "threads": two_threads,
    "short": short,
    "precisions": precisions,
    "few": few,
    "others": others,
    "products": products,
    "elementwise": elementwise,
    "peak": peak,
    "step": step,
    "cost": rank_correlation,
    "compile": compilation,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--without-amx", action="store_true", help="products of bf16 as AVX-512-BF16 computes them"
    )
    options = parser.parse_args()
    if options.without_amx:
        build.NATIVE = (*build.NATIVE, "-mno-amx-tile")
    torch.set_num_threads(options.threads)
    model = next(
        (
            line.split(":")[1].strip()
            for line in processor().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    about = {
        "processor": model,
        "cores": os.cpu_count(),
        "instructions": library().instructions,
        "torch": torch.__version__,
        "threads": options.threads,
    }
    print(json.dumps(about), flush=True)
    for name in options.tables or TABLES:
        TABLES[name](options.quick)


if __name__ == "__main__":
    main()
