"""Models in ONNX, run by onnxruntime, beside the reference backend and the trained model."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from support.cells import beside, cells_of_x
from support.small_tasks import QUICK, raw_sequences, small_task

import cellsearch as cs
from cellsearch import ops
from cellsearch.errors import BackendError, ConfigError, EnvironmentFailure, GenomeError
from cellsearch.export.onnx import to_onnx
from cellsearch.export.onnx.check import compare, session
from cellsearch.export.whole import whole_of
from cellsearch.export.write import export_cell
from cellsearch.genome.parameters import requires_square, size_names
from cellsearch.job import Training
from cellsearch.tasks.heads import SequenceModel
from cellsearch.tasks.interface import TokenInputs
from cellsearch.training.model import cell_factory

CELLS = ("lstm", "gru", "lstm_peephole", "slstm", "sru", "rg_lru", "lstm_ln", "rwkv4", "hgrn_real")
SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.toml"))


def described(
    genome: cs.Genome, *, sizes: tuple[int, int] = (5, 5), seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Weights and sizes of a new layer, as arguments of :func:`to_onnx`."""
    torch.manual_seed(seed)
    sized = {"input_size": sizes[0], "hidden_size": sizes[1], **options}
    sized["sizes"] = sizes_of(genome)
    layer = cs.compile_cell(genome, **sized)
    return {"weights": layer.state_dict(), **sized}


def sizes_of(genome: cs.Genome) -> dict[str, Any]:
    """Numbers for the names of sizes."""
    return {name: 3 + k for k, name in enumerate(size_names(genome))}


def outputs(model: bytes, **given: Any) -> dict[str, Any]:
    """What onnxruntime gives, by name."""
    run = session(model)
    names = [output.name for output in run.get_outputs()]
    return dict(zip(names, run.run(names, given), strict=True))


def agrees(
    genome: cs.Genome, length: int, batch: int, *, resets: bool = False, **options: Any
) -> None:
    """The whole layer and, step by step, the step, beside the reference."""
    given = described(genome, **options)
    layer = cs.compile_cell(
        genome, **{k: v for k, v in given.items() if k != "weights"}, backend="reference"
    )
    layer.load_state_dict(given["weights"])
    x = torch.randn(length, batch, given["input_size"])
    rows = options.get("num_layers", 1) * (1 + layer.bidirectional)
    states = [torch.rand(rows, batch, size) for size in layer.state_sizes]
    more = {name: value.float() for name, value in beside(genome, x).items()}
    if resets:
        more["reset"] = torch.rand(x.shape[:2]) > 0.6
    given["resets"] = resets
    with torch.no_grad():
        expected, final = layer(x, states[0] if len(states) == 1 else tuple(states), **more)
    finals = final if isinstance(final, tuple) else (final,)
    start = {f"{n}_0": s.numpy() for n, s in zip(genome.state_names, states, strict=True)}
    named = {name: value.numpy() for name, value in more.items()}
    found = outputs(to_onnx(genome, **given), x=x.numpy(), **named, **start)
    np.testing.assert_allclose(found["output"], expected.numpy(), rtol=1e-5, atol=1e-5)
    for name, state in zip(genome.state_names, finals, strict=True):
        np.testing.assert_allclose(found[f"{name}_n"], state.numpy(), rtol=1e-5, atol=1e-5)
    if layer.bidirectional:
        return
    run = session(to_onnx(genome, step=True, **given))
    for t in range(length):
        now = {name: value[t] for name, value in named.items()}
        output, *after = run.run(None, {"x": x[t].numpy(), **now, **start})
        start = {f"{n}_0": s for n, s in zip(genome.state_names, after, strict=True)}
        np.testing.assert_allclose(output, expected[t].numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}], ids=["one", "both"]
)
def test_a_layer_is_that_of_the_reference(cell: str, options: dict[str, Any]) -> None:
    genome = cs.zoo.load(cell)
    if requires_square(genome):  # a second layer would be 2H wide
        options = {"num_layers": 2} if options else {}
    agrees(genome, 6, 3, **options)


def test_unit_and_delays_are_those_of_the_reference() -> None:
    text = "u = unit(linear(x[t-1], h[t-2]) + unit(bias()))\nh[t] = tanh(conv(u, 3)) + unit(2)"
    for size in (1, 5):
        agrees(cs.Genome.from_text(text), 6, 3, sizes=(size, size))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(1, 1), (3, 1), (1, 3), (63, 65), (65, 65)])
