"""Compares every zoo cell with its printed equations and, where one is installed, with an
independent implementation.

python benchmarks/zoo_check.py              # table, exit code 1 if a deviation exceeds 1e-12
python benchmarks/zoo_check.py --markdown   # the same as a Markdown table, for docs/zoo.md
# rewrites tests/zoo/golden.json: only after a cell was changed on purpose
python benchmarks/zoo_check.py --golden
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cellsearch import zoo
from cellsearch.genome.measures import gemm_depth, recurrence_class

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))  # the second evaluation of each cell is shared with the tests
from support.zoo.check import Deviation, check, golden_values  # noqa: E402

GOLDEN = TESTS / "zoo" / "golden.json"
LIMIT = 1e-12


def write_golden() -> None:
    lines = [f"{json.dumps(name)}: {json.dumps(golden_values(name))}" for name in zoo.names()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"wrote {len(lines)} cells to {GOLDEN}")


def row(found: Deviation) -> tuple[str, ...]:
    entry = zoo.entry(found.name)
    peer = "-" if found.against_peer is None else f"{found.against_peer:.1e}"
    genome = entry.genome
    return (
        found.name,
        str(entry.year),
        " ".join(genome.state_names),
        str(entry.matrices),
        str(recurrence_class(genome)),
        str(gemm_depth(genome)),
        f"{found.against_equations:.1e}",
        found.peer or "equations only",
        peer,
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--golden", action="store_true")
    arguments = parser.parse_args()
    if arguments.golden:
        write_golden()
        return 0
    found = [check(entry.name) for entry in zoo.entries()]
    heads = (
        "cell",
        "year",
        "states",
        "n^2",
        "class",
        "depth",
        "equations",
        "implementation",
        "deviation",
    )
    rows = [heads, *(row(f) for f in found)]
    if arguments.markdown:
        rows.insert(1, ("---",) * len(heads))
        print("\n".join("| " + " | ".join(r) + " |" for r in rows))
    else:
        widths = [max(len(r[k]) for r in rows) for k in range(len(heads))]
        print(
            "\n".join(
                "  ".join(cell.ljust(width) for cell, width in zip(r, widths, strict=True)).rstrip()
                for r in rows
            )
        )
    worst = max(max(f.against_equations, f.against_peer or 0.0) for f in found)
    compared = sum(f.against_peer is not None for f in found)
    if not arguments.markdown:
        print(f"\n{len(found)} cells, {compared} of them against an independent implementation")
        print(f"largest deviation {worst:.1e} (limit {LIMIT:.0e})")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
