"""C files as others build them: strictly, as C++, under the sanitizers, for a Cortex-M4 and under
an emulator; and the sizes that were promised.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export.c.test_models import untrained
from support.c_files import (
    SANITIZED,
    STRICT,
    built,
    layers,
    needs,
    replayed,
    symbols,
    taken,
    write,
)
from support.small_tasks import small_task

from cellsearch import Genome, ops, zoo
from cellsearch.errors import ConfigError
from cellsearch.export.c.functions import Functions
from cellsearch.export.c.model import CModel
from cellsearch.export.c.source import source
from cellsearch.export.c.write import c_model, export_c
from cellsearch.export.whole import whole_model

CORTEX = ["-std=c99", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]


def hostile() -> Genome:
    """Nodes named like words of C and C++, macros, functions and what we write ourselves."""
    text = "\n".join(
        [
            "int = sigmoid(linear(x[t], h[t-1]))",
            "main = tanh(linear(int, double[t-1])) * 2",
            "INT8_MAX = layer_norm(main) + v_int",
            "h[t] = blend(int, INT8_MAX, scale(double[t-1]))",
            "double[t] = h[t] * M_PI",
        ]
    )
    head = "v_int = linear(x[t])\nM_PI = tanh(v_int) + NULL\n"
    return Genome.from_text("NULL = bias()\n" + head + text)


def several() -> dict[str, CModel]:
    """Models that use all that can be written."""
    values, labels, tokens = (
        small_task(f"arrays: {name}") for name in ("values", "labels", "tokens")
    )
    forecast = whole_model(untrained(values, "lstm"), values.interface())
    classes = whole_model(untrained(labels, "sru"), labels.interface())
    numbers = whole_model(untrained(tokens, "gru_cho"), tokens.interface())
    return {
        "forecast": c_model(forecast, Path("int.c")),
        "classes": c_model(classes, Path("8 bits.c".replace(" ", "-")), precision="int8"),
        "tokens": c_model(numbers, Path("m.c"), precision="int8", activation_bits=16, math="table"),
        "hostile": layers(hostile(), 3, 4, 2, math="table"),
        "slstm": layers(zoo.load("slstm"), 3, 4, precision="int8"),
    }


@pytest.mark.parametrize("name", ["forecast", "classes", "tokens", "hostile", "slstm"])
def test_it_builds_without_a_word_and_answers_right(name: str, tmp_path: Path) -> None:
    model = several()[name]
    sources = write(model, tmp_path)
    library = [] if model.math == "table" else ["-lm"]
    gcc = needs("gcc")
    built([gcc, "-std=c99", *STRICT, *SANITIZED, *sources, "-o", "safe", *library], tmp_path)
    assert replayed(tmp_path, str(tmp_path / "safe"))[0] == 0
    write(model, tmp_path, wrong=0.05)
    built([gcc, "-std=c99", *STRICT, *sources, "-o", "wrong", *library], tmp_path)
    code, said = replayed(tmp_path, str(tmp_path / "wrong"))
    assert code == 1, said
    assert "WRONG" in said


@pytest.mark.parametrize("name", ["classes", "tokens", "hostile"])
def test_other_compilers_take_it_and_cpp(name: str, tmp_path: Path) -> None:
    model = several()[name]
    sources = write(model, tmp_path)
    for command in (["clang", "-std=c99"], ["g++", "-x", "c++", "-std=c++11"]):
        program = [needs(command[0]), *command[1:], *STRICT, *sources, "-o", "other"]
        built([*program, *(["-x", "none"] if command[0] == "g++" else []), "-lm"], tmp_path)
        assert replayed(tmp_path, str(tmp_path / "other"))[0] == 0


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_data_and_memory_are_what_the_footprint_says(precision: Any, tmp_path: Path) -> None:
    models = several()
    for name in ("lstm", "gru_cho", "lstm_ln", "enas_lm", "mingru"):
        models[name] = layers(zoo.load(name), 5, 7, 2, precision=precision)
    for name, model in models.items():
        write(model, tmp_path)
        promised = model.footprint.data_bytes, model.footprint.ram_bytes
        assert taken(model, tmp_path) == promised, name


@pytest.mark.parametrize("name", ["forecast", "tokens", "slstm"])
def test_a_cortex_m4_answers_right(name: str, tmp_path: Path) -> None:
    gcc, model = needs("arm-none-eabi-gcc"), several()[name]
    sources = write(model, tmp_path)
    built([gcc, *CORTEX, *STRICT, "-Os", "-c", sources[0]], tmp_path)
    object_file = tmp_path / f"{model.file}.o"
    found = symbols(object_file, "arm-none-eabi-nm")
    # an array of a few numbers may become a part of the code
    promised = model.footprint.data_bytes
    assert promised - 100 <= sum(found.values()) <= promised
    said = subprocess.run(
        ["arm-none-eabi-size", object_file], capture_output=True, text=True, check=True
    ).stdout.splitlines()[1]
    text, data, bss = map(int, said.split()[:3])
    assert data == bss == 0  # nothing but constants and code
    # the estimate has the C library in it, the object file has not
    assert text <= model.footprint.flash_bytes + 300
    emulator = needs("qemu-system-arm")
    command = [gcc, *CORTEX, "-Os", *sources, _startup(tmp_path), "-o", "test.elf"]
    built([*command, "--specs=rdimon.specs", "-T", "m4.ld", "-nostartfiles", "-lm"], tmp_path)
    machine = ["-M", "mps2-an386", "-cpu", "cortex-m4", "-nographic", "-semihosting"]
    code, words = replayed(tmp_path, emulator, *machine, "-kernel", str(tmp_path / "test.elf"))
    assert code == 0, words
    assert re.search(r"right: largest error [\d.e-]+, state \d+ bytes", words), words


def _startup(folder: Path) -> str:
    """A vector table, a memory map, and what switches the floating-point unit on."""
    (folder / "m4.ld").write_text(
        "MEMORY { flash (rx) : ORIGIN = 0, LENGTH = 4M\n"
        "  ram (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }\n"
        "ENTRY(reset)\n"
        "SECTIONS {\n"
        "  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.ARM.ex*) KEEP(*(.init*)) "
        "KEEP(*(.fini*)) } > flash\n"
        "  __exidx_start = .; __exidx_end = .;\n"
        "  .data : { *(.data*) *(.bss*) *(COMMON) } > ram\n"
        "  end = .; __end__ = .;\n"
        "}\n"
    )
    (folder / "startup.c").write_text(
        "#include <stdlib.h>\n"
        "extern void initialise_monitor_handles(void);\n"
        "extern int main(void);\n"
        "void reset(void);\n"
        '__attribute__((section(".vectors"), used)) static void *const vectors[2] = {\n'
        "    (void *)0x20200000, (void *)reset };\n"
        "void _init(void) {}\n"
        "void _fini(void) {}\n"
        "void reset(void)\n"
        "{\n"
        "    *(volatile unsigned *)0xE000ED88 |= 0xFu << 20;\n"
        '    __asm__ volatile("dsb\\nisb");\n'
        "    initialise_monitor_handles();\n"
        "    exit(main());\n"
        "}\n"
    )
    return "startup.c"


def test_what_is_written_and_what_not(tmp_path: Path) -> None:
    genome = zoo.load("gru")
    model = layers(genome, 2, 3)
    options: dict[str, Any] = {
        "weights": model.weights, "sizes": {"input_size": 2, "hidden_size": 3}
    }  # fmt: skip
    done = export_c(genome, tmp_path / "a.c", doc="Ends */ here \\", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.c", "a.h", "a_test.c"]
    assert "bytes of data" in done.summary
    (tmp_path / "a.c").unlink()
    with pytest.raises(ConfigError, match="exists"):
        export_c(genome, tmp_path / "a.c", **options)
    assert not (tmp_path / "a.c").exists()
    export_c(genome, tmp_path / "a.c", force=True, **options)
    for name, said in (("a.py", "not a name for a C file"), ('a"b.c', "cannot stand in an")):
        with pytest.raises(ConfigError, match=said):
            export_c(genome, tmp_path / name, **options)
    with pytest.raises(ConfigError, match="the cell has none"):
        export_c(genome, tmp_path / "b.c")
    with pytest.raises(ConfigError, match="not written in float16"):
        export_c(genome, tmp_path / "b.c", precision="float16", **options)  # type: ignore[arg-type]
    spoiled = {**model.weights, "l0.n.bias": np.full(3, np.nan)}
    with pytest.raises(ConfigError, match=r"l0\.n\.bias is nan"):
        export_c(genome, tmp_path / "b.c", **{**options, "weights": spoiled})
    large = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1])) * 1e300")
    with pytest.raises(ConfigError, match="not a number of float32"):
        source(layers(large, 2, 3))
    assert not (tmp_path / "b.c").exists()


def test_ops_of_others_are_written_from_their_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, meaning in (
        ("odd_one", "torch.atan({0}) / 2 - torch.clamp({0}, -1, 3)"),
        ("odder", "torch.special.i0({0})"),
        ("oddest", "torch.clamp({0}, min=0)"),
    ):
        monkeypatch.setitem(ops.OPS, name, ops.Op(name, 1, 1, meaning, ("g",), "a test"))
    found = Functions("libm").op("odd_one", ["v"])
    assert found == "((cell_atan(v) / 2.0f) - cell_hardtanh(v, (-1.0f), 3.0f))"
    for math, name in (("table", "odd_one"), ("libm", "odder"), ("libm", "oddest")):
        with pytest.raises(
            ConfigError, match=f"cannot be written in C with --math {math}"
        ) as error:
            Functions(math).op(name, ["v"])  # type: ignore[arg-type]
        assert error.value.where == f"op {name}"
