"""The source file of a model in C99: ``NAME_init``, ``NAME_step``, and ``NAME_predict`` where it
answers once a sequence.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.export.c.data import ConstantArrays
from cellsearch.export.c.functions import Functions
from cellsearch.export.c.layer import LayerWriter, integer_limit
from cellsearch.export.c.model import BESIDE, CModel
from cellsearch.export.c.names import literal
from cellsearch.tasks.interface import FeatureInputs

__all__ = ["source"]


def source(model: CModel) -> str:
    """The text of the ``.c``."""
    data = ConstantArrays(model.names, integers=model.layout.integers)
    bits = model.activation_bits
    functions = Functions(model.math, f"int{bits}_t" if bits else "")
    body: list[str] = []
    writers = []
    for layer in range(model.num_layers):
        writer = LayerWriter(model.layout, layer, model.weights, data, functions, model.names)
        body += writer.lines(f"{model.name}_state")
        writers.append(writer)
    body += _Steps(model, data, functions, writers).lines()
    lines = [f'#include "{model.file}.h"', ""]
    lines += ["#include <math.h>", ""] if functions.needs_header else []
    lines += functions.types()
    lines += [*data.lines(), *functions.lines(), *body]
    return "\n".join(lines) + "\n"


class _Steps:
    """Writes the functions over all layers."""

    def __init__(
        self, model: CModel, data: ConstantArrays, functions: Functions, writers: list[LayerWriter]
    ) -> None:
        self.model, self.data, self.functions = model, data, functions
        self.writers = writers
        self.layout, self.around = model.layout, model.around
        self.floats, self.integers = model.layout.places

    def lines(self) -> list[str]:
        model, name = self.model, self.model.name
        relative = ", const float *last" if self.around.relative else ""
        x = self._input()
        bare = not self.around.outputs
        lines = _function(f"void {name}_init({name}_state *s)", self._init())
        advance = (
            f"static void advance({name}_state *s, {x}{relative}{', float *y' if bare else ''})"
        )
        lines += _function(advance, self._advance())
        if not bare:
            answer = f"static void answer({name}_state *s, float *y{relative})"
            lines += _function(answer, self._answer())
        if model.steps:
            lines += self._step(x, bare=bare)
        if model.predicts:
            lines += self._predict()
        return lines

    def _input(self) -> str:
        given = ["size_t token" if self.around.symbols else "const float *x"]
        return ", ".join([*given, *(BESIDE[name] for name in self.model.beside)])

    def _init(self) -> Iterator[str]:
        lines: dict[int, list[str]] = {}
        for layer, writer in enumerate(self.writers):
            states = zip(writer.states, self.model.genome.states, writer.sizes, strict=True)
            for field, state, size in states:
                value = literal(state.initial, f"the initial value of {state.name}, layer {layer},")
                lines.setdefault(size, []).append(f"    s->{field}[j] = {value};")
        if self.around.mean:
            lines.setdefault(self.layout.output_size, []).append("    s->sum[j] = 0.0f;")
        for size, body in lines.items():
            yield from (f"for (size_t j = 0; j < {size}; j++) {{", *body, "}")
        if self.around.mean:
            yield "s->count = 0;"

    # -- from raw values to the first layer --------------------------------------------------------

    def _advance(self) -> Iterator[str]:
        layout, dt = self.layout, self._time()
        read = yield from self._read()
        if "x" not in self.writers[0].parameters:
            yield f"(void){read};"
        for name in self.model.beside:
            if all(name not in writer.parameters for writer in self.writers):
                yield f"(void){name};"
        for layer, writer in enumerate(self.writers):
            top = layer == len(self.writers) - 1
            output = self._output(layer)
            if top and not self.around.outputs and layout.plans[layer].output_state is None:
                yield writer.call(read, "y", dt)
                return
            yield writer.call(read, output, dt)
            read = output
        if not self.around.outputs:
            yield f"for (size_t j = 0; j < {layout.output_size}; j++) {{"
            yield f"    y[j] = {read}[j];"
            yield "}"

    def _time(self) -> str:
        """The time since the step before, as the layers read it."""
        interface = self.model.interface
        if interface is None:
            return "dt"
        unit = interface.time_unit
        return "1.0f" if unit is None else f"dt / {literal(unit, 'the unit of time')}"

    def _mask(self) -> Iterator[str]:
        """What is observed of the raw values, where something reads that."""
        around, layout = self.around, self.layout
        if "mask" not in self.floats:
            return
        yield f"float *const mask = s->floats + {self.floats['mask']};"
        yield f"for (size_t j = 0; j < {layout.input_size}; j++) {{"
        known = around.missing and not layout.projected
        yield f"    mask[j] = {'x[j] == x[j] ? 1.0f : 0.0f' if known else '1.0f'};"
        yield "}"

    def _output(self, layer: int) -> str:
        """What holds the output of a layer."""
        state = self.layout.plans[layer].output_state
        if state is not None:
            return f"s->{self.writers[layer].states[state]}"
        place = self.floats.get(f"output {layer}")
        return "y" if place is None else f"(s->floats + {place})"

    def _read(self) -> Generator[str, None, str]:
        """Lines before the first layer; returns what it reads."""
        around, layout = self.around, self.layout
        yield from self._mask()
        if around.symbols:
            return (yield from self._embed())
        read = "x"
        if layout.copied:
            yield f"float *const raw = s->floats + {self.floats['raw']};"
            yield f"for (size_t j = 0; j < {around.features}; j++) {{"
            yield f"    raw[j] = {self._scaled()};"
            yield "}"
            read = "raw"
        if layout.projected:
            yield f"float *const in = s->floats + {self.floats['x']};"
            bias, weight = self.weights("projection.bias"), self.weights("projection.weight")
            yield from self._dense("in", weight, bias, read, "projection")
            read = "in"
        return read

    def weights(self, name: str) -> tuple[str, NDArray[Any]]:
        return name, np.asarray(self.model.weights[name])

    def _embed(self) -> Generator[str, None, str]:
        width = self.layout.input_size
        name, table = self.weights("embedding.weight")
        found = self.data.matrix(name, table)
        if not self.data.integers:
            yield f"const float *const in = {found} + token * {width};"
            return "in"
        yield f"float *const in = s->floats + {self.floats['x']};"
        yield f"for (size_t j = 0; j < {width}; j++) {{"
        scale = f"{self.data.scale_of(found)}[token]"
        yield f"    in[j] = (float){found}[token * {width} + j] * {scale};"
        yield "}"
        return "in"

    def _scaled(self) -> str:
        """One raw value as the model reads it."""
        inputs = self.model.interface.inputs if self.model.interface else None
        assert isinstance(inputs, FeatureInputs)
        if inputs.missing:
            scaled = self._centred(inputs) if self.around.scaled_inputs else "x[j]"
            return f"x[j] == x[j] ? {scaled} : 0.0f"
        if self.around.relative and not self.around.scaled_inputs:
            return "x[j] - last[j]"
        scale = self.data.vector("inputs.scale", np.array(inputs.scale))
        if self.around.relative:
            return f"(x[j] - last[j]) / {scale}[j]"
        return self._centred(inputs)

    def _centred(self, inputs: FeatureInputs) -> str:
        """One raw value that is relative to nothing but the mean."""
        scale = self.data.vector("inputs.scale", np.array(inputs.scale))
        mean = np.array(inputs.mean)
        first = mean.astype(np.float32)
        near = self.data.vector("inputs.mean", first)
        rest = self.data.vector("inputs.mean_rest", mean - first)
        return f"(x[j] - {near}[j] - {rest}[j]) / {scale}[j]"

    def _dense(
        self,
        target: str,
        weight: tuple[str, NDArray[Any]],
        bias: tuple[str, NDArray[Any]],
        read: str,
        place: str,
    ) -> Iterator[str]:
        """A linear layer."""
        rows, columns = weight[1].shape
        matrix, shift = self.data.matrix(*weight), self.data.vector(*bias)
        row, size = f"{matrix} + j * {columns}", str(columns)
        if self.data.integers:
            limit = integer_limit(self.layout.integer_bytes, columns)
            yield f"cell_integer *const q = s->integers + {self.integers[place]};"
            yield f"const float r = {self.functions.call('round', read, 'q', size, f'{limit}.0f')};"
            call = self.functions.call("integer_dot", row, "q", size)
            product = f"(float){call} * ({self.data.scale_of(matrix)}[j] * r)"
        else:
            product = self.functions.call("dot", row, read, size)
        yield f"for (size_t j = 0; j < {rows}; j++) {{"
        yield f"    {target}[j] = {shift}[j] + {product};"
        yield "}"

    # -- from the last layer to the answer ---------------------------------------------------------

    def _answer(self) -> Iterator[str]:
        around, width = self.around, self.layout.output_size
        read = self._output(self.layout.num_layers - 1)
        if around.mean:
            yield f"float *const mean = s->floats + {self.floats['mean']};"
            yield f"for (size_t j = 0; j < {width}; j++) {{"
            yield "    mean[j] = s->sum[j] / (float)s->count;"
            yield "}"
            read = "mean"
        weight, bias = self.weights("readout.weight"), self.weights("readout.bias")
        if around.tied:
            weight = self.weights("embedding.weight")
        yield from self._dense("y", weight, bias, read, "readout")
        if around.function == "softmax":
            yield self.functions.call("softmax", "y", str(around.outputs)) + ";"
        elif around.function == "sigmoid" or around.scaled_answers or around.relative:
            yield f"for (size_t j = 0; j < {around.outputs}; j++) {{"
            yield f"    y[j] = {self._meant()};"
            yield "}"

    def _meant(self) -> str:
        """One answer in the user's terms."""
        if self.around.function == "sigmoid":
            return self.functions.call("sigmoid", "y[j]")
        answer = self.model.interface.answer if self.model.interface else None
        assert answer is not None
        value = "y[j]"
        if self.around.scaled_answers:
            value += f" * {self.data.vector('answer.scale', np.array(answer.scale))}[j]"
        if self.around.relative:
            return f"{value} + last[j % {len(answer.names)}]"
        return f"{value} + {self.data.vector('answer.mean', np.array(answer.mean))}[j]"

    # -- public functions --------------------------------------------------------------------------

    def _step(self, x: str, *, bare: bool) -> list[str]:
        name, tokens = self.model.name, bool(self.around.symbols)
        body = _token_check(self.around.symbols, "token") if tokens else []
        given = ["token" if tokens else "x", *self.model.beside, *(["y"] if bare else [])]
        body += [f"advance(s, {', '.join(given)});"]
        body += self._summed() + ([] if bare else ["answer(s, y);"])
        body += ["return 0;"] if tokens else []
        kind = "int" if tokens else "void"
        return _function(f"{kind} {name}_step({name}_state *s, {x}, float *y)", body)

    def _summed(self) -> list[str]:
        """Adds the output to the sum that the mean is made of."""
        if not self.around.mean:
            return []
        output = self._output(self.layout.num_layers - 1)
        head = f"for (size_t j = 0; j < {self.layout.output_size}; j++) {{"
        return [head, f"    s->sum[j] += {output}[j];", "}", "s->count++;"]

    def _predict(self) -> list[str]:
        name, tokens = self.model.name, bool(self.around.symbols)
        last = ", last" if self.around.relative else ""
        body = []
        if tokens:
            checks = _token_check(self.around.symbols, "x[t]")
            body += ["for (size_t t = 0; t < steps; t++) {", *(f"    {c}" for c in checks), "}"]
        body += [f"{name}_init(s);"]
        if last:
            body += [f"const float *const last = x + (steps - 1) * {self.around.features};"]
        given = "x[t]" if tokens else f"x + t * {self.model.inputs}"
        given += ", dt[t]" if self.model.beside else ""
        loop = [f"advance(s, {given}{last});", *self._summed()]
        body += ["for (size_t t = 0; t < steps; t++) {", *(f"    {line}" for line in loop), "}"]
        body += [f"answer(s, y{last});"]
        body += ["return 0;"] if tokens else []
        kind, x = ("int", "const size_t *x") if tokens else ("void", "const float *x")
        x += ", const float *dt" if self.model.beside else ""
        head = f"{kind} {name}_predict({name}_state *s, {x}, size_t steps, float *y)"
        return _function(head, body)


def _token_check(symbols: int, token: str) -> list[str]:
    return [f"if ({token} >= {symbols}) {{", "    return -1;", "}"]


def _function(head: str, body: Iterator[str] | list[str]) -> list[str]:
    return ["", head, "{", *(f"    {line}" for line in body), "}"]
