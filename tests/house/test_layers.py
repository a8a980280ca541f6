"""Imports point down only, those inside functions and under TYPE_CHECKING included; only one file
imports ray.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import cellsearch

PACKAGE = Path(cellsearch.__file__).parent

# Lower layers know nothing of higher ones; parts of layers 4 and 5 do not know one another either.
LAYERS = {
    "errors": 0,
    "ops": 1,
    "options": 1,
    "files": 1,
    "genome": 2,
    "space": 3,
    "zoo": 3,
    "trial": 3,
    "job": 3,
    "settings": 3,
    "strategies": 4,
    "schedules": 4,
    "compiler": 4,
    "tasks": 4,
    "training": 5,
    "store": 5,
    "export": 5,
    "diagnostics": 5,
    "streaming": 5,
    "reporting": 5,
    "simulation": 5,
    "executors": 6,
    "experiment": 6,
    "search": 7,
    "finals": 7,
    "runs": 8,
    "cli": 9,
    "testing": 10,
}
STRANGERS = (4, 5)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[str, int]]:
    """Full names of everything that is imported anywhere in a file, with lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                keep = len(parents) - node.level + (1 if is_package else 0)
                base = ".".join([*parents[:keep], *([base] if base else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno


def part_of(name: str) -> str | None:
    """``cellsearch.genome.graph.Node`` -> ``genome``; ``None`` for what is not ours, or the package
    itself.
    """
    pieces = name.split(".")
    part = pieces[1] if pieces[0] == "cellsearch" and len(pieces) > 1 else ""
    return part if part in LAYERS else None


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    here = part_of(f"{module}._")
    found = []
    for name, line in imports(ast.parse(source), module, is_package=is_package):
        there = part_of(name)
        if here is None or there is None or there == here:
            continue
        if LAYERS[there] > LAYERS[here]:
            found.append(
                f"{module}:{line} (layer {LAYERS[here]}) imports {name} (layer {LAYERS[there]})"
            )
        elif LAYERS[there] == LAYERS[here] and LAYERS[here] in STRANGERS:
            found.append(
                f"{module}:{line} imports {name}: {here} and {there} do not know one another"
            )
    return found


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_part_has_a_layer() -> None:
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files()} - {
        "__init__",
        "__main__",
    }
    without = parts - set(LAYERS)
    assert not without, f"give these a layer: {without}"


def test_imports_point_down() -> None:
    found = []
    for path in files():
        if path.name not in ("__init__.py", "__main__.py") or path.parent != PACKAGE:
            found += violations(
                module_name(path), path.read_text("utf-8"), is_package=path.name == "__init__.py"
            )
    assert not found, "\n".join(found)


def test_only_the_ray_executor_imports_ray() -> None:
    users = []
    for path in files():
        names = [
            name.split(".")[0]
            for name, _ in imports(
                ast.parse(path.read_text("utf-8")), module_name(path), is_package=False
            )
        ]
        if "ray" in names:
            users.append(str(path.relative_to(PACKAGE)))
    assert users == ["executors/ray.py", "executors/ray_cluster.py"]


def test_the_check_sees_imports_in_functions_relative_ones_and_strangers() -> None:
    upwards = "def f():\n    from cellsearch.search import Search\n"
    assert violations("cellsearch.genome.graph", upwards) == [
        "cellsearch.genome.graph:2 (layer 2) imports cellsearch.search.Search (layer 7)"
    ]
    assert violations("cellsearch.genome.graph", "from .. import cli\n")
    assert violations("cellsearch.tasks.copy", "import cellsearch.compiler.module\n")
    assert not violations(
        "cellsearch.search.loop",
        "from cellsearch.genome.graph import Genome\nfrom cellsearch.search.events import Event\n",
    )
