"""A readout with its cross entropy, and their gradients, by the runtime (``src/loss.h``)."""

from __future__ import annotations

from ctypes import addressof, c_double
from functools import cache

import torch
from torch import Tensor, nn

from cellsearch.compiler.backends.native.build import FORMAT, Library, library
from cellsearch.compiler.backends.native.plan import Pool
from cellsearch.compiler.backends.native.structures import CLoss, Refusal
from cellsearch.errors import BackendError

__all__ = ["LEFT_OUT", "Gradients", "readout_loss", "readout_runtime"]

LEFT_OUT = -1
"""The target of a row that does not count."""
Gradients = tuple[Tensor, Tensor, Tensor]
"""By the hidden rows, the weight and the bias."""
_POOLED = 1 << 20
"""Floats of scratch memory up to which it is kept for the next call; of a large vocabulary it is
hundreds of megabytes, and products take far longer than getting it anew.
"""
_pool = Pool()


def readout_runtime(*tensors: Tensor) -> Library | None:
    """The runtime, where it can take these: plain float32 tensors on the CPU, and one thread, which
    is all that it uses here. ``None`` elsewhere, and where there is no runtime (``cellsearch
    doctor`` says why).
    """
    plain = all(
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        for tensor in tensors
    )
    return _runtime() if plain and torch.get_num_threads() == 1 else None


@cache
def _runtime() -> Library | None:
    try:
        return library()
    except BackendError:  # building it failed, and would again at each step
        return None


def readout_loss(
    runtime: Library,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    gradients: bool,
) -> tuple[float, Gradients | None]:
    """The sum over rows of ``cross_entropy(hidden @ weight.T + bias, targets)``, and its gradients
    if they are asked for.

    ``hidden [N, H]``, ``weight [V, H]``, ``bias [V]``, ``targets [N]`` (int64), each of them
    contiguous; rows with the target :data:`LEFT_OUT` do not count. Raises :class:`BackendError` for
    a target that is no class.
    """
    (rows, depth), classes = hidden.shape, weight.shape[0]
    found = None
    if gradients:
        found = (torch.empty_like(hidden), torch.empty_like(weight), weight.new_empty(classes))
    floats = int(runtime.loss_floats(depth, classes))
    pool, total = _pool if floats <= _POOLED else Pool(), c_double()
    scratch = pool.take(floats)
    addresses = [
        None if part is None else part.data_ptr() for part in (hidden, weight, bias, targets)
    ]
    wanted = [part.data_ptr() for part in found] if found else [None] * 3
    loss = CLoss(
        *(FORMAT, rows, depth, classes, *addresses, *wanted),
        *(addressof(total), scratch.data_ptr(), scratch.numel()),
    )
    code = runtime.loss(addressof(loss))
    pool.give(scratch)
    if code:
        raise BackendError(
            f"the native runtime refuses a loss: {Refusal(code).name.lower()}",
            where=f"hidden {tuple(hidden.shape)}, {classes} classes",
        )
    return total.value, found
