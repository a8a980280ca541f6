"""The exported file: runs where cellsearch cannot be imported, and computes what the reference
backend computes.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.cells import plain_cells

from cellsearch import Genome, zoo
from cellsearch.compiler import compile_cell
from cellsearch.errors import ConfigError, GenomeError
from cellsearch.export import save_weights, to_source
from cellsearch.testing.genomes import random_genome

# Runs alone: imports each exported file, loads the weights with strict=True, and writes down what
# it computes.
RUNNER = """
import importlib.util, json, sys
sys.modules["cellsearch"] = None
sys.path = [p for p in sys.path if "cellsearch" not in p]
import torch
from torch.nn.utils.rnn import pack_padded_sequence

folder = sys.argv[1]
try:
    import cellsearch
    raise SystemExit("cellsearch can be imported")
except ImportError:
    pass
for case in json.load(open(folder + "/cases.json")):
    name = case["name"]
    spec = importlib.util.spec_from_file_location(name, f"{folder}/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    layer = module.Recurrent(**case["options"]).double()
    weights = torch.load(f"{folder}/{name}.pt", weights_only=True)
    layer.load_state_dict(weights, strict=True)
    given = torch.load(f"{folder}/{name}_in.pt", weights_only=True)
    found = []
    def add(output, states):
        found.append(output.data)
        found.extend([states] if isinstance(states, torch.Tensor) else states)
    hx = given["hx"] if len(given["hx"]) > 1 else given["hx"][0]
    add(*layer(given["x"], hx))
    add(*layer(given["x"]))
    add(*layer(given["x"][:, 0]))
    add(*layer(pack_padded_sequence(given["x"], torch.tensor(case["lengths"]), enforce_sorted=False), hx))
    torch.save(found, f"{folder}/{name}_out.pt")
assert "ray" not in sys.modules
"""
LENGTHS = [3, 5, 1]


def flat(output, states):
    return [output.data, *([states] if isinstance(states, torch.Tensor) else states)]


def expected(module, x, hx):
    hx = hx[0] if len(hx) == 1 else tuple(hx)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(LENGTHS), enforce_sorted=False)
    with torch.no_grad():
        return [
            *flat(*module(x, hx)),
            *flat(*module(x)),
            *flat(*module(x[:, 0])),
            *flat(*module(packed, hx)),
        ]


def check_all(genomes: dict[str, Genome], folder: Path, **options) -> None:
    """Export all, run them in one process, compare."""
    cases, wanted = [], {}
    directions = 2 if options.get("bidirectional") else 1
    rows = options.get("num_layers", 1) * directions
    for k, (name, genome) in enumerate(genomes.items()):
        torch.manual_seed(k)
        sizes = {"input_size": 4, "hidden_size": 4}
        module = compile_cell(genome, **sizes, **options, backend="reference", dtype=torch.float64)
        x = torch.randn(5, 3, 4, dtype=torch.float64)
        hx = [torch.randn(rows, 3, 4, dtype=torch.float64) for _ in genome.states]
        (folder / f"{name}.py").write_text(to_source(genome, doc="From a test."), encoding="utf-8")
        save_weights(module.state_dict(), folder / f"{name}.pt")
        torch.save({"x": x, "hx": hx}, folder / f"{name}_in.pt")
        cases.append({"name": name, "options": {**sizes, **options}, "lengths": LENGTHS})
        wanted[name] = expected(module, x, hx)
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUNNER, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, values in wanted.items():
        got = torch.load(folder / f"{name}_out.pt", weights_only=True)
        assert len(got) == len(values)
        for a, b in zip(got, values, strict=True):
            assert a.shape == b.shape, name
            finite = b.isfinite() & (b.abs() < 1e6)
            assert torch.equal(a.isnan(), b.isnan()), name
            assert (a - b)[finite].abs().le(1e-6 * b[finite].abs().clamp(min=1.0)).all(), (
                f"{name}\n{genomes[name].to_text()}"
            )


def test_every_zoo_cell_equals_the_interpreter(tmp_path):
    check_all({name: zoo.load(name) for name in plain_cells()}, tmp_path)


def test_stacked_and_bidirectional(tmp_path):
    check_all(
        {name: zoo.load(name) for name in ("lstm", "gru")},
        tmp_path,
        num_layers=2,
        bidirectional=True,
    )


AWKWARD = """
torch = sigmoid(linear(x[t], h[t-1]))
training = tanh(linear(torch, 0.5))
half = layer_norm(2) + scale(3)
self = blend(torch * training, h[t-1], half)
l = 1 / 4 + sigmoid(0.5) + -2 * 3
states = max(self, 0.25) - (l - self) / (2 + torch * torch)
h[t] = tanh(linear(states, bias(), half) + diag(1))
"""


# torch divides by zero, Python does not
INFINITE = "a = 1 / 0\nh[t] = tanh(linear(x[t], h[t-1]) + min(a, 2) * 0)"


def test_random_and_awkward_cells_equal_the_interpreter(tmp_path):
    genomes = {
        f"cell{k}": random_genome(np.random.default_rng([11, k]), max_nodes=20) for k in range(60)
    }
    genomes = {
        name: genome
        for name, genome in genomes.items()
        if all(abs(n.value) < 1e3 for n in genome.nodes if n.op == "const")
    }
    assert len(genomes) > 40
    check_all(
        {**genomes, "awkward": Genome.from_text(AWKWARD), "infinite": Genome.from_text(INFINITE)},
        tmp_path,
    )


@pytest.mark.parametrize("name", ["lstm", "gru", "slstm", "nascell", "fastrnn"])
def test_ruff_is_content(name, tmp_path):
    path = tmp_path / "cell.py"
    path.write_text(
        to_source(
            zoo.load(name),
            input_size=8,
            hidden_size=16,
            doc='says "hello" \\ """',
            weights="cell.pt",
        ),
        encoding="utf-8",
    )
    ruff = [str(Path(sys.executable).with_name("ruff"))]
    for arguments in (
        [
            "check",
            "--isolated",
            "--select",
            "E,F,W,I,B,UP,D1,N,C4,SIM,RET,PIE",
            "--ignore",
            "N803,D107",
            "--line-length",
            "140",
        ],
        ["format", "--isolated", "--check", "--line-length", "140"],
    ):
        done = subprocess.run(
            [*ruff, *arguments, "--no-cache", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_imports_torch_only_and_says_what_it_is():
    source = to_source(
        zoo.load("lstm"),
        class_name="Best",
        input_size=8,
        hidden_size=16,
        num_layers=2,
        doc="Trial 7 of a run.",
        weights="best.pt",
    )
    tree = ast.parse(source)
    modules = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert {module.partition(".")[0] for module in modules} == {"torch"}
    doc = ast.get_docstring(tree)
    assert "Trial 7 of a run." in doc
    assert "c[t] = f * c[t-1] + i * g" in doc
    assert 'torch.load("best.pt", weights_only=True)' in doc
    assert (
        "i = torch.sigmoid(x @ self.i.weight_x.T + h @ self.i.weight_h.T + self.i.bias)" in source
    )
    assert "class BestCell(nn.Module)" in source


def test_hostile_text_stays_in_the_docstring():
    for text in (
        '"""\nimport os',
        "\\",
        '"',
        "a\x00b",
        '\\"""\nraise SystemExit',
        "\u2028import os\r\nx = 1",
        "@CELL@ @CLASS@",
    ):
        tree = ast.parse(to_source(zoo.load("gru"), doc=text, weights=text.replace("\n", " ")))
        assert [type(node).__name__ for node in tree.body[1:]] == [
            "Import",
            "ImportFrom",
            "ImportFrom",
            "ImportFrom",
            "Assign",
            "ClassDef",
            "ClassDef",
            "FunctionDef",
        ]


@pytest.mark.parametrize(
    "name", ["", "1x", "class", "a b", "Tensor", "x;import os", "_A", "nn", "Ünicode"]
)
def test_illegal_class_names_are_refused(name):
    with pytest.raises(ConfigError):
        to_source(zoo.load("gru"), class_name=name)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(GenomeError, match="without a linear"):
        to_source(zoo.load("intersection"), input_size=3, hidden_size=4)
