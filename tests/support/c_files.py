"""Exported C files: built with this machine's compilers, and called from Python."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cellsearch import Genome, compile_cell
from cellsearch.export.c.golden import golden, test_program
from cellsearch.export.c.header import header
from cellsearch.export.c.model import CModel
from cellsearch.export.c.source import source
from cellsearch.export.c.write import c_model

STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
SANITIZED = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def needs(program: str) -> str:
    """The program, or the test is skipped."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def layers(
    genome: Genome,
    *sizes: int,
    name: str = "model",
    seed: int = 0,
    named: Mapping[str, int | str] | None = None,
    **options: Any,
) -> CModel:
    """Untrained layers; sizes: I, H and, if not 1, how many; named: sizes by name."""
    torch.manual_seed(seed)
    module = compile_cell(genome, *sizes, sizes=named, backend="reference")
    given: dict[str, Any] = {"sizes": named}
    given |= zip(("input_size", "hidden_size", "num_layers"), sizes, strict=False)
    weights = {key: tensor.numpy() for key, tensor in module.state_dict().items()}
    return c_model(genome, Path(f"{name}.c"), weights=weights, sizes=given, **options)


def write(model: CModel, folder: Path, *, wrong: float = 0.0) -> list[str]:
    """Writes header, source and test program; returns the names of the sources. ``wrong`` is added
    to what the program expects.
    """
    expected = golden(model)
    expected.y[-1, -1] += wrong
    (folder / f"{model.file}.h").write_text(header(model), "utf-8")
    (folder / f"{model.file}.c").write_text(source(model), "utf-8")
    (folder / f"{model.file}_test.c").write_text(test_program(model, expected), "utf-8")
    return [f"{model.file}.c", f"{model.file}_test.c"]


def built(command: list[str], folder: Path) -> None:
    """Runs a compiler, which must have nothing to say."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:3000]}"
    assert not done.stderr, done.stderr[:3000]


def replayed(folder: Path, *command: str) -> tuple[int, str]:
    """Exit code and words of a test program."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def symbols(object_file: Path, nm: str = "nm") -> dict[str, int]:
    """The constant arrays of weights in an object file, with their sizes in bytes."""
    done = subprocess.run(
        [nm, "-S", str(object_file)], capture_output=True, text=True, check=True, timeout=60
    )
    found = re.findall(r"^\w+ (\w+) r ([ws]_\w+)$", done.stdout, flags=re.MULTILINE)
    return {name: int(size, 16) for size, name in found}


def taken(model: CModel, folder: Path) -> tuple[int, int]:
    """Bytes of the constant arrays, and of the state, of what was written there."""
    size = f'#include "{model.file}.h"\nextern const char size[sizeof({model.name}_state)];\n'
    size += f"const char size[sizeof({model.name}_state)] = {{0}};\n"
    (folder / "size.c").write_text(size)
    built([needs("gcc"), "-std=c99", "-c", f"{model.file}.c", "size.c"], folder)
    done = subprocess.run(
        ["nm", "-S", folder / "size.o"], capture_output=True, text=True, check=True
    )
    constants = sum(symbols(folder / f"{model.file}.o").values())
    return constants, int(done.stdout.split()[1], 16)


class Loaded:
    """A model in C as a library of this machine."""

    def __init__(self, model: CModel, folder: Path) -> None:
        write(model, folder)
        compiler = needs("gcc")
        library = folder / f"{model.file}.so"
        command = [compiler, "-std=c99", *STRICT, "-shared", "-fPIC", f"{model.file}.c"]
        built([*command, "-o", library.name, "-lm"], folder)
        self.model = model
        self._library = ctypes.CDLL(str(library))
        # more than it needs, so that writing too far is seen
        self.memory = np.full(model.footprint.ram_bytes + 64, 0x5A, dtype=np.uint8)
        self._state = self.memory.ctypes.data_as(ctypes.c_void_p)

    @property
    def states(self) -> list[list[np.ndarray[Any, np.dtype[np.float32]]]]:
        """Of each layer its states [size]: the memory itself."""
        first, found = 0, []
        for plan in self.model.layout.plans:
            row = []
            for width in plan.state_widths:
                last = first + 4 * plan.sizes[width]
                row.append(self.memory[first:last].view(np.float32))
                first = last
            found.append(row)
        return found

    def init(self) -> None:
        """``NAME_init``."""
        self._call("init")

    def step(self, x: Any, **beside: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """``NAME_step``; beside: ``dt`` and ``mask``."""
        y = np.full(self.model.outputs, np.nan, dtype=np.float32)
        assert list(beside) == list(self.model.beside)
        self._call("step", x, *beside.values(), y)
        return y

    def predict(self, x: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """``NAME_predict``."""
        y = np.full(self.model.outputs, np.nan, dtype=np.float32)
        kind = np.uint64 if self.model.around.symbols else np.float32
        rows = np.ascontiguousarray(x, dtype=kind)
        self._call("predict", rows, len(rows), y)
        return y

    def _call(self, name: str, *given: Any) -> None:
        def converted(value: Any) -> Any:
            if isinstance(value, float):
                return ctypes.c_float(value)
            if isinstance(value, int):
                return ctypes.c_size_t(value)
            return value.ctypes.data_as(ctypes.c_void_p)

        function = getattr(self._library, f"{self.model.name}_{name}")
        if self.model.around.symbols and name == "step":
            given = (int(given[0]), *given[1:])
        arrays = [v if isinstance(v, int | float) else np.ascontiguousarray(v) for v in given]
        result = function(self._state, *map(converted, arrays))
        if self.model.around.symbols and name != "init" and result:
            raise ValueError("a token was refused")
        assert (self.memory[-64:] == 0x5A).all(), "wrote beyond the state"
