"""The largest cells that are legal, in the shapes that made simplification and comparison slow: a
key is found in about a second, or what cannot be done is said.
"""

import time
from collections.abc import Callable

import pytest

from cellsearch import Genome, zoo
from cellsearch.errors import GenomeError
from cellsearch.genome import recognise as recognition
from cellsearch.genome.identity import search_key
from cellsearch.genome.parts import MAX_NODES
from cellsearch.genome.recognise import difference, recognise
from cellsearch.genome.rewriting.simplify import simplify

SECONDS = 4.0  # CPU, on a busy machine; a second otherwise


def chain(line: str) -> Callable[[int], str]:
    """``a1 = f(a0)``, ``a2 = f(a1)``, ...: A stands for the name before, N for the number."""

    def text(n: int) -> str:
        start = "a0 = linear(x[t], h[t-1])\n"
        lines = (
            f"a{k + 1} = {line.replace('A', f'a{k}').replace('N', str(k))}\n" for k in range(n)
        )
        return start + "".join(lines) + f"h[t] = tanh(a{n})"

    return text


def added(term: str, before: str = "") -> Callable[[int], str]:
    """A sum of alike terms; ``before``: lines for each."""

    def text(n: int) -> str:
        lines = "".join(before.replace("N", str(k)) for k in range(n))
        terms = ", ".join(term.replace("N", str(k)) for k in range(n))
        return f"{lines}h[t] = add(linear(x[t], h[t-1]), {terms})"

    return text


def torus(n: int) -> str:
    side = int(n**0.5)
    cells = [(i, j) for i in range(side) for j in range(side)]
    lines = [f"a{i}_{j} = tanh(linear(x[t], h[t-1]))" for i, j in cells]
    terms = [f"a{i}_{j} * a{(i + 1) % side}_{j}" for i, j in cells]
    terms += [f"a{i}_{j} * a{i}_{(j + 1) % side}" for i, j in cells]
    return "\n".join(lines) + f"\nh[t] = add({', '.join(terms)})"


GATE = "gN = sigmoid(linear(x[t], h[t-1]))\n"
SHAPES: dict[str, Callable[[int], str]] = {
    "squares": chain("square(A)"),
    "products with itself": chain("A * A"),
    "doubled products": chain("(A + A) * A"),
    "quotients": chain("A / (1 + A)"),
    "squares of quotients": chain("square(2 / A)"),
    "signs": chain("-tanh(A)"),
    "odd products": chain("-(tanh(A) * 3)"),
    "linears": chain("linear(A)"),
    "diagonals": chain("diag(A) + diag(A)"),
    "complements": chain("1 - sigmoid(A)"),
    "blends one in another": chain("blend(sigmoid(linear(A)), A, tanh(A))"),
    "extrema": chain("max(-A, -tanh(A))"),
    "terms": added("tanh(h[t-1] * N)"),
    "alike diagonals": added("diag(h[t-1])"),
    "gated terms": added("gN * h[t-1]", GATE),
    "blends": added("bN", GATE + "bN = gN * tanh(linear(x[t])) + (1 - gN) * h[t-1]\n"),
    "almost blends": added("bN", GATE + "bN = 3 * gN * h[t-1] + (1 - gN) * x[t]\n"),
    "opened blends": added("bN + uN", GATE + "bN = tanh(linear(x[t]))\nuN = 3 * gN * bN\n"),
    "torus": torus,
}


def largest(shape: Callable[[int], str]) -> Genome:
    """The cell of this shape with nearly as many nodes as are legal."""
    nodes = len(Genome.from_text(shape(100)).nodes)
    found = Genome.from_text(shape(int(0.93 * MAX_NODES * 100 / nodes)))
    assert len(found.nodes) > 0.85 * MAX_NODES
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_the_largest_cells_get_a_key_and_are_simplified_in_time(name: str) -> None:
    genome = largest(SHAPES[name])
    start = time.process_time()
    key = search_key(genome)
    assert time.process_time() - start < SECONDS
    start = time.process_time()
    simple = simplify(genome)
    assert time.process_time() - start < SECONDS
    assert len(simple.nodes) <= MAX_NODES
    assert search_key(Genome.from_json(genome.to_json())) == key


@pytest.mark.parametrize("name", ["squares", "terms", "torus", "linears"])
def test_the_largest_cells_are_compared_in_time_or_refused(name: str) -> None:
    genome = largest(SHAPES[name])
    known = {"gru": zoo.load("gru"), "itself": genome}
    start = time.process_time()
    found = recognise(genome, known)
    assert "itself" in found.same
    assert time.process_time() - start < 2 * SECONDS
    if len(genome.simplify().nodes) > recognition.MAX_COMPARED:
        assert found.near == ()
        with pytest.raises(GenomeError, match="too large to be compared"):
            difference(zoo.load("gru"), genome)
    else:
        assert difference(zoo.load("gru"), genome).distance


def test_powers_are_recognised_up_to_a_bound_and_told_apart_beyond() -> None:
    def power(n: int) -> str:
        return search_key(Genome.from_text(SHAPES["squares"](n)))

    def written_out(n: int) -> str:
        product = " * ".join(["a"] * 2**n)
        return search_key(Genome.from_text(f"a = linear(x[t], h[t-1])\nh[t] = tanh({product})"))

    assert all(power(n) == written_out(n) for n in range(1, 7))
    assert len({power(n) for n in range(1, 40)}) == 39
    product = SHAPES["products with itself"]
    assert all(power(n) == search_key(Genome.from_text(product(n))) for n in (6, 12, 24))
