"""Damaged .cell and .json files: a genome or the declared error, quickly; never another
exception.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from support.mutations import damaged

from cellsearch import zoo
from cellsearch.errors import CellSyntaxError
from cellsearch.genome import Genome
from cellsearch.testing.genomes import random_genome

SLOWEST = 0.1
TOO_LONG = 3.0
"""Seconds: these texts are up to a thousand times as long as a cell, and read in a quarter of a
second at most.
"""


def originals() -> list[tuple[str, str]]:
    """Texts to damage, with the form that they are in."""
    rng = np.random.default_rng(0)
    cells = [zoo.load(name) for name in zoo.names()] + [
        random_genome(rng, max_nodes=15) for _ in range(30)
    ]
    return [("cell", g.to_text('docs \u00e9 "quoted"')) for g in cells] + [
        ("json", g.to_json()) for g in cells
    ]


def read(form: str, text: str) -> Genome | None:
    """The genome, or ``None`` if the declared error says where the text is wrong; anything else is
    raised.
    """
    try:
        genome = Genome.from_text(text) if form == "cell" else Genome.from_json(text)
    except CellSyntaxError as error:
        if not (error.where and error.message):
            raise AssertionError("an error has to say what is wrong and where") from error
        return None
    return genome if genome.to_text() else None


def timed(form: str, text: str) -> tuple[float, Genome | None]:
    """Seconds of processor time that :func:`read` takes, and what it returns."""
    start = time.process_time()
    genome = read(form, text)
    return time.process_time() - start, genome


def count_outcomes(number: int, seed: int) -> tuple[int, int, float]:
    """How many damaged files were read and refused, and the slowest of them; raises for any
    undeclared exception.
    """
    rng = np.random.default_rng(seed)
    texts = originals()
    good = refused = 0
    slowest = 0.0
    for _ in range(number):
        form, text = texts[rng.integers(len(texts))]
        broken = damaged(text, rng, texts[rng.integers(len(texts))][1])
        seconds, genome = timed(form, broken)
        if genome is None:
            refused += 1
        else:
            good += 1
        if seconds > slowest:  # the machine may have been slow, not the parser
            slowest = max(slowest, min(seconds, timed(form, broken)[0], timed(form, broken)[0]))
    return good, refused, slowest


def test_3000_damaged_files_give_the_declared_error_only() -> None:
    good, refused, slowest = count_outcomes(3_000, 0)
    assert good > 100
    assert refused > 1_000
    assert slowest < SLOWEST


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_100000_damaged_files_give_the_declared_error_only() -> None:
    good, refused, slowest = count_outcomes(100_000, 1)
    assert good > 3_000
    assert refused > 30_000
    assert slowest < SLOWEST


NASTY = {
    "deep parentheses": "h[t] = " + "(" * 5000 + "x[t]" + ")" * 5000,
    "deep over lines": "h[t] = " + "tanh(\n" * 5000 + "x[t]" + ")" * 5000,
    "many signs": "h[t] = " + "-" * 100_000 + "x[t]",
    "many signs in lines": "h[t] = (" + "-\n" * 100_000 + "x[t])",
    "long sum": "h[t] = " + " + ".join(["h[t-1]"] * 20_000),
    "long product of sums": "h[t] = " + " * ".join(["(h[t-1] + x[t])"] * 4000),
    "alternating": "h[t] = " + " + x[t] * ".join(["h[t-1]"] * 5000),
    "right nested": "h[t] = " + "h[t-1] - (" * 59 + "x[t]" + ")" * 59,
    "left nested": "h[t] = " + "h[t-1]" + " - h[t-1] / x[t]" * 5000,
    "power": "h[t] = 9 ** 9 ** 9 ** 9",
    "long number": "h[t] = " + "9" * 100_000,
    "huge float": "h[t] = 1e999",
    "string": "h[t] = 'a' * 10",
    "null byte": "h[t] = \x00",
    "surrogate": "h[t] = \ud800",
    "many statements": "\n".join(f"a{k} = tanh(x[t])" for k in range(6000)),
    "chain": "a0 = tanh(x[t])\n"
    + "\n".join(f"a{k} = tanh(a{k - 1})" for k in range(1, 4000))
    + "\nh[t] = a3999 * h[t-1]",
    "call of a call": "h[t] = tanh(x[t])(x[t])",
    "attribute": "h[t] = x.__class__",
    "lambda": "h[t] = (lambda: 0)()",
    "comprehension": "h[t] = [x[t] for _ in x]",
    "starred": "h[t] = linear(*x)",
    "double starred": "h[t] = linear(x[t], **h)",
    "walrus": "h[t] = (a := x[t])",
    "f string": "h[t] = f'{x}'",
    "import": "import os",
    "non-ascii digits": "h[t] = h[t-\u0661]",
    "look-alike name": "\u210e[t] = tanh(linear(x[t], h[t-1]))",
    "bom": "\ufeffh[t] = tanh(h[t-1])",
    "form feed": "h[t] = tanh(h[t-1])\x0c\n\tk",
    "line continuation": "h[t] = \\\n" * 3000,
    "unclosed docstring": '"""' + "a" * 10_000,
    "too long": "#" * 300_000,
    "bytes": b"h[t] = 1",
    "none": None,
}


@pytest.mark.parametrize("name", NASTY)
def test_nasty_texts(name: str) -> None:
    seconds, _ = timed("cell", NASTY[name])  # type: ignore[arg-type]
    assert seconds < TOO_LONG


NASTY_JSON = {
    "deep": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "long number": '{"format": ' + "1" * 100_000 + "}",
    "huge number": '{"format": 1, "output": 1e999}',
    "nan": '{"format": 1, "inputs": ["x"], "states": [{"name": "h", "initial": NaN}], "nodes": '
    '[], "next_states": [0], "output": 0}',
    "list": "[]",
    "twice": '{"format": 1, "format": 2}',
    "surrogate": '{"format": 1, "inputs": ["\\ud800"]}',
    "latin": "\xff",
    "not text": 7,
    "bytes": b"\xff\xfe\x00",
    "bool number": '{"format": true}',
    "long": '"' + "a" * 5_000_000 + '"',
    "negative": '{"format": 1, "inputs": ["x"], "states": [{"name": "h"}], '
    '"nodes": [{"op": "tanh", '
    '"inputs": [-1]}],'
    ' "next_states": [2], "output": 2}',
}


@pytest.mark.parametrize("name", NASTY_JSON)
def test_nasty_json(name: str) -> None:
    start = time.process_time()
    with pytest.raises(CellSyntaxError):
        Genome.from_json(NASTY_JSON[name])  # type: ignore[arg-type]
    assert time.process_time() - start < TOO_LONG


def test_path_of_the_zoo_is_not_what_is_damaged() -> None:
    """The texts are copies: damaging them leaves the files alone."""
    before = {path.name: path.read_bytes() for path in Path(zoo.__file__).parent.glob("*.cell")}
    count_outcomes(50, 3)
    assert before == {
        path.name: path.read_bytes() for path in Path(zoo.__file__).parent.glob("*.cell")
    }
