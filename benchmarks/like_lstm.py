"""Where a torch.nn.LSTM can stand: each check with torch.nn.LSTM, and with the same weights in the
compiled layer (each backend), the exported source and the package.

    python benchmarks/like_lstm.py [--only WORD] [--not WORD ...] [--why] [--cells all|PART]

``ok``: the same values, dtypes and shapes, or an error of the same type. ``more``: it works where
torch.nn.LSTM does not. ``sentence``: refused with an error of this project, which says what can be
done. ``FAIL``: anything else; then the exit status is 1. The checks stand in
``like_lstm_calls.py``, ``like_lstm_transforms.py`` and ``like_lstm_uses.py`` beside this file.

``--cells``: the same checks with one cell for each part of the wider language (times and masks,
resets, sizes, blocks, heads, rotations, delays, convolutions, input projections). What fails for
torch.nn.LSTM has to fail for these in the same way; values come from the plain layer in
``like_lstm_cells.py``, a step at a time. A form that a cell cannot have at all is named.
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
from cellsearch.genome.graph import Genome

sys.path.insert(0, str(Path(__file__).parent))
import like_lstm_uses  # noqa: F401 fills the table
from like_lstm_calls import CHECKS, Check
from like_lstm_cells import CASES, RefusedByLaw, law_maker, names, source_of

FORMS = ("auto", "native", "aten", "reference", "source", "package")
PACKAGE = "like_lstm_package"
_OUR_WORDS = re.compile(
    r"plain\.Recurrent|plain class|cannot read a layer that|fixed here|True or False|backend="
    r"|it is (a|1)|does not match (weight|input)"
)
"""What a refusal of an exported file says; it has no class of errors of its own."""
NOT_FOR_CELLS = ("jit.script",)
"""Checks that the hooks of ``like_lstm_cells.py`` forbid."""


def write_package(
    folder: Path, genome: Genome | None = None, name: str = PACKAGE, **options: Any
) -> Any:
    """The exported package of a cell (``lstm``), as a module; its ``plain`` is the source."""
    for path, data in to_package(genome or zoo.load("lstm"), **options).items():
        target = folder / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)


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
        return a.is_meta or torch.allclose(a, b, tolerance, tolerance, equal_nan=True)
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


def case_makers(part: str, folder: Path) -> tuple[dict[str, Callable[..., nn.Module]], list[str]]:
    """What makes the layers of a case by form, ``nn.LSTM`` and the plain ``law`` first; and a line
    for each form that its cell has not.
    """
    case, missing = CASES[part], []
    makers = {"nn.LSTM": maker("nn.LSTM", None), "law": law_maker(part)}
    for form in FORMS:
        if form in backends.names() or form == "auto":

            def build(*sizes: int, form: str = form, **options: Any) -> nn.Module:
                return compile_cell(case.genome(), *sizes, backend=form, **case.options, **options)
        elif form == "source":
            build = source_of(part).Recurrent
        else:
            try:
                name = f"{PACKAGE}_{list(CASES).index(part)}"
                build = write_package(folder, case.genome(), name, **case.exported).Recurrent
            except CellsearchError as error:
                missing.append(f"{form}: {error}")
                continue
        makers[form] = law_maker(part, build)
    return makers, missing


def case_row(
    check: Check, makers: dict[str, Callable[..., nn.Module]]
) -> dict[str, tuple[str, Any]]:
    """Verdict and outcome of each form of a case: errors as of torch.nn.LSTM, values as of the law,
    which has none only where it says so.
    """
    expected = outcome(check, makers["nn.LSTM"])
    cells = {"nn.LSTM": ("fails" if isinstance(expected, Exception) else "ok", expected)}
    if not isinstance(expected, Exception):
        expected = outcome(check, makers["law"])
        wrong = isinstance(expected, Exception) and not isinstance(expected, RefusedByLaw)
        cells["law"] = ("FAIL" if wrong else "ok", expected)
    for form in makers:
        if form not in ("nn.LSTM", "law"):
            got = outcome(check, makers[form])
            cells[form] = (verdict(got, expected), got)
    return cells


def row(check: Check, makers: dict[str, Callable[..., nn.Module]]) -> dict[str, tuple[str, Any]]:
    """Verdict and outcome of each form; ``nn.LSTM`` first."""
    expected = outcome(check, makers["nn.LSTM"])
    cells = {"nn.LSTM": ("fails" if isinstance(expected, Exception) else "ok", expected)}
    for form in FORMS:
        if form in makers:
            got = outcome(check, makers[form])
            cells[form] = (verdict(got, expected), got)
    return cells


def table(
    checks: dict[str, Check],
    forms: list[str],
    rows: Callable[[Check], dict[str, tuple[str, Any]]],
    *,
    why: bool,
    quiet: bool = False,
) -> dict[str, int]:
    """Run checks, print their rows, and count the verdicts of our forms; ``quiet`` prints rows with
    a FAIL only.
    """
    counts: dict[str, int] = {}
    if not quiet:
        print("| check |", " | ".join(forms), "|")
        print("|---|" + "---|" * len(forms))
    for name, check in checks.items():
        cells = rows(check)
        words = [cells[form][0] if form in cells else "" for form in forms]
        if not quiet or "FAIL" in words:
            print(f"| {name} |", " | ".join(words), "|", flush=True)
        for form, (word, got) in cells.items():
            if form != "nn.LSTM" and (form != "law" or word == "FAIL"):
                counts[word] = counts.get(word, 0) + 1
            if why and word in ("FAIL", "sentence", "fails") and (not quiet or word == "FAIL"):
                text = " ".join(f"{type(got).__name__}: {got}".split())[:300]
                print(f"    {form}: {text if isinstance(got, Exception) else got}")
    return counts


def of_cells(arguments: argparse.Namespace, checks: dict[str, Check], folder: Path) -> int:
    """The table of the cases: verdicts of all forms counted; rows that FAIL before it."""
    lines, failed = [], 0
    for part in names(arguments.cells):
        makers, missing = case_makers(part, folder)
        counts = table(
            checks,
            list(makers),
            lambda check, own=makers: case_row(check, own),
            why=arguments.why,
            quiet=True,
        )
        words = " | ".join(str(counts.get(word, 0)) for word in ("ok", "sentence", "more", "FAIL"))
        lines.append(f"| {part} | {CASES[part].what} | {len(makers) - 2} | {words} |")
        print(lines[-1], *(f"\n    no {line}" for line in missing), flush=True)
        failed += counts.get("FAIL", 0)
    print(f"\n{len(checks)} checks\n\n| part | cell | forms | ok | sentence | more | FAIL |")
    print("|---|---|---|---|---|---|---|", *lines, sep="\n")
    return failed


def main() -> None:
    """Run the checks and print the matrix."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="checks whose name has this in it")
    parser.add_argument(
        "--not", dest="without", nargs="*", default=[], help="leave out such checks"
    )
    parser.add_argument("--why", action="store_true", help="print what was not ok")
    parser.add_argument("--cells", default="", help="'all', or a word of a part of the language")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    checks = {
        name: check
        for name, check in CHECKS.items()
        if arguments.only in name and not any(word in name for word in arguments.without)
    }
    with tempfile.TemporaryDirectory() as folder:
        if arguments.cells:
            checks = {name: checks[name] for name in checks if name not in NOT_FOR_CELLS}
            raise SystemExit(1 if of_cells(arguments, checks, Path(folder)) else 0)
        exported = write_package(Path(folder))
        program = compile_cell(zoo.load("lstm"), 2, 2, backend="reference").program
        native = backends.get("native").supports(program, torch.device("cpu"), torch.float32).ok
        forms = [form for form in FORMS if native or form not in ("native", "package")]
        makers = {form: maker(form, exported) for form in ("nn.LSTM", *forms)}
        counts = table(checks, list(makers), lambda check: row(check, makers), why=arguments.why)
    print(", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
    raise SystemExit(1 if counts.get("FAIL") else 0)


if __name__ == "__main__":
    main()
