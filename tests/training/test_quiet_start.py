"""A cell that grew out of another starts as the other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from cellsearch import zoo
from cellsearch.compiler.module import compile_cell
from cellsearch.genome.graph import Genome
from cellsearch.testing.strategies import space
from cellsearch.training import checkpoint
from cellsearch.training.quiet_start import quiet_start, quiet_values


def started(parent: Genome, child: Genome, folder: Path, *, quiet: bool = True) -> float:
    """How far the child is from its parent's function when it starts from its weights, relative to
    the parent's largest output.
    """
    torch.manual_seed(0)
    x = torch.randn(7, 3, 5)
    before = compile_cell(parent, input_size=5, hidden_size=8, backend="reference")
    path = str(folder / "parent.safetensors")
    tensors = {f"model.cell.{name}": tensor for name, tensor in before.state_dict().items()}
    checkpoint.write(path, tensors, {"identity": {"genome": parent.to_json()}})
    after = compile_cell(child, input_size=5, hidden_size=8, backend="reference")
    given = before.state_dict()
    with torch.no_grad():
        for name, weight in after.named_parameters():
            if name in given and given[name].shape == weight.shape:
                weight.copy_(given[name])
        if quiet:
            quiet_start(checkpoint.read(path), child, after)
        expected, found = before(x)[0], after(x)[0]
        return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("start", ["lstm", "gru", "gru_cho", "rnn_tanh"])
def test_a_grown_cell_starts_as_the_function_of_the_given_one(start: str, tmp_path: Path) -> None:
    """All gates and blends; of sums and products with a new linear those that simplification did
    not write in another way.
    """
    parent = zoo.load(start)
    kept, lost = Counter[str](), Counter[str]()
    for edit in space().growth(parent):
        kind = edit.operator.partition("@")[0]
        if kind in ("gate", "blend", "add", "mul") and quiet_values(edit.genome, parent):
            (kept if started(parent, edit.genome, tmp_path) < 0.1 else lost)[kind] += 1
    assert kept["gate"] >= 2
    assert lost.total() <= 0.2 * kept.total()


def test_without_a_quiet_start_the_function_is_lost(tmp_path: Path) -> None:
    """The comparison above can fail."""
    parent = zoo.load("lstm")
    gates = [edit.genome for edit in space().growth(parent) if edit.operator.startswith("gate")]
    lost = [started(parent, child, tmp_path, quiet=False) for child in gates]
    assert max(lost) > 0.3
    assert all(started(parent, child, tmp_path) < 0.1 for child in gates)


QUIET = {
    "h[t] = tanh(linear(x[t], h[t-1]) + n)\n": 0.0,
    "h[t] = tanh(linear(x[t], h[t-1]) - n)\n": 0.0,
    "h[t] = n * tanh(linear(x[t], h[t-1]))\n": 1.0,
    "h[t] = sigmoid(n) * tanh(linear(x[t], h[t-1]))\n": 4.0,
    "h[t] = blend(sigmoid(n), h[t-1], tanh(linear(x[t], h[t-1])))\n": -4.0,
    "c[t] = sigmoid(n) * c[t-1] + tanh(linear(x[t], h[t-1]))\nh[t] = c[t]\n": -4.0,
    "h[t] = tanh(n) + tanh(linear(x[t], h[t-1]))\n": 0.0,
    "h[t] = sigmoid(n) * h[t-1] + tanh(linear(x[t], h[t-1]))\n": -4.0,
    "h[t] = tanh(linear(x[t], sigmoid(n) * h[t-1]))\n": 4.0,
    "h[t] = tanh(n) * tanh(linear(x[t], h[t-1]))\n": 2.0,
    "c[t] = n\nh[t] = tanh(linear(x[t], h[t-1])) * c[t-1]\n": 1.0,
    "c[t] = n\nh[t] = tanh(linear(x[t], h[t-1])) + c[t-1]\n": 0.0,
}


@pytest.mark.parametrize("text", list(QUIET))
def test_what_a_new_linear_starts_with(text: str) -> None:
    genome = Genome.from_text("n = linear(x[t], h[t-1])\n" + text)
    values = quiet_values(genome, zoo.load("rnn_tanh"))
    assert values["n.bias"] == QUIET[text]
    assert values["n.weight_x"] == values["n.weight_h"] == 0.0


STEPS = ("keep", "mix", "state", "memory", "gate", "view", "blend")


@pytest.mark.parametrize("step", STEPS)
def test_a_step_starts_as_the_function_of_its_parent(step: str, tmp_path: Path) -> None:
    """Up to the squashing function that a sum may be read through. The linears of the parent have
    names, as those of grown cells have.
    """
    parent = Genome.from_text(
        "a = linear(x[t], h[t-1])\nb = linear(x[t], h[t-1])\nh[t] = sigmoid(a) * tanh(b)"
    )
    made = [e.genome for e in space().growth(parent) if e.operator.partition("@")[0] == step]
    far = [started(parent, child, tmp_path) for child in made]
    assert made
    assert max(far) < 0.2
    assert max(started(parent, child, tmp_path, quiet=False) for child in made) > 0.3


def test_a_linear_that_reads_a_new_state_starts_without_it(tmp_path: Path) -> None:
    parent = zoo.load("rnn_tanh")
    kinds = ("memory@linear", "delay@linear")
    made = [e.genome for e in space().growth(parent) if e.operator in kinds]
    assert len(made) == 2
    assert all(started(parent, child, tmp_path) == 0.0 for child in made)


def test_a_function_of_an_old_value_has_no_quiet_start() -> None:
    genome = Genome.from_text("n = linear(x[t], h[t-1])\nh[t] = tanh(linear(x[t], tanh(n)))")
    assert not quiet_values(genome, zoo.load("rnn_tanh"))
