"""Exported cells in 16 and 8 bits: what the file computes, and what that costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cellsearch import Genome, zoo
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.compiler import compile_cell
from cellsearch.compiler.module import CellModule
from cellsearch.errors import ConfigError
from cellsearch.export import accuracy, to_source
from cellsearch.export.source import PRECISIONS, Precision
from cellsearch.export.weights import in_precision

# Runs where cellsearch cannot be imported: the exported files of a folder over the same input.
RUNNER = """
import importlib, pathlib, sys
sys.modules["cellsearch"] = None
import torch
folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(folder))
x = torch.load(folder / "x.pt", weights_only=True)
for path in folder.glob("*_*.py"):
    layer = importlib.import_module(path.stem).Recurrent()
    layer.load_state_dict(torch.load(path.with_suffix(".pt"), weights_only=True), strict=True)
    sizes = sum(t.numel() * t.element_size() for t in layer.state_dict().values())
    dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(path.stem.rpartition("_")[2], torch.float32)
    with torch.no_grad():
        output, states = layer(x.to(dtype))
    assert output.dtype == dtype
    torch.save({"output": output.float(), "bytes": torch.tensor(sizes)}, path.with_suffix(".out"))
"""
CELLS = ("lstm", "gru", "lstm_ln", "slstm", "sru")
BOUNDS: dict[Precision, float] = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2, "int8": 5e-2}


AWKWARD = """
Weights = sigmoid(linear(x[t], h[t-1], 0.5))
training = tanh(linear(Weights, bias(), 2))
Integers = layer_norm(linear(1, training, bias=False)) * diag(Weights)
h[t] = tanh(linear(Integers + training, 1 + 1)) + scale(h[t-1])
"""


def run_all(folder: Path, cells: dict[str, CellModule], x: Tensor) -> dict[str, dict[str, Tensor]]:
    """What each exported file computes from x, and how large its weights are."""
    torch.save(x, folder / "x.pt")
    for name, module in cells.items():
        for precision in PRECISIONS:
            source = to_source(
                module.genome,
                input_size=module.input_size,
                hidden_size=module.hidden_size,
                precision=precision,
            )
            (folder / f"{name}_{precision}.py").write_text(source, "utf-8")
            torch.save(
                in_precision(module.genome, module.state_dict(), precision),
                folder / f"{name}_{precision}.pt",
            )
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", RUNNER, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {path.stem: torch.load(path, weights_only=True) for path in folder.glob("*.out")}


def error(found: Tensor, expected: Tensor) -> float:
    """Relative to the largest value; infinite for NaN."""
    difference = float((found - expected).abs().max() / expected.abs().max())
    return difference if difference == difference else float("inf")


def test_exported_cells_compute_nearly_the_same_in_fewer_bits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    genomes = {
        **{name: zoo.load(name) for name in CELLS},
        "awkward": Genome.from_text(AWKWARD),
    }  # awkward operands and names
    cells = {
        name: compile_cell(genome, input_size=24, hidden_size=24, backend="reference")
        for name, genome in genomes.items()
    }
    x = torch.randn(12, 3, 24)
    results = run_all(tmp_path, cells, x)
    assert len(results) == len(cells) * len(PRECISIONS)
    for name, module in cells.items():
        with torch.no_grad():
            expected = module(x)[0]
        size = {precision: int(results[f"{name}_{precision}"]["bytes"]) for precision in PRECISIONS}
        for precision in PRECISIONS:
            found = error(results[f"{name}_{precision}"]["output"], expected)
            assert found < BOUNDS[precision], (name, precision, found)
            assert precision == "float32" or found > 1e-5, (
                f"{name} in {precision} is too good: were its weights used?"
            )
        assert size["float16"] == size["bfloat16"] == size["float32"] // 2
        assert size["int8"] < 0.45 * size["float32"]
    assert error(x, -x) > 1
    assert error(x * float("nan"), x) == float("inf")


def test_integers_are_rounded_a_row_at_a_time() -> None:
    genome = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
    module = compile_cell(genome, input_size=3, hidden_size=2)
    weights = module.state_dict()
    weights["l0.h.weight_x"] = torch.tensor([[1.0, -0.5, 0.25], [0.0, 0.0, 0.0]])
    reduced = in_precision(genome, weights, "int8")
    assert reduced["l0.h.weight_x.integers"].tolist() == [[127, -64, 32], [0, 0, 0]]
    assert reduced["l0.h.weight_x.scale"][0] == pytest.approx(1 / 127)
    assert torch.equal(reduced["l0.h.bias"], weights["l0.h.bias"])
    whole = reduced["l0.h.weight_h.integers"] * reduced["l0.h.weight_h.scale"][:, None]
    assert (
        (whole - weights["l0.h.weight_h"])
        .abs()
        .le(reduced["l0.h.weight_h.scale"][:, None] * 0.501)
        .all()
    )


def test_weights_that_do_not_fit_are_refused() -> None:
    genome = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
    weights = compile_cell(genome, input_size=3, hidden_size=2).state_dict()
    weights["l0.h.bias"] = torch.tensor([1e6, 0.0])
    with pytest.raises(ConfigError, match=r"l0\.h\.bias is beyond the range of float16"):
        in_precision(genome, weights, "float16")
    assert in_precision(genome, weights, "bfloat16")["l0.h.bias"].isfinite().all()
    weights["l0.h.bias"] = torch.tensor([float("nan"), 0.0])
    for precision in PRECISIONS:
        with pytest.raises(ConfigError, match="not finite"):
            in_precision(genome, weights, precision)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_ruff_is_content(precision: Precision, tmp_path: Path) -> None:
    path = tmp_path / "cell.py"
    path.write_text(
        to_source(
            zoo.load("lstm"), input_size=8, hidden_size=16, weights="cell.pt", precision=precision
        ),
        "utf-8",
    )
    ruff = str(Path(sys.executable).with_name("ruff"))
    select = "E,F,W,I,B,UP,D1,N,C4,SIM,RET,PIE"
    for arguments in (
        [
            "check",
            "--isolated",
            "--select",
            select,
            "--ignore",
            "N803,D107",
            "--line-length",
            "140",
        ],
        ["format", "--isolated", "--check", "--line-length", "140"],
    ):
        done = subprocess.run(
            [ruff, *arguments, "--no-cache", str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


# -- the command -----------------------------------------------------------------------------------

EXPERIMENT = """
question = "Does an exported cell keep its accuracy?"
space = "tiny"
strategy = "random"
task = "parity"
trials = 3
seed = 3
baselines = ["lstm"]
[task_options]
batch_size = 8
[training]
steps = 10
hidden_size = 12
evaluations = 1
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    (folder / "mine.toml").write_text(EXPERIMENT, "utf-8")
    assert (
        guarded(
            cli,
            ["search", str(folder / "mine.toml"), "--run", str(folder / "run"), "--workers", "0"],
        )
        == 0
    )
    return folder / "run"


