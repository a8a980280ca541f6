"""Every zoo cell computes what its paper prints: against plain equations, independent
implementations and stored outputs.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.zoo.check import (
    Deviation,
    against_equations,
    against_peer,
    check,
    deviation,
    fixed_case,
    golden_values,
    run_compiled,
)
from support.zoo.equations import Array, States, Weights, affine, sigmoid, tanh
from support.zoo.equations_gated import gru_cho
from support.zoo.equations_searched import EQUATIONS
from support.zoo.peers import KNOWN_WRONG, PEERS

from cellsearch import zoo
from cellsearch.compiler.module import compile_cell
from cellsearch.errors import CellsearchError

GOLDEN = Path(__file__).with_name("golden.json")
TOLERANCE = 1e-12
needs_torchrecurrent = pytest.mark.skipif(
    importlib.util.find_spec("torchrecurrent") is None, reason="torchrecurrent is not installed"
)


def test_every_cell_has_equations() -> None:
    assert set(EQUATIONS) == set(zoo.names())
    assert set(PEERS) <= set(zoo.names())


@pytest.mark.parametrize("name", zoo.names())
def test_cell_computes_its_equations(name: str) -> None:
    assert against_equations(name, EQUATIONS[name]) <= TOLERANCE


@pytest.mark.parametrize(
    "name", [name for name, peer in PEERS.items() if peer.module == "torch.nn"]
)
def test_cell_equals_torch(name: str) -> None:
    assert against_peer(name, PEERS[name]) <= TOLERANCE


@needs_torchrecurrent
@pytest.mark.parametrize(
    "name", [name for name, peer in PEERS.items() if peer.module == "torchrecurrent"]
)
def test_cell_equals_torchrecurrent(name: str) -> None:
    assert against_peer(name, PEERS[name]) <= TOLERANCE


@pytest.mark.parametrize("name", ["cfc", "gru_d", "slstm_heads"])
def test_cell_equals_the_implementation_of_a_package(name: str) -> None:
    package = PEERS[name].module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed, which holds another {name}")
    assert against_peer(name, PEERS[name]) <= TOLERANCE


@needs_torchrecurrent
@pytest.mark.parametrize("name", KNOWN_WRONG)
def test_known_wrong_implementations_are_still_wrong(name: str) -> None:
    """They differ from the paper; the day one is mended it moves to PEERS."""
    assert against_peer(name, KNOWN_WRONG[name]) > 1e-3


@pytest.mark.parametrize("name", zoo.names())
def test_check_line_names_the_implementation(name: str) -> None:
    assert zoo.entry(name).check == (PEERS[name].label if name in PEERS else "")


@pytest.mark.parametrize("name", zoo.names())
def test_outputs_are_those_stored(name: str) -> None:
    """The stored values change only when a cell changes; parameter names and their order are part
    of them.
    """
    stored = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    found = golden_values(name)
    assert found["parameters"] == stored["parameters"]
    assert found["states"].keys() == stored["states"].keys()
    np.testing.assert_allclose(found["output"], stored["output"], rtol=0, atol=1e-9)
    for state, values in stored["states"].items():
        np.testing.assert_allclose(found["states"][state], values, rtol=1e-9, atol=1e-9)


def test_golden_file_holds_exactly_the_zoo() -> None:
    assert set(json.loads(GOLDEN.read_text(encoding="utf-8"))) == set(zoo.names())


# -- the comparisons themselves --------------------------------------------------------------------


def test_deviation_sees_what_differs() -> None:
    ones = np.ones((2, 3))
    assert deviation((ones, {"h": ones}), (ones, {"h": ones})) == 0.0
    assert deviation((ones, {"h": ones}), (ones, {"h": ones + 1e-3})) > 1e-4
    assert deviation((ones, {"h": ones}), (ones, {})) == float("inf")
    assert deviation((ones, {"h": ones * np.nan}), (ones, {"h": ones})) == float("inf")
    assert deviation((ones, {"h": ones}), (ones[:1], {"h": ones})) == float("inf")


def test_equations_of_another_cell_do_not_pass() -> None:
    def reset_after(w: Weights, x: Array, s: States) -> tuple[Array, States]:
        """gru_cho with the reset gate at the wrong place."""
        h = s["h"]
        r, z = sigmoid(affine(w, "r", x=x, h=h)), sigmoid(affine(w, "z", x=x, h=h))
        h = z * h + (1 - z) * tanh(
            w["n.bias"] + x @ w["n.weight_x"].T + r * (h @ w["n.weight_1"].T)
        )
        return h, {"h": h}

    assert against_equations("gru_cho", gru_cho) <= TOLERANCE
    assert against_equations("gru_cho", reset_after) > 1e-3


def test_equations_that_forget_a_weight_do_not_pass() -> None:
    def without_bias(w: Weights, x: Array, s: States) -> tuple[Array, States]:
        h = tanh(x @ w["h.weight_x"].T + s["h"] @ w["h.weight_h"].T)
        return h, {"h": h}

    with pytest.raises(AssertionError, match=r"h\.bias"):
        against_equations("rnn_tanh", without_bias)


def test_peer_of_another_cell_does_not_pass() -> None:
    assert against_peer("rnn_tanh", PEERS["rnn_relu"]) > 1e-3


def test_check_reports_both_comparisons() -> None:
    found = check("lstm")
    assert found == Deviation("lstm", found.against_equations, "torch.nn.LSTM", found.against_peer)
    assert found.against_equations <= TOLERANCE
    assert found.against_peer is not None
    assert found.against_peer <= TOLERANCE
    assert check("caru").against_peer is None


# -- traps that the reference sheet names ----------------------------------------------------------


def same_function(a: str, b: str, rename: dict[str, str]) -> float:
    """Deviation between two cells under the same weights; ``rename``: names of weights of ``b`` in
    terms of ``a``.
    """
    weights, x, states = fixed_case(zoo.load(a))
    other = {
        spec.name: weights[rename.get(spec.name, spec.name)] for spec in zoo.load(b).parameters
    }
    return deviation(
        run_compiled(zoo.load(a), weights, x, states), run_compiled(zoo.load(b), other, x, states)
    )


def test_reset_before_and_after_the_product_differ() -> None:
    assert same_function("gru", "gru_cho", {"n.weight_1": "m.weight_h"}) > 1e-3


def test_output_peephole_reads_the_new_cell() -> None:
    old = zoo.entry("lstm_peephole").genome.to_text().replace("diag(c[t])", "diag(c[t-1])")
    wrong = zoo.load("lstm_peephole").from_text(old)
    weights, x, states = fixed_case(zoo.load("lstm_peephole"))
    renamed = {
        spec.name: weights[spec.name.replace("o.weight_c", "o.weight_c_t")]
        for spec in wrong.parameters
    }
    assert (
        deviation(
            run_compiled(wrong, renamed, x, states),
            run_compiled(zoo.load("lstm_peephole"), weights, x, states),
        )
        > 1e-3
    )


def test_slstm_starts_at_minus_infinity() -> None:
    genome = zoo.load("slstm")
    weights, x, _ = fixed_case(genome)
    _, final = run_compiled(genome, weights, x[:1], None)
    a = x[0] @ weights["a.weight_x"].T + weights["a.bias"]
    np.testing.assert_allclose(final["m"], a, atol=1e-12)
    np.testing.assert_allclose(final["n"], 1.0, atol=1e-12)


def test_rwkv_survives_large_keys() -> None:
    genome = zoo.load("rwkv4")
    weights, x, _ = fixed_case(genome)
    output, _ = run_compiled(
        genome, {**weights, "k.weight_0": weights["k.weight_0"] * 1000}, x, None
    )
    assert np.isfinite(output).all()


@pytest.mark.parametrize("name", ["sru", "intersection", "mut2", "rg_lru", "rwkv4", "tlstm"])
def test_raw_input_needs_equal_sizes(name: str) -> None:
    with pytest.raises(CellsearchError, match="width") as caught:
        compile_cell(
            zoo.load(name), input_size=3, hidden_size=5, backend="reference", dtype=torch.float64
        )
    assert "input_size = hidden_size" in caught.value.hint
