"""A cell as a Python package that is fast without cellsearch: the plain file, and the native
runtime with the cell's program.

The package holds

* ``plain.py``: what :func:`cellsearch.export.source.to_source` writes; it is the law, and needs
  torch only;
* ``fast.py``: the same class, which runs whole sequences, forward and backward, by the native
  runtime;
* ``program.json``: one step of the cell as instructions, from which schedules and bytecode are made
  for the sizes at hand; ``program_with_resets.json``, where the layer takes resets: the same, told
  where states start afresh;
* ``runtime/``: copies of the files of this project that do that, with their folders: the native
  kernel, its build, and what these import when they are loaded (:func:`runtime_modules`), with
  imports made relative, so that the package may have any name and lie in another one; the C
  sources; and the built library, where this installation came with one. Apart from torch they need
  numpy.
"""

from __future__ import annotations

import ast
import json
import re
from importlib.resources import files
from pathlib import Path

import torch

import cellsearch
from cellsearch.compiler.backends.native import build
from cellsearch.compiler.backends.native.blocks import dense_form
from cellsearch.compiler.backends.native.instructions import missing_instruction
from cellsearch.compiler.given import with_resets
from cellsearch.compiler.lower import lower
from cellsearch.compiler.program import Program
from cellsearch.compiler.simplify import simplify_program
from cellsearch.errors import BackendError, checked_arguments
from cellsearch.export.beside import fast_fields
from cellsearch.export.sized import Named
from cellsearch.export.source import to_source
from cellsearch.genome.graph import Genome

__all__ = ["FORMAT", "program_to_json", "runtime_modules", "to_package"]

FORMAT = 2
_ROOT = Path(cellsearch.__file__).parent
_KERNEL = "cellsearch.compiler.backends.native.kernel"
_FUNCTIONS = "cellsearch.compiler.backends.functions"
"""Imported inside a function that the kernel may call: where an op has numbers alone."""


@checked_arguments
def to_package(
    genome: Genome,
    *,
    class_name: str = "Recurrent",
    input_size: int | None = None,
    hidden_size: int | None = None,
    num_layers: int = 1,
    bidirectional: bool = False,
    doc: str = "",
    weights: str = "",
    sizes: Named | None = None,
    resets: bool = False,
    project_input: bool = False,
) -> dict[str, bytes]:
    """The files of the package by their paths in it, ``__init__.py`` last; arguments and errors as
    of :func:`to_source`.

    Raises :class:`BackendError` for a cell that the native runtime cannot run.
    """
    program = simplify_program(lower(genome))
    missing = missing_instruction(dense_form(program))
    if missing:
        hint = "export it to source instead"
        raise BackendError(f"the native runtime cannot run this cell: {missing}", hint=hint)
    plain = to_source(
        genome,
        class_name=class_name,
        input_size=input_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        bidirectional=bidirectional,
        doc=doc,
        weights=weights,
        sizes=sizes,
        resets=resets,
        project_input=project_input,
    )
    fields = {
        "CLASS": class_name,
        "FORMAT": str(FORMAT),
        **fast_fields(genome, resets=resets),
    }
    template = (files(__name__.rpartition(".")[0]) / "fast.py.txt").read_text(encoding="utf-8")
    fast = re.sub(r"@([A-Z_]+)@", lambda match: fields[match[1]], template)
    contents = {f"runtime/{path}": data for path, data in _runtime().items()}
    contents |= {
        "plain.py": plain.encode(),
        "fast.py": fast.encode(),
        "program.json": program_to_json(program).encode(),
        **_with_resets(genome, program, resets=resets),
        "__init__.py": _init(
            class_name, weights, sized=hidden_size is not None and input_size is not None
        ).encode(),
    }
    return contents


def _with_resets(genome: Genome, program: Program, *, resets: bool) -> dict[str, bytes]:
    """The program that is told where states start afresh, where the layer takes that."""
    if genome.inputs == ("x",) and not resets:
        return {}
    resetting = with_resets(program, len(genome.states), torch.float32)
    return {"program_with_resets.json": program_to_json(resetting).encode()}


