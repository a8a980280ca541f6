"""``export --to torch-export``: the layer as a program of torch, for any T and B."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.cells import beside, cells_of_x
from support.small_tasks import small_task
from torch import Tensor

from cellsearch import compile_cell, zoo
from cellsearch.compiler.module import CellModule
from cellsearch.errors import BackendError, ConfigError
from cellsearch.export import torch_export, torch_program
from cellsearch.export.torch_export import DESCRIPTION, compare, to_torch_export
from cellsearch.export.whole import WholeModel, whole_model
from cellsearch.export.write import export_cell
from cellsearch.genome.graph import Genome
from cellsearch.job import Training
from cellsearch.training.model import cell_factory

SPREAD = ("lstm", "gru", "sru", "slstm", "indrnn_relu", "brc", "fastgrnn", "rg_lru")
AWKWARD = {
    "numbers": "h[t] = tanh(linear(x[t], h[t-1], 0.5)) / 1e300 + 2",
    "output of before": "h[t] = tanh(linear(x[t], h[t-1]))\ny[t] = h[t-1] * 2",
    "fixed states": "h[t] = tanh(linear(x[t], c[t-1]))\nc[t] = 1.5\nm[0] = -1e30\n"
    "m[t] = max(m[t-1], h[t-1])\ny[t] = m[t] * c[t-1]",
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        yield


def layer(genome: Genome, **sizes: Any) -> CellModule:
    torch.manual_seed(3)
    return compile_cell(genome, **sizes, backend="reference")


def exported(cell: CellModule, **options: Any) -> bytes:
    sizes = ("input_size", "hidden_size", "num_layers", "bidirectional", "sizes")
    return to_torch_export(
        cell.genome,
        cell.state_dict(),
        **{name: getattr(cell, name) for name in sizes},
        **options,
    )


def loaded(data: bytes) -> Any:
    return torch.export.load(io.BytesIO(data)).module()


def states(cell: CellModule, batch: int) -> Any:
    rows = cell.num_layers * cell.directions
    drawn = tuple(torch.rand(rows, batch, size) for size in cell.state_sizes)
    return drawn if len(drawn) > 1 else drawn[0]


def check_all(
    cell: CellModule, run: Any, lengths: tuple[int, ...] = (1, 7, 65), *, resets: bool = False
) -> None:
    for length in lengths:
        for batch in (1, 5):
            x, start = torch.randn(length, batch, cell.input_size), states(cell, batch)
            more = {name: value.float() for name, value in beside(cell.genome, x).items()}
            if resets:
                more["reset"] = torch.rand(x.shape[:2]) > 0.6
            with torch.no_grad():
                found, wanted = run(x, start, **more), cell(x, start, **more)
            compare(found, wanted, f"T = {length}, B = {batch}")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("lstm", {"input_size": 3, "hidden_size": 1, "bidirectional": True}),
        pytest.param(
            "lstm",
            {"input_size": 1, "hidden_size": 3, "num_layers": 2, "bidirectional": True},
            marks=pytest.mark.slow,
        ),
        ("fixed states", {"input_size": 1, "hidden_size": 3}),
        pytest.param(
            "gru", {"input_size": 63, "hidden_size": 65, "num_layers": 3}, marks=pytest.mark.slow
        ),
        *(
            pytest.param(name, {"input_size": 4, "hidden_size": 4}, marks=pytest.mark.slow)
            for name in (*SPREAD, *AWKWARD)
        ),
    ],
)
def test_it_is_the_layer_at_every_length_and_batch_size(name: str, sizes: dict[str, Any]) -> None:
    genome = Genome.from_text(AWKWARD[name]) if name in AWKWARD else zoo.load(name)
    cell = layer(genome, **sizes)
    check_all(cell, loaded(exported(cell)))
    if not cell.bidirectional:
        step = loaded(exported(cell, step=True))
        x, start = torch.randn(5, cell.input_size), states(cell, 5)
        with torch.no_grad():
            output, last = cell(x[None], start)
            compare(step(x, start), (output[0], last), "of a step")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_every_cell_of_the_zoo(part: int) -> None:
    names = cells_of_x()[part::8]
    assert names
    for name in names:
        exported(layer(zoo.load(name), input_size=4, hidden_size=4))  # which checks itself


RUNNER = """
import sys
sys.modules["cellsearch"] = None
import torch
case = torch.load(sys.argv[2], weights_only=True)
run = torch.export.load(sys.argv[1]).module()
for x, states, output, last in case:
    found, final = run(x, tuple(states))
    torch.testing.assert_close(found, output, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(final, tuple(last), rtol=1e-5, atol=1e-6)
assert len(case) == 3
run(x.requires_grad_(), tuple(states))[0].sum().backward()
assert x.grad.abs().sum() > 0
"""


@pytest.mark.slow
def test_a_process_without_cellsearch_runs_it(tmp_path: Path) -> None:
    cell = layer(zoo.load("lstm"), input_size=3, hidden_size=4)
    sizes = {"input_size": 3, "hidden_size": 4}
    path = tmp_path / "cell.pt2"
    done = export_cell(
        cell.genome, path, "torch-export", weights=cell.state_dict(), sizes=sizes, doc="Of a test."
    )
    assert done.path == path
    extra = {DESCRIPTION: ""}
    torch.export.load(path, extra_files=extra)
    described = json.loads(extra[DESCRIPTION])
    assert described["initial_states"] == {"h": 0.0, "c": 0.0}
    assert described["equations"] == cell.genome.to_text().splitlines()
    case = []
    for length, batch in ((1, 1), (2, 7), (33, 2)):
        x, start = torch.randn(length, batch, 3), states(cell, batch)
        with torch.no_grad():
            output, last = cell(x, start)
        case.append((x, list(start), output, list(last)))
    torch.save(case, tmp_path / "case.pt")
    ran = subprocess.run(
        [sys.executable, "-I", "-c", RUNNER, str(path), str(tmp_path / "case.pt")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


def test_nothing_is_written_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = layer(zoo.load("gru"), input_size=3, hidden_size=4)
    sizes = {"input_size": 3, "hidden_size": 4}
    original = torch_program.LayerProgram._one

    def wrong(*arguments: Any) -> list[Tensor]:
        *final, output = original(*arguments)
        return [*final, output + 1e-4]

    monkeypatch.setattr(torch_program.LayerProgram, "_one", wrong)
    other = tmp_path / "other.pt2"
    with pytest.raises(BackendError, match="computes another output for T = 1, B = 1"):
        export_cell(cell.genome, other, "torch-export", weights=cell.state_dict(), sizes=sizes)
    assert not other.exists()


def test_the_comparison_sees_what_is_wrong() -> None:
    right = torch.ones(2, 3)
    compare((right, right), (right, right), "")
    compare((right * float("nan"),), (right * float("nan"),), "")
    for wrong in (right + 1e-4, right * float("nan"), right * float("inf")):
        with pytest.raises(BackendError, match="another state 1 here: 6 of 6"):
            compare((right, wrong), (right, right), "here")
    for wrong in (right.double(), right[:1]):
        with pytest.raises(BackendError, match="expected"):
            compare((wrong,), (right,), "here")


def test_what_cannot_be_exported_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = layer(zoo.load("gru"), input_size=2, hidden_size=2, bidirectional=True)
    with pytest.raises(ConfigError, match="a step of both directions"):
        exported(cell, step=True)
    named = Genome.from_text("training = tanh(linear(x[t]))\nh[t] = training + h[t-1]")
    with pytest.raises(ConfigError, match="nodes are called training"):
        exported(layer(named, input_size=2, hidden_size=2))
    with pytest.raises(ConfigError, match="holds weights"):
        export_cell(cell.genome, tmp_path / "a.pt2", "torch-export")

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError("not in this torch\nmore")

    monkeypatch.setattr(torch.export, "export", refuse)
    with pytest.raises(BackendError, match=f"torch {torch.__version__.partition('+')[0]}.*not in"):
        exported(cell)
    assert not list(tmp_path.iterdir())


def whole(name: str, cell: str = "gru", **training: Any) -> tuple[WholeModel, Any]:
    torch.manual_seed(5)
    task = small_task(name)
    model = task.model(cell_factory(zoo.load(cell), Training(hidden_size=5, **training)))
    model.described = task.interface()
    return whole_model(model, model.described), model


@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("arrays: values", {"num_layers": 2}),
        pytest.param("arrays: labels", {"bidirectional": True}, marks=pytest.mark.slow),
        pytest.param("parity", {}, marks=pytest.mark.slow),
    ],
)
def test_with_the_readout_raw_values_go_in_and_answers_come_out(
    name: str, training: dict[str, Any]
) -> None:
    value, model = whole(name, **training)
    genome, weights = value.genome, dict(model.cell.state_dict())
    run = loaded(to_torch_export(genome, weights, whole=value, **value.sizes))
    head = torch_export.Ends(value, step=False)
    for length in (1, 6):
        raw = head.example((length, 2))
        model.eval()
        for k in range(2):
            said = model.predict(raw[:, k].numpy(), probabilities=name != "arrays: values")
            start = torch.full((value.num_layers * value.directions, 2, 5), 0.0)
            found = run(raw, start) if head.streams else run(raw)
            answer = (found[0][:, k] if head.streams else found[k]).detach().double()
            expected = torch.as_tensor(said).double().reshape(answer.shape)
            assert torch.allclose(answer, expected, rtol=1e-5, atol=1e-5)
