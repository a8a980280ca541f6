"""What the exported layer of a cell that reads ``dt[t]`` or ``mask[t]``, or whose states are to be
reset, has more than others: the same meaning as :mod:`cellsearch.compiler.given`.
"""

from __future__ import annotations

import re
from importlib.resources import files

from cellsearch.export.expressions import number
from cellsearch.export.sized import has_other_sizes
from cellsearch.export.whole import WholeModel
from cellsearch.genome.graph import Genome
from cellsearch.tasks.interface import FeatureInputs

__all__ = ["beside_fields", "fast_fields", "model_fields", "not_for_script", "without_script"]

_SCRIPTED = re.compile(r"@BEGIN_SCRIPTED@(.*?)@END_SCRIPTED@", re.DOTALL)
_PLAIN = {
    "READS": "Reads tensors only, no PackedSequence, where torch.jit.script has compiled it.",
    "FORWARD": "self._scripted(input, hx) if torch.jit.is_scripting() else self._called(input, hx)",
    **dict.fromkeys(
        (
            "NOT_FOR_SCRIPT",
            "GIVEN_ARGUMENT",
            "GIVEN_TYPE",
            "PASSED",
            "PASSED_BY_NAME",
            "LAID_OUT_PACKED",
            "LAID_OUT",
            "NEXT_LAYER",
            "STEP_GIVEN",
            "STEP_PASSED",
            "BESIDE_HELPERS",
        ),
        "",
    ),
}
_READS = {
    "dt": "dt [T, B], or a number: the time since the step before; 1 where it is not given.",
    "mask": "mask [T, B, I]: 1 where x was observed, 0 where it is missing; all observed where it "
    "is not given.",
    "reset": "reset [T, B]: where it is true, states go back to their initial values before the "
    "step.",
}
_NOT_FOR_SCRIPT = '''
    def __prepare_scriptable__(self):
        """What torch.jit.script asks for first."""
        raise RuntimeError("torch.jit.script cannot read a layer that @WHY@")
'''
_LAID_OUT = """\
        given = _beside(given, x, batched=batched, batch_first=self.batch_first)
"""
_STEP_RESET = """
            fresh = _entered(given["reset"], t, sizes, backwards, first=False)[:, None] > 0
            largest = torch.finfo(x.dtype).max
            starts = [min(max(start, -largest), largest) for start in @STARTS@]
            pairs = zip(states, starts, strict=True)
            states = tuple(torch.cat([s[:n].masked_fill(fresh, v), s[n:]]) for s, v in pairs)
            more = @STEPS@"""
_STEPS = {
    "dt": '_entered(given["dt"], t, sizes, backwards, first=True)[:, None]',
    "mask": 'given["mask"][t, :n]',
}


def not_for_script(genome: Genome, *, resets: bool, projects: bool) -> str:
    """Why torch.jit.script cannot read the layer, in the words that go on "a layer that"; empty
    where it can. ``projects``: whether inputs are projected.
    """
    if genome.inputs != ("x",) or resets:
        return "is given more than x"
    if has_other_sizes(genome):
        return "has states of several sizes"
    return "projects its input" if projects else ""


