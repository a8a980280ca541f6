"""The published equations of the searched, linear and exponential cells; see
:mod:`support.zoo.equations`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    softplus,
    tanh,
)
from support.zoo.equations_gated import EQUATIONS as GATED
from support.zoo.equations_lstm import EQUATIONS as LSTM

__all__ = ["EQUATIONS"]


def mut1(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    z = sigmoid(affine(w, "z", x=x))
    r = sigmoid(affine(w, "r", x=x, h=h))
    h = tanh(affine(w, "h", **{"0": r * h}) + tanh(dense(w, "h_2", x=x))) * z + h * (1 - z)
    return h, {"h": h}


def mut2(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    z = sigmoid(affine(w, "z", x=x, h=h))
    r = sigmoid(x + affine(w, "r", h=h))
    h = tanh(affine(w, "h", **{"0": r * h, "x": x})) * z + h * (1 - z)
    return h, {"h": h}


def mut3(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    z = sigmoid(affine(w, "z", **{"x": x, "1": tanh(h)}))
    r = sigmoid(affine(w, "r", x=x, h=h))
    h = tanh(affine(w, "h", **{"0": r * h, "x": x})) * z + h * (1 - z)
    return h, {"h": h}


def nascell(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c = s["h"], s["c"]
    a = [
        dense(w, f"a{k}", x=x, h=h) if k != 3 else dense(w, "a3", x=x) * dense(w, "a3_2", h=h)
        for k in range(8)
    ]
    first = tanh(tanh(sigmoid(a[0]) * relu(a[1])) + c)
    second = tanh(sigmoid(a[2]) + relu(a[3]))
    third = tanh(tanh(a[4]) * sigmoid(a[5]))
    fourth = sigmoid(tanh(a[6]) + sigmoid(a[7]))
    c = first * second
    h = tanh(c * tanh(third + fourth))
    return h, {"h": h, "c": c}


def identity(a: Array) -> Array:
    """The value itself."""
    return a


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": tanh,
    "relu": relu,
    "sigmoid": sigmoid,
    "identity": identity,
}


def tree(genotype: str, ends: Sequence[int]) -> Equations:
    """ENAS and DARTS: node j adds to its predecessor s_p the gated difference to an activation of
    it; the output is a mean.

    ``genotype``: activation and number of the predecessor for node 1, 2, ...; ``ends``: the nodes
    that are averaged.
    """

    def step(w: Weights, x: Array, s: States) -> tuple[Array, States]:
        h = s["h"]
        values = [h + sigmoid(dense(w, "g0", x=x, h=h)) * (tanh(dense(w, "s0", x=x, h=h)) - h)]
        for j, word in enumerate(genotype.split(), start=1):
            activation = word.rstrip("0123456789")
            p = int(word.removeprefix(activation))
            before = values[p]
            gate = sigmoid(dense(w, f"g{j}", **{f"s{p}": before}))
            values.append(
                before
                + gate * (ACTIVATIONS[activation](dense(w, f"s{j}", **{f"s{p}": before})) - before)
            )
        h = np.mean([values[k] for k in ends], axis=0)
        return h, {"h": h}

    return step


def trnn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f = sigmoid(affine(w, "f", x=x))
    h = f * s["h"] + (1 - f) * dense(w, "z", x=x)
    return h, {"h": h}


def tgru(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    z, f, o = (affine(w, n, x=x, p=s["p"]) for n in "zfo")
    h = sigmoid(f) * s["h"] + z * tanh(o)
    return h, {"h": h, "p": x}


def tlstm(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    z, f, o = (affine(w, n, x=x, p=s["p"]) for n in "zfo")
    c = sigmoid(f) * s["c"] + (1 - sigmoid(f)) * z
    return c * tanh(o), {"c": c, "p": x}


def qrnn_f(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f = sigmoid(affine(w, "f", x=x))
    h = f * s["h"] + (1 - f) * tanh(affine(w, "z", x=x))
    return h, {"h": h}


def qrnn_fo(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f = sigmoid(affine(w, "f", x=x))
    c = f * s["c"] + (1 - f) * tanh(affine(w, "z", x=x))
    return sigmoid(affine(w, "o", x=x)) * c, {"c": c}


def qrnn_ifo(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    c = sigmoid(affine(w, "f", x=x)) * s["c"] + sigmoid(affine(w, "i", x=x)) * tanh(
        affine(w, "z", x=x)
    )
    return sigmoid(affine(w, "o", x=x)) * c, {"c": c}


def sru_v1(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f, r = sigmoid(affine(w, "f", x=x)), sigmoid(affine(w, "r", x=x))
    c = f * s["c"] + (1 - f) * dense(w, "c", x=x)
    return r * tanh(c) + (1 - r) * x, {"c": c}


def sru(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f = sigmoid(affine(w, "f", x=x) + w["f.weight_c"] * s["c"])
    r = sigmoid(affine(w, "r", x=x) + w["r.weight_c"] * s["c"])
    c = f * s["c"] + (1 - f) * dense(w, "c", x=x)
    return r * c + (1 - r) * x, {"c": c}


def mingru(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    z = sigmoid(affine(w, "z", x=x))
    h = (1 - z) * s["h"] + z * affine(w, "h", x=x)
    return h, {"h": h}


def minlstm(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f, i = sigmoid(affine(w, "f", x=x)), sigmoid(affine(w, "i", x=x))
    h = f / (f + i) * s["h"] + i / (f + i) * affine(w, "h", x=x)
    return h, {"h": h}


def hgrn_real(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f = sigmoid(dense(w, "f", x=x))
    h = f * s["h"] + (1 - f) * silu(dense(w, "h", x=x))
    return h * silu(dense(w, "y", x=x)), {"h": h}


def rg_lru(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    r, i = sigmoid(affine(w, "r", x=x)), sigmoid(affine(w, "i", x=x))
    a = sigmoid(w["a.bias"]) ** (8.0 * r)
    h = a * s["h"] + np.sqrt(1.0 - a**2) * i * x
    return h, {"h": h}


def slstm(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c, n, m = s["h"], s["c"], s["n"], s["m"]
    log_i = affine(w, "a", x=x, h=h)
    log_f = -softplus(-affine(w, "l", x=x, h=h))
    m_new = log_i if bool(np.all(n == 0.0)) else np.maximum(log_f + m, log_i)
    i, f = np.exp(log_i - m_new), np.exp(log_f + m - m_new)
    c = f * c + i * tanh(affine(w, "z", x=x, h=h))
    n = f * n + i
    h = sigmoid(affine(w, "o", x=x, h=h)) * c / n
    return h, {"h": h, "c": c, "n": n, "m": m_new}


def slstm_heads(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c, n, m = s["h"], s["c"], s["n"], s["m"]

    def gate(name: str) -> Array:
        return affine(w, name, x=x) + blocks(w[f"{name}_2.weight_h"], h)

    log_i, log_f = gate("a"), -softplus(-gate("l"))
    m_new = log_i if bool(np.all(n == 0.0)) else np.maximum(log_f + m, log_i)
    i, f = np.exp(log_i - m_new), np.exp(log_f + m - m_new)
    c = f * c + i * tanh(gate("z"))
    n = f * n + i
    h = sigmoid(gate("o")) * c / n
    return h, {"h": h, "c": c, "n": n, "m": m_new}


def rwkv4(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    """The recurrent form of the paper without its stabiliser; ``a`` and ``b`` are stored divided by
    ``exp(m)``.
    """
    p, m = s["p"], s["m"]
    r, k, v = (dense(w, n, **{"0": w[f"u{n}.bias"] * x + (1 - w[f"u{n}.bias"]) * p}) for n in "rkv")
    total, weight = np.exp(m) * s["a"], np.exp(m) * s["b"]
    bonus, decay = np.exp(w["s.bias"] + k), np.exp(-np.exp(w["l.bias"]))
    wkv = (total + bonus * v) / (weight + bonus)
    total, weight = decay * total + np.exp(k) * v, decay * weight + np.exp(k)
    m = np.maximum(m - np.exp(w["l.bias"]), k)
    states = {"a": total * np.exp(-m), "b": weight * np.exp(-m), "m": m, "p": x}
    return dense(w, "y", **{"0": sigmoid(r) * wkv}), states


def lem_open(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c = s["h"], s["c"]
    f = sigmoid(affine(w, "f", x=x, c=c))
    new = f * c + (1 - f) * tanh(affine(w, "c", x=x, h=h))
    g = affine(w, "g", x=x, c_t=new)
    h = g * c + (1 - g) * sigmoid(affine(w, "o", x=x, c_t=new))
    return h, {"h": h, "c": new}


def square_rotor(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    angle = 30 * w["a.bias"] * sigmoid(9 * affine(w, "v", x=x) + 2)
    kept = sigmoid(10 * w["d.bias"] + 5)
    turned = kept * np.exp(1j * angle) * (s["c"] + 1j * s["s"])
    h = turned.real + 9 * affine(w, "n", x=x) ** 2
    return h, {"c": h, "s": turned.imag}


def twin_blend(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h, c = s["h"], s["c"]
    u = affine(w, "u", x=x, h=h)
    n, k = tanh(layer_norm(u)), affine(w, "k", c=c)
    f, g = sigmoid(k + 1), sigmoid(k)
    h = g * c + (1 - g) * sigmoid(u) * n
    return h, {"h": h, "c": f * c + (1 - f) * n}


def norm_mgu(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = s["h"]
    z = sigmoid(affine(w, "z", x=x, h=h) + 1)
    n = tanh(layer_norm(affine(w, "n", x=x) + z * affine(w, "n_2", h=h)))
    h = z * h + (1 - z) * n
    return h, {"h": h}


def qrnn_fo2(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    z, f, o = (affine(w, n, x_1=s["x_1"], x=x) for n in "zfo")
    c = sigmoid(f) * s["c"] + (1 - sigmoid(f)) * tanh(z)
    return sigmoid(o) * c, {"c": c, "x_1": x}


def dilated_rnn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = tanh(affine(w, "h", x=x, h_2=s["h_2"]))
    return h, {"h": h, "h_2": s["h"]}


def horn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    h = tanh(affine(w, "h", x=x, **s))
    return h, {"h": h, "h_2": s["h"], "h_3": s["h_2"]}


def mingru_conv(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    window = [x, s["x_1"], s["x_2"], s["x_3"]]
    kernel = [w["u.weight_x"], *(w[f"u_{k + 1}.weight_x_{k}"] for k in (1, 2, 3))]
    u = np.einsum("kh,kbh->bh", np.stack(kernel), np.stack(window)) + w["u.bias"]
    z = sigmoid(affine(w, "z", u=u))
    h = (1 - z) * s["h"] + z * affine(w, "h", u=u)
    return h, {"h": h, "x_1": x, "x_2": s["x_1"], "x_3": s["x_2"]}


def rotated(h: Array, angles: Array) -> Array:
    """The pairs of units as complex numbers, times exp(i angle)."""
    turned = (h[:, 0::2] + 1j * h[:, 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(h.shape)


def lru(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    modulus = np.exp(-np.exp(w["h.bias"]))
    turned = rotated(s["h"], np.exp(w["h_2.bias"]))
    h = modulus * turned + np.exp(w["h_3.bias"]) * dense(w, "h", x=x)
    return dense(w, "y", h_=h, x=x), {"h": h}


def rotrnn(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    g = sigmoid(w["g.bias"])
    h = g * rotated(s["h"], w["h.bias"]) + np.sqrt(1 - g**2) * dense(w, "h", x=x)
    return dense(w, "y", h_=h, x=x), {"h": h}


def hgrn_complex(w: Weights, x: Array, s: States) -> tuple[Array, States]:
    f = sigmoid(affine(w, "f", x=x))
    h = f * rotated(s["h"], w["h.bias"]) + (1 - f) * silu(affine(w, "h_2", x=x))
    return h * sigmoid(affine(w, "y", x=x)), {"h": h}


EQUATIONS: dict[str, Equations] = {
    "hgrn_complex": hgrn_complex,
    "lru": lru,
    "rotrnn": rotrnn,
    **LSTM,
    "slstm_heads": slstm_heads,
    **GATED,
    "darts_v1": tree("relu0 relu1 tanh2 relu3 relu4 identity1 relu5 relu1", range(1, 9)),
    "darts_v2": tree("sigmoid0 relu1 relu1 identity1 tanh2 sigmoid5 tanh3 relu5", range(1, 9)),
    "dilated_rnn": dilated_rnn,
    "enas": tree(
        "tanh0 tanh1 relu1 tanh3 tanh3 relu3 relu4 relu7 relu8 relu8 relu8", (2, 5, 6, 9, 10, 11)
    ),
    "enas_lm": tree("sigmoid0 tanh1 relu2 sigmoid2 tanh4 tanh5 sigmoid3 sigmoid6", range(1, 9)),
    "hgrn_real": hgrn_real,
    "horn": horn,
    "lem_open": lem_open,
    "mingru": mingru,
    "mingru_conv": mingru_conv,
    "minlstm": minlstm,
    "mut1": mut1,
    "mut2": mut2,
    "mut3": mut3,
    "nascell": nascell,
    "norm_mgu": norm_mgu,
    "qrnn_f": qrnn_f,
    "qrnn_fo": qrnn_fo,
    "qrnn_fo2": qrnn_fo2,
    "qrnn_ifo": qrnn_ifo,
    "rg_lru": rg_lru,
    "rwkv4": rwkv4,
    "slstm": slstm,
    "square_rotor": square_rotor,
    "sru": sru,
    "sru_v1": sru_v1,
    "tgru": tgru,
    "tlstm": tlstm,
    "trnn": trnn,
    "twin_blend": twin_blend,
}
"""Name of the cell -> its equations, for the whole zoo."""
