"""A process that reads the corpus, under the audit hook, with every reader of each kind of file; it
prints what came of each as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: F401  (loaded before the hook watches)
from support.audit import seen, watch

import cellsearch as cs
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import CellsearchError
from cellsearch.export.weights import load_weights
from cellsearch.finals.table import FinalTable
from cellsearch.runs import open_run
from cellsearch.tasks.char_lm import CharLM
from cellsearch.tasks.data.npz import kind_of_file, read_npz
from cellsearch.training import checkpoint

Reader = Callable[[Path], object]


def command(*words: str) -> Reader:
    """The command with the file in the place of FILE; an internal error is one."""

    def call(path: Path) -> object:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = guarded(cli, [str(path) if word == "FILE" else word for word in words])
        said = out.getvalue() + err.getvalue()
        if code not in (0, 2, 3, 4, 5, 6, 7):
            raise AssertionError(f"{words[0]} ended with {code}: {said[-600:]}")
        if "\x1b" in said or "\u202e" in said:
            raise AssertionError(f"{words[0]} printed what drives a terminal")
        return code

    call.__name__ = " ".join(words)
    return call


def report(path: Path) -> object:
    """All that looking at a run from Python reads."""
    run = open_run(path)
    run.trials.to_rows()
    run.report()
    return run.best()


def task_of_text(path: Path) -> object:
    return CharLM.load({"text": str(path)})


def task_of_arrays(path: Path) -> object:
    return cs.tasks.get("arrays").load({"path": str(path)})


def kind(path: Path) -> object:
    return kind_of_file(path) if path.is_file() else None


_OUT = str(Path(sys.argv[1]).parent / "out") if len(sys.argv) > 1 else "out"
READERS: dict[str, tuple[Reader, ...]] = {
    ".cell": (
        command("show", "FILE"),
        command("diff", "lstm", "FILE"),
        command("show", "FILE", "--json"),
        command("export", "FILE", "--to", "source", "-o", f"{_OUT}/a.py", "--force"),
    ),
    ".json": (command("show", "FILE"), FinalTable.read),
    ".toml": (
        command("spaces", "FILE"),
        command("suites", "FILE"),
        command("search", "FILE", "--run", f"{_OUT}/run", "--executor", "in-process"),
        cs.load_experiment,
        cs.load_space,
    ),
    ".txt": (
        command("import", "FILE", "--from", "darts"),
        command("import", "FILE", "--from", "enas"),
        command("import", "FILE", "--from", "nas-bench-nlp"),
        task_of_text,
    ),
    ".npz": (read_npz, task_of_arrays, kind),
    ".pt": (load_weights,),
    ".safetensors": (load_weights, checkpoint.read),
    "": (
        command("ls", "FILE"),
        command("best", "FILE"),
        command("show", "FILE"),
        command("report", "FILE"),
        report,
    ),
}


def read(path: Path, reader: Reader) -> dict[str, Any]:
    """What came of it: nothing but an answer or a declared error is right."""
    begun, before, wrong = time.process_time(), len(seen), ""
    answer: object = None
    try:
        answer = reader(path)
    except CellsearchError as error:
        wrong = "" if str(error) else "an error without words"
    except BaseException as error:  # noqa: BLE001  (told, and refused by the test)
        wrong = f"{type(error).__name__}: {error!s:.400}"
    return {
        "file": path.name,
        "reader": getattr(reader, "__name__", str(reader)),
        "answered": answer is not None and (type(answer) is not int or answer == 0),
        "wrong": "; ".join([wrong, *seen[before:]]).strip("; "),
        "seconds": time.process_time() - begun,
    }


def main(folder: Path) -> None:
    """Read everything in the folder."""
    out = Path(_OUT)
    out.mkdir(exist_ok=True)
    for reader in (command("show", "lstm"), command("spaces", "lstm_gru")):
        reader(folder)  # what is loaded on first use is
    np.random.default_rng(0)
    watch([folder, out, Path(os.environ["CELLSEARCH_CACHE"])], programs=["cc", "gcc"])
    told = [
        read(path, reader)
        for path in sorted(folder.iterdir())
        for reader in READERS.get(path.suffix, ())
    ]
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
