"""What the language says of a cell, and what spaces draw: recorded before the language grew, and
compared ever since. For tests.
"""

from __future__ import annotations

import gzip
import json
import pickle
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from cellsearch import zoo
from cellsearch.compiler.lower import lower
from cellsearch.compiler.simplify import simplify_program
from cellsearch.errors import SpaceError
from cellsearch.experiment.catalog import load_space
from cellsearch.export.source import to_source
from cellsearch.genome.graph import Genome
from cellsearch.genome.identity import search_key
from cellsearch.space.space import SearchSpace

__all__ = ["SPACES", "draws", "facts", "read", "write"]

SPACES = ("lstm_gru", "rotations", "scan", "single_state", "small_device", "tiny")
"""The spaces of which cells were drawn."""
SAMPLES = 50
"""Cells of each: each third sampled, a mutant of the one before, a child of the two before."""


def facts(genome: Genome) -> dict[str, Any]:
    """Everything about a cell that is part of a format."""
    return {
        "text": genome.to_text(),
        "json": genome.to_json(),
        "key": genome.key,
        "search_key": search_key(genome),
        "labels": list(genome.labels),
        "parameters": [
            [spec.name, list(spec.shape), spec.node, spec.operand] for spec in genome.parameters
        ],
        "program": _digest(simplify_program(lower(genome)).to_text()),
        "source": _digest(to_source(genome, bidirectional=True)),
        "pickle": b64encode(pickle.dumps(genome, protocol=4)).decode(),
    }


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def draws(space: SearchSpace) -> Iterator[Genome]:
    """The cells that a space draws from given seeds."""
    found: list[Genome] = []
    for k in range(SAMPLES):
        rng = np.random.default_rng([18, k])
        try:
            if k % 3 == 0:
                genome = space.sample(rng)
            elif k % 3 == 1:
                genome = space.mutate(found[-1], rng)
            else:
                genome = space.crossover(found[-2], found[-1], rng)
        except SpaceError:
            genome = space.sample(rng)
        found.append(genome)
        yield genome


def everything() -> dict[str, Any]:
    """The whole record: cells of the zoo by name, drawn cells by space."""
    cells = {name: facts(zoo.load(name)) for name in zoo.files()}
    drawn = {name: [facts(g) for g in draws(load_space(name))] for name in SPACES}
    return {"zoo": cells, "drawn": drawn}


def write(path: Path) -> None:
    """Write :func:`everything`; the same record gives the same bytes."""
    text = json.dumps(everything(), sort_keys=True, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def read(path: Path) -> dict[str, Any]:
    """Read what :func:`write` wrote."""
    document: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return document
