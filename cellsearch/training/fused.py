"""The rest of a training step, at the speed of the native cells: loss and optimizer (token inputs:
``CellModule.run_tokens``).

Once the cell itself is fast, the softmax and the optimizer's many small calls decide how long a
step takes. Each part here equals the plain torch way up to rounding, gradients included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellsearch.compiler.backends.native.loss import (
    LEFT_OUT,
    Gradients,
    readout_loss,
    readout_runtime,
)
from cellsearch.errors import ConfigError

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
            loss, found = _in_blocks(hidden, weight, bias, targets, ignored, training)
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
    ignored: Tensor,
    training: bool,
) -> tuple[Tensor, Gradients | None]:
    """The sum of the losses, and its gradients in ``training``, by torch: any dtype and device, and
    as many threads as torch has.
    """
    full_weight, full_bias = _whole_vectors(weight, bias)
    d_hidden = torch.empty_like(hidden) if training else None
    d_weight = torch.zeros_like(full_weight) if training else None
    d_bias = torch.zeros_like(full_bias) if training else None
    some_ignored = bool(ignored.any())
    loss = hidden.new_zeros(())
    block = max(LOSS_ROWS, LOSS_NUMBERS // full_weight.shape[0])
    for first in range(0, hidden.shape[0], block):
        part = slice(first, first + block)
        rows, target = hidden[part], targets[part, None]
        logits = torch.addmm(full_bias, rows, full_weight.t())
        p = torch.softmax(logits, 1)
        losses = _negative_log(p, logits, target)
        if some_ignored:
            losses.masked_fill_(ignored[part, None], 0.0)
        loss += losses.sum()
        if d_hidden is not None and d_weight is not None and d_bias is not None:
            minus_one = p.new_full((1, 1), -1.0).expand(rows.shape[0], 1)
            d_logits = p.scatter_add_(1, target, minus_one)
            if some_ignored:
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


class FlatAdam:
    """AdamW on one flat buffer: clipping and update are a few calls whatever the number of weights.

    Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov & Hutter 2019,
    algorithm 2), which is :class:`torch.optim.AdamW`; ``max_norm`` clips the norm of the whole
    gradient as :func:`torch.nn.utils.clip_grad_norm_` does. Takes over the memory of the
    parameters: each becomes a view of one buffer, so they must have one dtype and device and stay
    there. A parameter without a gradient counts as having gradient 0 (torch leaves such a one as it
    is). ``lr``: the learning rate; may be set at any time.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        self.parameters = list(dict.fromkeys(p for p in parameters if p.requires_grad))
        if not self.parameters:
            raise ConfigError("there is no parameter to train")
        if len({(p.dtype, p.device) for p in self.parameters}) != 1:
            raise ConfigError(
                "the parameters differ in dtype or device", hint="use torch.optim.AdamW"
            )
        self.max_norm = max_norm
        with torch.no_grad():
            self._flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
            for parameter, part in zip(self.parameters, self._parts(self._flat), strict=True):
                parameter.data = part
        self._gradient = torch.zeros_like(self._flat)
        self.lr = lr
        self._betas, self._eps, self._weight_decay = betas, eps, weight_decay
        self._moments = {
            "step": torch.zeros((), dtype=torch.float32, device=self._flat.device),
            "exp_avg": torch.zeros_like(self._gradient),
            "exp_avg_sq": torch.zeros_like(self._gradient),
        }

    def _parts(self, flat: Tensor) -> list[Tensor]:
        """A flat tensor as views in the shapes of the parameters."""
        parts = torch.split(flat, [p.numel() for p in self.parameters])
        return [
            part.view(parameter.shape)
            for part, parameter in zip(parts, self.parameters, strict=True)
        ]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def clip(self) -> Tensor:
        """Take over the gradients, clipped, and return their norm before clipping (NaN or infinity
        included: look at it).
        """
        parts = [
            torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1)
            for p in self.parameters
        ]
        torch.cat(parts, out=self._gradient)
        norm: Tensor = torch.linalg.vector_norm(self._gradient)
        if self.max_norm is not None:
            self._gradient.mul_(torch.clamp(self.max_norm / (norm + 1e-6), max=1.0))
        return norm

    @torch.no_grad()
    def update(self) -> None:
        """Change the parameters by what :meth:`clip` took over."""
        # What AdamW(fused=True).step() calls. To make an AdamW loads the whole compiler of torch
        # (torch._dynamo): over a second, and tens of megabytes, in each worker.
        step = self._moments["step"]
        step += 1
        torch._fused_adamw_(
            [self._flat],
            [self._gradient],
            [self._moments["exp_avg"]],
            [self._moments["exp_avg_sq"]],
            [],
            [step],
            lr=self.lr,
            beta1=self._betas[0],
            beta2=self._betas[1],
            weight_decay=self._weight_decay,
            eps=self._eps,
            amsgrad=False,
            maximize=False,
        )

    def step(self) -> Tensor:
        """:meth:`clip`, then :meth:`update`; returns the norm of the gradient before clipping."""
        norm = self.clip()
        self.update()
        return norm

    @property
    def state(self) -> dict[nn.Parameter, dict[str, Tensor]]:
        """For each parameter ``step`` (a number), ``exp_avg`` and ``exp_avg_sq`` (of its shape), as
        in ``torch.optim.AdamW.state``.
        """
        first, second = (self._parts(self._moments[name]) for name in ("exp_avg", "exp_avg_sq"))
        return {
            parameter: {"step": self._moments["step"], "exp_avg": m, "exp_avg_sq": v}
            for parameter, m, v in zip(self.parameters, first, second, strict=True)
        }

    @torch.no_grad()
    def load_state(self, state: Mapping[nn.Parameter, Mapping[str, Tensor]]) -> None:
        """Take over what :attr:`state` gave, or the state of a :class:`torch.optim.AdamW` over the
        same parameters.

        A parameter that is not in it has had no gradient yet: its moments are 0. Raises
        :class:`ValueError` where parameters have done different numbers of steps or a shape does
        not fit, and :class:`KeyError` for what is missing; then nothing has changed.
        """
        steps = {float(moments["step"]) for moments in state.values()}
        if len(steps) > 1:
            raise ValueError(
                f"the optimizer's state holds different numbers of steps for different "
                f"weights: {sorted(steps)}"
            )
        for parameter, moments in state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                if moments[name].shape != parameter.shape:
                    raise ValueError(
                        f"{name} has the shape {tuple(moments[name].shape)}, its weight "
                        f"{tuple(parameter.shape)}"
                    )
        self._moments["step"].fill_(steps.pop() if steps else 0.0)
        for parameter, own in self.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                own[name].copy_(state[parameter][name]) if parameter in state else own[name].zero_()
