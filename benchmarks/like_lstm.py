"""Where a torch.nn.LSTM can stand: each check with torch.nn.LSTM, and with the same weights in the
compiled layer (each backend), the exported source and the package.

    python benchmarks/like_lstm.py [--only WORD] [--why]

``ok``: the same values, dtypes and shapes, or an error of the same type. ``more``: it works where
torch.nn.LSTM does not. ``sentence``: refused with an error of this project, which says what can be
done. ``FAIL``: anything else; then the exit status is 1. The checks stand in
``like_lstm_calls.py`` and
``like_lstm_uses.py`` beside this file.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cellsearch import compile_cell, zoo
from cellsearch.compiler import backends
from cellsearch.compiler.torch_rnn import load_torch_lstm
from cellsearch.errors import CellsearchError
from cellsearch.export.package import to_package

sys.path.insert(0, str(Path(__file__).parent))
import like_lstm_uses  # noqa: F401 fills the table
from like_lstm_calls import CHECKS, Check

FORMS = ("auto", "native", "aten", "reference", "source", "package")
PACKAGE = "like_lstm_package"
_OUR_WORDS = re.compile(
    r"plain\.Recurrent|plain class|fixed here|True or False|backend="
    r"|it is (a|1)|does not match (weight|input)"
)
"""What a refusal of an exported file says; it has no class of errors of its own."""


def write_package(folder: Path) -> Any:
    """The exported package as a module; its ``plain`` is the exported source."""
    for path, data in to_package(zoo.load("lstm")).items():
        target = folder / PACKAGE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    sys.path.insert(0, str(folder))
    return importlib.import_module(PACKAGE)


def maker(form: str, exported: Any) -> Callable[..., nn.Module]:
    """What makes a layer of a form, called as ``torch.nn.LSTM(*sizes, **options)``; the weights
    are the same in every form.
    """

    def make(*sizes: int, **options: Any) -> nn.Module:
        sizes = sizes or (3, 4, 2)
        if form == "nn.LSTM":
            layer: nn.Module = nn.LSTM(*sizes, **options)
        elif form in ("source", "package"):
            home = exported.plain if form == "source" else exported
            layer = home.Recurrent(*sizes, **options)
        else:
            layer = compile_cell(zoo.load("lstm"), *sizes, backend=form, **options)
        if options.get("proj_size") or options.get("bias") is False:
            return layer
        shape = {"num_layers": layer.num_layers, "bidirectional": layer.bidirectional}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            theirs = nn.LSTM(layer.input_size, layer.hidden_size, **shape)
        same = theirs if form == "nn.LSTM" else load_torch_lstm(theirs)
        layer.load_state_dict(same.state_dict())
        return layer

    return make


def outcome(check: Check, make: Callable[..., nn.Module]) -> Any:
    """What a check gives: a value, or the error."""
    torch.manual_seed(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return check(make)
    except Exception as error:  # noqa: BLE001 any error is an outcome here
        return error


def same(a: Any, b: Any) -> bool:
    """Equal up to rounding, dtypes and shapes included."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.dtype != b.dtype or a.shape != b.shape or a.device != b.device:
            return False
        tolerance = {torch.bfloat16: 0.03, torch.float16: 0.004}.get(a.dtype, 2e-5)
        return a.is_meta or torch.allclose(a, b, atol=tolerance, rtol=tolerance)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


def verdict(got: Any, expected: Any) -> str:
    """The word of the table."""
    failed, should_fail = isinstance(got, Exception), isinstance(expected, Exception)
    if not failed:
        return "more" if should_fail else "ok" if same(got, expected) else "FAIL"
    if should_fail and isinstance(got, type(expected)):
        return "ok"
    words = "\n".join((str(got), *getattr(got, "__notes__", ())))
    ours = isinstance(got, CellsearchError) or _OUR_WORDS.search(words)
    return "sentence" if ours else "FAIL"


def row(check: Check, makers: dict[str, Callable[..., nn.Module]]) -> dict[str, tuple[str, Any]]:
    """Verdict and outcome of each form; ``nn.LSTM`` first."""
    expected = outcome(check, makers["nn.LSTM"])
    cells = {"nn.LSTM": ("fails" if isinstance(expected, Exception) else "ok", expected)}
    for form in FORMS:
        if form in makers:
            got = outcome(check, makers[form])
            cells[form] = (verdict(got, expected), got)
    return cells


def main() -> None:
    """Run the checks and print the matrix."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="checks whose name has this in it")
    parser.add_argument("--why", action="store_true", help="print what was not ok")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        exported = write_package(Path(folder))
        program = compile_cell(zoo.load("lstm"), 2, 2, backend="reference").program
        native = backends.get("native").supports(program, torch.device("cpu"), torch.float32).ok
        forms = [form for form in FORMS if native or form not in ("native", "package")]
        makers = {form: maker(form, exported) for form in ("nn.LSTM", *forms)}
        counts: dict[str, int] = {}
        print("| check |", " | ".join(makers), "|")
        print("|---|" + "---|" * len(makers))
        for name, check in CHECKS.items():
            if arguments.only not in name:
                continue
            cells = row(check, makers)
            print(f"| {name} |", " | ".join(word for word, _ in cells.values()), "|", flush=True)
            for form, (word, got) in cells.items():
                if form != "nn.LSTM":
                    counts[word] = counts.get(word, 0) + 1
                if arguments.why and word in ("FAIL", "sentence", "fails"):
                    text = " ".join(f"{type(got).__name__}: {got}".split())[:300]
                    print(f"    {form}: {text if isinstance(got, Exception) else got}")
    print(", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
    raise SystemExit(1 if counts.get("FAIL") else 0)


if __name__ == "__main__":
    main()
