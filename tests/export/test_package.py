"""The exported package: as fast as the native backend and equal to its plain file, where cellsearch
cannot be imported.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.cells import cells_of_x, plain_cells

from cellsearch import Genome, zoo
from cellsearch.compiler.lower import lower
from cellsearch.compiler.simplify import simplify_program
from cellsearch.export.package import program_to_json, runtime_modules, to_package

# Runs alone: compares the fast class of each package with the plain one, which computes in float64.
RUNNER = """
import importlib, json, pathlib, sys
sys.modules["cellsearch"] = None
import torch
from torch.nn.utils.rnn import pack_padded_sequence

folder = sys.argv[1]
sys.path = [folder, *(p for p in sys.path if "cellsearch" not in p)]

def laid_out(value, lengths):
    return value if lengths is None else pack_padded_sequence(value, torch.tensor(lengths), enforce_sorted=False)

def results(layer, x, hx, beside, lengths):
    x, hx = x.clone().requires_grad_(), [h.clone().requires_grad_() for h in hx]
    more = {name: laid_out(value, lengths) for name, value in beside.items()}
    output, states = layer(laid_out(x, lengths), tuple(hx) if len(hx) > 1 else hx[0], **more)
    output = output if lengths is None else output.data
    states = [states] if isinstance(states, torch.Tensor) else list(states)
    generator = torch.Generator().manual_seed(7)
    loss = sum((v * torch.randn(v.shape, generator=generator).to(v)).sum() for v in (output, *states))
    weights = list(layer.parameters())
    gradients = torch.autograd.grad(loss, (x, *hx, *weights), allow_unused=True)
    names = ["output", *(f"state {k}" for k in range(len(hx))), "d_x", *(f"d_state {k}" for k in range(len(hx)))]
    values = [output, *states, *(torch.zeros_like(w) if g is None else g for g, w in zip(gradients, (x, *hx, *weights)))]
    return dict(zip([*names, *(f"d_{name}" for name, _ in layer.named_parameters())], values, strict=True))

worst = {}
for name, options in json.loads(pathlib.Path(folder, "cases.json").read_text()).items():
    package = importlib.import_module(name)
    torch.manual_seed(3)
    fast = package.Recurrent(**options)
    plain = package.plain.Recurrent(**options)
    plain.load_state_dict(fast.state_dict())
    plain.double()
    rows = fast.num_layers * fast.directions
    x, program = torch.randn(6, 3, fast.input_size), package.fast.native_kernel().program
    widths = getattr(fast, "state_sizes", [fast.hidden_size] * len(program.states))
    hx = [torch.rand(rows, 3, width) * 0.5 for width in widths]
    beside = {"dt": torch.rand(6, 3) + 0.2, "mask": (torch.rand(x.shape) > 0.3).float()}
    beside = {name: value for name, value in beside.items() if name in dict(program.inputs)}
    if pathlib.Path(package.__file__).with_name("program_with_resets.json").exists():
        beside["reset"] = torch.rand(6, 3) > 0.7
    for lengths in (None, [4, 6, 1]):
        got = results(fast, x, hx, beside, lengths)
        exact = {name: value.double() for name, value in beside.items()}
        for key, expected in results(plain, x.double(), [h.double() for h in hx], exact, lengths).items():
            found = got[key]
            assert found.dtype == torch.float32 and found.shape == expected.shape, (name, key)
            error = float((found.double() - expected).detach().abs().max() / expected.detach().abs().max().clamp(min=1e-3))
            worst[name] = max(worst.get(name, 0.0), error if error == error else float("inf"))
