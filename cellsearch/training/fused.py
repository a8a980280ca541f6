"""The readout and its loss, at the speed of the native cells (the other parts of a training step:
``CellModule.run_tokens`` and :class:`cellsearch.optimizer.FlatAdam`).

Once the cell itself is fast, the softmax decides how long a step takes. It equals the plain torch
way up to rounding, gradients included.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cellsearch.compiler.backends.native.loss import (
    LEFT_OUT,
    Gradients,
    readout_loss,
    readout_runtime,
)
from cellsearch.errors import ConfigError
from cellsearch.optimizer import FlatAdam

__all__ = ["FlatAdam", "fused_linear_cross_entropy"]

LOSS_NUMBERS, LOSS_ROWS = 1 << 17, 64
"""So many logits exist at the same time (0.5 MB in float32: they stay in the cache), but those of
at least so many rows.
"""
_VECTOR = 16
_LEAST = 1e-30
"""Probabilities above it are normal numbers in float32, so their logarithm is exact enough."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over blocks of rows, so that the logits of all positions never
    exist together.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        ignore_index: int,
        training: bool,
    ) -> Tensor:
        ignored = targets == ignore_index
        count = targets.shape[0] - int(torch.count_nonzero(ignored))
        targets = _checked(targets.masked_fill(ignored, 0), weight.shape[0])
        given = (hidden, weight) if bias is None else (hidden, weight, bias)
        runtime = readout_runtime(*given)
        if runtime is not None:
            targets = targets.masked_fill(ignored, LEFT_OUT)
            total, found = readout_loss(runtime, hidden, weight, bias, targets, gradients=training)
            loss = hidden.new_tensor(total)
        else:
            some = ignored if count < targets.shape[0] else None
            loss, found = _in_blocks(hidden, weight, bias, targets, some, training)
        if found is not None:
            ctx.gradients = (*found[:2], found[2] if bias is not None else None)
        ctx.count = count
        return loss / count if count else loss * math.nan

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the fused loss computes first derivatives only; use cross_entropy of "
                "linear for create_graph=True"
            )
        if ctx.gradients is None:
            raise RuntimeError(
                "the fused loss can run backward only once for each forward pass; use "
                "cross_entropy of linear"
            )
        gradients, ctx.gradients = ctx.gradients, None
        factor = scale / ctx.count if ctx.count else scale * math.nan
        return (
            *(None if gradient is None else gradient.mul_(factor) for gradient in gradients),
            None,
            None,
            None,
        )


def _in_blocks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    ignored: Tensor | None,
    training: bool,
) -> tuple[Tensor, Gradients | None]:
    """The sum of the losses of rows that are not ``ignored``, and its gradients in ``training``, by
    torch: any dtype and device, and as many threads as torch has.
    """
    full_weight, full_bias = _whole_vectors(weight, bias)
    d_hidden = torch.empty_like(hidden) if training else None
    d_weight = torch.zeros_like(full_weight) if training else None
    d_bias = torch.zeros_like(full_bias) if training else None
    loss = hidden.new_zeros(())
    block = max(LOSS_ROWS, LOSS_NUMBERS // full_weight.shape[0])
    for first in range(0, hidden.shape[0], block):
        part = slice(first, first + block)
        rows, target = hidden[part], targets[part, None]
        logits = torch.addmm(full_bias, rows, full_weight.t())
        p = torch.softmax(logits, 1)
        losses = _negative_log(p, logits, target)
        if ignored is not None:
            losses.masked_fill_(ignored[part, None], 0.0)
        loss += losses.sum()
        if d_hidden is not None and d_weight is not None and d_bias is not None:
            minus_one = p.new_full((1, 1), -1.0).expand(rows.shape[0], 1)
            d_logits = p.scatter_add_(1, target, minus_one)
            if ignored is not None:
                d_logits.masked_fill_(ignored[part, None], 0.0)
            torch.mm(d_logits, full_weight, out=d_hidden[part])
            d_weight.addmm_(d_logits.t(), rows)
            d_bias.addmv_(d_logits.t(), d_logits.new_ones(rows.shape[0]))
    if d_hidden is None or d_weight is None or d_bias is None:
        return loss, None
    return loss, (d_hidden, d_weight[: weight.shape[0]], d_bias[: weight.shape[0]])


def _checked(targets: Tensor, vocabulary: int) -> Tensor:
    """The targets, if each is a number of the vocabulary."""
    if targets.shape[0]:
        least, most = (int(bound) for bound in torch.aminmax(targets))
        if least < 0 or most >= vocabulary:
            raise IndexError(
                f"Target {least if least < 0 else most} is out of bounds: the "
                f"vocabulary has {vocabulary} rows"
            )
    return targets


def _whole_vectors(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight ``[V', H]`` and bias ``[V']`` with V' a multiple of 16; the logits of the rows that
    are added are -inf, their probability 0.

    BLAS takes up to twice as long for 63 rows as for 64.
    """
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    extra = -weight.shape[0] % _VECTOR
    return functional.pad(weight, (0, 0, 0, extra)), functional.pad(
        bias, (0, extra), value=-math.inf
    )


def _negative_log(p: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """``-log`` of the probabilities of the targets ``[rows, 1]``; from the logits where one is too
    small (or NaN) for its logarithm.
    """
    chosen = p.gather(1, target)
    if float(chosen.min()) > _LEAST:
        return chosen.log_().neg_()
    return torch.logsumexp(logits, 1, keepdim=True) - logits.gather(1, target)


def fused_linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    ignore_index: int = -100,
) -> Tensor:
    """``cross_entropy(linear(hidden, weight, bias), targets)``, the mean over targets that are not
    ``ignore_index``.

    ``hidden [N, H]``, ``weight [V, H]``, ``bias [V]``, ``targets [N]`` (int64). Gradients are
    computed along with the loss, block by block, and once: a second backward pass and second
    derivatives raise :class:`RuntimeError`. A target outside the vocabulary raises
    :class:`IndexError`.
    """
    if hidden.dim() != 2 or targets.dim() != 1 or hidden.shape[0] != targets.shape[0]:
        raise ConfigError(
            f"hidden {tuple(hidden.shape)} and targets {tuple(targets.shape)} do not fit",
            hint="[N, H] and [N]",
        )
    training = torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (hidden, weight, bias)
    )
    weight, targets = weight.contiguous(), targets.contiguous()
    bias = None if bias is None else bias.contiguous()
    loss: Tensor = _LinearCrossEntropy.apply(
        hidden.contiguous(), weight, bias, targets, ignore_index, training
    )  # type: ignore[no-untyped-call]
    return loss