def beside_fields(genome: Genome, hx: str, unread: str, *, resets: bool) -> dict[str, str]:
    """The fields of the template of a layer that say what it is given beside x. ``hx``: the type of
    its states; ``unread``: :func:`not_for_script`; ``resets``: whether it is given resets although
    the cell reads x alone.
    """
    refusal = _NOT_FOR_SCRIPT.replace("@WHY@", unread)
    if genome.inputs == ("x",) and not resets:
        plain = {**_PLAIN, "ARGUMENTS": f"self, input: Tensor, hx: {hx} | None = None"}
        if unread:
            plain |= {"READS": "", "NOT_FOR_SCRIPT": refusal, "FORWARD": "self._called(input, hx)"}
        return plain
    names = (*genome.inputs[1:], "reset")
    folder = files(__name__.rpartition(".")[0])
    helpers = (folder / "beside.py.txt").read_text(encoding="utf-8")
    listed = ", ".join(number(state.initial) for state in genome.states)
    starts = f"({listed}{',' if len(genome.states) == 1 else ''})"
    steps = ", ".join(_STEPS[name] for name in genome.inputs[1:])
    steps = f"({steps}{',' if len(genome.inputs) == 2 else ''})"
    kinds = {"dt": "Tensor | PackedSequence | float"}
    kind = {name: kinds.get(name, "Tensor | PackedSequence") for name in names}
    arguments = ["self", "input: Tensor", f"hx: {hx} | None = None", "*"]
    arguments += [f"{name}: {kind[name]} | None = None" for name in names]
    given = ", ".join(f'"{name}": {name}' for name in names)
    mask = '\n                given = {**given, "mask": torch.ones_like(x)}'
    return {
        "READS": "\n    ".join(_READS[name] for name in names) + "\n    Packed where x is.",
        "FORWARD": f"self._called(input, hx, {{{given}}})",
        "NOT_FOR_SCRIPT": refusal,
        "ARGUMENTS": "".join(f"\n        {argument}," for argument in arguments) + "\n    ",
        "GIVEN_ARGUMENT": ", given",
        "GIVEN_TYPE": ", given: dict[str, Tensor]",
        "PASSED": ", given",
        "PASSED_BY_NAME": ", given=given",
        "LAID_OUT_PACKED": "\n            given = _beside(given, x, sizes)",
        "LAID_OUT": _LAID_OUT,
        "NEXT_LAYER": mask if "mask" in names else "",
        "STEP_GIVEN": _STEP_RESET.replace("@STARTS@", starts).replace("@STEPS@", steps),
        "STEP_PASSED": ", *more",
        "BESIDE_HELPERS": helpers,
    }


_FAST = (
    "KEYWORDS", "NAMED", "GIVEN_TYPE", "GRADIENT", "PASSED", "INPUTS", "INPUTS_PASSED",
    "BESIDE_HELPERS",
)  # fmt: skip
_INPUTS = """\
        if given["reset"].any():
            kernel = native_kernel("program_with_resets.json")
        inputs = _inputs(kernel.program, given, states, sizes, backwards)
"""


def fast_fields(genome: Genome, *, resets: bool) -> dict[str, str]:
    """The fields of the template of the fast class of a package, which is given what the plain one
    is (:func:`beside_fields`).
    """
    if genome.inputs == ("x",) and not resets:
        return dict.fromkeys(_FAST, "")
    names = (*genome.inputs[1:], "reset")
    folder = files(__name__.rpartition(".")[0])
    return {
        "KEYWORDS": ", *, " + ", ".join(f"{name}=None" for name in names),
        "NAMED": ", " + ", ".join(f"{name}={name}" for name in names),
        "GIVEN_TYPE": ", given: dict[str, Tensor]",
        "GRADIENT": " or any(value.requires_grad for value in given.values())",
        "PASSED": ", given",
        "INPUTS": _INPUTS,
        "INPUTS_PASSED": ", inputs",
        "BESIDE_HELPERS": (folder / "fast_beside.py.txt").read_text(encoding="utf-8"),
    }


def without_script(template: str, unread: str) -> str:
    """The template, without what torch.jit.script reads where it cannot read the layer
    (:func:`not_for_script`).
    """
    return _SCRIPTED.sub("" if unread else r"\1", template)


