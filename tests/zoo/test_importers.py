"""Cells in other notations: the 345 published recipes, DARTS genotypes, ENAS arcs; what their own
projects cannot build is refused.
"""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evaluate_plain import evaluate_plain, random_weights

from cellsearch import zoo
from cellsearch.errors import CellSyntaxError, ConfigError, GenomeError
from cellsearch.genome import Genome
from cellsearch.genome.identity import search_key
from cellsearch.zoo.importers import export_cell, import_cell

DATA = Path(os.environ.get("CELLSEARCH_DATA", Path(__file__).parents[3] / "shared" / "data"))
TABLE = DATA / "nas_bench_nlp" / "wikitext2.jsonl.gz"
GRU = """{"r": {"op": "linear", "input": ["x", "h_prev_0"]}, "z": {"op": "linear", "input": ["x", "h_prev_0"]},
 "rs": {"op": "activation_sigm", "input": ["r"]}, "zs": {"op": "activation_sigm", "input": ["z"]},
 "rh": {"op": "elementwise_prod", "input": ["rs", "h_prev_0"]}, "n": {"op": "linear", "input": ["x", "rh"]},
 "h_tilde": {"op": "activation_tanh", "input": ["n"]}, "h_new_0": {"op": "blend", "input": ["zs", "h_prev_0", "h_tilde"]}}"""


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    if not TABLE.exists():
        pytest.skip(
            f"{TABLE} is not here; set CELLSEARCH_DATA to the folder that holds nas_bench_nlp/"
        )
    with gzip.open(TABLE, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


# -- NAS-Bench-NLP ---------------------------------------------------------------------------------


def test_all_recipes_import_and_their_265_graphs_are_told_apart(rows: list[dict[str, Any]]) -> None:
    """265 graphs as published. 260 functions: in five pairs of graphs one has a state more, which
    never reaches the output.
    """
    genomes = [import_cell(json.dumps(row)) for row in rows]
    assert len(genomes) == 345
    assert len({g.key for g in genomes}) == 265
    alike: dict[str, dict[str, Genome]] = defaultdict(dict)
    for genome in genomes:
        alike[search_key(genome)][genome.key] = genome
    assert len(alike) == 260
    several = [list(group.values()) for group in alike.values() if len(group) > 1]
    assert all(len(group) == 2 and {len(g.states) for g in group} == {1, 2} for group in several)


def test_parameters_are_those_of_the_published_models(rows: list[dict[str, Any]]) -> None:
    """V*400 + V and three layers 400-600-600-400, exact for all rows (dead nodes count there)."""
    for row in rows:
        genome = import_cell(json.dumps(row["recipe"]))
        total = 33278 * 400 + 33278
        for wide, hidden in ((400, 600), (600, 600), (600, 400)):
            total += sum(int(np.prod(spec.sizes(wide, hidden))) for spec in genome.parameters)
        assert total == row["params"]


def test_recipes_survive_the_way_back(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        genome = import_cell(json.dumps(row["recipe"]))
        assert import_cell(export_cell(genome)).key == genome.key


def evaluate_recipe(
    recipe: dict[str, Any], weights: dict[tuple[str, int], np.ndarray], x: np.ndarray, hidden: int
) -> np.ndarray:
    """Outputs of a recipe over x [T, B, I], from the description of the format alone; weights by
    (key, input), -1 for the bias.
    """
    count = sum(1 for key in recipe if key.startswith("h_new_") and key[6:].isdigit())
    state = [np.zeros((x.shape[1], hidden)) for _ in range(count)]
    outputs = []
    for now in x:
        values = {"x": now, **{f"h_prev_{k}": s for k, s in enumerate(state)}}
        while len(values) < 1 + count + len(recipe):
            for key, node in recipe.items():
                if key in values or any(name not in values for name in node["input"]):
                    continue
                inputs = [values[name] for name in node["input"]]
                if node["op"] == "linear":
                    values[key] = weights[key, -1] + sum(
                        a @ weights[key, k].T for k, a in enumerate(inputs)
                    )
                elif node["op"] == "blend":
                    values[key] = inputs[0] * inputs[1] + (1 - inputs[0]) * inputs[2]
                elif node["op"] == "elementwise_sum":
                    values[key] = inputs[0] + inputs[1]
                elif node["op"] == "elementwise_prod":
                    values[key] = inputs[0] * inputs[1]
                elif node["op"] == "activation_tanh":
                    values[key] = np.tanh(inputs[0])
                elif node["op"] == "activation_sigm":
                    values[key] = 1 / (1 + np.exp(-inputs[0]))
                else:
                    assert node["op"] == "activation_leaky_relu"
                    values[key] = np.maximum(inputs[0], 0) + 0.01 * np.minimum(inputs[0], 0)
        state = [values[f"h_new_{k}"] for k in range(count)]
        outputs.append(state[0])
    return np.stack(outputs)


def recipe_deviation(recipe: dict[str, Any], genome: Genome, seed: int) -> float:
    """Largest difference between the recipe and the genome on the same random weights."""
    rng = np.random.default_rng(seed)
    weights = random_weights(genome, rng, 3, 4, spread=0.5)
    keys = {"h_t": "h_new_0", **{f"h{k}_t": f"h_new_{k}" for k in range(1, 65)}}
    by_key = {
        (keys.get(genome.labels[s.node], genome.labels[s.node]), s.operand): weights[s.name]
        for s in genome.parameters
    }
    x = rng.normal(size=(5, 2, 3))
    one, other = evaluate_recipe(recipe, by_key, x, 4), evaluate_plain(genome, weights, x)[0]
    return float(np.max(np.abs(one - other)) / max(1.0, float(np.max(np.abs(one)))))


def test_fifty_random_recipes_compute_what_their_description_says(
    rows: list[dict[str, Any]],
) -> None:
    chosen = np.random.default_rng(0).choice(len(rows), 50, replace=False)
    worst = max(
        recipe_deviation(rows[k]["recipe"], import_cell(json.dumps(rows[k]["recipe"])), int(k))
        for k in chosen
    )
    assert worst <= 1e-12


def test_the_comparison_of_recipes_notices_another_cell() -> None:
    recipe = json.loads(GRU)
    assert recipe_deviation(recipe, import_cell(GRU), 0) <= 1e-12
    turned = GRU.replace('["zs", "h_prev_0", "h_tilde"]', '["zs", "h_tilde", "h_prev_0"]')
    assert recipe_deviation(recipe, import_cell(turned), 0) > 1e-3


def test_the_gru_recipe_is_chos_gru() -> None:
    genome = import_cell(GRU)
    assert genome.to_text().splitlines()[-1] == "h[t] = blend(zs, h[t-1], h_tilde)"
    assert search_key(genome) == search_key(zoo.load("gru_cho"))


def test_names_that_are_no_names_are_mended_and_order_means_nothing() -> None:
    recipe = {
        "h_new_0": {"op": "activation_tanh", "input": ["a b"]},
        "tanh": {"op": "linear", "input": ["x", "h_prev_0"]},
    }
    recipe["a b"] = {"op": "elementwise_sum", "input": ["tanh", "tanh"]}
    assert (
        import_cell(json.dumps(recipe)).to_text()
        == "n_tanh = linear(x[t], h[t-1])\na_b = n_tanh + n_tanh\nh[t] = tanh(a_b)\n"
    )


def changed(**entries: Any) -> str:
    recipe = json.loads(GRU)
    for key, entry in entries.items():
        if entry is None:
            del recipe[key]
        else:
            recipe[key] = entry
    return json.dumps(recipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "one JSON object"),
        ("{}", "one JSON object"),
        ("1" * 5000, "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a": {"op": "linear", "input": ["x"]}}', "no state"),
        (
            '{"h_new_0": {"op": "linear", "input": ["x", "h_prev_0"]}, "h_new_0": '
            '{"op": "linear", "input": ["x"]}}',
            "defined twice",
        ),
        (changed(n={"op": "conv", "input": ["x"]}), "unknown op"),
        (changed(n={"op": "linear", "input": []}), "at least 1"),
        (changed(n={"op": "blend", "input": ["r", "z"]}), "exactly 3"),
        (changed(n={"op": "linear", "input": ["nowhere"]}), "unknown input"),
        (changed(n={"op": "linear", "input": ["h_prev_1"]}), "unknown input"),
        (changed(n={"op": "linear", "input": [["x"]]}), "unknown input"),
        (changed(n=7), "a node is"),
        (changed(h_new_2={"op": "linear", "input": ["x"]}), "h_new_1 is missing"),
        (changed(h_new_99={"op": "linear", "input": ["x"]}), "is missing"),
        (changed(x={"op": "linear", "input": ["r"]}), "cannot be computed"),
        (changed(r={"op": "linear", "input": ["h_tilde"]}), "own value"),
        (changed(rh={"op": "elementwise_prod", "input": ["rs", "x"]}), "without a linear"),
    ],
)
def test_recipes_that_the_benchmark_cannot_build_are_refused(text: str, message: str) -> None:
    with pytest.raises(CellSyntaxError, match=message):
        import_cell(text, format="nas-bench-nlp")


