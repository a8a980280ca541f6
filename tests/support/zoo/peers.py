"""Independent implementations of zoo cells: torch, and the PyPI package torchrecurrent (tests only;
needs nothing but torch).

A row of :data:`PEERS` says where each weight of ours goes. Pieces are joined along the first axis,
those with ``|`` between along the second;
``"0"`` stands for zeros, ``"1"`` for ones, ``"eye"`` for the identity matrix, ``"g.bias+1"`` for a
bias to which the cell adds 1 at run time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from support.zoo.equations import Array, States
from support.zoo.peers_of_layers import run_pypots, run_xlstm

__all__ = ["KNOWN_WRONG", "PEERS", "Peer", "run_peer"]


@dataclass(frozen=True, slots=True)
class Peer:
    """``module.name`` with ``options``; ``states``: our names of its states, in its order;
    ``separate``: it returns (output, states).
    """

    module: str
    name: str
    states: tuple[str, ...]
    weights: Mapping[str, str]
    separate: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    timed: bool = False
    """Whether a step reads the time as well."""
    through: Callable[..., tuple[Array, States]] | None = None
    """What runs it, where it is no layer over (x, states); takes the arguments of
    :func:`run_peer` but the peer."""
    diagonal: tuple[str, ...] = ()
    """Weights that are made diagonal for both: only so they compute the same."""

    @property
    def label(self) -> str:
        """How a zoo file names it in its ``Check:`` line."""
        return f"{self.module}.{self.name}"


def run_peer(
    peer: Peer,
    weights: Mapping[str, Array],
    x: Array,
    states: Mapping[str, Array],
    beside: Mapping[str, Array],
) -> tuple[Array, States]:
    """Run the peer with our weights over ``x [T, B, I]`` from ``states [B, H]``; returns outputs
    ``[T, B, H]`` and final states.
    """
    if peer.through is not None:
        return peer.through(weights, x, states, beside)
    hidden = max(state.shape[-1] for state in states.values())
    made = getattr(importlib.import_module(peer.module), peer.name)(
        x.shape[-1], hidden, **peer.options
    ).double()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            pieces = peer.weights.get(name, "0")
            parameter.copy_(_join(pieces, weights, hidden, tuple(parameter.shape)))
    unknown = set(peer.weights) - {name for name, _ in made.named_parameters()}
    if unknown:
        raise KeyError(f"{peer.label} has no {sorted(unknown)}")
    now = [torch.from_numpy(np.array(states[name])) for name in peer.states]
    with torch.no_grad():
        if peer.module == "torch.nn":
            hx = tuple(s.unsqueeze(0) for s in now)
            output, final = made(torch.from_numpy(x), hx if len(hx) > 1 else hx[0])
            finals = final if isinstance(final, tuple) else (final,)
            return output.numpy(), {
                name: s.squeeze(0).numpy() for name, s in zip(peer.states, finals, strict=True)
            }
        outputs = []
        for t, x_t in enumerate(torch.from_numpy(x)):
            times = [torch.from_numpy(beside["dt"][t])[:, None]] if peer.timed else []
            result = made(x_t, tuple(now) if len(now) > 1 else now[0], *times)
            output, following = (
                result if peer.separate else (result[0] if len(now) > 1 else result, result)
            )
            now = list(following) if len(now) > 1 else [following]
            outputs.append(output.numpy())
    return np.stack(outputs), {name: s.numpy() for name, s in zip(peer.states, now, strict=True)}


def _join(
    pieces: str, weights: Mapping[str, Array], hidden: int, shape: tuple[int, ...]
) -> torch.Tensor:
    if pieces in ("0", "1"):
        return torch.full(shape, float(pieces), dtype=torch.float64)
    parts: list[Array] = []
    for piece in pieces.split():
        name, _, extra = piece.partition("+")
        if name == "0":
            parts.append(np.zeros((hidden, *shape[1:])))
        elif "|" in name:
            parts.append(np.concatenate([weights[part] for part in name.split("|")], axis=1))
        elif name == "eye":
            parts.append(np.eye(hidden))
        else:
            parts.append(np.atleast_1d(weights[name]) + (float(extra) if extra else 0.0))
    return torch.from_numpy(np.concatenate(parts)).reshape(shape)


def _gates(names: str, suffix: str) -> str:
    return " ".join(f"{name}.{suffix}" for name in names)


def _usual(names: str) -> dict[str, str]:
    """Gates in this order, each with weights for x and h and one bias."""
    return {
        "weight_ih": _gates(names, "weight_x"),
        "weight_hh": _gates(names, "weight_h"),
        "bias_ih": _gates(names, "bias"),
    }


def _layer(weights: Mapping[str, str]) -> dict[str, str]:
    return {f"{name}_l0": pieces for name, pieces in weights.items()}


_TR = "torchrecurrent"
_PEEPHOLES = {"weight_ph": "i.weight_c f.weight_c o.weight_c_t"}
_OSCILLATOR = {"weight_ih": "c.weight_x", "weight_hh": "c.weight_h", "bias_ih": "c.bias"}

PEERS: dict[str, Peer] = {
    "cfc": Peer(
        "ncps.torch",
        "CfCCell",
        ("h",),
        {
            f"{theirs}.{kind}": f"{ours}.weight_x|{ours}.weight_h"
            if kind == "weight"
            else f"{ours}.bias"
            for theirs, ours in zip(("ff1", "ff2", "time_a", "time_b"), "pqab", strict=True)
            for kind in ("weight", "bias")
        },
        separate=True,
        options={"mode": "default", "backbone_layers": 0},
        timed=True,
    ),
    "atr": Peer(
        _TR,
        "ATRCell",
        ("h",),
        {"weight_ih": "a.weight_x", "weight_hh": "u.weight_h", "bias_ih": "a.bias"},
    ),
    "brc": Peer(
        _TR,
        "BRCell",
        ("h",),
        {"weight_ih": "a.weight_x c.weight_x h.weight_x", "weight_hh": "a.weight_h c.weight_h"},
    ),
    "cfn": Peer(
        _TR,
        "CFNCell",
        ("h",),
        {
            **_usual("fi"),
            "weight_ih": "f.weight_x i.weight_x h.weight_x",
            "bias_ih": "f.bias i.bias 0",
        },
    ),
    "cornn": Peer(
        _TR,
        "coRNNCell",
        ("h", "c"),
        {**_OSCILLATOR, "weight_ch": "c.weight_c"},
        options={"dt": 0.042, "gamma": 2.7, "epsilon": 4.7},
    ),
    "fastgrnn": Peer(
        _TR,
        "FastGRNNCell",
        ("h",),
        {
            "weight_ih": "a.weight_x",
            "weight_hh": "a.weight_h",
            "bias_ih": "z.bias n.bias",
            "zeta": "zeta.scale",
            "nu": "nu.scale",
        },
        options={"nonlinearity": "sigmoid"},
    ),
    "fastrnn": Peer(
        _TR, "FastRNNCell", ("h",), {**_usual("n"), "alpha": "alpha.scale", "beta": "beta.scale"}
    ),
    "gru": Peer(
        "torch.nn",
        "GRU",
        ("h",),
        _layer(
            {
                "weight_ih": _gates("rzn", "weight_x"),
                "weight_hh": _gates("rzm", "weight_h"),
                "bias_ih": _gates("rzn", "bias"),
                "bias_hh": "0 0 m.bias",
            }
        ),
    ),
    "gru_d": Peer(
        "pypots.nn.modules.grud",
        "BackboneGRUD",
        ("h", "mask_1", "d", "u"),
        {},
        through=run_pypots,
        diagonal=("n.weight_1",),
    ),
    "indrnn_relu": Peer(
        _TR,
        "IndRNNCell",
        ("h",),
        {"weight_ih": "h.weight_x", "vector_u": "h.weight_h", "bias_ih": "h.bias"},
        options={"nonlinearity": "relu"},
    ),
    "intersection": Peer(
        _TR,
        "IntersectionRNNCell",
        ("h",),
        {
            "weight_ih": "yy.weight_x hh.weight_x gy.weight_x gh.weight_x",
            "weight_hh": "yy.weight_h hh.weight_h gy.weight_h gh.weight_h",
            "bias_ih": "yy.bias hh.bias gy.bias+1 gh.bias+1",
        },
        separate=True,
    ),
    "janet": Peer(_TR, "JANETCell", ("h", "h"), {**_usual("ag"), "beta": "1"}),
    "light_ru": Peer(
        _TR,
        "LightRUCell",
        ("h",),
        {"weight_ih": "n.weight_x f.weight_x", "weight_hh": "f.weight_h", "bias_ih": "0 f.bias"},
    ),
    "ligru": Peer(_TR, "LiGRUCell", ("h",), _usual("zn"), options={"nonlinearity": "relu"}),
    "lstm": Peer("torch.nn", "LSTM", ("h", "c"), _layer(_usual("ifgo"))),
    "lstm_1997": Peer(_TR, "OriginalLSTMCell", ("h", "c"), _usual("igo")),
    "lstm_peephole": Peer(_TR, "PeepholeLSTMCell", ("h", "c"), {**_usual("ifgo"), **_PEEPHOLES}),
    "lstm_residual": Peer(
        _TR,
        "ResLSTMCell",
        ("h", "c"),
        {**_usual("ifgo"), **_PEEPHOLES, "weight_proj": "h.weight_0", "weight_res": "h.weight_x"},
    ),
    "lstm_wmc": Peer(
        _TR,
        "WMCLSTMCell",
        ("h", "c"),
        {**_usual("ifgo"), "weight_mh": "i_2.weight_c f_2.weight_c o_2.weight_c_t"},
    ),
    "lstmp": Peer(
        "torch.nn",
        "LSTM",
        ("h", "c"),
        {**_layer(_usual("ifgo")), "weight_hr_l0": "h.weight_0"},
        options={"proj_size": 4},
    ),
    "mgu": Peer(_TR, "MGUCell", ("h",), {**_usual("fn"), "weight_hh": "f.weight_h n.weight_1"}),
    "minimalrnn": Peer(
        _TR,
        "MinimalRNNCell",
        ("h",),
        {
            "weight_ih": "z.weight_x",
            "weight_hh": "u.weight_h",
            "weight_mm": "u.weight_z",
            "bias_ih": "z.bias",
            "bias_hh": "u.bias",
        },
    ),
    "mult_lstm": Peer(
        _TR,
        "MultiplicativeLSTMCell",
        ("h", "c"),
        {
            "weight_ih": "m.weight_x i.weight_x f.weight_x g.weight_x o.weight_x",
            "weight_hh": "m_2.weight_h",
            "weight_mh": "i.weight_m f.weight_m g.weight_m o.weight_m",
            "bias_ih": "0 i.bias f.bias g.bias o.bias",
        },
    ),
    "mut1": Peer(
        _TR,
        "MUT1Cell",
        ("h",),
        {
            "weight_ih": "z.weight_x r.weight_x h_2.weight_x",
            "weight_hh": "r.weight_h h.weight_0",
            "bias_ih": "z.bias r.bias 0",
            "bias_hh": "0 h.bias",
        },
    ),
    "mut2": Peer(
        _TR,
        "MUT2Cell",
        ("h",),
        {
            "weight_ih": "z.weight_x eye h.weight_x",
            "weight_hh": "z.weight_h r.weight_h h.weight_0",
            "bias_ih": "z.bias r.bias h.bias",
        },
    ),
    "mut3": Peer(
        _TR,
        "MUT3Cell",
        ("h",),
        {
            "weight_ih": "z.weight_x r.weight_x h.weight_x",
            "weight_hh": "z.weight_1 r.weight_h h.weight_0",
            "bias_ih": "z.bias r.bias h.bias",
        },
    ),
    "nbrc": Peer(
        _TR,
        "NBRCell",
        ("h",),
        {"weight_ih": "a.weight_x c.weight_x h.weight_x", "weight_hh": "a.weight_h c.weight_h"},
    ),
    "ran": Peer(
        _TR,
        "RANCell",
        ("h", "c"),
        {**_usual("if"), "weight_ih": "d.weight_x i.weight_x f.weight_x"},
    ),
    "rnn_relu": Peer(
        "torch.nn", "RNN", ("h",), _layer(_usual("h")), options={"nonlinearity": "relu"}
    ),
    "rnn_tanh": Peer("torch.nn", "RNN", ("h",), _layer(_usual("h"))),
    "slstm_heads": Peer(
        "xlstm.blocks.slstm.src.vanilla",
        "slstm_forward",
        ("h", "c", "n", "m"),
        {},
        through=run_xlstm,
    ),
    "star": Peer(
        _TR,
        "STARCell",
        ("h",),
        {
            "weight_ih": "z.weight_x k.weight_x",
            "weight_hh": "k.weight_h",
            "bias_ih": "z.bias k.bias",
        },
    ),
    "tgru": Peer(
        _TR,
        "TGRUCell",
        ("h", "p"),
        {
            "weight_ih": _gates("zfo", "weight_x"),
            "weight_hh": _gates("zfo", "weight_p"),
            "bias_ih": _gates("zfo", "bias"),
        },
    ),
    "tlstm": Peer(
        _TR,
        "TLSTMCell",
        ("c", "p"),
        {
            "weight_ih": _gates("zfo", "weight_x"),
            "weight_hh": _gates("zfo", "weight_p"),
            "bias_ih": _gates("zfo", "bias"),
        },
        separate=True,
    ),
    "trnn": Peer(
        _TR, "TRNNCell", ("h",), {"weight_ih": "z.weight_x f.weight_x", "bias_ih": "0 f.bias"}
    ),
    "ugrnn": Peer(_TR, "UGRNNCell", ("h",), {**_usual("ng"), "bias_ih": "n.bias g.bias+1"}),
    "unicornn": Peer(
        _TR,
        "UnICORNNCell",
        ("h", "c"),
        {**_OSCILLATOR, "weight_ch": "g.bias"},
        options={"dt": 0.1, "alpha": 1.0},
    ),
}
"""Zoo cell -> the implementation that it is compared with."""

KNOWN_WRONG: dict[str, Peer] = {
    "lem": Peer(
        _TR,
        "LEMCell",
        ("h", "c"),
        {
            "weight_ih": "d.weight_x a.weight_x c.weight_x h.weight_x",
            "weight_hh": "d.weight_h a.weight_h c.weight_h",
            "weight_ch": "h.weight_c_t",
            "bias_ih": "d.bias a.bias c.bias h.bias",
        },
    ),
    "nascell": Peer(
        _TR,
        "NASCell",
        ("h", "c"),
        {
            "weight_ih": " ".join(f"a{k}.weight_x" for k in range(8)),
            "weight_hh": " ".join(
                f"a{k}.weight_h" if k != 3 else "a3_2.weight_h" for k in range(8)
            ),
        },
    ),
}
"""Implementations that compute another function than the paper prints; a test shows that they do.
"""
