"""The published equations of the GRU family and the other gated cells; see
:mod:`support.zoo.equations`.
"""

from __future__ import annotations

import numpy as np

from support.zoo.equations import (
    Array,
    Equations,
    States,
    Weights,
    affine,
    blocks,
    dense,
    layer_norm,
    relu,
    sigmoid,
    silu,
    tanh,
)
from support.zoo.equations_lstm import slim_gate

__all__ = ["EQUATIONS"]


def gru(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    r = sigmoid(affine(w, "r", x=x, h=h))
    z = sigmoid(affine(w, "z", x=x, h=h))
    n = tanh(affine(w, "n", x=x) + r * affine(w, "m", h=h))
    h = (1 - z) * n + z * h
    return h, {"h": h}


def gru_ln(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    read = {n: layer_norm(dense(w, n, x=x)) for n in "rzn"}
    kept = {n: layer_norm(dense(w, f"{n}_2", h=h)) for n in "rzn"}
    r, z = (sigmoid(read[n] + kept[n] + w[f"{n}.bias"]) for n in "rz")
    n = tanh(read["n"] + r * kept["n"] + w["n.bias"])
    h = (1 - z) * n + z * h
    return h, {"h": h}


def gru_cho(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    r = sigmoid(affine(w, "r", x=x, h=h))
    z = sigmoid(affine(w, "z", x=x, h=h))
    n = tanh(affine(w, "n", **{"x": x, "1": r * h}))
    h = (1 - z) * n + z * h
    return h, {"h": h}


def slim_gru(variant: int) -> Equations:
    """Dey & Salem 2017."""

    def step(w: Weights, x: Array, s: States) -> tuple[Array, States]:
        h = s["h"]
        z, r = sigmoid(slim_gate(w, "z", h, variant)), sigmoid(slim_gate(w, "r", h, variant))
        n = tanh(affine(w, "n", **{"x": x, "1": r * h}))
        h = (1 - z) * h + z * n
        return h, {"h": h}

    return step


def slim_mgu(variant: int) -> Equations:
    """Heck & Salem 2017."""

    def step(w: Weights, x: Array, s: States) -> tuple[Array, States]:
        h = s["h"]
        f = sigmoid(slim_gate(w, "f", h, variant))
        n = tanh(affine(w, "n", **{"x": x, "1": f * h}))
        h = (1 - f) * h + f * n
        return h, {"h": h}

    return step


def mgu(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    f = sigmoid(affine(w, "f", x=x, h=h))
    n = tanh(affine(w, "n", **{"x": x, "1": f * h}))
    h = (1 - f) * h + f * n
    return h, {"h": h}


def ligru(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    z = sigmoid(affine(w, "z", x=x, h=s["h"]))
    n = relu(affine(w, "n", x=x, h=s["h"]))
    h = z * s["h"] + (1 - z) * n
    return h, {"h": h}


def light_ru(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f = sigmoid(affine(w, "f", x=x, h=s["h"]))
    h = (1 - f) * s["h"] + f * tanh(dense(w, "n", x=x))
    return h, {"h": h}


def caru(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    v = affine(w, "v", x=x)
    n = tanh(affine(w, "n", h=s["h"]) + v)
    update = sigmoid(v) * sigmoid(affine(w, "z", x=x, h=s["h"]))
    h = (1 - update) * s["h"] + update * n
    return h, {"h": h}


def fastgrnn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    a = dense(w, "a", x=x, h=s["h"])
    z, n = sigmoid(a + w["z.bias"]), tanh(a + w["n.bias"])
    h = (sigmoid(w["zeta.scale"]) * (1 - z) + sigmoid(w["nu.scale"])) * n + z * s["h"]
    return h, {"h": h}


def fastgrnn_low_rank(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    a = dense(w, "a", p=dense(w, "p", x=x), q=dense(w, "q", h=s["h"]))
    z, n = sigmoid(a + w["z.bias"]), tanh(a + w["n.bias"])
    h = (sigmoid(w["zeta.scale"]) * (1 - z) + sigmoid(w["nu.scale"])) * n + z * s["h"]
    return h, {"h": h}


def gru_dreamer(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    a = silu(layer_norm(affine(w, "a", h=h)))
    e = silu(layer_norm(affine(w, "e", x=x)))
    d = silu(layer_norm(affine(w, "d", a=a, e=e) + blocks(w["k.weight_h"], h)))
    r, u, n = (blocks(w[f"{gate}.weight_d"], d) + w[f"{gate}.bias"] for gate in "run")
    u = sigmoid(u - 1)
    h = u * tanh(sigmoid(r) * n) + (1 - u) * h
    return h, {"h": h}


def ugrnn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    g = sigmoid(affine(w, "g", x=x, h=s["h"]) + 1.0)
    h = g * s["h"] + (1 - g) * tanh(affine(w, "n", x=x, h=s["h"]))
    return h, {"h": h}


def intersection(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    gh = sigmoid(affine(w, "gh", x=x, h=h) + 1.0)
    gy = sigmoid(affine(w, "gy", x=x, h=h) + 1.0)
    y = gy * x + (1 - gy) * relu(affine(w, "yy", x=x, h=h))
    return y, {"h": gh * h + (1 - gh) * tanh(affine(w, "hh", x=x, h=h))}


def minimalrnn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    z = tanh(affine(w, "z", x=x))
    u = sigmoid(affine(w, "u", h=s["h"], z=z))
    h = u * s["h"] + (1 - u) * z
    return h, {"h": h}


def star(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    k = sigmoid(affine(w, "k", x=x, h=s["h"]))
    h = tanh((1 - k) * s["h"] + k * tanh(affine(w, "z", x=x)))
    return h, {"h": h}


def ran(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    i = sigmoid(affine(w, "i", x=x, h=s["h"]))
    f = sigmoid(affine(w, "f", x=x, h=s["h"]))
    c = i * dense(w, "d", x=x) + f * s["c"]
    return tanh(c), {"h": tanh(c), "c": c}


def cfn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    theta = sigmoid(affine(w, "f", x=x, h=s["h"]))
    eta = sigmoid(affine(w, "i", x=x, h=s["h"]))
    h = theta * tanh(s["h"]) + eta * tanh(dense(w, "h", x=x))
    return h, {"h": h}


def atr(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    p, q = affine(w, "a", x=x), dense(w, "u", h=s["h"])
    h = sigmoid(p + q) * p + sigmoid(p - q) * s["h"]
    return h, {"h": h}


def brc(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    a = 1 + tanh(dense(w, "a", x=x) + w["a.weight_h"] * s["h"])
    c = sigmoid(dense(w, "c", x=x) + w["c.weight_h"] * s["h"])
    h = c * s["h"] + (1 - c) * tanh(dense(w, "h", x=x) + a * s["h"])
    return h, {"h": h}


def nbrc(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    a = 1 + tanh(dense(w, "a", x=x, h=s["h"]))
    c = sigmoid(dense(w, "c", x=x, h=s["h"]))
    h = c * s["h"] + (1 - c) * tanh(dense(w, "h", x=x) + a * s["h"])
    return h, {"h": h}


def lem(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    y, z = s["h"], s["c"]
    step_z = sigmoid(affine(w, "a", x=x, h=y))
    step_y = sigmoid(affine(w, "d", x=x, h=y))
    z = (1 - step_z) * z + step_z * tanh(affine(w, "c", x=x, h=y))
    y = (1 - step_y) * y + step_y * tanh(affine(w, "h", x=x, c_=z))
    return y, {"h": y, "c": z}


def cornn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    y, z = s["h"], s["c"]
    z = z + 0.042 * (tanh(affine(w, "c", x=x, h=y, c=z)) - 2.7 * y - 4.7 * z)
    y = y + 0.042 * z
    return y, {"h": y, "c": z}


def unicornn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    y, z = s["h"], s["c"]
    step = 0.1 * sigmoid(w["g.bias"])
    z = z - step * (tanh(affine(w, "c", x=x) + w["c.weight_h"] * y) + 1.0 * y)
    y = y + step * z
    return y, {"h": y, "c": z}


def rhn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    state = s["h"]
    for depth in (1, 2, 3):
        operands = {"x": x, "h": state} if depth == 1 else {f"s{depth - 1}": state}
        transform = sigmoid(affine(w, f"t{depth}", **operands))
        proposed = tanh(affine(w, "h" if depth == 3 else f"s{depth}", **operands))
        state = transform * proposed + (1 - transform) * state
    return state, {"h": state}


def _gru_of_gaps(w: Weights, name: str, x: Array, p: Array) -> Array:
    """Che et al. 2018, equations 11 to 14, from the decayed state; ``name``: of the input."""
    m = w.mask
    z = sigmoid(dense(w, "z", mask=m) + affine(w, "z", **{name: x, "p": p}))
    r = sigmoid(dense(w, "r", mask=m) + affine(w, "r", **{name: x, "p": p}))
    n = tanh(dense(w, "n", mask=m) + affine(w, "n", **{name: x, "1": r * p}))
    return (1 - z) * p + z * n


def gru_dh(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    decay = np.exp(-relu(w["g.weight_dt"][:, 0] * w.dt + w["g.bias"]))
    h = _gru_of_gaps(w, "x", x, decay * s["h"])
    return h, {"h": h}


def gru_d(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    d = w.dt + np.where(s["mask_1"] == 1, 0.0, (1 - s["mask_1"]) * s["d"])
    gone = w.mask == 0
    shrunk = np.exp(-relu(w["a.weight_d_t"] * d + w["a.bias"]))
    filled = np.where(gone, shrunk * s["u"], x)
    h = _gru_of_gaps(w, "v", filled, np.exp(-relu(affine(w, "g", d_=d))) * s["h"])
    return h, {"h": h, "d": d, "u": np.where(gone, s["u"], x), "mask_1": w.mask}


def cfc(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    gate = sigmoid(w.dt * affine(w, "a", x=x, h=h) + affine(w, "b", x=x, h=h))
    first, second = tanh(affine(w, "p", x=x, h=h)), tanh(affine(w, "q", x=x, h=h))
    h = first + gate * (second - first)
    return h, {"h": h}


def ltc(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f = sigmoid(affine(w, "f", x=x, h=s["h"]))
    rate = np.log1p(np.exp(w["s.bias"])) + f
    h = (s["h"] / w.dt + f * w["a.bias"]) / (1 / w.dt + rate)
    return h, {"h": h}


EQUATIONS: dict[str, Equations] = {
    "cfc": cfc,
    "gru_d": gru_d,
    "gru_dh": gru_dh,
    "ltc": ltc,
    "atr": atr,
    "fastgrnn_low_rank": fastgrnn_low_rank,
    "gru_dreamer": gru_dreamer,
    "brc": brc,
    "caru": caru,
    "cfn": cfn,
    "cornn": cornn,
    "fastgrnn": fastgrnn,
    "gru": gru,
    "gru_ln": gru_ln,
    "gru_cho": gru_cho,
    "intersection": intersection,
    "lem": lem,
    "light_ru": light_ru,
    "ligru": ligru,
    "mgu": mgu,
    "minimalrnn": minimalrnn,
    "nbrc": nbrc,
    "ran": ran,
    "rhn": rhn,
    "slim_gru1": slim_gru(1),
    "slim_gru2": slim_gru(2),
    "slim_gru3": slim_gru(3),
    "slim_mgu1": slim_mgu(1),
    "slim_mgu2": slim_mgu(2),
    "slim_mgu3": slim_mgu(3),
    "star": star,
    "ugrnn": ugrnn,
    "unicornn": unicornn,
}
"""Name of the cell -> its equations."""