assert not [m for m in sys.modules if m.startswith("cellsearch.")]
print(json.dumps(worst))
"""


def write(folder: Path, name: str, genome: Genome, **options: Any) -> None:
    for path, data in to_package(genome, **options).items():
        target = folder / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def compare(folder: Path, cases: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The largest relative error of each package in the folder."""
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    command = [sys.executable, "-I", "-W", "error", "-c", RUNNER, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    errors: dict[str, float] = json.loads(done.stdout)
    assert errors.keys() == cases.keys()
    return errors


def sizes(genome: Genome, **options: int) -> dict[str, int]:
    from cellsearch.genome.parameters import requires_square

    return {"input_size": 7 if requires_square(genome) else 5, "hidden_size": 7, **options}


def test_the_fast_class_equals_the_plain_one(tmp_path: Path) -> None:
    """Outputs, final states, gradients; with all positions, and with sequences of various
    lengths.
    """
    cases = {}
    for name in ("lstm_ln", "sru"):
        write(tmp_path, name, zoo.load(name))
        cases[name] = sizes(zoo.load(name))
    write(tmp_path, "stacked", zoo.load("gru"))
    cases["stacked"] = sizes(zoo.load("gru"), num_layers=2, bidirectional=True)
    errors = compare(tmp_path, cases)
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.slow
def test_a_share_of_the_zoo_is_fast_and_equal(tmp_path: Path) -> None:
    names = cells_of_x()[
        ::5
    ]  # the runtime is the one that the backend's own tests try with all of them
    for name in names:
        write(tmp_path, f"cell_{name}", zoo.load(name))
    errors = compare(tmp_path, {f"cell_{name}": sizes(zoo.load(name)) for name in names})
    assert max(errors.values()) < 1e-4, errors
    assert sorted(errors.values())[len(errors) // 2] < 2e-6, errors


def test_the_comparison_finds_another_function(tmp_path: Path) -> None:
    write(tmp_path, "right", zoo.load("gru"))
    write(tmp_path, "wrong", zoo.load("gru"))
    path = tmp_path / "wrong" / "program.json"
    assert '"tanh"' in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace('"tanh"', '"sin"'), "utf-8")
    errors = compare(tmp_path, {name: sizes(zoo.load("gru")) for name in ("right", "wrong")})
    assert errors["right"] < 1e-5
    assert errors["wrong"] > 1e-3


LIMITS = """
import sys
sys.modules["cellsearch"] = None
sys.path.insert(0, sys.argv[1])
import torch, cell
plain = cell.plain.Recurrent(4, 8)
x = torch.randn(5, 2, 4)
if len(sys.argv) > 2:
    try:
        cell.Recurrent(4, 8)
    except RuntimeError as error:
        assert "no C compiler" in str(error) and "plain.Recurrent" in str(error), error
    else:
        raise SystemExit("no error")
    plain(x)[0].sum().backward()
    raise SystemExit(0)
fast = cell.Recurrent(4, 8)
fast.load_state_dict(plain.state_dict())
for dtype in (torch.float64, torch.bfloat16):  # not what the runtime computes in
    assert torch.equal(fast.to(dtype)(x.to(dtype))[0], plain.to(dtype)(x.to(dtype))[0])
    plain.float(), fast.float().load_state_dict(plain.state_dict())
given = x.clone().requires_grad_()
try:
    torch.autograd.grad(fast(given)[0].sum(), given, create_graph=True)
except RuntimeError as error:
    assert "first derivatives" in str(error), error
else:
    raise SystemExit("a second derivative was promised")
assert fast(x[:, :0])[0].shape == (5, 0, 8)
optimizer = torch.optim.Adam(fast.parameters(), 1e-2)
losses = []
for _ in range(30):
    loss = (fast(x)[0] - 0.3).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < 0.5 * losses[0], losses
"""


def alone(folder: Path, *arguments: str, **environment: str) -> None:
    command = [sys.executable, "-I", "-W", "error", "-c", LIMITS, str(folder), *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_it_trains_and_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    write(tmp_path, "cell", zoo.load("lstm"))
    alone(tmp_path)


def test_without_a_compiler_it_says_so_and_the_plain_class_is_there(tmp_path: Path) -> None:
    write(tmp_path, "cell", zoo.load("lstm"))
    (tmp_path / "empty").mkdir()
    for library in tmp_path.rglob("*.so"):  # where this installation came with a built runtime
        library.unlink()
    alone(
        tmp_path,
        "no compiler",
        PATH=str(tmp_path / "empty"),
        CC="",
        CELLSEARCH_CACHE=str(tmp_path / "cache"),
    )
    assert not (tmp_path / "cache").exists()


def test_the_program_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "survivor", zoo.load("gru"))
    monkeypatch.syspath_prepend(tmp_path)
    from importlib import import_module

    read_program = import_module("survivor.fast").read_program
    for name in plain_cells():
        text = program_to_json(simplify_program(lower(zoo.load(name))))
        path = tmp_path / f"{name}.json"
        path.write_text(text, "utf-8")
        assert program_to_json(read_program(path)) == text
        instruction, *rest = json.loads(text)["instructions"]
        path.write_text(
            json.dumps({**json.loads(text), "instructions": [["launch", *instruction[1:]], *rest]}),
            "utf-8",
        )
        with pytest.raises(ValueError, match="launch"):
            read_program(path)
        path.write_text(json.dumps({**json.loads(text), "format": 99}), "utf-8")
        with pytest.raises(ValueError, match="format 99"):
            read_program(path)
    for module in [module for module in sys.modules if module.startswith("survivor")]:
        monkeypatch.delitem(sys.modules, module)


def test_it_imports_torch_and_numpy_only(tmp_path: Path) -> None:
    contents = to_package(zoo.load("lstm"), weights="weights.pt", input_size=3, hidden_size=4)
    assert list(contents)[-1] == "__init__.py"
    assert {
        "plain.py",
        "fast.py",
        "program.json",
        "runtime/compiler/backends/native/src/runtime.c",
    } <= contents.keys()
    used = set()
    for path, data in contents.items():
        if path.endswith(".py"):
            for node in ast.walk(ast.parse(data)):
                if isinstance(node, ast.Import):
                    used |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    used.add(str(node.module).partition(".")[0])
    foreign = used - set(sys.stdlib_module_names) - {"torch", "numpy"}
    assert foreign <= {"networkx"}, "networkx: in a method of the genome that is not called here"
    assert "cellsearch.compiler.backends.native.kernel" in runtime_modules()
    assert len(runtime_modules()) < 38, "the copied part should stay small"
    assert sum(map(len, contents.values())) < 600_000


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {}),
        ("gru_dh", {}),
        ("lstmp", {"resets": True}),
        ("mingru", {"project_input": True}),
    ],
)
def test_ruff_is_content(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, "cell", zoo.load(name), **options)
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
        paths = [str(tmp_path / "cell" / name) for name in ("__init__.py", "fast.py", "plain.py")]
        done = subprocess.run(
            [ruff, *arguments, "--no-cache", *paths], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