_MODEL = (
    "FORWARD_MORE", "FORWARD_SAID", "CELL_MORE", "PREDICT_MORE", "PREDICT_SAID", "EACH", "OF_EACH",
    "RUN_MORE", "STEP_MORE", "STEP_SAID", "STEP_GIVEN", "STEP_CHECK", "BESIDE",
)  # fmt: skip
_HELPERS = """


def _read_beside(sequence: Tensor, times=None, resets=None, dt: float | None = None):
    \"\"\"What the cell is given beside a sequence: [T, 1], the mask [T, 1, I].\"\"\"
    given = {}@MASK@
    if TIME_UNIT is not None:
        if times is None and dt is None and len(sequence) > 1:
            raise ValueError("the cell reads the time between positions: give times")
        when = torch.as_tensor([0.0] if times is None else times, dtype=torch.float64)
        gaps = torch.cat([when.new_full((1,), TIME_UNIT if dt is None else dt), when.diff()])
        if gaps.shape != (len(sequence),) or not (gaps >= 0).all():
            raise ValueError("times are one a position, and never decrease")
        given["dt"] = (gaps / TIME_UNIT).to(DTYPE).unsqueeze(1)
    if resets is not None:
        given["reset"] = torch.as_tensor(resets, dtype=torch.bool).unsqueeze(1)
    return given
"""


def model_fields(whole: WholeModel, *, resets: bool) -> dict[str, str]:
    """The fields of the template of a whole model that say what may be missing, and what it is
    given beside its data where the cell reads that, or its states are to be reset.
    """
    interface, reads = whole.interface, whole.genome.inputs
    inputs = interface.inputs
    missing = isinstance(inputs, FeatureInputs) and inputs.missing
    fields = dict.fromkeys(_MODEL, "")
    fields |= {
        "SEQUENCES": "sequences",
        "NOT_FINITE": "values.isinf().any()" if missing else "not values.isfinite().all()",
        "FILLED": ".nan_to_num(nan=0.0)" if missing else "",
    }
    if reads == ("x",) and not resets:
        return fields
    timed = "dt" in reads and interface.time_unit is not None
    unit = interface.time_unit if timed else None
    masked = missing and "mask" in reads and "projection.weight" not in whole.weights
    mask = """
    given["mask"] = (~sequence.isnan()).to(DTYPE).unsqueeze(1)"""
    said = "\n        times: when each position was, as in the training." if timed else ""
    said += "\n        resets: where states start afresh before the position."
    said += "\n        Both one a position; of several sequences a list of these."
    return {
        **fields,
        "FORWARD_MORE": ", beside: dict[str, Tensor] | None = None",
        "FORWARD_SAID": "\n        beside: dt and reset [T, B], mask [T, B, I], as far as the cell "
        "reads them; not with lengths.",
        "CELL_MORE": ", **(beside or {})",
        "PREDICT_MORE": ", times=None, resets=None" if timed else ", resets=None",
        "PREDICT_SAID": said,
        "EACH": "\n        times, resets = (_each(given, alone, sequences) for given in ("
        + ("times" if timed else "None")
        + ", resets))",
        "OF_EACH": ", when, fresh",
        "SEQUENCES": "zip(sequences, times, resets, strict=True)",
        "RUN_MORE": ", beside=_read_beside(sequence[-len(x) :], when, fresh)",
        "STEP_MORE": ", dt: float | None = None" if timed else "",
        "STEP_SAID": " dt: the time since the position before." if timed else "",
        "STEP_CHECK": _STEP_CHECK if timed else "",
        "STEP_GIVEN": ", beside=_read_beside(_position(position), dt="
        + ("dt" if timed else "None")
        + ")",
        "BESIDE": _EACH.replace("@UNIT@", repr(unit))
        + _HELPERS.replace("@MASK@", mask if masked else ""),
    }


_STEP_CHECK = """
        if state is not None and dt is None:
            raise ValueError("the cell reads the time between positions: give dt")"""
_EACH = """


TIME_UNIT = @UNIT@  # what the time between positions is divided by; None: the model reads none


def _each(given, alone: bool, sequences: list[Tensor]) -> list:
    \"\"\"What is given beside each sequence; of a sequence that is cut, its end.\"\"\"
    rows = [None] * len(sequences) if given is None else [given] if alone else list(given)
    fit = len(rows) == len(sequences)
    if not fit or any(r is not None and len(r) != len(s) for r, s in zip(rows, sequences)):
        raise ValueError("times and resets are one a position, in the form of the data")
    history = INPUTS.get("history")
    return [row if row is None or not history else row[-history:] for row in rows]
"""
