"""Figures of the layout: what stands at the top, circles, layers' detours, names with two meanings.

``python scripts/house.py [FOLDER]``: of the package in this checkout, or of another checkout (for
before and after). With ``--trial`` also the modules that the evaluation of one trial enters, and
those of a whole ask, evaluate and tell.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

PACKAGE = "cellsearch"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LAYOUT = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.COMMENT,
    tokenize.ENDMARKER,
}
# One trial, traced: every module of the package in which a function of it runs.
_TRACE = """
import json, sys, tempfile, pathlib
root, rest = str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2:]
sys.path.insert(0, root)
import torch, cellsearch as cs
from cellsearch.executors.in_process import InProcess
experiment = cs.load_experiment("quickstart", {"task": "parity", "trials": 4, "baselines": [],
    "strategy": "random", "training.steps": 3, "training.hidden_size": 8, "workers": 0})
entered, active = set(), [False]
prefix = root + "/cellsearch/"
def trace(frame, event, argument):
    if active[0] and frame.f_code.co_filename.startswith(prefix) and frame.f_code.co_name[0] != "<":
        entered.add(frame.f_code.co_filename[len(prefix):])
with tempfile.TemporaryDirectory() as folder, cs.Search.open(folder + "/a", experiment) as search:
    with InProcess() as executor:
        ended = [0]
        def on_event(event):
            if type(event).__name__ == "TrialEnded":
                ended[0] += 1
                active[0] = ended[0] == 3  # the fourth trial, from its proposal to its outcome
        sys.setprofile(trace)
        search.run(executor, on_event)
        sys.setprofile(None)
print(json.dumps(sorted(entered)))
"""


def modules(root: Path) -> dict[str, Path]:
    """Every module of the package by its full name."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(here: str, tree: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that a file imports, anywhere in it, or names in a string (but for
    the package that it stands in, whose name is that of its group of entry points).
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            if name in known and here != name and not here.startswith(f"{name}."):
                yield name


def circles(trees: dict[str, ast.Module], known: dict[str, Path]) -> list[list[str]]:
    """Groups of modules that import one another, the largest first."""
    graph = nx.DiGraph()
    for name, tree in trees.items():
        if name == PACKAGE:  # its names are doors for users, loaded on first use
            continue
        graph.add_edges_from(
            (name, other)
            for other in imported(name, tree, known)
            if other in known and other != name
        )
    graph.remove_nodes_from([PACKAGE])
    found = [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]
    return sorted(found, key=len, reverse=True)


def imports_in_functions(tree: ast.Module) -> int:
    """Import statements that stand in functions."""
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, _FUNCTIONS)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    return len(inside)


def two_meanings(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Names of public classes that several modules define."""
    found = defaultdict(list)
    for name, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name)
    return {name: where for name, where in sorted(found.items()) if len(where) > 1}


def code_tokens(text: str) -> int:
    """Tokens without comments and layout: the size of a program whatever the width of its lines."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type not in _LAYOUT for token in tokens)


def traced(root: Path) -> list[str]:
    """The files that one trial enters: proposal, training, outcome."""
    command = [sys.executable, "-W", "ignore", "-c", _TRACE, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--trial", action="store_true", help="also trace one trial")
    options = parser.parse_args()
    root: Path = options.root
    known = modules(root)
    texts = {name: path.read_text("utf-8") for name, path in known.items()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    package = root / PACKAGE
    folders = [p for p in package.iterdir() if (p / "__init__.py").is_file()]
    lines = sum(text.count("\n") for text in texts.values())
    groups = circles(trees, known)
    functions = [
        node.end_lineno - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, _FUNCTIONS) and node.end_lineno
    ]
    rows: list[tuple[str, object]] = [
        ("Python files at the top", len(list(package.glob("*.py")))),
        ("folders at the top", len(folders)),
        ("files", len(known)),
        ("lines", lines),
        ("tokens of code", sum(code_tokens(text) for text in texts.values())),
        ("widest line", max(len(line) for text in texts.values() for line in text.split("\n"))),
        ("files over 400 lines", sum(text.count("\n") > 400 for text in texts.values())),
        ("functions over 60 lines", sum(length > 60 for length in functions)),
        ("import statements in functions", sum(map(imports_in_functions, trees.values()))),
        ("modules in circles", " + ".join(str(len(group)) for group in groups) or "none"),
        ("class names with two meanings", ", ".join(two_meanings(trees)) or "none"),
    ]
    if options.trial:
        rows.append(("modules that one trial enters", len(traced(root))))
    for label, value in rows:
        print(f"{label:32} {value}")
    for group in groups:
        print("circle:", ", ".join(group))


if __name__ == "__main__":
    main()