def changes(line: str) -> float:
    """The change of the metric that the line about accuracy names."""
    return float(line.rpartition("(")[2].partition(";")[0])


def test_the_command_measures_what_a_precision_costs(
    call: Call, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for precision in PRECISIONS:
        code, out, err = call(
            "export",
            searched,
            "--to",
            "source",
            "-o",
            tmp_path / f"{precision}.py",
            "--precision",
            precision,
        )
        assert (code, err) == (0, "")
        line = next(line for line in out.splitlines() if line.startswith("accuracy: "))
        assert f" in {precision}, " in line
        assert abs(changes(line)) < 0.05
        weights = torch.load(tmp_path / f"{precision}.pt", weights_only=True)
        dtypes = {tensor.dtype for tensor in weights.values()}
        assert dtypes == (
            {torch.int8, torch.float32} if precision == "int8" else {getattr(torch, precision)}
        )
    assert (
        call(
            "export",
            searched,
            "--to",
            "state-dict",
            "-o",
            tmp_path / "w.safetensors",
            "--precision",
            "int8",
        )[0]
        == 0
    )
    # Weights that are wrong must show: the exported cell is really what is measured.
    original = accuracy.exported_layer

    def broken(*arguments: object) -> nn.Module:
        layer = original(*arguments)  # type: ignore[arg-type]
        for parameter in layer.parameters():
            nn.init.constant_(parameter, 3.0)
        return layer

    monkeypatch.setattr(accuracy, "exported_layer", broken)
    out = call(
        "export", searched, "--to", "source", "-o", tmp_path / "bad.py", "--precision", "float16"
    )[1]
    assert (
        abs(changes(next(line for line in out.splitlines() if line.startswith("accuracy: "))))
        > 1e-3
    )


def test_what_has_no_weights_or_no_precision_is_refused(call: Call, tmp_path: Path) -> None:
    code, _, err = call(
        "export", "lstm", "--to", "source", "-o", tmp_path / "a.py", "--precision", "int8"
    )
    assert code == 2
    assert "no trained weights" in err
    code, _, err = call(
        "export", "lstm", "--to", "package", "-o", tmp_path / "a", "--precision", "int8"
    )
    assert code == 2
    assert "--precision is for source and state-dict" in err
    assert not list(tmp_path.iterdir())


def test_a_package_of_a_run_has_its_weights(call: Call, searched: Path, tmp_path: Path) -> None:
    folder = tmp_path / "best_cell"
    code, out, err = call("export", searched, "--to", "package", "-o", folder)
    assert (code, err) == (0, "")
    assert f"package: {folder}" in out
    program = (
        "import sys; sys.modules['cellsearch'] = None; import pathlib, torch, best_cell "
        "as package\n"
        "layer, plain = package.Recurrent(), package.plain.Recurrent()\n"
        "path = pathlib.Path(package.__file__).with_name('weights.pt')\n"
        "for module in (layer, plain): module.load_state_dict(torch.load(path, "
        "weights_only=True))\n"
        "x = torch.randn(4, 2, layer.input_size)\n"
        "torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-6)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert call("export", searched, "--to", "package", "-o", folder)[0] == 2
    assert call("export", searched, "--to", "package", "-o", folder, "--force")[0] == 0
    code, _, err = call("export", searched, "--to", "package", "-o", tmp_path / "best-cell")
    assert code == 2
    assert "not a name in Python" in err
    assert not (tmp_path / "best-cell").exists()
