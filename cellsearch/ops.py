"""The op table: one row an op.

A row says how many operands an op takes, what it means in torch, its gradient, and its algebra.
Everything else that needs to know an op (parser, reference backend, exported source, gradient pass,
simplifier, drawing) reads this table.

``torch`` is an expression over ``{0}``, ``{1}``, ... (operands), ``{w...}`` (own parameters, see
:class:`Op`). ``gradient`` holds, for each operand, an expression in the same small language over
``a``, ``b``, ``c`` (operands), ``y`` (the value of the op) and ``g`` (the gradient with respect to
``y``); besides cell ops it may use ``step(a)`` (1 where a > 0, else 0) and ``sign(a)``. Ops with
parameters, ``layer_norm`` and variadic ops have structural gradients that the compiler writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OPS", "Kind", "Op", "get", "names"]

Kind = Literal["pointwise", "parametric", "constant", "normalisation"]


@dataclass(frozen=True, slots=True)
class Op:
    """One kind of computation.

    ``min_arity``/``max_arity``: number of operands (``max_arity`` ``None``: any number).
    ``commutative``: operand order does not matter. ``kind``: ``parametric`` ops own trainable
    weights; two of them are different functions even when written alike. ``squashing``: the value
    is bounded. ``gate``: the value lies in [0, 1]. ``source``: where the op comes from.
    """

    name: str
    min_arity: int
    max_arity: int | None
    torch: str
    gradient: tuple[str, ...]
    source: str
    commutative: bool = False
    kind: Kind = "pointwise"
    squashing: bool = False
    gate: bool = False
    symbol: str = ""

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


def _unary(
    name: str,
    torch: str,
    gradient: str,
    source: str,
    *,
    squashing: bool = False,
    gate: bool = False,
    symbol: str = "",
) -> Op:
    return Op(name, 1, 1, torch, (gradient,), source, squashing=squashing, gate=gate, symbol=symbol)


_ROWS = (
    # Ops with weights.
    Op("linear", 1, None, "", (), "Elman 1990, eq. of the hidden layer: sum of W_k a_k, plus a bias", commutative=True, kind="parametric"),
    Op("diag", 1, 1, "", (), "peephole weights: Gers & Schmidhuber 2000; IndRNN: Li et al. 2018, eq. 2", kind="parametric"),
    Op("scale", 1, 1, "", (), "connection gate: a trainable scalar, as in LeCun et al. 1990 and DARTS (Liu et al. 2019, eq. 2)", kind="parametric"),
    Op("bias", 0, 0, "", (), "a trainable vector, for sums that need a bias of their own (Ba et al. 2016, LSTM)", kind="parametric"),
    # A number.
    Op("const", 0, 0, "", (), "a number in an equation", kind="constant"),
    # Arithmetic.
    Op("add", 2, None, "", (), "sum", commutative=True, symbol="+"),
    Op("mul", 2, None, "", (), "Hadamard product", commutative=True, symbol="*"),
    Op("sub", 2, 2, "{0} - {1}", ("g", "-g"), "difference", symbol="-"),
    Op("div", 2, 2, "{0} / {1}", ("g / b", "-(g * y / b)"), "quotient; minLSTM, Feng et al. 2024", symbol="/"),
    Op("max", 2, 2, "torch.maximum({0}, {1})", ("g * (1 + sign(a - b)) * 0.5", "g * (1 + sign(b - a)) * 0.5"), "sLSTM stabiliser, Beck et al. 2024, eq. 15", commutative=True),
    Op("min", 2, 2, "torch.minimum({0}, {1})", ("g * (1 + sign(b - a)) * 0.5", "g * (1 + sign(a - b)) * 0.5"), "mirror of max", commutative=True),
    Op("blend", 3, 3, "{0} * {1} + (1 - {0}) * {2}", ("g * (b - c)", "g * a", "g * (1 - a)"), "g*a + (1-g)*b: GRU update, Cho et al. 2014, eq. 7; NAS-Bench-NLP `blend`"),
    # Functions of one value.
    _unary("sigmoid", "torch.sigmoid({0})", "g * (y * (1 - y))", "logistic sigmoid; gates of Hochreiter & Schmidhuber 1997", squashing=True, gate=True, symbol="σ"),
    _unary("tanh", "torch.tanh({0})", "g * (1 - y * y)", "Elman 1990", squashing=True),
    _unary("relu", "torch.relu({0})", "g * step(y)", "Nair & Hinton 2010; IRNN, Le et al. 2015"),
    _unary("leaky_relu", "torch.nn.functional.leaky_relu({0}, 0.01)", "g * (0.01 + 0.99 * step(y))", "Maas et al. 2013, slope 0.01"),
    _unary("silu", "torch.nn.functional.silu({0})", "g * (sigmoid(a) * (1 + a * (1 - sigmoid(a))))", "Elfwing et al. 2018; swish"),
    _unary("gelu", "torch.nn.functional.gelu({0})", "g * (0.5 * (1 + erf(a * 0.7071067811865476)) + a * exp(a * a * -0.5) * 0.3989422804014327)", "Hendrycks & Gimpel 2016, the exact (erf) form"),
    _unary("softplus", "torch.nn.functional.softplus({0})", "g * sigmoid(a)", "Dugas et al. 2001"),
    _unary("log_sigmoid", "torch.nn.functional.logsigmoid({0})", "g * sigmoid(-a)", "log of the logistic sigmoid; sLSTM, Beck et al. 2024"),
    _unary("exp", "torch.exp({0})", "g * y", "exponential gate of sLSTM, Beck et al. 2024"),
    _unary("identity", "{0}", "g", "skip connection; DARTS search space, Liu et al. 2019"),
    _unary("neg", "-{0}", "-g", "negation", symbol="-"),
    _unary("abs", "torch.abs({0})", "g * sign(a)", "absolute value"),
    _unary("sin", "torch.sin({0})", "g * cos(a)", "Schrimpf et al. 2018 DSL", squashing=True),
    _unary("cos", "torch.cos({0})", "-(g * sin(a))", "Schrimpf et al. 2018 DSL", squashing=True),
    _unary("square", "torch.square({0})", "g * 2 * a", "square"),
    _unary("sqrt", "torch.sqrt({0})", "g * 0.5 / y", "square root; input scale sqrt(1 - a^2) of Griffin's RG-LRU, De et al. 2024, eq. 4"),
    # Normalisation over the H units of a value; no weights of its own (write diag(...) and bias()
    # for gain and shift).
    Op("layer_norm", 1, 1, "torch.nn.functional.layer_norm({0}, {0}.shape[-1:])", (), "Ba et al. 2016, eq. 4 without gain and bias, eps 1e-5", kind="normalisation"),
)  # fmt: skip

OPS: dict[str, Op] = {row.name: row for row in _ROWS}
"""All ops by name."""


def get(name: str) -> Op:
    """The op of this name; raises :class:`KeyError` for an unknown one."""
    return OPS[name]


def names() -> tuple[str, ...]:
    """The names of all ops, in table order."""
    return tuple(OPS)
