"""Independent implementations of zoo cells that are no layer over (x, states): what brings our
weights and inputs into their form (tests only; the packages are installed by whoever compares).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import numpy as np
import torch

from support.zoo.equations import Array, States

__all__ = ["run_pypots", "run_xlstm"]


def run_xlstm(
    weights: Mapping[str, Array], x: Array, states: States, beside: Mapping[str, Array]
) -> tuple[Array, States]:
    """The plain backend of the package xlstm 2.0: its loop over steps with its pointwise function
    of the sLSTM, heads of R as they lie there (``[heads, 4 * width, width]``).
    """
    vanilla = importlib.import_module("xlstm.blocks.slstm.src.vanilla")
    gates = ("a", "l", "z", "o")  # theirs: i, f, z, o
    given = [x @ weights[f"{gate}.weight_x"].T for gate in gates]
    heads = np.concatenate([weights[f"{gate}_2.weight_h"] for gate in gates], axis=1)
    biases = np.concatenate([weights[f"{gate}.bias"] for gate in gates])
    point = vanilla.slstm_pointwise_function_registry["slstm"]
    seen, last, _ = vanilla.slstm_forward(
        torch.from_numpy(np.concatenate(given, -1)),
        torch.from_numpy(np.stack([states[name] for name in "hcnm"])),
        torch.from_numpy(heads),
        torch.from_numpy(biases),
        point,
    )
    return seen[0, 1:].numpy(), dict(zip("hcnm", last.numpy(), strict=True))


def run_pypots(
    weights: Mapping[str, Array], x: Array, states: States, beside: Mapping[str, Array]
) -> tuple[Array, States]:
    """GRU-D of the package pypots 1.5: its two decays and its replaced inputs, times since the
    last value and last values given to it as arrays (made here, outside of our language).

    Its gates are those of ``torch.nn.GRUCell``: the reset comes after the matrix of the state, so
    it is the paper's cell only where that matrix is diagonal. It steps alone from the given state,
    so each step is one call of one.
    """
    grud = importlib.import_module("pypots.nn.modules.grud")
    inputs, hidden = x.shape[-1], states["h"].shape[-1]
    made = grud.BackboneGRUD(1, inputs, hidden).double()
    w = {name: torch.from_numpy(value) for name, value in weights.items()}
    with torch.no_grad():
        made.temp_decay_x.W.copy_(torch.diag(w["a.weight_d_t"]))
        made.temp_decay_x.b.copy_(w["a.bias"])
        made.temp_decay_h.W.copy_(w["g.weight_d_t"])
        made.temp_decay_h.b.copy_(w["g.bias"])
        none = torch.zeros(hidden, hidden, dtype=torch.float64)
        rows = [
            torch.cat([sign * w[f"{k}.weight_v"], none, sign * w[f"{k}.weight_mask"]], 1)
            for k, sign in (("r", 1), ("z", -1), ("n", 1))  # its z keeps, ours takes
        ]
        made.rnn_cell.weight_ih.copy_(torch.cat(rows))
        made.rnn_cell.weight_hh.copy_(
            torch.cat([w["r.weight_p"], -w["z.weight_p"], w["n.weight_1"]])
        )
        made.rnn_cell.bias_ih.copy_(torch.cat([w["r.bias"], -w["z.bias"], w["n.bias"]]))
        made.rnn_cell.bias_hh.zero_()
    h, mask, time, last = (torch.from_numpy(states[k]) for k in ("h", "mask_1", "d", "u"))
    outputs = []
    for t, x_t in enumerate(torch.from_numpy(x)):
        time = torch.from_numpy(beside["dt"][t])[:, None] + (1 - mask) * time
        mask = torch.from_numpy(beside["mask"][t])
        last = mask * x_t + (1 - mask) * last
        with torch.no_grad():
            decay = made.temp_decay_h(time)
            filled = made.temp_decay_x(time) * last
            seen = torch.cat([mask * x_t + (1 - mask) * filled, decay * h, mask], 1)
            h = made.rnn_cell(seen, decay * h)
        outputs.append(h.numpy())
    return np.stack(outputs), {
        "h": h.numpy(),
        "mask_1": mask.numpy(),
        "d": time.numpy(),
        "u": last.numpy(),
    }