def test_square_accepts_x_without_a_linear() -> None:
    text = changed(rh={"op": "elementwise_prod", "input": ["rs", "x"]})
    assert "rs * x[t]" in import_cell(text, square=True).to_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h[t] = tanh(linear(x[t], h[t-1], bias=False))", "bias"),
        ("h[t] = relu(linear(x[t], h[t-1]))", "no word for relu"),
        ("h[0] = 1\nh[t] = tanh(linear(x[t], h[t-1]))", "starts at 0"),
        ("h[t] = tanh(linear(x[t], h[t-1], c[t-1]))\nc[t] = h[t-1]", "takes over"),
    ],
)
def test_cells_without_words_in_recipes_are_refused(text: str, message: str) -> None:
    with pytest.raises(GenomeError, match=message):
        export_cell(Genome.from_text(text))


def test_export_splits_long_sums_skips_identities_and_numbers_outputs() -> None:
    text = (
        "a = linear(x[t], c[t-1])\nc[t] = identity(a)\ny[t] = tanh(a) + sigmoid(a) + leaky_relu(a)"
    )
    genome = Genome.from_text(text)
    recipe = json.loads(export_cell(genome))
    assert recipe["h_new_1"] == {"op": "linear", "input": ["x", "h_prev_1"]}
    back = import_cell(json.dumps(recipe))
    assert search_key(back) == search_key(genome)
    assert all(
        len(node["input"]) == 2 for node in recipe.values() if node["op"] == "elementwise_sum"
    )


