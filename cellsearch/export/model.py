"""The whole trained model as one Python file that imports torch and the standard library only."""

from __future__ import annotations

import ast
import json
import re
from importlib.resources import files
from pprint import pformat
from typing import Any

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.export.beside import model_fields
from cellsearch.export.sized import has_other_sizes
from cellsearch.export.source import docstring_text, to_source
from cellsearch.export.whole import WholeModel
from cellsearch.tasks.interface import Interface, TokenInputs

__all__ = ["to_model_source"]

_TAKEN = ("Model", "ModelCell")


@checked_arguments
def to_model_source(
    whole: WholeModel,
    *,
    weights: str,
    class_name: str = "Recurrent",
    doc: str = "",
    resets: bool = False,
) -> str:
    """A Python file with the bare layer as :func:`cellsearch.export.source.to_source` writes it,
    and around it the class ``Model`` with ``predict`` and ``step``, and ``load()``.

    weights: name of the file of weights beside it, ``.pt`` or ``.safetensors``: the whole model's,
        under their own names.
    class_name: of the layer in it.
    doc: where the model comes from, in a sentence.
    resets: whether ``predict`` takes ``resets=`` although the cell reads x alone.

    The state dict of ``Model`` has the names of ``whole.weights``. Raises :class:`ConfigError` for
    a name that is taken.
    """
    if class_name in _TAKEN:
        raise ConfigError(
            f"{class_name} is what the file calls the whole model",
            where="--class-name",
            hint="leave the name of the layer out, or take another one",
        )
    layer = to_source(whole.genome, class_name=class_name, resets=resets, **whole.sizes)
    body = _without_docstring(layer)
    interface, plain = whole.interface, whole.interface.to_plain()
    tokens = interface.inputs.vocabulary if isinstance(interface.inputs, TokenInputs) else 0
    shapes = {name: array.shape for name, array in whole.weights.items()}
    safe = weights.endswith(".safetensors")
    fields = {
        "DTYPE": f"torch.{whole.dtype.name}",
        "READOUT": interface.readout,
        "INPUTS": _literal(plain["inputs"]),
        "ANSWER": _literal(plain["answer"]),
        "EMBEDDING": _layer("Embedding", shapes.get("embedding.weight")),
        "PROJECTION": _layer("Linear", shapes.get("projection.weight", ())[::-1]),
        "CLASS": class_name,
        "SIZES": ", ".join(f"{name}={value!r}" for name, value in whole.sizes.items()),
        "WIDTH": str(whole.output_size * whole.directions),
        "OUTPUTS": str(interface.outputs),
        "SEQUENCE": _sequence(interface),
        "GIVES": _gives(interface),
        "WEIGHTS": json.dumps(weights),
        "LOADED": "load_file(path)" if safe else "torch.load(path, weights_only=True)",
        "TOKENS": str(tokens),
        "LAST_TOKEN": str(tokens - 1),
        "SIZE": "self.cell.output_size"
        if has_other_sizes(whole.genome)
        else "self.cell.hidden_size",
        **model_fields(whole, resets=resets),
    }
    reading = _template("tokens.py.txt" if tokens else "features.py.txt").rstrip("\n")
    text = _template("model.py.txt").rstrip("\n").replace("@READING@", reading)
    # what belongs to reading holds fields of its own
    model = re.sub(r"@([A-Z_]+)@", lambda match: fields[match[1]], text).rstrip("\n")
    return f'"""{_docstring(whole, doc)}\n"""\n\n{_imports(body, bool(tokens), safe)}{model}\n'


def _template(name: str) -> str:
    return (files(__name__.rpartition(".")[0]) / name).read_text(encoding="utf-8")


def _without_docstring(source: str) -> str:
    end = ast.parse(source).body[0].end_lineno
    return "\n".join(source.splitlines()[end:]).strip("\n")


def _imports(body: str, tokens: bool, safe: bool) -> str:
    """The layer's code with what the model imports besides."""
    one = "from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence\n"
    all_of_them = "from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, "
    body = body.replace(one, f"{all_of_them}pad_packed_sequence\n", 1)
    standard = "import re\nfrom pathlib import Path\n" if tokens else "from pathlib import Path\n"
    body = body.replace("import torch\n", f"{standard}\nimport torch\n", 1)
    if safe:
        body = body.replace(
            "import torch\n", "import torch\nfrom safetensors.torch import load_file\n", 1
        )
    return body


def _literal(plain: dict[str, Any]) -> str:
    return pformat(plain, width=100, compact=True, sort_dicts=False)


def _layer(kind: str, sizes: tuple[int, ...] | None) -> str:
    return f"nn.{kind}({', '.join(map(str, sizes))})" if sizes else "None"


def _sequence(interface: Interface) -> str:
    inputs = interface.inputs
    if isinstance(inputs, TokenInputs):
        return f"a text of {inputs.level}s, or token numbers [T]."
    if len(inputs.names) == 1:
        return "raw values [T]."
    return f"raw values [T, {len(inputs.names)}], columns as INPUTS names them."


def _gives(interface: Interface) -> str:
    answer = interface.answer
    step = f"[{answer.horizon}, {len(answer.names)}]"
    one = {
        "classes": "a label",
        "values": f"values {step if answer.horizon > 1 else step.replace('1, ', '', 1)}",
        "tokens": "the next symbol",
        "bits": f"whether each of {len(answer.names)} bits is set",
    }[answer.kind]
    return f"{one}, {'at every position' if interface.streams else 'for the whole sequence'}."


def _docstring(whole: WholeModel, doc: str) -> str:
    inputs, answer = whole.interface.inputs, whole.interface.answer
    reads = "text" if isinstance(inputs, TokenInputs) else ", ".join(inputs.names)
    answers = "the next symbol" if answer.kind == "tokens" else ", ".join(answer.names)
    lines = [
        "A trained recurrent model, whole, in plain PyTorch. Exported by cellsearch.",
        "",
        "Equations of its cell, one step:",
        "",
        *(f"    {line}" for line in whole.genome.to_text().splitlines()),
        "",
        *([*doc.strip().splitlines(), ""] if doc.strip() else []),
        f"Reads {_short(reads)}; answers {_short(answers)}.",
        "",
        "Use:",
        "",
        "    model = load()  # the weights lie beside this file",
        "    model.predict(data)",
    ]
    return "\n".join(docstring_text(line) for line in lines)


def _short(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:66]} ..."
