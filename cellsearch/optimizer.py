"""The optimizer of trainings: once a cell is fast, the many small calls of torch's own decide how
long a step takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from cellsearch.errors import ConfigError

__all__ = ["FlatAdam"]


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