@pytest.mark.parametrize("cell", cells_of_x())
def test_all_published_cells(cell: str, sizes: tuple[int, int]) -> None:
    genome = cs.zoo.load(cell)
    sizes = (sizes[1], sizes[1]) if requires_square(genome) else sizes
    agrees(genome, 3, 2, sizes=sizes)
    agrees(genome, 1, 1, sizes=(sizes[1], sizes[1]), num_layers=3)
    agrees(genome, 4, 3, sizes=sizes, bidirectional=True)


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
def test_random_cells(space: Path) -> None:
    """The exporter's own check compares them."""
    assert SPACES
    declared = cs.SearchSpace.from_toml(space.read_text())
    rng = np.random.default_rng(1)
    for _ in range(40):
        genome = declared.sample(rng)
        sized: dict[str, Any] = {"input_size": 8, "hidden_size": 8, "sizes": sizes_of(genome)}
        layer = cs.compile_cell(genome, **sized)
        to_onnx(genome, layer.state_dict(), **sized)
        to_onnx(genome, layer.state_dict(), **sized, step=True, resets=True)


def test_every_op_is_written() -> None:
    """Each op of the table in a cell, of a value that is fixed and of one that is not."""
    signs = {
        "add": "a + h[t-1]",
        "mul": "a * h[t-1]",
        "sub": "a - h[t-1]",
        "div": "a / b",
        "rotate": "rotate(a, 0.5)",
    }
    structural = ("linear", "bias", "const")
    assert set(structural) < set(ops.names())
    # Heads are refused, as all products in parts: test_wider_language.
    for name in set(ops.names()) - {*structural, "neg", "head_norm"}:
        operands = ", ".join(["a", "h[t-1]", "b"][: ops.get(name).min_arity])
        called = signs.get(name, f"{name}({operands})")
        fixed = re.sub(r"\ba\b", "f", called)
        genome = cs.Genome.from_text(
            "a = tanh(linear(x[t], h[t-1])) + 1.5\nf = tanh(bias()) + 1.5\n"
            f"b = 2.0 + sigmoid(linear(x[t]))\nh[t] = tanh({called} + -h[t-1] + b)\n"
            f"c[t] = tanh({fixed} + c[t-1])"
        )
        to_onnx(genome, **described(genome, sizes=(6, 6)))


def test_an_op_that_onnx_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    genome = cs.Genome.from_text("h[t] = softsign(linear(x[t], h[t-1]))")
    given = described(genome)
    row = ops.get("softsign")
    monkeypatch.setitem(
        ops.OPS, "softsign", type(row)(**{**_fields(row), "torch": "torch.special.i0({0})"})
    )
    with pytest.raises(GenomeError, match=r"softsign cannot be written.*special\.i0"):
        to_onnx(genome, **given)


def _fields(row: ops.Op) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def test_names_and_metadata_are_those_of_the_cell() -> None:
    genome = cs.Genome.from_text(
        "output = tanh(linear(x[t], h[t-1]))\nm[0] = -2\n"
        "m[t] = max(m[t-1], output)\nh[t] = output + m[t-1]"
    )
    model = onnx.load_model_from_string(to_onnx(genome, doc="By hand.", **described(genome)))
    assert [i.name for i in model.graph.input] == ["x", *(f"{n}_0" for n in genome.state_names)]
    assert model.graph.output[0].name == "output"
    properties = {p.key: p.value for p in model.metadata_props}
    assert cs.Genome.from_text(properties["equations"]) == genome
    assert json.loads(properties["initial_states"])["m"] == -2
    assert model.doc_string == "By hand."
    assert [i.version for i in model.opset_import] == [18]


def test_float64_and_a_cell_without_weights() -> None:
    genome = cs.zoo.load("gru")
    layer = cs.compile_cell(genome, input_size=3, hidden_size=4, dtype=torch.float64)
    found = to_onnx(genome, layer.state_dict(), input_size=3, hidden_size=4)
    assert onnx.load_model_from_string(found).graph.output[0].type.tensor_type.elem_type == (
        onnx.TensorProto.DOUBLE
    )
    still = cs.Genome.from_text("h[t] = tanh(x[t] + h[t-1])\nc[t] = 1.0 * c[t-1]")
    to_onnx(still, {}, input_size=3, hidden_size=3)
    constant = cs.Genome.from_text("h[t] = 0.5 + 0 * h[t-1]\nc[t] = bias() + 0 * h[t-1]\n")
    to_onnx(constant, **described(constant))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"step": True, "bidirectional": True}, "needs the whole sequence"),
        ({"hidden_size": 7}, "the weight"),
        ({"num_layers": 2}, "l1.* not there"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], says: str) -> None:
    genome = cs.zoo.load("gru")
    given = described(genome, bidirectional=options.get("bidirectional", False))
    with pytest.raises(ConfigError, match=says):
        to_onnx(genome, **{**given, **options})


def test_half_precision_is_refused() -> None:
    genome = cs.zoo.load("gru")
    given = described(genome)
    given["weights"] = {name: w.half() for name, w in given["weights"].items()}
    with pytest.raises(ConfigError, match="float16"):
        to_onnx(genome, **given)


