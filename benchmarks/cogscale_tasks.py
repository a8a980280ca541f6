"""Which five tasks of CogScale say most of the ten that are scored by errors?

python benchmarks/cogscale_tasks.py

Reads the authors' runs at small as they are in the package: six models at up to three sizes, at the
rate that validation chose, and correlates the mean over five tasks with the mean over ten, for each
of the 252 ways to choose them. Takes a second.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from cellsearch.benchmark.cogscale import SEARCHED
from cellsearch.benchmark.published_cogscale import published
from cellsearch.tasks.cogscale import CATEGORIES

ERRORS = [problem for problem, category in CATEGORIES.items() if category != "regression"]


def main() -> None:
    rows = [
        [float(np.mean(model["scores"][problem])) for problem in ERRORS]
        for weights in (1000, 10000, 100000)
        for name, model in published("small", weights).items()
        if name != "esn"
    ]
    table = np.array(rows)
    whole = table.mean(1)
    found = []
    for chosen in combinations(range(len(ERRORS)), 5):
        r = np.corrcoef(table[:, chosen].mean(1), whole)[0, 1]
        found.append((float(r), tuple(ERRORS[k] for k in chosen)))
    found.sort(reverse=True)
    print(f"{len(rows)} rows of published models; correlation with the mean over ten tasks")
    for r, names in found[:5]:
        print(f"  {r:.4f}  {', '.join(names)}")
    for place, (r, names) in enumerate(found, 1):
        if set(names) == set(SEARCHED):
            print(
                f"  {r:.4f}  {', '.join(names)}  (cogscale_search, place {place} of {len(found)})"
            )


if __name__ == "__main__":
    main()
