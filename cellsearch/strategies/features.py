"""What a cell looks like, in numbers that do not depend on names or order: counts of ops, of pairs
of ops, and sizes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cellsearch.genome.graph import Genome

__all__ = ["distance", "features", "matrix"]


@lru_cache(maxsize=2_000)
def features(genome: Genome) -> Mapping[str, float]:
    """Counts: each op; each (op, operand) pair, operands being ops, inputs, the output's state or
    another; ends by op; sizes.

    The same idea as the path and edge encodings of White et al. 2020 (a study of encodings for
    neural architecture search).
    """
    kind = [*genome.inputs]
    kind += ["out" if end == genome.output else "state" for end in genome.next_states]
    depth = [0] * len(kind)
    counts: Counter[str] = Counter()
    for _, node in genome.numbered():
        kind.append(node.op)
        depth.append(1 + max((depth[v] for v in node.inputs), default=0))
        counts[node.op] += 1
        for operand in node.inputs:
            counts[f"{node.op}<{kind[operand]}"] += 1
            below = genome.node(operand)
            for deeper in below.inputs if below is not None else ():
                counts[f"{node.op}<{kind[operand]}<{kind[deeper]}"] += 1
    counts[f"output={kind[genome.output]}"] += 1
    for end in genome.next_states:
        if end != genome.output:
            counts[f"next={kind[end]}"] += 1
    counts["states"] = len(genome.states)
    counts["shared"] = sum(len(users) > 1 for users in genome.uses[genome.first_node :])
    found = {name: float(count) for name, count in counts.items()}
    return {
        **found,
        "nodes": len(genome.nodes) / 4,
        "depth": depth[genome.output] / 2,
        "log nodes": math.log(1 + len(genome.nodes)),
    }


def matrix(genomes: Sequence[Genome]) -> NDArray[np.float64]:
    """``[number of genomes, number of features]``: one column for each feature that any of them
    has, damped by square root.
    """
    rows = [features(genome) for genome in genomes]
    columns = {name: k for k, name in enumerate(sorted({name for row in rows for name in row}))}
    table = np.zeros((len(rows), len(columns)))
    for k, row in enumerate(rows):
        for name, value in row.items():
            table[k, columns[name]] = value
    return np.sqrt(table)


def distance(first: Genome, second: Genome) -> float:
    """How different two cells are, from 0 (the same features) to 1 (none in common): Ruzicka
    distance of the feature counts.
    """
    a, b = features(first), features(second)
    names = a.keys() | b.keys()
    # The order of a set of names differs between processes and between (a, b) and (b, a); an exact
    # sum has none.
    common = math.fsum(min(a.get(name, 0.0), b.get(name, 0.0)) for name in names)
    either = math.fsum(max(a.get(name, 0.0), b.get(name, 0.0)) for name in names)
    return 1.0 - common / either if either else 0.0
