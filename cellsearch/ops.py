"""The op table: one row an op.

A row says how many operands an op takes, what it means in torch, its gradient, and every fact that
another part relies on. Parser, backends, exported source, gradient pass, simplifier, space, cost
and drawing read this table and keep no list of their own.

``torch`` is an expression over ``{0}``, ``{1}``, ... (operands). ``gradient`` holds, for each
operand, an expression in the same small language over ``a``, ``b``, ``c`` (operands), ``y`` (the
value of the op) and ``g`` (the gradient with respect to ``y``); besides cell ops it may use
``step(a)`` (1 where a > 0, else 0), ``sign(a)`` and ``erf(a)``. Ops with parameters,
``layer_norm`` and variadic ops have structural gradients that the compiler writes.

An op of another package is one more row: :func:`register` adds it to this process, an entry point
of the group ``cellsearch.ops`` adds it wherever the package is installed (workers too).
"""

from __future__ import annotations

import ast
import keyword
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Literal

from cellsearch.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "COMMUTATIVE",
    "GROUP",
    "LATER",
    "OPS",
    "PARAMETRIC",
    "POINTWISE",
    "WEIGHT_FREE",
    "Kind",
    "Op",
    "find",
    "get",
    "names",
    "register",
    "unknown_op_hint",
]

Kind = Literal["pointwise", "parametric", "constant", "normalisation", "rotation"]
GROUP = "cellsearch.ops"
"""The group of entry points in which another package declares ops."""


@dataclass(frozen=True, slots=True)
class Op:
    """One kind of computation. All facts are about real numbers, rounding apart."""

    name: str
    min_arity: int
    """Least number of operands."""
    max_arity: int | None
    """Greatest number of operands; ``None``: any number."""
    torch: str
    """The meaning, as an expression in torch; ``""`` where the compiler has a structure for it."""
    gradient: tuple[str, ...]
    """One expression an operand; see the module."""
    source: str
    """Where the op comes from."""
    numeric: Callable[[float], float] | None = None
    """The function of one value in Python's floats; ``None``: of a number it stays as it is."""
    kind: Kind = "pointwise"
    """``parametric`` ops own trainable weights: two are different functions even when alike."""
    commutative: bool = False
    """Operand order does not matter."""
    additive: bool = False
    """f(a + b) = f(a) + f(b), for given weights."""
    squashing: bool = False
    """The value is bounded."""
    gate: bool = False
    """The value lies in [0, 1]."""
    nonnegative: bool = False
    """The value is never below 0."""
    nonpositive: bool = False
    """The value is never above 0."""
    odd: bool = False
    """f(-a) = -f(a)."""
    even: bool = False
    """f(-a) = f(a)."""
    keeps_zero: bool = False
    """0 where all operands are 0."""
    keeps_positive: bool = False
    """f(a) = a where a >= 0."""
    keeps_unit: bool = False
    """Maps [0, 1] into itself, as far as the growth of states is followed."""
    superlinear: bool = False
    """Grows faster than a multiple of its operand."""
    half_line: bool = False
    """There is no value below 0."""
    multiplications: int = 0
    """Multiplications and divisions an element (of ``mul``: one less than operands)."""
    costly: bool = False
    """Takes a series or a division; other ops cost about an addition."""
    latex: str = ""
    """The function in LaTeX, or a pattern with ``#1`` for the operands; ``""``: its name."""
    symbol: str = ""
    """What a drawing writes; ``""``: its name."""
    out: str = ""
    """The function of torch of the same meaning that can write into given memory (``out=``)."""
    in_place: str = ""
    """An expression like ``torch`` that overwrites its operand."""

    @property
    def parametric(self) -> bool:
        """Whether nodes of this op own trainable weights."""
        return self.kind == "parametric"

    @property
    def unary(self) -> bool:
        """Whether the op is a parameter-free function of one value, elementwise."""
        return self.kind == "pointwise" and self.min_arity == 1 and self.max_arity == 1

    def accepts(self, operands: int) -> bool:
        """Whether the op can take this number of operands."""
        return self.min_arity <= operands and (self.max_arity is None or operands <= self.max_arity)

    def arity_text(self) -> str:
        """The allowed number of operands, in words."""
        if self.max_arity is None:
            return f"at least {self.min_arity}"
        if self.min_arity == self.max_arity:
            return f"exactly {self.min_arity}"
        return f"{self.min_arity} to {self.max_arity}"

    def operands_text(self) -> str:
        """As :meth:`arity_text`, with the word: ``exactly 1 operand``."""
        one = (self.min_arity if self.max_arity is None else self.max_arity) == 1
        return f"{self.arity_text()} operand{'' if one else 's'}"


