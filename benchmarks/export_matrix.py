"""Every form of export beside the reference, for cells of all kinds: equal, or refused, and why.

Usage: python benchmarks/export_matrix.py [--zoo N] [--random N] [--forms NAME ...] [--hidden H]

Cells: LSTM, GRU, N published ones spread over the zoo, N drawn from the shipped search spaces.
Options: one layer, two layers, both directions, each with I = H. A model has scaled inputs, the
layers and a readout; its weights are as initialised. source and package are run beside the
reference, model beside the model's own predictions, C by its test program (gcc needed); onnx and
torch-export are run and compared by their exporters. Prints, for each form and option, how many are
equal, refused and different, the median size of what is written, and the sentences of refusals.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from cellsearch import Genome, SearchSpace, tasks, zoo
from cellsearch.errors import CellsearchError
from cellsearch.export.c import export_c
from cellsearch.export.whole import WholeModel, whole_of
from cellsearch.export.write import export_cell
from cellsearch.genome.parameters import requires_square
from cellsearch.job import Training
from cellsearch.tasks.heads import SequenceModel
from cellsearch.training.model import cell_factory

SPACES = Path(__file__).parents[1] / "search_spaces"
OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
}


@dataclass
class Case:
    """A model to export, and where to."""

    model: SequenceModel
    whole: WholeModel
    data: np.ndarray[Any, Any]
    folder: Path

    @property
    def given(self) -> dict[str, Any]:
        """Weights and sizes of the layer."""
        weights = {k: torch.from_numpy(v) for k, v in self.whole.cell_weights.items()}
        return {"weights": weights, "sizes": self.whole.sizes}


def cells(published: int, drawn: int) -> dict[str, Genome]:
    """The cells by name."""
    names = [name for name in zoo.names() if name not in ("lstm", "gru")]
    chosen = ["lstm", "gru", *names[:: max(1, len(names) // published)][:published]]
    found = {name: zoo.load(name) for name in chosen}
    spaces = [SearchSpace.from_toml(p.read_text("utf-8")) for p in sorted(SPACES.glob("*.toml"))]
    rng = np.random.default_rng(0)
    for k in range(drawn):
        found[f"drawn {k}"] = spaces[k % len(spaces)].sample(rng)
    return found


def case(genome: Genome, hidden: int, options: dict[str, Any], folder: Path) -> Case:
    """A model of measured values around the cell."""
    rng = np.random.default_rng(0)
    x = rng.normal(5, 2, (40, 6, hidden))
    data = tasks.from_arrays(x, x[:, -1, :2] * 3 + 10, kind="regression")
    task = data.create()
    torch.manual_seed(0)
    model = task.model(cell_factory(genome, Training(hidden_size=hidden, **options)))
    assert isinstance(model, SequenceModel)
    model.described = task.interface()
    return Case(model.eval(), whole_of(model), x[:5], folder)


def loaded(path: Path, name: str) -> Any:
    """A Python file or package, imported."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def same(found: Any, expected: Any) -> None:
    """Raise :class:`AssertionError` for results that differ by more than 1e-5."""
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-5)


def run_layer(module: Any, given: Case) -> None:
    """An exported class beside the layer, by the reference."""
    layer = module.Recurrent(**given.whole.sizes)
    layer.load_state_dict(given.given["weights"])
    x = torch.randn(4, 3, given.whole.input_size, generator=torch.Generator().manual_seed(0))
    assert given.model.cell.backend == "reference"
    with torch.no_grad():
        (output, final), (expected, state) = layer(x), given.model.cell(x)
    same(output, expected)
    pairs = zip(final, state, strict=True) if isinstance(state, tuple) else [(final, state)]
    for one, other in pairs:
        same(one, other)


def source(given: Case) -> None:
    path = given.folder / "source.py"
    export_cell(given.whole.genome, path, "source", **given.given)
    run_layer(loaded(path, "matrix_source"), given)


def package(given: Case) -> None:
    path = given.folder / "matrix_package"
    export_cell(given.whole.genome, path, "package", **given.given)
    sys.path.insert(0, str(given.folder))
    try:
        for name in [n for n in sys.modules if n.partition(".")[0] == path.name]:
            del sys.modules[name]
        run_layer(importlib.import_module(path.name), given)
    finally:
        sys.path.remove(str(given.folder))


def model(given: Case) -> None:
    path = given.folder / "model.py"
    export_cell(given.whole.genome, path, "model", whole=given.whole, **given.given)
    module = loaded(path, "matrix_model")
    same(module.load().predict(list(given.data)), given.model.predict(list(given.data)))


def written(form: Any, name: str, **options: Any) -> Callable[[Case], None]:
    """A form whose exporter compares what it wrote."""

    def write(given: Case) -> None:
        whole = {"whole": given.whole} if options.get("head") else {}
        rest = {key: value for key, value in options.items() if key != "head"}
        export_cell(given.whole.genome, given.folder / name, form, **given.given, **whole, **rest)

    return write


def c(**options: Any) -> Callable[[Case], None]:
    """C, compiled; its test program compares with torch."""

    def write(given: Case) -> None:
        done = export_c(given.whole, given.folder / "model.c", **options)
        program = given.folder / "program"
        subprocess.run(
            ["gcc", "-std=c99", "-O1", done.path, done.test, "-o", program, "-lm"], check=True
        )
        replayed = subprocess.run([program], capture_output=True, text=True, check=False)
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr

    return write


FORMS: dict[str, Callable[[Case], None]] = {
    "source": source,
    "package": package,
    "model": model,
    "onnx": written("onnx", "layer.onnx"),
    "onnx --step": written("onnx", "step.onnx", step=True),
    "onnx --with-head": written("onnx", "model.onnx", head=True),
    "torch-export": written("torch-export", "layer.pt2"),
    "torch-export --step": written("torch-export", "step.pt2", step=True),
    "torch-export --with-head": written("torch-export", "model.pt2", head=True),
    "c": c(),
    "c --precision int8": c(precision="int8"),
}


def size(folder: Path) -> int:
    """Bytes of what was written, but for cards, caches and what was compiled."""
    files = [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return sum(p.stat().st_size for p in files if p.suffix != ".md" and p.name != "program")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--zoo", type=int, default=20)
    parser.add_argument("--random", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known, refusals, different = cells(options.zoo, options.random), Counter[str](), 0
    print(f"{len(known)} cells: {', '.join(known)}\n")
    print("| form | option | equal | refused | different | bytes (median) |")
    print("|---|---|---|---|---|---|")
    for form in options.forms:
        for name, chosen in OPTIONS.items():
            counts, sizes = Counter[str](), []
            for label, genome in known.items():
                training = {"backend": "reference", **chosen}
                if requires_square(genome) and name == "both directions":
                    training["num_layers"] = 1
                with tempfile.TemporaryDirectory() as folder:
                    given = case(genome, options.hidden, training, Path(folder))
                    try:
                        FORMS[form](given)
                        counts["equal"] += 1
                        sizes.append(size(Path(folder)))
                    except CellsearchError as error:
                        counts["refused"] += 1
                        refusals[f"{form}: {error.message}"] += 1
                    except AssertionError as error:
                        counts["different"] += 1
                        print(f"{form}, {name}, {label}: {str(error)[:300]}", file=sys.stderr)
            different += counts["different"]
            middle = f"{median(sizes):,.0f}" if sizes else ""
            print(
                f"| {form} | {name} | {counts['equal']} | {counts['refused']} | "
                f"{counts['different']} | {middle} |",
                flush=True,
            )
    for sentence, count in refusals.most_common():
        print(f"{count} refused: {sentence}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