def test_a_copy_of_a_state_is_computed_twice() -> None:
    genome = Genome.from_text("a = linear(x[t], h[t-1], c[t-1])\nh[t] = tanh(a)\nc[t] = h[t]")
    assert import_cell(export_cell(genome)).key == genome.key


# -- DARTS and ENAS --------------------------------------------------------------------------------

DARTS_V1 = """Genotype(recurrent=[('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4), ('identity', 1),
                    ('relu', 5), ('relu', 1)], concat=range(1, 9))"""
DARTS_V2 = """DARTS_V2 = Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), ('sigmoid', 5),
                               ('tanh', 3), ('relu', 5)], concat=range(1, 9))"""
ENAS_ARC = "0 0 0 1 1 2 1 2 0 2 0 5 1 1 0 6 1 8 1 8 1 8 1"
ENAS_WORDS = "tanh0 tanh1 relu1 tanh3 tanh3 relu3 relu4 relu7 relu8 relu8 relu8"


@pytest.mark.parametrize(("text", "name"), [(DARTS_V1, "darts_v1"), (DARTS_V2, "darts_v2")])
def test_darts_genotypes_are_the_cells_of_the_zoo(text: str, name: str) -> None:
    assert search_key(import_cell(text, format="darts")) == search_key(zoo.load(name))


def test_the_arc_of_enas_is_isomorphic_to_its_genotype_and_to_the_zoo() -> None:
    arc = import_cell(ENAS_ARC, format="enas")
    genotype = import_cell(ENAS_WORDS, format="darts", concat=(2, 5, 6, 9, 10, 11))
    assert arc.key == genotype.key
    assert search_key(arc) == search_key(zoo.load("enas"))
    assert arc.key != import_cell(ENAS_ARC, format="enas", average="all").key
    assert arc.key != import_cell(ENAS_WORDS, format="darts").key