def _sigmoid(a: float) -> float:
    return 1.0 / (1.0 + math.exp(-a)) if a >= 0 else math.exp(a) / (1.0 + math.exp(a))


def _softplus(a: float) -> float:
    return max(a, 0.0) + math.log1p(math.exp(-abs(a)))


def _gelu(a: float) -> float:
    return 0.5 * a * (1.0 + math.erf(a / math.sqrt(2.0)))


_ROWS = (
    # Ops with weights.
    Op("linear", 1, None, "", (),
       "Elman 1990, eq. of the hidden layer: sum of W_k a_k, plus a bias", kind="parametric",
       commutative=True, additive=True),
    Op("diag", 1, 1, "", (),
       "peephole weights: Gers & Schmidhuber 2000; IndRNN: Li et al. 2018, eq. 2",
       kind="parametric", additive=True, keeps_zero=True, multiplications=1),
    Op("scale", 1, 1, "", (),
       "connection gate: a trainable scalar, as in LeCun et al. 1990 and DARTS (Liu et al. 2019, "
       "eq. 2)",
       kind="parametric", additive=True, keeps_zero=True, multiplications=1),
    Op("bias", 0, 0, "", (),
       "a trainable vector, for sums that need a bias of their own (Ba et al. 2016, LSTM)",
       kind="parametric"),
    # A number.
    Op("const", 0, 0, "", (), "a number in an equation", kind="constant"),
    # Arithmetic.
    Op("add", 2, None, "", (), "sum", commutative=True, additive=True, keeps_zero=True, symbol="+",
       out="add"),
    Op("mul", 2, None, "", (), "Hadamard product", commutative=True, keeps_zero=True,
       keeps_unit=True, symbol="×", out="mul"),
    Op("sub", 2, 2, "{0} - {1}", ("g", "-g"), "difference", additive=True, keeps_zero=True,
       symbol="−", out="sub"),
    Op("div", 2, 2, "{0} / {1}", ("g / b", "-(g * y / b)"), "quotient; minLSTM, Feng et al. 2024",
       multiplications=1, costly=True, symbol="÷", out="div"),
    Op("max", 2, 2, "torch.maximum({0}, {1})",
       ("g * (1 + sign(a - b)) * 0.5", "g * (1 + sign(b - a)) * 0.5"),
       "sLSTM stabiliser, Beck et al. 2024, eq. 15", commutative=True, keeps_zero=True,
       keeps_unit=True, latex=r"\max", out="maximum"),
    Op("min", 2, 2, "torch.minimum({0}, {1})",
       ("g * (1 + sign(b - a)) * 0.5", "g * (1 + sign(a - b)) * 0.5"), "mirror of max",
       commutative=True, keeps_zero=True, keeps_unit=True, latex=r"\min", out="minimum"),
    Op("blend", 3, 3, "{0} * {1} + (1 - {0}) * {2}", ("g * (b - c)", "g * a", "g * (1 - a)"),
       "g*a + (1-g)*b: GRU update, Cho et al. 2014, eq. 7; NAS-Bench-NLP `blend`", keeps_zero=True,
       keeps_unit=True, multiplications=2),
    # Functions of one value.
    Op("sigmoid", 1, 1, "torch.sigmoid({0})", ("g * (y * (1 - y))",),
       "logistic sigmoid; gates of Hochreiter & Schmidhuber 1997", _sigmoid, squashing=True,
       gate=True, nonnegative=True, costly=True, latex=r"\sigma", symbol="σ", out="sigmoid",
       in_place="torch.sigmoid_({0})"),
    Op("tanh", 1, 1, "torch.tanh({0})", ("g * (1 - y * y)",), "Elman 1990", math.tanh,
       squashing=True, odd=True, keeps_zero=True, keeps_unit=True, costly=True, latex=r"\tanh",
       out="tanh", in_place="torch.tanh_({0})"),
    # Not torch's hardsigmoid, whose slope in float64 is 1/6 in float32; values and kinks are its.
    Op("hard_sigmoid", 1, 1, "torch.nn.functional.relu6({0} + 3) / 6",
       ("g * step(3 - abs(a)) * 0.16666666666666666",),
       "relu6(a + 3) / 6, Howard et al. 2019 (MobileNetV3), eq. 5; piecewise linear",
       lambda a: min(max(a + 3.0, 0.0), 6.0) / 6.0, squashing=True, gate=True, nonnegative=True,
       multiplications=1, in_place="torch.nn.functional.hardtanh_({0}.add_(3), 0, 6).div_(6)"),
    Op("hard_tanh", 1, 1, "torch.nn.functional.hardtanh({0})", ("g * step(1 - abs(a))",),
       "Collobert 2004: a within [-1, 1], the nearer end outside",
       lambda a: min(max(a, -1.0), 1.0), squashing=True, odd=True, keeps_zero=True, keeps_unit=True,
       in_place="torch.nn.functional.hardtanh_({0})"),
    Op("softsign", 1, 1, "torch.nn.functional.softsign({0})", ("g / square(1 + abs(a))",),
       "a / (1 + |a|), Bergstra et al. 2009; one division", lambda a: a / (1.0 + abs(a)),
       squashing=True, odd=True, keeps_zero=True, keeps_unit=True, multiplications=1, costly=True),
    Op("relu", 1, 1, "torch.relu({0})", ("g * step(y)",),
       "Nair & Hinton 2010; IRNN, Le et al. 2015", lambda a: max(a, 0.0), nonnegative=True,
       keeps_zero=True, keeps_positive=True, keeps_unit=True, in_place="torch.relu_({0})"),
    Op("leaky_relu", 1, 1, "torch.nn.functional.leaky_relu({0}, 0.01)",
       ("g * (0.01 + 0.99 * step(y))",), "Maas et al. 2013, slope 0.01", lambda a: max(a, 0.01 * a),
       keeps_zero=True, keeps_positive=True, in_place="torch.nn.functional.leaky_relu_({0}, 0.01)"),
    Op("silu", 1, 1, "torch.nn.functional.silu({0})",
       ("g * (sigmoid(a) * (1 + a * (1 - sigmoid(a))))",), "Elfwing et al. 2018; swish",
       lambda a: a * _sigmoid(a), keeps_zero=True, costly=True),
    Op("gelu", 1, 1, "torch.nn.functional.gelu({0})",
       ("g * (0.5 * (1 + erf(a * 0.7071067811865476)) "
        "+ a * exp(a * a * -0.5) * 0.3989422804014327)",),
       "Hendrycks & Gimpel 2016, the exact (erf) form", _gelu, keeps_zero=True, costly=True),
    Op("softplus", 1, 1, "torch.nn.functional.softplus({0})", ("g * sigmoid(a)",),
       "Dugas et al. 2001", _softplus, nonnegative=True, costly=True),
    Op("log_sigmoid", 1, 1, "torch.nn.functional.logsigmoid({0})", ("g * sigmoid(-a)",),
       "log of the logistic sigmoid; sLSTM, Beck et al. 2024", lambda a: -_softplus(-a),
       nonpositive=True, costly=True, latex=r"\log\sigma"),
    Op("exp", 1, 1, "torch.exp({0})", ("g * y",), "exponential gate of sLSTM, Beck et al. 2024",
       math.exp, nonnegative=True, superlinear=True, costly=True, latex=r"\exp", out="exp",
       in_place="torch.exp_({0})"),
    Op("identity", 1, 1, "{0}", ("g",), "skip connection; DARTS search space, Liu et al. 2019",
       additive=True, odd=True, keeps_zero=True, keeps_positive=True, keeps_unit=True,
       latex=r"\left(#1\right)"),
    Op("neg", 1, 1, "-{0}", ("-g",), "negation", additive=True, odd=True, keeps_zero=True,
       out="neg", in_place="torch.neg_({0})"),
    Op("abs", 1, 1, "torch.abs({0})", ("g * sign(a)",), "absolute value", abs, nonnegative=True,
       even=True, keeps_zero=True, keeps_positive=True, keeps_unit=True, latex=r"\left|#1\right|",
       out="abs", in_place="torch.abs_({0})"),
    Op("sin", 1, 1, "torch.sin({0})", ("g * cos(a)",), "Schrimpf et al. 2018 DSL", math.sin,
       squashing=True, odd=True, keeps_zero=True, costly=True, latex=r"\sin", out="sin",
       in_place="torch.sin_({0})"),
    Op("cos", 1, 1, "torch.cos({0})", ("-(g * sin(a))",), "Schrimpf et al. 2018 DSL", math.cos,
       squashing=True, even=True, costly=True, latex=r"\cos", out="cos",
       in_place="torch.cos_({0})"),
    Op("square", 1, 1, "torch.square({0})", ("g * 2 * a",), "square", lambda a: a * a,
       nonnegative=True, even=True, keeps_zero=True, keeps_unit=True, superlinear=True,
       multiplications=1, latex=r"\left(#1\right)^2", out="square", in_place="torch.square_({0})"),
    Op("sqrt", 1, 1, "torch.sqrt({0})", ("g * 0.5 / y",),
       "square root; input scale sqrt(1 - a^2) of Griffin's RG-LRU, De et al. 2024, eq. 4",
       math.sqrt, nonnegative=True, keeps_zero=True, keeps_unit=True, half_line=True, costly=True,
       latex=r"\sqrt{#1}", out="sqrt", in_place="torch.sqrt_({0})"),
    # Normalisation over the H units of a value; no weights of its own (write diag(...) and bias()
    # for gain and shift).
    Op("layer_norm", 1, 1, "torch.nn.functional.layer_norm({0}, {0}.shape[-1:])", (),
       "Ba et al. 2016, eq. 4 without gain and bias, eps 1e-5", lambda a: 0.0, kind="normalisation",
       odd=True, keeps_zero=True, costly=True),
    Op("head_norm", 1, 1, "", (),
       "layer_norm of each of so many equal parts (heads) of a value, without gain and bias, eps "
       "1e-5: the group norm of Wu & He 2018 behind the heads of xLSTM, Beck et al. 2024",
       lambda a: 0.0, kind="normalisation", odd=True, keeps_zero=True, costly=True),
    # The norm stands there twice, for TorchScript has no name within an expression.
    Op("unit", 1, 1,
       "{0} / torch.where(torch.linalg.vector_norm({0}, 2, -1, True) == 0, torch.inf, "
       "torch.linalg.vector_norm({0}, 2, -1, True))", (),
       "a / |a|, and 0 for 0: keys and queries of DeltaNet, Yang et al. 2024 (arXiv 2406.06484)",
       kind="normalisation", odd=True, keeps_zero=True, costly=True),
    # Pairs of units as complex numbers; the angles are half as many as units, or one number.
    Op("rotate", 2, 2,
       "torch.stack([{0}[..., 0::2] * torch.cos({1}) - {0}[..., 1::2] * torch.sin({1}), "
       "{0}[..., 0::2] * torch.sin({1}) + {0}[..., 1::2] * torch.cos({1})], -1).flatten(-2)", (),
       "the pairs (a_2j, a_2j+1) turned by the angles: complex states in real numbers; LRU, "
       "Orvieto et al. 2023 (arXiv 2303.06349), RotRNN, Biegun et al. 2024 (arXiv 2407.07239)",
       kind="rotation", keeps_zero=True, multiplications=2, costly=True, symbol="↻"),
)  # fmt: skip

