"""The wider language by count and by speed: times, masks, resets, delays, turns, sizes, blocks.

    nice python benchmarks/language.py identity [--cells 10000] [--seed 0]
    nice python benchmarks/language.py damage [--files 100000] [--seed 0]
    python benchmarks/language.py speed [--repeats 7]
    python benchmarks/language.py scan [--repeats 7]
    python benchmarks/language.py slstm [--repeats 7]

``identity``: random cells with the new parts, each written differently: goals 0 misses (the same
cell, another key), 0 confusions (one key, two canonical forms). ``damage``: damaged texts and JSON
documents of such cells: goal 0 errors but the declared ones. ``speed``: a training step (forward
and backward) on one thread, processor time, medians of turns that alternate; blocks of the state's
product, low rank H/4 and gap cells with resets, native against aten, and against the dense cell, in
time and in multiply-adds a second. ``scan``: the backends on cells that a scan can run. ``slstm``:
sLSTM with heads against the plain backend of the package xlstm, where that is installed (``pip
install xlstm --no-deps`` and omegaconf, einops beside torch; best in an environment of its own).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.mutations import damaged

from cellsearch import Genome, compile_cell, zoo
from cellsearch.errors import CellsearchError
from cellsearch.genome.identity import canonical_form, search_key
from cellsearch.genome.measures import multiply_adds
from cellsearch.testing.genomes import random_genome, rewritten

CELLS = ("gru_d", "cfc", "time_lstm", "mingru_conv", "lru", "rotrnn", "slstm_heads", "gru_dreamer")
STEPS, BATCH = 64, 32

# -- random cells ----------------------------------------------------------------------------------


def new_cell(rng: np.random.Generator) -> Genome:
    """A random cell with up to six statements that use what the language has learned, in front of
    a state that reads them all.
    """
    size = str(rng.choice(["H", "H/2", "2*H", "P"]))
    half = {"H": "H/2", "H/2": "H/4", "2*H": "H", "P": "P/2"}[size]
    blocks = int(rng.choice([1, 2, 4]))
    names = ["a"]
    lines = [f"a = linear(x[t], {_read(rng, 'h')}, size={size}, blocks={blocks})"]
    for k in range(int(rng.integers(2, 7))):
        one, other = (str(rng.choice(names)) for _ in range(2))
        value = str(
            rng.choice(
                [
                    f"unit({one})",
                    f"head_norm({one}, {int(rng.choice([1, 2, 4]))})",
                    f"rotate({one}, bias(size={half}))",
                    f"rotate({one}, linear(x[t], dt[t], size={half}))",
                    f"exp(-relu(linear(dt[t], size={size}))) * {one}",
                    f"sigmoid(linear(mask[t], {_read(rng, 'h')}, size={size})) * {other}",
                    f"linear({one}, {other}, size={size}, blocks={blocks})",
                    f"tanh(linear({one}, bias=False, size={size}) + {other})",
                    f"blend(sigmoid({one}), {other}, {one})",
                    f"linear(conv(x[t], {int(rng.integers(2, 5))}), size={size})",
                    f"linear(x[t-{int(rng.integers(1, 4))}], size={size})",
                ]
            )
        )
        lines.append(f"v{k} = {value}")
        names.append(f"v{k}")
    lines.append(f"h[t] = {_read(rng, 'h')} + linear({', '.join(names)})")
    return Genome.from_text("\n".join(lines))


def _read(rng: np.random.Generator, state: str) -> str:
    return f"{state}[t-{int(rng.choice([1, 1, 2, 3]))}]"


def identity(cells: int, seed: int) -> None:
    """Misses and confusions."""
    found: Counter[str] = Counter()
    forms: dict[str, Genome] = {}
    parts: Counter[str] = Counter()
    start = time.process_time()
    inputs = (("x", "dt"), ("x", "mask"), ("x", "dt", "mask"))
    for k in range(cells):
        rng = np.random.default_rng([181, seed, k])
        genome = random_genome(rng, inputs=inputs[k % 6]) if k % 6 < 3 else new_cell(rng)
        other = rewritten(genome, rng)
        form = canonical_form(genome)  # compared as a graph: 0 and -0 are one number
        found["key misses"] += other.key != genome.key
        found["search key misses"] += search_key(other) != search_key(genome)
        found["confusions"] += forms.setdefault(genome.key, form) != form
        text = genome.to_text()
        parts.update(
            part
            for part in ("dt[t]", "mask[t]", "rotate(", "unit(", "size=", "blocks=", "head_norm(")
            if part in text
        )
        parts["delays"] += len(genome.states) > 1 and k % 6 >= 3
    print(f"{cells} random cells, {len(forms)} different, each written differently once")
    for what in ("key misses", "search key misses", "confusions"):
        print(f"  {what:<20} {found[what]}")
    print("  cells with " + ", ".join(f"{name.strip('(=')} {n}" for name, n in parts.items()))
    print(f"  {time.process_time() - start:.0f} s of processor time")


# -- damaged files ---------------------------------------------------------------------------------


def damage(files: int, seed: int) -> None:
    """Undeclared errors, and the slowest file."""
    found: Counter[str] = Counter()
    slowest = 0.0
    cells = [zoo.load(name) for name in CELLS]
    cells += [new_cell(np.random.default_rng([182, seed, k])) for k in range(40)]
    forms: list[tuple[str, Callable[[str], Genome]]] = []
    for genome in cells:
        forms += [(genome.to_text(), Genome.from_text), (genome.to_json(), Genome.from_json)]
    for k in range(files):
        rng = np.random.default_rng([183, seed, k])
        text, read = forms[k % len(forms)]
        text = damaged(text, rng, forms[int(rng.integers(len(forms)))][0])
        start = time.process_time()
        try:
            found["read"] += bool(read(text).key)
        except CellsearchError:
            found["refused with a declared error"] += 1
        except Exception as error:  # noqa: BLE001  (counted: that there is none is the claim)
            found["undeclared"] += 1
            print(f"  {type(error).__name__}: {error!s:.100} in {text!r:.300}")
        slowest = max(slowest, time.process_time() - start)
    print(f"{files} damaged files of {len(cells)} cells, read and named by their key")
    for what in ("read", "refused with a declared error", "undeclared"):
        print(f"  {what:<30} {found[what]}")
    print(f"  slowest {slowest:.3f} s")


# -- speed -----------------------------------------------------------------------------------------

GRU = """
z = sigmoid(linear(x[t]) + linear(h[t-1], bias=False{0}))
r = sigmoid(linear(x[t]) + linear(h[t-1], bias=False{0}))
h[t] = blend(z, h[t-1], tanh(linear(x[t]) + r * linear(h[t-1]{0})))
"""
LOW_RANK = """
p = linear(h[t-1], bias=False, size=H/4)
z = sigmoid(linear(x[t], p))
r = sigmoid(linear(x[t], p))
h[t] = blend(z, h[t-1], tanh(linear(x[t]) + r * linear(p)))
"""
GAP = """
p = exp(-relu(linear(dt[t]))) * h[t-1]
z = sigmoid(linear(x[t], p, mask[t]))
r = sigmoid(linear(x[t], p, mask[t]))
h[t] = blend(z, p, tanh(linear(x[t], r * p, mask[t])))
"""


LSTM = """
i = sigmoid(linear(x[t]) + linear(h[t-1], bias=False{0}))
f = sigmoid(linear(x[t]) + linear(h[t-1], bias=False{0}))
o = sigmoid(linear(x[t]) + linear(h[t-1], bias=False{0}))
c[t] = f * c[t-1] + i * tanh(linear(x[t]) + linear(h[t-1], bias=False{0}))
h[t] = o * tanh(c[t])
"""


def speed(repeats: int) -> None:
    """Milliseconds of one training step."""
    torch.set_num_threads(1)
    print(f"one training step, T = {STEPS}, B = {BATCH}, I = H, float32, processor time, ms")
    print("rate: multiply-adds a second, of the dense cell's")
    columns = ("native", "aten", "aten/native", "of dense", "rate")
    print(f"{'cell':<22} {'H':>4} " + " ".join(f"{name:>11}" for name in columns))
    for hidden in (64, 128, 256):
        cells: dict[str, str] = {}
        for name, text in (("GRU", GRU), ("LSTM", LSTM)):
            cells[f"{name}, dense"] = text.format("")
            cells |= {f"{name}, {n} blocks": text.format(f", blocks={n}") for n in (2, 4, 8)}
        cells |= {"GRU, rank H/4": LOW_RANK, "gru_cho": zoo.load("gru_cho").to_text()}
        cells |= {"gru_cho with gaps": GAP, "the same, resets": GAP}
        steps = {
            (name, backend): _step(text, hidden, backend, resets="resets" in name)
            for name, text in cells.items()
            for backend in ("native", "aten")
        }
        middle = _medians(steps, repeats)
        for name, text in cells.items():
            native, aten = middle[name, "native"], middle[name, "aten"]
            base = f"{name.partition(',')[0]}, dense"
            base = base if base in cells else "gru_cho"
            time_ratio = native / middle[base, "native"]
            work = [multiply_adds(Genome.from_text(t), hidden, hidden) for t in (text, cells[base])]
            print(
                f"{name:<22} {hidden:>4} {native:11.1f} {aten:11.1f} {aten / native:11.2f} "
                f"{time_ratio:11.2f} {work[0] / work[1] / time_ratio:11.2f}"
            )


def _medians(steps: dict[Any, Callable[[], None]], repeats: int) -> dict[Any, float]:
    """Milliseconds of processor time of each, in turns; the first turn does not count."""
    times: dict[Any, list[float]] = {key: [] for key in steps}
    for _ in range(repeats):
        for key, step in steps.items():
            start = time.process_time()
            step()
            times[key].append(1e3 * (time.process_time() - start))
    return {key: statistics.median(found[1:]) for key, found in times.items()}


def scan(repeats: int) -> None:
    """Milliseconds of one training step of cells that are affine in their state."""
    torch.set_num_threads(1)
    print("one training step, I = H, processor time, ms; the fastest is named")
    print(f"{'cell':<14} {'dtype':<8} {'B':>3} {'H':>4} {'T':>4} native aten scan reference")
    for dtype in (torch.float32, torch.float64):
        backends = (["native"] if dtype is torch.float32 else []) + ["aten", "scan", "reference"]
        for name in ("mingru", "hgrn_complex", "lru"):
            text = zoo.load(name).to_text()
            for batch, hidden in ((1, 16), (1, 64), (8, 32), (32, 128)):
                for length in (8, 64, 512):
                    found = {}
                    for one in backends:  # apart: what the loop frees is no cost of the next one
                        step = _step(text, hidden, one, dtype=dtype, shape=(length, batch))
                        found |= _medians({one: step}, repeats)
                    print(
                        f"{name:<14} {str(dtype)[6:]:<8} {batch:>3} {hidden:>4} {length:>4} "
                        + " ".join(f"{found[k]:.2f}" if k in found else "-" for k in COMPARED)
                        + f"  {min(found, key=lambda k: found[k])}"
                    )


COMPARED = ("native", "aten", "scan", "reference")


def slstm(repeats: int) -> None:
    """Milliseconds of one training step of sLSTM with 4 heads, and of the package xlstm."""
    torch.set_num_threads(1)
    try:
        from xlstm.blocks.slstm.cell import sLSTMCell, sLSTMCellConfig
    except ImportError as error:
        print(f"not measured: the package xlstm cannot be loaded here ({error})")
        return
    print(f"sLSTM, 4 heads, one training step, T = {STEPS}, B = {BATCH}, I = H, float32, ms")
    print(f"{'H':>4} {'native':>8} {'aten':>8} {'xlstm':>8} {'xlstm/native':>13}")
    text = zoo.load("slstm_heads").to_text()
    for hidden in (64, 128, 256):
        kinds = {f"dtype{k}": "float32" for k in ("", "_b", "_r", "_w", "_g", "_s")}
        config = sLSTMCellConfig(
            hidden_size=hidden,
            num_heads=4,
            backend="vanilla",
            enable_automatic_mixed_precision=False,
            output_shape="BSH",
            **kinds,
        )
        gates = torch.nn.Linear(hidden, 4 * hidden)
        cell = sLSTMCell(config)
        x = torch.randn(BATCH, STEPS, hidden)

        def plain(gates=gates, cell=cell, x=x) -> None:
            cell(gates(x))[0].sum().backward()

        steps = {name: _step(text, hidden, name) for name in ("native", "aten")}
        found = _medians({**steps, "xlstm": plain}, repeats)
        print(
            f"{hidden:>4} {found['native']:8.1f} {found['aten']:8.1f} {found['xlstm']:8.1f} "
            f"{found['xlstm'] / found['native']:13.1f}"
        )


def _step(
    text: str,
    hidden: int,
    backend: str,
    *,
    resets: bool = False,
    dtype: torch.dtype = torch.float32,
    shape: tuple[int, int] = (STEPS, BATCH),
) -> Callable[[], None]:
    """A training step of the cell."""
    genome = Genome.from_text(text)
    module = compile_cell(genome, hidden, hidden, backend=backend, dtype=dtype)
    x = torch.randn(*shape, hidden, dtype=dtype)
    given = {}
    if "dt" in genome.inputs:
        given = {"dt": torch.rand(shape), "mask": torch.rand_like(x) > 0.5}
    if resets:
        given["reset"] = torch.rand(shape) > 0.95

    def step() -> None:
        module(x, **given)[0].sum().backward()

    return step


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["identity", "damage", "speed", "scan", "slstm"])
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "identity":
        identity(given.cells, given.seed)
    elif given.what == "damage":
        damage(given.files, given.seed)
    else:
        {"speed": speed, "scan": scan, "slstm": slstm}[given.what](given.repeats)


if __name__ == "__main__":
    main()
