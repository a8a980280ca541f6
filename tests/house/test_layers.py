"""The laws of the layout.

Imports point down only and never in a circle, those inside functions, under TYPE_CHECKING and
those that are strings (``"cellsearch.training:evaluate"``) included; nothing imports the command
line; only one executor imports ray; a public class name means one thing.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

import cellsearch

PACKAGE = Path(cellsearch.__file__).parent
DESIGN = PACKAGE.parent / "docs" / "design.md"

# Lower layers know nothing of higher ones; parts of layers 4 and 5 do not know one another either.
LAYERS = {
    "errors": 0,
    "ops": 1,
    "options": 1,
    "files": 1,
    "later": 1,
    "optimizer": 1,
    "plain": 1,
    "genome": 2,
    "space": 3,
    "zoo": 3,
    "history": 3,
    "trial": 3,
    "job": 3,
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
    "executors": 6,
    "experiment": 6,
    "search": 7,
    "finals": 7,
    "ablation": 7,
    "benchmark": 7,
    "runs": 8,
    "simulation": 8,
    "ui": 8,
    "tracking": 8,
    "cli": 9,
    "testing": 10,
}
STRANGERS = (4, 5)
# Not parts: the public names, which are loaded on first use, and the old names of modules.
DOORS = {"cellsearch", "cellsearch.__main__", "cellsearch._moved"}
# The only imports of something higher in their own folder: the members of Genome that are doors
# to what is computed from a graph, by imports inside functions, and the types that these return.
# They are promised names.
EXCEPTION = "cellsearch.genome.graph"
MOST_IN_FUNCTIONS = 60


@dataclass(frozen=True)
class Import:
    """``there`` is imported in line ``line`` of ``here``."""

    here: str
    line: int
    there: str
    in_function: bool
    for_types: bool = False
    """Under TYPE_CHECKING: it does not run."""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, str]:
    """Every module of the package, with its text."""
    return {module_name(path): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def imports(here: str, source: str, known: Mapping[str, str]) -> Iterator[Import]:
    """What a module imports, in whatever way; our own modules by the name of their file."""
    tree = ast.parse(source)
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    typing = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{here}:{node.lineno}: write the whole name"
            full = [(f"{node.module}.{alias.name}", node.module or "") for alias in node.names]
            names = [name if name in known else base for name, base in full]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            # The name of the package that it stands in is that of its group of entry points.
            own = here == name or here.startswith(f"{name}.")
            names = [name] if name in known and name not in DOORS and not own else []
        for name in dict.fromkeys(names):
            line: int = node.lineno  # type: ignore[attr-defined]
            yield Import(here, line, name, node in inside, node in typing)


def all_imports(texts: Mapping[str, str]) -> list[Import]:
    return [found for here, text in texts.items() for found in imports(here, text, texts)]


def part_of(module: str) -> str:
    """``cellsearch.genome.graph`` -> ``genome``; ``""`` for what is not part of the package."""
    pieces = module.split(".")
    return (
        pieces[1] if pieces[0] == "cellsearch" and len(pieces) > 1 and module not in DOORS else ""
    )


def violations(found: list[Import]) -> list[str]:
    """Imports that do not point down."""
    wrong = []
    for one in found:
        here, there = part_of(one.here), part_of(one.there)
        if not here or not there or here == there:
            continue
        place = f"{one.here}:{one.line} (layer {LAYERS[here]}) imports {one.there}"
        if LAYERS[there] > LAYERS[here]:
            wrong.append(f"{place} (layer {LAYERS[there]})")
        elif LAYERS[there] == LAYERS[here] and LAYERS[here] in STRANGERS:
            wrong.append(f"{place}: {here} and {there} do not know one another")
    return wrong


def circles(found: list[Import]) -> list[list[str]]:
    """Modules that import one another, but for the named exception."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for one in found:
        if one.here == EXCEPTION and (one.in_function or one.for_types):
            continue
        if part_of(one.here) and part_of(one.there) and one.here != one.there:
            graph.add_edge(one.here, one.there)
    return [sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1]


def test_every_part_has_a_layer_and_the_design_names_it() -> None:
    parts = {part_of(f"{module}.x" if "." not in module else module) for module in sources()} - {""}
    parts -= {"x", "__main__", "_moved"}
    assert parts == set(LAYERS), f"without a layer: {parts - set(LAYERS)}"
    block = re.search(r"## Layers.*?```\n(.*?)```", DESIGN.read_text("utf-8"), re.DOTALL)
    assert block is not None
    named: dict[str, int] = {}
    for number, names in re.findall(r"^(\d+) +(.*)$", block[1], re.MULTILINE):
        named |= dict.fromkeys(re.findall(r"\w+", re.sub(r"\(.*?\)", "", names)), int(number))
    assert named == LAYERS


def test_imports_point_down() -> None:
    wrong = violations(all_imports(sources()))
    assert not wrong, "\n".join(wrong)


def test_there_are_no_circles() -> None:
    found = circles(all_imports(sources()))
    assert not found, "\n".join(map(" <-> ".join, found))


def test_the_exception_is_needed_and_the_only_one() -> None:
    doors = {
        one.there for one in all_imports(sources()) if one.here == EXCEPTION and one.in_function
    }
    assert doors
    assert all(part_of(door) == "genome" for door in doors)


def test_nothing_imports_the_command_line() -> None:
    users = {one.here for one in all_imports(sources()) if part_of(one.there) == "cli"}
    assert {part_of(user) for user in users} <= {"cli", ""}
    assert users & DOORS == {"cellsearch.__main__"}


def test_imports_in_functions_are_few() -> None:
    inside = [one for one in all_imports(sources()) if one.in_function and "." in one.there]
    lines = {(one.here, one.line) for one in inside}
    assert len(lines) <= MOST_IN_FUNCTIONS, "\n".join(
        f"{here}:{line}" for here, line in sorted(lines)
    )


def test_only_the_ray_executors_import_ray() -> None:
    users = {one.here for one in all_imports(sources()) if one.there.split(".")[0] == "ray"}
    assert users == {f"cellsearch.executors.{name}" for name in ("ray", "ray_cluster", "ray_own")}


def class_names(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Public classes, each with the modules that define one of this name."""
    found = defaultdict(list)
    for module, text in texts.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    return found


def test_a_class_name_means_one_thing() -> None:
    several = {name: where for name, where in class_names(sources()).items() if len(where) > 1}
    assert not several


def test_the_checks_see_what_they_forbid() -> None:
    texts = {
        "cellsearch": "",
        "cellsearch.genome.graph": "def f():\n    from cellsearch.search import Search\n",
        "cellsearch.genome.text": "from cellsearch.genome import json\n",
        "cellsearch.genome.json": "if TYPE_CHECKING:\n    import cellsearch.genome.text\n",
        "cellsearch.tasks.copy": "import cellsearch.compiler.module\n",
        "cellsearch.compiler.module": "class Job: ...\n",
        "cellsearch.search": "TRAIN = 'cellsearch.cli:main'\n",
        "cellsearch.cli": "class Job: ...\n",
    }
    found = all_imports(texts)
    assert [line.partition(" imports ")[2] for line in violations(found)] == [
        "cellsearch.search (layer 7)",
        "cellsearch.compiler.module: tasks and compiler do not know one another",
        "cellsearch.cli (layer 9)",
    ]
    assert circles(found) == [["cellsearch.genome.json", "cellsearch.genome.text"]]
    assert class_names(texts)["Job"] == ["cellsearch.compiler.module", "cellsearch.cli"]
