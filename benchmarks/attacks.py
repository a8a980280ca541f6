"""Attacks by count: damaged files of every kind, each of which must be read or refused with a
declared error, quickly.

    nice python benchmarks/attacks.py [--inputs 136000] [--flips 1000] [--seed 0] [--json]

Goals: no undeclared error, no input that takes more than a second of processor time, no flipped bit
of a store that gives another table silently.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.mutations import damaged

import cellsearch as cs
from cellsearch import zoo
from cellsearch.errors import CellsearchError
from cellsearch.executors.in_process import InProcess
from cellsearch.experiment.catalog import entries
from cellsearch.export.weights import load_weights, save_weights
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.tasks.data.npz import read_npz
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
from cellsearch.training import checkpoint

LONGEST = 1.0
Read = Callable[[bytes], object]


@dataclass
class Kind:
    """One kind of input: whole examples, and what reads them."""

    name: str
    examples: Sequence[bytes]
    read: Read
    share: float
    """Of all inputs."""
    is_text: bool = False
    counts: dict[str, float] = field(
        default_factory=lambda: {
            "inputs": 0,
            "read": 0,
            "refused": 0,
            "undeclared": 0,
            "slowest": 0,
        }
    )
    wrong: list[str] = field(default_factory=list)


def of_file(path: Path, read: Callable[[Path], object]) -> Read:
    """Reads bytes as the file at ``path``."""

    def call(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return call


def kinds(folder: Path) -> list[Kind]:
    """All kinds, with their examples."""
    cells = [zoo.load(name) for name in zoo.names()]
    np.savez(folder / "whole.npz", x=np.zeros((3, 2)), y=np.arange(3), names=np.array(["a"]))
    weights = {"l0.w": torch.zeros(3, 2), "l0.b": torch.ones(3)}
    for end in ("pt", "safetensors"):
        save_weights(weights, folder / f"whole.{end}")
    (folder / "whole.safetensors.sha256").unlink()
    checkpoint.write(folder / "checkpoint.safetensors", weights, {"steps": 3})

    def whole(name: str) -> list[bytes]:
        return [(folder / name).read_bytes()]

    def texts(kind: str) -> list[bytes]:
        return [path.read_bytes() for path in entries(kind).values()]

    def text_of(read: Callable[[str], object]) -> Read:
        return lambda data: read(data.decode("utf-8", "surrogatepass"))

    return [
        Kind(
            "cells", [c.to_text().encode() for c in cells], text_of(cs.Genome.from_text), 0.4, True
        ),
        Kind(
            "genomes",
            [c.to_json().encode() for c in cells],
            text_of(cs.Genome.from_json),
            0.3,
            True,
        ),
        Kind(
            "experiments",
            texts("experiments"),
            of_file(folder / "a.toml", cs.load_experiment),
            0.05,
            True,
        ),
        Kind(
            "spaces", texts("search_spaces"), of_file(folder / "b.toml", cs.load_space), 0.05, True
        ),
        Kind("npz", whole("whole.npz"), of_file(folder / "a.npz", read_npz), 0.05),
        Kind("weights .pt", whole("whole.pt"), of_file(folder / "a.pt", load_weights), 0.05),
        Kind(
            "weights .safetensors",
            whole("whole.safetensors"),
            of_file(folder / "a.safetensors", load_weights),
            0.05,
        ),
        Kind(
            "checkpoints",
            whole("checkpoint.safetensors"),
            of_file(folder / "b.safetensors", checkpoint.read),
            0.05,
        ),
    ]


def spoiled(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with some flipped, cut off, doubled or overwritten."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(max(len(changed), 1)))
        how = int(rng.integers(4))
        if how == 0 and changed:
            changed[at % len(changed)] ^= 1 << int(rng.integers(8))
        elif how == 1:
            del changed[at : at + int(rng.integers(1, 64))]
        elif how == 2:
            changed[at:at] = rng.bytes(int(rng.integers(1, 16)))
        else:
            changed[at:at] = changed[at : at + 64]
    return bytes(changed)


def attack(kind: Kind, number: int, rng: np.random.Generator) -> None:
    """Read so many damaged inputs."""
    counts = kind.counts
    for _ in range(number):
        first, other = (kind.examples[int(rng.integers(len(kind.examples)))] for _ in range(2))
        data = (
            damaged(first.decode(), rng, other.decode()).encode("utf-8", "surrogatepass")
            if kind.is_text
            else spoiled(first, rng)
        )
        begun = time.process_time()
        try:
            kind.read(data)
            counts["read"] += 1
        except CellsearchError:
            counts["refused"] += 1
        except Exception as error:  # noqa: BLE001  (counted and told)
            counts["undeclared"] += 1
            kind.wrong.append(
                f"{kind.name}: {type(error).__name__}: {error!s:.100}: {data[:300]!r}"
            )
        counts["slowest"] = max(counts["slowest"], time.process_time() - begun)
        counts["inputs"] += 1


def table(folder: Path) -> str:
    """All that a store says of its trials."""
    with Store.read(folder) as store:
        return ascii([store.experiment, store.decisions(), store.timings(), [*store.history()]])


def flips(folder: Path, number: int, rng: np.random.Generator) -> dict[str, int]:
    """Flip a bit of a store so many times: how often it was seen, and how often not though the
    table is another one.
    """
    with Search.open(folder, small_experiment(trials=15)) as search:
        search.run(InProcess(evaluation=EVALUATION), arrays={})
    whole, file = table(folder), folder / "store.sqlite"
    data = file.read_bytes()
    counts = {"flips": number, "seen": 0, "silent": 0}
    for bit in rng.choice(8 * len(data), number, replace=False):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(changed)
        try:
            counts["silent"] += table(folder) != whole
        except CellsearchError:
            counts["seen"] += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=136_000)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found = kinds(Path(folder))
        for kind in found:
            attack(kind, round(kind.share * arguments.inputs), rng)
        stores = flips(Path(folder) / "run", arguments.flips, rng)
    wrong = [line for kind in found for line in kind.wrong]
    if arguments.json:
        told = {kind.name: kind.counts for kind in found} | {"stores": stores, "wrong": wrong}
        print(json.dumps(told))
    else:
        out = io.StringIO()
        print(
            f"{'kind':22}{'inputs':>9}{'read':>9}{'refused':>9}{'wrong':>7}{'slowest':>9}", file=out
        )
        for kind in found:
            n = kind.counts
            print(
                f"{kind.name:22}{n['inputs']:9.0f}{n['read']:9.0f}{n['refused']:9.0f}"
                f"{n['undeclared']:7.0f}{n['slowest']:8.2f}s",
                file=out,
            )
        print(f"stores: {stores}", *wrong[:20], sep="\n", file=out)
        print(out.getvalue(), end="")
    slow = any(kind.counts["slowest"] > LONGEST for kind in found)
    return int(bool(wrong) or slow or stores["silent"] > 0)


if __name__ == "__main__":
    sys.exit(main())
