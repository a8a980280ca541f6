"""Time of key, simplify and nearest-cell search, and the identity claims on the published recipes.

    python benchmarks/identity.py

Prints one table. The recipes are read from ../shared/data (CELLSEARCH_DATA overrides) and left out
if they are not there.
"""

from __future__ import annotations

import gzip
import os
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from cellsearch import ops, zoo
from cellsearch.genome import Genome
from cellsearch.genome.identity import canonical_key, search_key, subgraph_keys
from cellsearch.genome.recognise import nearest
from cellsearch.genome.rewriting.simplify import simplify
from cellsearch.testing.genomes import MODERATE_NUMBERS, random_genome, rewritten
from cellsearch.zoo.importers import import_cell

DATA = Path(os.environ.get("CELLSEARCH_DATA", Path(__file__).parents[2] / "shared" / "data"))


def milliseconds(
    call: Callable[[Genome], object], genomes: Iterable[Genome], repeats: int = 5
) -> tuple[float, float]:
    """Median and maximum over the genomes of the best of a few calls."""
    found = []
    for genome in genomes:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            call(genome)
            times.append(time.perf_counter() - start)
        found.append(1e3 * min(times))
    return statistics.median(found), max(found)


def line(what: str, figure: str) -> None:
    print(f"{what:<58} {figure}")


def report(
    what: str, call: Callable[[Genome], object], genomes: list[Genome], repeats: int = 5
) -> None:
    median, worst = milliseconds(call, genomes, repeats)
    line(what, f"median {median:8.3f} ms   maximum {worst:8.3f} ms   over {len(genomes)}")


def gates_alike(count: int) -> Genome:
    gates = [f"g{k} = sigmoid(linear(x[t], h[t-1]))" for k in range(count)]
    return Genome.from_text(
        "\n".join([*gates, "h[t] = " + " * ".join(f"g{k}" for k in range(count))])
    )


def all_pairs(count: int) -> Genome:
    gates = [f"g{k} = linear(x[t], h[t-1])" for k in range(count)]
    products = " + ".join(f"g{a} * g{b}" for a in range(count) for b in range(a))
    return Genome.from_text("\n".join([*gates, f"h[t] = {products}"]))


def full_cell(nodes: int) -> Genome:
    """Each node reads x, both states and all earlier nodes through one linear, and is a gated sum
    of functions and products of it.
    """
    lines, earlier = [], []
    for k in range(nodes):
        lines.append(f"s{k} = linear(x[t], h[t-1], c[t-1]{''.join(f', {n}' for n in earlier)})")
        candidates = []
        for op in ("sigmoid", "tanh", "relu"):
            lines.append(f"{op}{k} = {op}(s{k})")
            candidates += [f"scale({op}{k})", *(f"scale({op}{k} * {n})" for n in earlier)]
        lines.append(f"n{k} = add({', '.join(candidates)})")
        earlier.append(f"n{k}")
    lines += [
        f"{state}[t] = add({', '.join(f'scale({n})' for n in earlier)})" for state in ("c", "h")
    ]
    return Genome.from_text("\n".join(lines))


def random_claims(count: int) -> tuple[int, int]:
    """Genomes whose key, and whose search key, changed when they were written differently."""
    missed = missed_simple = 0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        genome = random_genome(rng, max_nodes=12, max_states=3, numbers=MODERATE_NUMBERS)
        other = rewritten(genome, rng)
        missed += other.key != genome.key
        missed_simple += search_key(other) != search_key(genome)
    return missed, missed_simple


def recipes() -> None:
    table = DATA / "nas_bench_nlp" / "wikitext2.jsonl.gz"
    if not table.exists():
        line("NAS-Bench-NLP recipes", f"left out: {table} is not here")
        return
    with gzip.open(table, "rt", encoding="utf-8") as file:
        genomes = [import_cell(row) for row in file]
    line("NAS-Bench-NLP recipes imported", str(len(genomes)))
    line("  distinct keys (265 published)", str(len({g.key for g in genomes})))
    line("  distinct keys after simplification", str(len({search_key(g) for g in genomes})))
    report("  key", canonical_key, genomes)
    report("  simplify", simplify, genomes, 2)


def main() -> None:
    rng = np.random.default_rng(0)
    known = {name: zoo.load(name) for name in zoo.names()}
    cells = []
    while len(cells) < 100:
        genome = random_genome(rng, max_nodes=120, op_names=tuple(ops.OPS))
        if 36 <= len(genome.live) <= 44:
            cells.append(genome)
    report("key, random cells of 36 to 44 live values", canonical_key, cells)
    report(f"key, {len(known)} cells of the zoo", canonical_key, list(known.values()))
    report("subgraph keys, cells of the zoo", subgraph_keys.__wrapped__, list(known.values()))
    report("simplify, random cells of 36 to 44 live values", simplify, cells)
    report("simplify, cells of the zoo", simplify, list(known.values()))
    nearest(known["lstm"], known)
    report(f"nearest of {len(known)}, random cells", lambda g: nearest(g, known), cells[:20], 1)
    for what, genome in (
        ("8 gates alike", gates_alike(8)),
        ("400 gates alike", gates_alike(400)),
        ("all products of 8 gates alike", all_pairs(8)),
        ("all products of 60 gates alike (1,830 nodes)", all_pairs(60)),
        ("full cell of 8 nodes", full_cell(8)),
        (f"full cell of 38 nodes ({len(full_cell(38).nodes)} values)", full_cell(38)),
    ):
        report(f"key, {what}", canonical_key, [genome], 2)
    report("simplify, full cell of 8 nodes", simplify, [full_cell(8)], 2)
    report("simplify, full cell of 38 nodes", simplify, [full_cell(38)], 1)
    missed, missed_simple = random_claims(10_000)
    line("10,000 random cells written differently: missed by key", str(missed))
    line("10,000 random cells written differently: missed by search key", str(missed_simple))
    recipes()


if __name__ == "__main__":
    main()