LATER = frozenset({"hard_sigmoid", "hard_tanh", "softsign", "head_norm", "unit", "rotate"})
"""Ops that early versions did not have: a node of an older cell may be called so, and an op of
another package, as long as it is the same function."""
OPS: dict[str, Op] = {}
"""All ops by name, in table order: those of the table, and those registered since."""
COMMUTATIVE: set[str] = set()
"""The names of the ops whose operand order does not matter."""
PARAMETRIC: set[str] = set()
"""The names of the ops that own weights."""
WEIGHT_FREE: set[str] = set()
"""The names of all other ops."""
POINTWISE: dict[str, int] = {"step": 1, "sign": 1, "erf": 1, "restart": 3}
"""What is computed element by element -> its number of operands, of a sum or product two; with the
functions that only gradients and resets use, without ``identity``, which is nothing to
compute."""

_STRUCTURES = frozenset(
    [
        "x",
        "t",
        "state",
        "zeros",
        "vector",
        "scalar",
        "dense",
        "dense_t",
        "blocks",
        "blocks_t",
        "blocks_outer",
        "head_norm_gradient",
        "layer_norm_gradient",
        "unit_gradient",
        "turn",
        "twice",
        "pairs",
        "total",
        "fold",
        "outer",
        "move",
        "spread",
    ]
)
"""Names that the genome and the compiler give to something else."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OPERANDS = ("a", "b")


def find(name: str) -> Op | None:
    """The op of this name, also one that another package declares; ``None`` for an unknown one.

    Raises :class:`ConfigError` for a declaration that is broken.
    """
    row = OPS.get(name)
    if row is None:
        load = _declared().get(name)
        row = None if load is None else load()
    return row


def get(name: str) -> Op:
    """The op of this name; raises :class:`KeyError` for an unknown one."""
    row = find(name)
    if row is None:
        raise KeyError(name)
    return row


def names() -> tuple[str, ...]:
    """The names of all ops, in table order, then those of other packages."""
    return tuple(dict.fromkeys((*OPS, *_declared())))


_CALLED = {
    "σ": "sigmoid",
    "sigma": "sigmoid",
    "logistic": "sigmoid",
    "swish": "silu",
    "dense": "linear",
    "matmul": "linear",
    "lerp": "blend",
    "multiply": "mul",
    "times": "mul",
    "hadamard": "mul",
    "divide": "div",
    "minus": "sub",
    "norm": "layer_norm",
    "normalize": "unit",
    "rotation": "rotate",
    "hardsigmoid": "hard_sigmoid",
    "hardtanh": "hard_tanh",
    "clip": "hard_tanh",
    "clamp": "hard_tanh",
}
"""What others call some ops."""


def unknown_op_hint(name: str, allowed: Iterable[str] | None = None) -> str:
    """What to say of a name that is not an op: the one that was probably meant, and all."""
    known = tuple(allowed if allowed is not None else names())
    low = name.lower()
    meant = _CALLED.get(low) or next(iter(get_close_matches(low, known, n=1, cutoff=0.6)), "")
    return (f"did you mean {meant}? " if meant in known else "") + "allowed: " + ", ".join(known)


def _declared() -> Mapping[str, Callable[[], Op]]:
    """The ops of other packages: name -> what loads and registers it."""
    from cellsearch.files import declared, load_declared  # start-up: few cells have such an op

    def load(entry: EntryPoint) -> Op:
        def is_one(found: object) -> bool:
            return isinstance(found, Op) and found.name == entry.name

        return register(load_declared(entry, "op", is_one))

    found = declared(GROUP, "op", set(_BUILT_IN) - LATER)
    for name in LATER & found.keys():
        load(found.pop(name))  # refuses a row that means something else
    return {name: partial(load, entry) for name, entry in found.items()}


def register(row: Op) -> Op:
    """Add an op to this process; returns it. To register the same row again does nothing.

    It must be a pointwise function of one or two values. A row for an op that cellsearch has had
    itself since 0.2 is left out where it is the same function, and the op of cellsearch returned.
    Raises :class:`ConfigError` for a name that is taken, and for a meaning or gradient that is not
    in the language of the table.
    """
    if OPS.get(row.name) == row:
        return row
    if row.name in LATER and _same_function(row, OPS[row.name]):
        return OPS[row.name]
    _check(row)
    return _add(row)


def _same_function(row: Op, own: Op) -> bool:
    """Whether two rows give the same numbers in Python, at kinks too."""
    if row.numeric is None or own.numeric is None:
        return False
    points = [0.25 * k for k in range(-20, 21)]
    return all(math.isclose(row.numeric(a), own.numeric(a), abs_tol=1e-12) for a in points)


def _add(row: Op) -> Op:
    OPS[row.name] = row
    if row.commutative:
        COMMUTATIVE.add(row.name)
    (PARAMETRIC if row.parametric else WEIGHT_FREE).add(row.name)
    if row.kind == "pointwise" and row.name != "identity":
        POINTWISE[row.name] = row.min_arity
    return row


def _check(row: Op) -> None:
    where = f"op {row.name}"
    if not _NAME.fullmatch(row.name) or keyword.iskeyword(row.name):
        hint = "lower-case letters, digits and _, a letter first, no word of Python"
        raise ConfigError(f"{row.name!r:.60} cannot name an op", where=where, hint=hint)
    if row.name in OPS or row.name in POINTWISE or row.name in _STRUCTURES:
        raise ConfigError("this name is taken", where=where, hint="choose another name")
    arity = row.max_arity
    if row.kind != "pointwise" or arity != row.min_arity or arity not in (1, 2):
        raise ConfigError(
            f"a {row.kind} op of {row.operands_text()} needs a structure of its own in the "
            "compiler",
            where=where,
            hint="other packages add pointwise ops with 1 or 2 operands",
        )
    if len(row.gradient) != arity:
        hint = f"one expression an operand: {arity}"
        raise ConfigError(f"{len(row.gradient)} gradients", where=where, hint=hint)
    operands = _OPERANDS[:arity]
    for text in filter(None, (row.torch, row.in_place)):
        _check_expression(_with_names(text, where), {*operands, "torch"}, None, where)
    if not all(f"{{{k}}}" in row.torch for k in range(arity)):
        hint = "write {0} and {1} for the operands"
        raise ConfigError(f"{row.torch!r} does not read every operand", where=where, hint=hint)
    for text in row.gradient:
        _check_expression(text, {*operands, "y", "g"}, {*POINTWISE, row.name}, where)


def _with_names(text: str, where: str) -> str:
    """``torch.sin({0})`` -> ``torch.sin(a)``."""
    try:
        return text.format(*_OPERANDS)
    except (IndexError, KeyError, ValueError):
        hint = "write {0} and {1} for the operands"
        raise ConfigError(f"{text!r:.60} is not a meaning", where=where, hint=hint) from None


_ARITHMETIC = (ast.Expression, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.UnaryOp,
               ast.USub, ast.Constant, ast.Name, ast.Load, ast.Call)  # fmt: skip
_OF_TORCH = (*_ARITHMETIC, ast.Attribute, ast.keyword)


def _check_expression(
    text: str, variables: Collection[str], functions: Collection[str] | None, where: str
) -> None:
    """An expression holds numbers, + - * /, these variables, and calls of these functions, or of
    torch's (``None``).
    """
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ConfigError(f"{text!r} is not an expression: {error.msg}", where=where) from None
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        named = node.id if isinstance(node, ast.Name) else ""
        if functions is None:
            good = isinstance(node, _OF_TORCH) and (not named or named in variables)
            good &= not (isinstance(node, ast.Attribute) and node.attr.startswith("_"))
        else:
            good = isinstance(node, _ARITHMETIC)
            good &= not named or named in (functions if node in called else variables)
        if isinstance(node, ast.Constant):
            good &= type(node.value) in (int, float) or functions is None
        if not good:
            allowed = [*sorted(variables), *sorted(functions or ())]
            raise ConfigError(
                f"{ast.unparse(node)!r} in {text!r} is not allowed",
                where=where,
                hint="allowed: numbers, + - * /, " + ", ".join(allowed),
            )


_BUILT_IN = tuple(_add(row).name for row in _ROWS)
