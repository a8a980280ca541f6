"""Python and C name the same fields: ``structures.py`` against ``src/format.h``, read as text."""

from __future__ import annotations

import ctypes
import re

import pytest

from cellsearch.compiler.backends.native import build, structures
from cellsearch.compiler.scheduling.commands import PHASES, Lifetime

TEXT = re.sub(r"/\*.*?\*/", "", (build.SOURCES / "format.h").read_text("utf-8"), flags=re.DOTALL)
STRUCTURES = [
    kind
    for name in structures.__all__
    if isinstance(kind := getattr(structures, name), type) and issubclass(kind, ctypes.Structure)
]


def structs(text: str) -> dict[str, list[tuple[str, str]]]:
    """The structs of a header: for each field its name and ``number``, ``pointer`` or ``numbers``;
    a list of unknown length at the end is left out.
    """
    found = {}
    for body, name in re.findall(r"typedef struct \{([^}]*)\} (\w+);", text):
        fields = []
        for declaration in body.split(";")[:-1]:
            kind, names = re.fullmatch(r"\s*(?:const )?(\w+) ([^;]*)", declaration).groups()  # type: ignore[union-attr]
            for part in names.split(","):
                field = part.strip().lstrip("*")
                if field.endswith("[]"):
                    continue
                if "*" in part:
                    fields.append((field, "pointer"))
                else:
                    assert kind == "int64_t", declaration
                    size = re.search(r"\[(.*)\]", field)
                    field = field.partition("[")[0]
                    fields.append((field, f"numbers {size[1]}" if size else "number"))
        found[name] = fields
    return found


def enums(text: str) -> list[list[str]]:
    """The names of each enumeration, which all count from 0."""
    found = re.findall(r"enum \{([^}]*)\}", text)
    return [[name.split("=")[0].strip() for name in body.split(",")] for body in found]


def described(kind: type[ctypes.Structure]) -> list[tuple[str, str]]:
    names: dict[object, str] = {
        ctypes.c_int64: "number",
        ctypes.c_void_p: "pointer",
        ctypes.c_int64 * (len(PHASES) + 1): "numbers PHASES + 1",
    }
    return [(name, names[of]) for name, of, *_ in kind._fields_]


def test_there_is_a_structure_for_each_struct() -> None:
    assert sorted(structs(TEXT)) == sorted(kind.__name__[1:] for kind in STRUCTURES)


@pytest.mark.parametrize("kind", STRUCTURES, ids=lambda kind: kind.__name__)
def test_names_order_and_types_are_those_of_the_header(kind: type[ctypes.Structure]) -> None:
    assert described(kind) == structs(TEXT)[kind.__name__[1:]]


def test_enumerations_are_those_of_the_headers() -> None:
    known = enums(TEXT) + enums((build.SOURCES / "product.h").read_text("utf-8"))
    assert [kind.name for kind in Lifetime] in known
    assert [kind.name for kind in structures.CommandKind] in known
    assert ["OK", *(f"BAD_{refusal.name}" for refusal in structures.Refusal)] in known
    assert [f"START_{start.name}" for start in structures.ProductStart] in known
    assert [*(name.upper() for name in PHASES), "PHASES"] in known
    for kind in (Lifetime, structures.CommandKind, structures.ProductStart):
        assert [item.value for item in kind] == list(range(len(kind)))
    assert [refusal.value for refusal in structures.Refusal] == [
        *range(1, 1 + len(structures.Refusal))
    ]


def test_the_runtime_counts_the_same_bytes() -> None:
    assert build.library().job_bytes == ctypes.sizeof(structures.CJob)


def test_a_field_that_moves_is_seen() -> None:
    moved = TEXT.replace("int64_t buffer, shift, column;", "int64_t shift, buffer, column;")
    assert moved != TEXT
    assert structs(moved)["Operand"] != described(structures.COperand)
    assert structs(TEXT.replace("float *base;", "int64_t base;"))["Buffer"] != described(
        structures.CBuffer
    )
