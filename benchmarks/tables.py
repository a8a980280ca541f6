"""A table of a million rows: how long reading and understanding it takes, and with how much memory.

    python benchmarks/tables.py [ROWS]

Writes a CSV of a time, six columns of numbers (one with gaps) and a column of words into a
temporary folder, and reads it in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROWS = 1_000_000


def write(path: Path, rows: int) -> None:
    """The table."""
    random = np.random.default_rng(0)
    moments = np.datetime64("2020-01-01T00:00:00") + np.arange(rows) * np.timedelta64(60, "s")
    with open(path, "w", encoding="utf-8") as file:
        file.write("time,a,b,c,d,e,f,state\n")
        for moment, values in zip(moments, random.normal(size=(rows, 6)), strict=True):
            cells = [f"{value:.4f}" for value in values]
            cells[2] = "" if values[2] > 2 else cells[2]
            file.write(f"{moment},{','.join(cells)},{'ok' if values[0] > 0 else 'off'}\n")


def measure(path: str) -> None:
    """Read it, and print what that took."""
    from cellsearch.tasks.tables.options import TableOptions
    from cellsearch.tasks.tables.understand import table_of_options, understand

    options = TableOptions(path=path, predict=("a",))
    begin, cpu = time.perf_counter(), time.process_time()
    table = table_of_options(options)
    read, read_cpu = time.perf_counter() - begin, time.process_time() - cpu
    understand(options)
    whole, whole_cpu = time.perf_counter() - begin, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{table.rows:,} rows, {len(table.columns)} columns")
    print(f"read: {read:.1f} s ({read_cpu:.1f} s of the processor)")
    print(f"read, cut into windows and scaled: {whole:.1f} s ({whole_cpu:.1f} s of the processor)")
    print(f"peak memory of the process: {peak:.0f} MiB")


def main() -> None:
    """Write, and read in a process of its own."""
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write(path, int(sys.argv[1]) if sys.argv[1:] else ROWS)
        subprocess.run([sys.executable, __file__, "--measure", str(path)], check=True)


if __name__ == "__main__":
    main()
