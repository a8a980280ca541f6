"""The published equations of the simple networks and the LSTM family; see
:mod:`support.zoo.equations`.
"""

from __future__ import annotations

from support.zoo.equations import (
    Array,
    Equations,
    States,
    Weights,
    affine,
    dense,
    layer_norm,
    relu,
    sigmoid,
    tanh,
)

__all__ = ["EQUATIONS", "slim_gate"]


def rnn_tanh(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = tanh(affine(w, "h", x=x, h=s["h"]))
    return h, {"h": h}


def rnn_relu(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = relu(affine(w, "h", x=x, h=s["h"]))
    return h, {"h": h}


def rnn_layer_norm(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    a = dense(w, "h", x=x, h=s["h"])
    h = tanh(w["h.weight_0"] * layer_norm(a) + w["h.bias"])
    return h, {"h": h}


def indrnn_relu(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = relu(affine(w, "h", x=x) + w["h.weight_h"] * s["h"])
    return h, {"h": h}


def mrnn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    m = dense(w, "m", x=x) * dense(w, "m_2", h=s["h"])
    h = tanh(affine(w, "h", x=x, m=m))
    return h, {"h": h}


def mi_rnn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    wx, uh = dense(w, "a", x=x), dense(w, "u", h=s["h"])
    h = tanh(
        w["h.weight_0"] * wx * uh + w["h_2.weight_u"] * uh + w["h_3.weight_a"] * wx + w["h.bias"]
    )
    return h, {"h": h}


def scrn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    q = 0.05 * dense(w, "q", x=x) + 0.95 * s["q"]
    h = sigmoid(dense(w, "h", q_=q, x=x, h=s["h"]))
    return dense(w, "y", h_=h, q_=q), {"h": h, "q": q}


def fastrnn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    n = tanh(affine(w, "n", x=x, h=s["h"]))
    h = sigmoid(w["alpha.scale"]) * n + sigmoid(w["beta.scale"]) * s["h"]
    return h, {"h": h}


def lstm(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c = s["h"], s["c"]
    i = sigmoid(affine(w, "i", x=x, h=h))
    f = sigmoid(affine(w, "f", x=x, h=h))
    o = sigmoid(affine(w, "o", x=x, h=h))
    g = tanh(affine(w, "g", x=x, h=h))
    c = f * c + i * g
    h = o * tanh(c)
    return h, {"h": h, "c": c}


def lstmp(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c = s["h"], s["c"]
    i, f, o = (sigmoid(affine(w, gate, x=x, h=h)) for gate in "ifo")
    c = f * c + i * tanh(affine(w, "g", x=x, h=h))
    h = dense(w, "h", **{"0": o * tanh(c)})
    return h, {"h": h, "c": c}


def lstm_1997(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c = s["h"], s["c"]
    i = sigmoid(affine(w, "i", x=x, h=h))
    o = sigmoid(affine(w, "o", x=x, h=h))
    c = c + i * tanh(affine(w, "g", x=x, h=h))
    h = o * tanh(c)
    return h, {"h": h, "c": c}


def greff(removed: str) -> Equations:
    """Greff et al. 2017, section III: the vanilla LSTM (``removed = ""``) and what is left of
    it.
    """

    def step(w: Weights, x: Array, s: States) -> tuple[Array, States]:
        h, c = s["h"], s["c"]
        ones = 1.0 + 0.0 * c
        forget = (
            ones if removed == "NFG" else sigmoid(affine(w, "f", x=x, h=h) + w["f.weight_c"] * c)
        )
        if removed == "CIFG":
            admit = 1.0 - forget
        else:
            admit = (
                ones
                if removed == "NIG"
                else sigmoid(affine(w, "i", x=x, h=h) + w["i.weight_c"] * c)
            )
        block = affine(w, "g", x=x, h=h)
        c = forget * c + admit * (block if removed == "NIAF" else tanh(block))
        out = (
            ones if removed == "NOG" else sigmoid(affine(w, "o", x=x, h=h) + w["o.weight_c_t"] * c)
        )
        h = out * (c if removed == "NOAF" else tanh(c))
        return h, {"h": h, "c": c}

    return step


def lstm_fgr(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c, gates = s["h"], s["c"], {"i": s["i"], "f": s["f"], "o": s["o"]}
    i = sigmoid(affine(w, "i", x=x, h=h, **gates) + w["i.weight_c"] * c)
    f = sigmoid(affine(w, "f", x=x, h=h, **gates) + w["f.weight_c"] * c)
    c = f * c + i * tanh(affine(w, "g", x=x, h=h))
    o = sigmoid(affine(w, "o", x=x, h=h, **gates) + w["o.weight_c_t"] * c)
    h = o * tanh(c)
    return h, {"h": h, "c": c, "i": i, "f": f, "o": o}


def lstm_ln(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    i, f, g, o = (
        layer_norm(dense(w, n, x=x)) + layer_norm(dense(w, f"{n}_2", h=s["h"])) + w[f"{n}.bias"]
        for n in "ifgo"
    )
    c = sigmoid(f) * s["c"] + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(layer_norm(c))
    return h, {"h": h, "c": c}


def janet(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    a = affine(w, "a", x=x, h=s["h"])
    h = sigmoid(a) * s["h"] + (1.0 - sigmoid(a - 1.0)) * tanh(affine(w, "g", x=x, h=s["h"]))
    return h, {"h": h}


def mult_lstm(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    m = dense(w, "m", x=x) * dense(w, "m_2", h=s["h"])
    i = sigmoid(affine(w, "i", x=x, m=m))
    f = sigmoid(affine(w, "f", x=x, m=m))
    o = sigmoid(affine(w, "o", x=x, m=m))
    c = f * s["c"] + i * tanh(affine(w, "g", x=x, m=m))
    h = tanh(c) * o
    return h, {"h": h, "c": c}


def slim_gate(w: Weights, name: str, h: Array, variant: int) -> Array:
    """The pre-activation of a gate in the three simplifications of Salem and co-workers."""
    if variant == 1:
        return affine(w, name, h=h)
    return dense(w, name, h=h) if variant == 2 else w[f"{name}.bias"]


def slim_lstm(variant: int) -> Equations:
    """Lu & Salem 2017: gates from state and bias (1), from the state (2), from a bias (3)."""

    def step(w: Weights, x: Array, s: States) -> tuple[Array, States]:
        h = s["h"]
        gate = {n: slim_gate(w, n, h, variant) for n in "ifo"}
        c = sigmoid(gate["f"]) * s["c"] + sigmoid(gate["i"]) * tanh(affine(w, "g", x=x, h=h))
        h = sigmoid(gate["o"]) * tanh(c)
        return h, {"h": h, "c": c}

    return step


def indylstm(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    i, f, g, o = (affine(w, n, x=x) + w[f"{n}.weight_h"] * s["h"] for n in "ifgo")
    c = sigmoid(f) * s["c"] + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return h, {"h": h, "c": c}


def lstm_wmc(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c = s["h"], s["c"]
    i = sigmoid(affine(w, "i", x=x, h=h) + tanh(dense(w, "i_2", c=c)))
    f = sigmoid(affine(w, "f", x=x, h=h) + tanh(dense(w, "f_2", c=c)))
    c = f * c + i * tanh(affine(w, "g", x=x, h=h))
    o = sigmoid(affine(w, "o", x=x, h=h) + tanh(dense(w, "o_2", c_=c)))
    h = o * tanh(c)
    return h, {"h": h, "c": c}


def lstm_residual(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c = s["h"], s["c"]
    i = sigmoid(affine(w, "i", x=x, h=h) + w["i.weight_c"] * c)
    f = sigmoid(affine(w, "f", x=x, h=h) + w["f.weight_c"] * c)
    c = f * c + i * tanh(affine(w, "g", x=x, h=h))
    o = sigmoid(affine(w, "o", x=x, h=h) + w["o.weight_c_t"] * c)
    h = o * (dense(w, "h", **{"0": tanh(c)}) + dense(w, "h", x=x))
    return h, {"h": h, "c": c}


def time_lstm(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c = s["h"], s["c"]
    short = tanh(affine(w, "s", c=c))
    c = (c - short) + short * (1 / w.dt)
    i, f, o = (sigmoid(affine(w, gate, x=x, h=h)) for gate in "ifo")
    c = f * c + i * tanh(affine(w, "z", x=x, h=h))
    h = o * tanh(c)
    return h, {"h": h, "c": c}


EQUATIONS: dict[str, Equations] = {
    "time_lstm": time_lstm,
    "fastrnn": fastrnn,
    "lstmp": lstmp,
    "indrnn_relu": indrnn_relu,
    "indylstm": indylstm,
    "janet": janet,
    "lstm": lstm,
    "lstm_1997": lstm_1997,
    "lstm_cifg": greff("CIFG"),
    "lstm_fgr": lstm_fgr,
    "lstm_ln": lstm_ln,
    "lstm_nfg": greff("NFG"),
    "lstm_niaf": greff("NIAF"),
    "lstm_nig": greff("NIG"),
    "lstm_noaf": greff("NOAF"),
    "lstm_nog": greff("NOG"),
    "lstm_peephole": greff(""),
    "lstm_residual": lstm_residual,
    "lstm_wmc": lstm_wmc,
    "mi_rnn": mi_rnn,
    "mrnn": mrnn,
    "mult_lstm": mult_lstm,
    "rnn_layer_norm": rnn_layer_norm,
    "rnn_relu": rnn_relu,
    "rnn_tanh": rnn_tanh,
    "scrn": scrn,
    "slim_lstm1": slim_lstm(1),
    "slim_lstm2": slim_lstm(2),
    "slim_lstm3": slim_lstm(3),
}
"""Name of the cell -> its equations."""
