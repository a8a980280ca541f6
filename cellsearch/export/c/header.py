"""The header of a model in C: sizes, the structure of the state, functions, and what the numbers
mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cellsearch.export.c.model import BESIDE, CModel
from cellsearch.export.c.names import comment, literal
from cellsearch.genome.footprint import Footprint
from cellsearch.tasks.interface import TokenInputs

__all__ = ["header"]

_BESIDE_SAID: dict[tuple[str, ...], str] = {
    ("dt",): " dt: the time since the step before.",
    ("mask",): " mask: for each number of x 1 where it was observed, 0 where it is missing.",
    ("dt", "mask"): " dt: the time since the step before; mask: for each number of x 1 where it "
    "was observed, 0 where it is missing.",
}
_LISTED = 300
"""So many symbols, columns or classes are listed at most."""


def header(model: CModel) -> str:
    """The text of the ``.h``."""
    name, guard = model.name, f"{model.name.upper()}_H"
    lines = ["/*", *(f" * {line}".rstrip() for line in map(comment, _said(model))), " */"]
    lines += [f"#ifndef {guard}", f"#define {guard}", "", "#include <stddef.h>"]
    lines += ["#include <stdint.h>", ""]
    for macro, value, remark in _macros(model, model.footprint):
        lines.append(f"#define {name.upper()}_{macro} {value} /* {remark} */")
    lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", "", "typedef struct {"]
    lines += [f"    {field}" for field in model.fields()]
    lines += [f"}} {name}_state;", "", *_declarations(model), "", "#ifdef __cplusplus", "}"]
    lines += ["#endif", "", "#endif"]
    return "\n".join(lines) + "\n"


def _macros(model: CModel, takes: Footprint) -> Iterator[tuple[str, int | str, str]]:
    what = "token" if model.around.symbols else "numbers"
    yield "INPUTS", model.inputs, f"{what} of a step"
    yield "OUTPUTS", model.outputs, "numbers of an answer"
    if model.around.symbols:
        yield "TOKENS", model.around.symbols, "tokens are smaller than this"
    yield "DATA_BYTES", takes.data_bytes, "constant data, in flash"
    yield "RAM_BYTES", takes.ram_bytes, "the state, scratch memory included"
    yield "MACS_PER_STEP", takes.macs_per_step, "multiply-adds"
    if model.interface is not None and model.beside:
        unit = literal(model.interface.time_unit or 1.0, "the unit of time")
        yield "FIRST_DT", unit, "dt of the first step"


def _said(model: CModel) -> Iterator[str]:
    yield "A recurrent model in C99, exported by cellsearch. No allocation; weights are constant."
    yield ""
    yield "One step of a layer:"
    yield ""
    for line in model.genome.to_text().splitlines():
        yield f"    {line}"
    yield ""
    if model.doc.strip():
        yield from [*model.doc.strip().splitlines(), ""]
    layers = "1 layer" if model.num_layers == 1 else f"{model.num_layers} layers"
    yield f"{layers} of {model.hidden_size} units, input {model.input_size} wide."
    if model.activation_bits:
        yield (
            "Dense weights are 8-bit integers, one scale a row; what they multiply is rounded "
            f"to {model.activation_bits} bits in each step, sums are 32-bit integers; else floats."
        )
    if model.math == "table":
        yield "exp, tanh and the like are tables and polynomials (errors below 1e-6): no libm."
    yield from _meaning(model)


def _meaning(model: CModel) -> Iterator[str]:
    if model.interface is None:
        return
    inputs, answer = model.interface.inputs, model.interface.answer
    yield ""
    if isinstance(inputs, TokenInputs):
        yield f"Input: a token ({inputs.level}), 0 to {inputs.vocabulary - 1}."
        if inputs.symbols:
            yield from _listed([repr(symbol) for symbol in inputs.symbols])
    else:
        missing = " NaN is missing." if inputs.missing else ""
        yield f"Input: raw values; they are scaled here.{missing}"
        yield from _listed(_with_units(inputs.names, inputs.units))
    meaning = {
        "classes": "probabilities of the classes",
        "tokens": "probabilities of the token that comes next",
        "bits": "a probability each",
        "values": "values in their units",
    }[answer.kind]
    yield f"Answer: {meaning}."
    if answer.kind == "values":
        units = [unit for _ in range(answer.horizon) for unit in answer.units]
        yield from _listed(_with_units(answer.columns, units))
    elif answer.names:
        yield from _listed(list(answer.names))


def _with_units(names: Sequence[str], units: Sequence[str]) -> list[str]:
    return [
        f"{name} ({unit})" if unit else name
        for name, unit in zip(names, units or [""] * len(names), strict=True)
    ]


def _listed(names: Sequence[str]) -> Iterator[str]:
    for k, name in enumerate(names[:_LISTED]):
        yield f"    {k}: {name}"
    if len(names) > _LISTED:
        yield f"    ... {len(names):,} in all"


def _declarations(model: CModel) -> Iterator[str]:
    name, tokens = model.name, bool(model.around.symbols)
    kind = "int" if tokens else "void"
    refused = " A token that is too large is refused: -1, else 0." if tokens else ""
    yield "/* The state before the first step; also where a sequence starts afresh (reset). */"
    yield f"void {name}_init({name}_state *s);"
    if model.steps:
        x = "size_t token" if tokens else "const float *x"
        x = ", ".join([x, *(BESIDE[given] for given in model.beside)])
        said = f"One step: {model.inputs} numbers x; y must not overlap them."
        said = f"One step: a token.{refused}" if tokens else said
        said += f" y: {model.outputs} numbers."
        if model.predicts:
            said += " The answer is that to the sequence so far."
        said += _BESIDE_SAID.get(model.beside, "")
        yield from ["", f"/* {said} */"]
        yield f"{kind} {name}_step({name}_state *s, {x}, float *y);"
    if model.predicts:
        x = "const size_t *x" if tokens else "const float *x"
        x += ", const float *dt" if model.beside else ""
        given = "tokens" if tokens else f"rows of {model.inputs} numbers"
        said = f"The answer, {model.outputs} numbers, to a sequence of {given}, one at least."
        if model.around.relative:
            said += " Its values are read relative to the last ones, so the whole window is needed."
        yield from ["", f"/* {said}{refused} */"]
        yield f"{kind} {name}_predict({name}_state *s, {x}, size_t steps, float *y);"
