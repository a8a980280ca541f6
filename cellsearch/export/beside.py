"""What the exported layer of a cell that reads ``dt[t]`` or ``mask[t]`` has more than others: the
same meaning as :mod:`cellsearch.compiler.given`.
"""

from __future__ import annotations

import re
from importlib.resources import files

from cellsearch.export.expressions import number
from cellsearch.export.sized import has_other_sizes
from cellsearch.genome.graph import Genome

__all__ = ["beside_fields", "without_script"]

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
        raise RuntimeError("torch.jit.script cannot read a layer that is given more than x")
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


def beside_fields(genome: Genome, hx: str) -> dict[str, str]:
    """The fields of the template of a layer that say what it is given beside x. ``hx``: the type of
    its states.
    """
    if genome.inputs == ("x",):
        plain = {**_PLAIN, "ARGUMENTS": f"self, input: Tensor, hx: {hx} | None = None"}
        if has_other_sizes(genome):
            unread = _NOT_FOR_SCRIPT.replace("is given more than x", "has states of several sizes")
            plain |= {"READS": "", "NOT_FOR_SCRIPT": unread, "FORWARD": "self._called(input, hx)"}
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
        "NOT_FOR_SCRIPT": _NOT_FOR_SCRIPT,
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


def without_script(template: str, genome: Genome) -> str:
    """The template, without what torch.jit.script reads where it cannot read the layer."""
    read = genome.inputs == ("x",) and not has_other_sizes(genome)
    return _SCRIPTED.sub(r"\1" if read else "", template)