def program_to_json(program: Program) -> str:
    """A program as JSON; numbers keep all their bits."""
    document = {
        "format": FORMAT,
        "inputs": program.inputs,
        "states": [(state.name, state.initial) for state in program.states],
        "instructions": [(i.op, i.inputs, i.parameter, i.value) for i in program.instructions],
        "next_states": program.next_states,
        "outputs": program.outputs,
        "parameters": program.parameters,
        "carried": program.carried,
    }
    return json.dumps(document, indent=1) + "\n"


def runtime_modules() -> tuple[str, ...]:
    """Names of the modules that are copied: the native kernel, what it imports when it is
    loaded, and what folds constants.
    """
    found: set[str] = set()
    waiting = [_KERNEL, _FUNCTIONS]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += [name for _, names in _imports(module, when_loaded=True) for name in names]
    return tuple(sorted(found))


def _runtime() -> dict[str, bytes]:
    """The files of the runtime by their paths in its folder."""
    header = (
        f'"""Parts of cellsearch {cellsearch.__version__} (licence: Apache-2.0), copied so '
        f'that a cell runs without it."""\n'
    )
    contents = {"__init__.py": header.encode()}
    for module in runtime_modules():
        path = _file(module).relative_to(_ROOT)
        for folder in path.parents:
            contents.setdefault(f"{folder}/__init__.py" if folder.name else "__init__.py", b"")
        contents[path.as_posix()] = _relative(module).encode()
    native = build.SOURCES.parent.relative_to(_ROOT).as_posix()
    for source in sorted(build.SOURCES.iterdir()):
        contents[f"{native}/{build.SOURCES.name}/{source.name}"] = source.read_bytes()
    if build.BUNDLED.exists():
        contents[f"{native}/{build.BUNDLED.parent.name}/{build.BUNDLED.name}"] = (
            build.BUNDLED.read_bytes()
        )
    return contents


def _file(module: str) -> Path:
    path = _ROOT.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(module: str, *, when_loaded: bool) -> list[tuple[ast.ImportFrom, list[str]]]:
    """The imports of this project's modules in a file, with the names of the modules;
    ``when_loaded``: only those that run at once.
    """
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    statements = tree.body if when_loaded else ast.walk(tree)
    found = []
    for node in statements:
        if (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and f"{node.module}.".startswith("cellsearch.")
        ):
            inner = [
                f"{node.module}.{alias.name}"
                for alias in node.names
                if _file(f"{node.module}.{alias.name}").exists()
            ]
            found.append(
                (node, inner if len(inner) == len(node.names) else [*inner, str(node.module)])
            )
    return found


def _relative(module: str) -> str:
    """The source of a module, its imports of other modules relative."""
    lines = _file(module).read_text(encoding="utf-8").splitlines(keepends=True)
    depth = len(_file(module).relative_to(_ROOT).parts)
    for node, _ in _imports(module, when_loaded=False):
        inside = str(node.module).partition(".")[2]
        lines[node.lineno - 1] = lines[node.lineno - 1].replace(
            f"from {node.module} import", f"from {'.' * depth}{inside} import", 1
        )
    return "".join(lines)


def _init(class_name: str, weights: str, *, sized: bool) -> str:
    lines = [
        f'"""A recurrent cell, exported by cellsearch {cellsearch.__version__}: '
        f"{class_name} is fast, plain.{class_name} is plain PyTorch.",
        "",
        "Both have the same arguments, weights and results; the fast one runs float32 "
        "on the CPU. `package` is this folder, by its name:",
    ]
    if weights:
        load = (
            "safetensors.torch.load_file(path)"
            if weights.endswith(".safetensors")
            else "torch.load(path, weights_only=True)"
        )
        lines += [
            "",
            f"    path = Path(package.__file__).with_name({json.dumps(weights)})",
            f"    layer = package.{class_name}()",
        ]
        lines += [f"    layer.load_state_dict({load})"]
    elif not sized:
        lines += ["", f"    layer = package.{class_name}(input_size=8, hidden_size=16)"]
    return "\n".join(
        [
            *lines,
            '"""',
            "",
            "from . import plain",
            f"from .fast import {class_name}",
            "",
            f'__all__ = ["{class_name}", "plain"]',
            "",
        ]
    )