def test_enas_lm_has_another_order_of_opcodes() -> None:
    arc = import_cell("[0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2]", format="enas", opcodes="enas_lm")
    assert (
        arc.key
        == import_cell(
            "sigmoid0 tanh1 relu2 sigmoid2 tanh4 tanh5 sigmoid3 sigmoid6", format="darts"
        ).key
    )
    assert search_key(arc) == search_key(zoo.load("enas_lm"))
    assert (
        arc.key
        != import_cell("[0 2 1 0 2 1 2 2 4 0 5 0 3 2 6 2]", format="enas", average="all").key
    )


def test_a_tree_cell_computes_its_equations() -> None:
    genome = import_cell("relu0 identity1", format="darts")
    rng = np.random.default_rng(0)
    weights = random_weights(genome, rng, 3, 3)
    x, h = rng.normal(size=(2, 1, 3)), np.zeros((1, 3))

    def gate(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    expected = []
    for now in x:
        f = np.tanh(now @ weights["s0.weight_x"].T + h @ weights["s0.weight_h"].T)
        s0 = h + gate(now @ weights["c0.weight_x"].T + h @ weights["c0.weight_h"].T) * (f - h)
        s1 = s0 + gate(s0 @ weights["c1.weight_s0"].T) * (
            np.maximum(s0 @ weights["s1.weight_s0"].T, 0) - s0
        )
        s2 = s1 + gate(s1 @ weights["c2.weight_s1"].T) * (s1 @ weights["s2.weight_s1"].T - s1)
        h = (s1 + s2) / 2
        expected.append(h)
    assert np.allclose(
        evaluate_plain(genome, weights, x)[0], np.stack(expected), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a genotype"),
        ("sigmoid", "not a genotype"),
        ("__import__('os').system('true')", "not a genotype"),
        ("Genotype(recurrent=[('relu', 0)], concat=__import__('os'))", "concat is a list"),
        ("Genotype(recurrent=[(open, 0)], concat=[1])", "only names"),
        ("Genotype(recurrent=3)", "recurrent is a list"),
        ("Genotype(recurrent=[('relu', True)])", "a node is"),
        ("Genotype(recurrent=[('relu', 1)], concat=[1])", "does not come before"),
        ("Genotype(recurrent=[('none', 0)], concat=[1])", "none"),
        ("Genotype(recurrent=[('gelu', 0)], concat=[1])", "unknown activation"),
        ("Genotype(recurrent=[('relu', 0)], concat=[2])", "the mean is over"),
        ("Genotype(recurrent=[('relu', 0)], concat=[])", "the mean is over"),
        (
            "Genotype(recurrent=[('relu', 0)], concat=range(0, 10**9))",
            "concat is a list|only names",
        ),
        ("Genotype(normal=[('sep_conv_3x3', 1)], normal_concat=[2])", "has the fields recurrent"),
        ("relu5", "does not come before"),
        ("(" * 5000, "not a genotype"),
    ],
)
def test_genotypes_that_darts_cannot_build_are_refused(text: str, message: str) -> None:
    with pytest.raises(CellSyntaxError, match=message):
        import_cell(text, format="darts")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "whole numbers"),
        ("0 a", "whole numbers"),
        ("7", "unknown opcode 7"),
        ("0 0 4", "unknown opcode 4"),
        ("0 1 0", "does not come before"),
        ("0 " * 999, "at most"),
    ],
)
def test_arcs_that_enas_cannot_build_are_refused(text: str, message: str) -> None:
    with pytest.raises(CellSyntaxError, match=message):
        import_cell(text, format="enas")


def test_wrong_formats_and_options_are_usage_errors() -> None:
    for call in (
        lambda: import_cell("{}", format="onnx"),
        lambda: import_cell("0", format="enas", opcodes="darts"),
        lambda: import_cell("0", format="enas", average="some"),
        lambda: import_cell("0", format="enas", square=True),
        lambda: export_cell(zoo.load("lstm"), format="enas"),
    ):
        with pytest.raises(ConfigError):
            call()
