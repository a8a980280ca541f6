"""The rest of a training step, at the speed of the native cells: token inputs, loss and optimizer.

Once the cell itself is fast, the embedding, the softmax and the optimizer's many small calls decide how long a step takes. Each function
here equals the plain torch way up to rounding, gradients included.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.module import CellModule, State
from cellsearch.errors import ConfigError

__all__ = ["FlatAdam", "fused_linear_cross_entropy", "run_tokens"]

LOSS_ROWS = 1024
"""Rows whose logits exist at the same time."""


def run_tokens(module: CellModule, tokens: Tensor, embedding: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
    """The same as ``module(functional.embedding(tokens, embedding), hx)``, faster where tokens repeat.

    ``tokens [T, B]`` (``[B, T]`` with ``batch_first``; int64), ``embedding [V, I]``. With the native backend and one layer
    in one direction the embedding and the cell's input product become one table (:mod:`cellsearch.compiler.tokens`); any other
    module takes the plain way.
    Raises :class:`IndexError` for a token that is not in the embedding.
    """
    kernel = module._choose(embedding.device, embedding.dtype).kernel
    if not isinstance(kernel, NativeKernel) or module.bidirectional or module.num_layers != 1 or tokens.dim() != 2 or not tokens.numel():
        return module(functional.embedding(tokens, embedding), hx)  # type: ignore[no-any-return]
    if embedding.shape[1] != module.input_size:
        raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {module.input_size}, got {embedding.shape[1]}")
    tokens = tokens.t() if module.batch_first else tokens
    _, layer = next(module.layers())
    states = [state[0] for state in module._states(hx, tokens.shape[1], embedding)]
    output, final = kernel.run_tokens(tokens, embedding, states, layer.weights())
    output = output.transpose(0, 1) if module.batch_first else output
    return output, module._pack_states([state[None] for state in final])


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over blocks of rows, so that the logits of all positions never exist together."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, ignore_index: int) -> Tensor:
        count = int((targets != ignore_index).sum())
        wanted = any(ctx.needs_input_grad[:3])
        d_hidden = torch.empty_like(hidden) if wanted else None
        d_weight = torch.zeros_like(weight) if wanted else None
        d_bias = torch.zeros(weight.shape[0], dtype=weight.dtype, device=weight.device) if wanted else None
        loss = hidden.new_zeros(())
        for first in range(0, len(hidden), LOSS_ROWS):
            rows, target = hidden[first : first + LOSS_ROWS], targets[first : first + LOSS_ROWS]
            logits = torch.addmm(bias, rows, weight.t()) if bias is not None else rows @ weight.t()
            kept = target != ignore_index
            safe = torch.where(kept, target, 0)[:, None]
            log_sum = torch.logsumexp(logits, 1)
            loss += torch.where(kept, log_sum - logits.gather(1, safe)[:, 0], 0.0).sum()
            if d_hidden is not None and d_weight is not None and d_bias is not None:
                gradient = torch.exp_(logits.sub_(log_sum[:, None]))
                gradient.scatter_add_(1, safe, gradient.new_full((1, 1), -1.0).expand(len(rows), 1))
                gradient *= (kept / max(count, 1))[:, None]
                torch.mm(gradient, weight, out=d_hidden[first : first + LOSS_ROWS])
                d_weight.addmm_(gradient.t(), rows)
                d_bias += gradient.sum(0)
        ctx.gradients = (d_hidden, d_weight, d_bias if bias is not None else None)
        return loss / count if count else loss * math.nan

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None or torch.is_grad_enabled():
            raise RuntimeError("the fused loss computes its first derivative once; use cross_entropy of linear for more")
        gradients, ctx.gradients = ctx.gradients, None
        return (*(None if gradient is None else gradient * scale for gradient in gradients), None, None)


def fused_linear_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, ignore_index: int = -100) -> Tensor:
    """``cross_entropy(linear(hidden, weight, bias), targets)``, the mean over targets that are not ``ignore_index``.

    ``hidden [N, H]``, ``weight [V, H]``, ``bias [V]``, ``targets [N]`` (int64). Gradients are computed along with the loss, block by block.
    """
    if hidden.dim() != 2 or targets.dim() != 1 or len(hidden) != len(targets):
        raise ConfigError(f"hidden {tuple(hidden.shape)} and targets {tuple(targets.shape)} do not fit", hint="[N, H] and [N]")
    loss: Tensor = _LinearCrossEntropy.apply(hidden.contiguous(), weight, bias, targets, ignore_index)  # type: ignore[no-untyped-call]
    return loss


class FlatAdam:
    """Adam (Kingma & Ba 2015, algorithm 1) with gradient clipping, on one flat buffer: three calls a step whatever the number of weights.

    Takes over the memory of the parameters: each becomes a view of one buffer. All must have one dtype and device. ``weight_decay`` is
    the L2 penalty of :class:`torch.optim.Adam`; ``max_norm`` clips the norm of the whole gradient as
    :func:`torch.nn.utils.clip_grad_norm_` does. A parameter without a gradient counts as having gradient 0.
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
            raise ConfigError("the parameters differ in dtype or device", hint="use torch.optim.Adam")
        self.max_norm = max_norm
        self._sizes = [p.numel() for p in self.parameters]
        with torch.no_grad():
            self._flat = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in self.parameters]))
            for parameter, part in zip(self.parameters, torch.split(self._flat.detach(), self._sizes), strict=True):
                parameter.data = part.view(parameter.shape)
        self._flat.grad = torch.zeros_like(self._flat)
        self._adam = torch.optim.Adam([self._flat], lr, betas, eps, weight_decay, fused=self._flat.dtype == torch.float32)

    @property
    def lr(self) -> float:
        """The learning rate; may be set at any time."""
        return float(self._adam.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        self._adam.param_groups[0]["lr"] = value

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> Tensor:
        """Clip, update, and return the norm of the gradient before clipping (NaN or infinity included: look at it)."""
        flat = self._flat.grad
        assert flat is not None
        parts = [torch.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1) for p in self.parameters]
        torch.cat(parts, out=flat)
        norm: Tensor = torch.linalg.vector_norm(flat)
        if self.max_norm is not None:
            flat.mul_(torch.clamp(self.max_norm / (norm + 1e-6), max=1.0))
        self._adam.step()
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Moments, step count and settings; the weights belong to the model."""
        return self._adam.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state_dict` gave, for the same parameters in the same order."""
        self._adam.load_state_dict(copy.deepcopy(dict(state)))  # torch would share the moments