# -- the check ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(0, 0, 0), (3, 1, 2)])
@pytest.mark.parametrize("wrong", [1e-3, np.nan, np.inf])
def test_the_comparison_finds_one_wrong_number(place: tuple[int, ...], wrong: float) -> None:
    expected = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    compare(expected.copy(), expected, expected.astype(np.float64), "output")
    found = expected.copy()
    found[place] += wrong
    with pytest.raises(BackendError, match="1 of 24 numbers differ"):
        compare(found, expected, expected.astype(np.float64), "output")
    with pytest.raises(BackendError, match=r"shape|expected"):
        compare(found[1:], expected, expected.astype(np.float64), "output")


def test_an_infinity_is_equal_to_itself_only() -> None:
    expected = np.array([[[np.inf, 1.0]]], dtype=np.float32)
    exact = expected.astype(np.float64)
    compare(expected.copy(), expected, exact, "output")
    for wrong in ([[[2.0, 1.0]]], [[[-np.inf, 1.0]]], [[[np.nan, 1.0]]], [[[np.inf, 2.0]]]):
        with pytest.raises(BackendError, match="1 of 2 numbers differ"):
            compare(np.array(wrong, dtype=np.float32), expected, exact, "output")


def test_a_wrong_graph_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cellsearch.export.onnx import functions

    monkeypatch.setitem(functions._SAME, "tanh", "Sin")
    genome = cs.zoo.load("gru")
    given = described(genome)
    weights = given.pop("weights")
    with pytest.raises(BackendError, match="computes another output"):
        export_cell(genome, tmp_path / "gru.onnx", "onnx", weights=weights, sizes=given)
    assert not list(tmp_path.iterdir())


def test_without_the_libraries_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith("cellsearch.export.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    given = described(cs.zoo.load("gru"))
    weights = given.pop("weights")
    with pytest.raises(EnvironmentFailure, match="onnx is not installed") as caught:
        export_cell(cs.zoo.load("gru"), tmp_path / "gru.onnx", "onnx", weights=weights, sizes=given)
    assert caught.value.hint == "pip install 'cellsearch[onnx]'"
    assert not list(tmp_path.iterdir())


# -- with the head -----------------------------------------------------------------------------------


def whole_model(name: str, **training: Any) -> tuple[SequenceModel, Any]:
    """An untrained model of a task, and the task."""
    task = small_task(name)
    torch.manual_seed(1)
    cell = "sru" if name == "arrays: values" else "gru"
    model = task.model(cell_factory(cs.zoo.load(cell), Training(hidden_size=5, **training)))
    assert isinstance(model, SequenceModel)
    model.described = task.interface()
    return model, task


@pytest.mark.parametrize("name", QUICK)
def test_raw_values_go_in_and_answers_come_out(name: str) -> None:
    model, task = whole_model(name)
    whole = whole_of(model)
    found = to_onnx(whole.genome, _tensors(whole), whole=whole, **whole.sizes)
    run = session(found)
    interface = task.interface()
    streams = {
        f"{state.name}_0": np.full((1, 1, 5), state.initial, np.float32)
        for state in whole.genome.states
        if interface.streams
    }
    sequences = raw_sequences(task)[0][:5]
    assert sequences
    for raw in sequences:
        tokens = isinstance(interface.inputs, TokenInputs)
        given = np.asarray(raw, np.int64 if tokens else np.float64)[:, None]
        answer = run.run(None, {"x": given, **streams})[0]
        expected = model.predicted([np.asarray(raw)])[0].scores
        answer = answer[:, 0] if interface.streams else answer
        np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


def _tensors(whole: Any) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(a)) for name, a in whole.cell_weights.items()}


def test_a_stream_goes_on_step_by_step() -> None:
    model, task = whole_model("char_lm", num_layers=2)
    whole = whole_of(model)
    run = session(to_onnx(whole.genome, _tensors(whole), whole=whole, step=True, **whole.sizes))
    stream, states = model.stream(), {"h_0": np.zeros((2, 1, 5), np.float32)}
    for token in raw_sequences(task)[0][0][:6]:
        answer, states["h_0"] = run.run(None, {"x": np.array([token]), **states})
        expected = stream.predicted(int(token))
        np.testing.assert_allclose(answer, expected.scores, rtol=1e-5, atol=1e-6)


def test_a_model_of_whole_windows_has_no_step() -> None:
    model, _ = whole_model("arrays: labels", bidirectional=True)
    whole = whole_of(model)
    with pytest.raises(ConfigError, match="mean of all"):
        to_onnx(
            whole.genome,
            _tensors(whole),
            whole=whole,
            step=True,
            **{**whole.sizes, "bidirectional": False},
        )
