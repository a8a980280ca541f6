"""Learning in a stream: predict, see the answer, learn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cellsearch.compiler.module import State, compile_cell
from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.genome.graph import Genome

__all__ = ["OnlineLearner", "Prequential"]

Loss = Callable[[Tensor, Tensor], Tensor]


class Prequential:
    """Prequential error: the mean loss of predictions that were made before their answers were
    seen, with fading memory.

    ``S_n = L_n + fading * S_{n-1}``, ``N_n = 1 + fading * N_{n-1}``, error = S / N (Gama, Sebastiao
    & Rodrigues 2013, Machine Learning 90, eq. 6). ``fading = 1`` is the mean over the whole stream;
    0.99 looks back about 100 positions.
    """

    @checked_arguments
    def __init__(self, fading: float = 0.99) -> None:
        if not 0 < fading <= 1:
            raise ConfigError(f"the fading factor {fading} is not above 0 and at most 1")
        self.fading = fading
        self._total = self._count = 0.0

    def add(self, loss: float) -> float:
        """Count one more loss; the error now."""
        self._total = loss + self.fading * self._total
        self._count = 1.0 + self.fading * self._count
        return self.error

    @property
    def error(self) -> float:
        """The error so far; NaN before the first loss."""
        return self._total / self._count if self._count else float("nan")


class OnlineLearner:
    """A cell with a linear readout that learns from a stream, position by position.

    Use: ``prediction = learner.predict(x)`` with ``x [B, I]``, then ``loss = learner.learn(y)``,
    for ever. B streams run side by side; their state is carried and never reset. After each
    ``every`` positions the weights take one Adam step on the loss over the last ``window``
    positions, backwards through time as far as the window reaches (truncated BPTT(h; h') of
    Williams & Peng 1990 with h = ``window``, h' = ``every``). Memory and time a position are
    bounded. ``prequential`` holds the prequential error.

    ``loss(prediction [B, outputs], y)`` gives a scalar, the mean over B; the default is the mean
    squared error.
    """

    @checked_arguments
    def __init__(
        self,
        genome: Genome,
        *,
        input_size: int,
        outputs: int,
        hidden_size: int = 32,
        num_layers: int = 1,
        window: int = 16,
        every: int = 4,
        learning_rate: float = 5e-3,
        clip_norm: float = 1.0,
        fading: float = 0.99,
        loss: Loss = nn.functional.mse_loss,
        seed: int = 0,
        backend: str = "auto",
    ) -> None:
        if not 1 <= every <= window:
            raise ConfigError(f"every = {every} is not from 1 to the window of {window} positions")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.cell = compile_cell(
                genome,
                input_size=input_size,
                hidden_size=hidden_size,
                num_layers=num_layers,
                backend=backend,
            )
            self.readout = nn.Linear(self.cell.output_size, outputs)
        self.loss = loss
        self.every = every
        self.clip_norm = clip_norm
        self.parameters = [*self.cell.parameters(), *self.readout.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate)
        self.prequential = Prequential(fading)
        self.seen = 0
        self._state: State | None = None
        self._asked: tuple[Tensor, State | None, Tensor] | None = None
        self._window: deque[tuple[Tensor, Tensor, State | None]] = deque(maxlen=window)

    def predict(self, x: Tensor) -> Tensor:
        """The prediction ``[B, outputs]`` for the next answer, from ``x [B, I]`` and all that came
        before.

        Raises :class:`RuntimeError` if the answer to the prediction before was not given.
        """
        if self._asked is not None:
            raise RuntimeError("give the answer to the last prediction first: learn(y)")
        with torch.no_grad():
            output, state = self.cell.step(x, self._state)
            prediction: Tensor = self.readout(output)
        self._asked = (x, self._state, prediction)
        self._state = state
        return prediction

    def learn(self, y: Tensor) -> float:
        """Take the answer to the last prediction; the loss that the prediction had, before anything
        was learned from it.

        Raises :class:`RuntimeError` if there was no prediction.
        """
        if self._asked is None:
            raise RuntimeError("there is no prediction to learn from: predict(x) comes first")
        x, before, prediction = self._asked
        self._asked = None
        loss = float(self.loss(prediction, y))
        self.prequential.add(loss)
        self._window.append((x, y, before))
        self.seen += 1
        if self.seen % self.every == 0:
            self._update()
        return loss

    def _update(self) -> None:
        """One optimizer step on the window; the state goes on from the end of the window, computed
        with the weights of before the step.
        """
        inputs = torch.stack([x for x, _, _ in self._window])
        output, _ = self.cell(inputs, self._window[0][2])
        predictions = self.readout(output)
        losses = [
            self.loss(prediction, y)
            for prediction, (_, y, _) in zip(predictions, self._window, strict=True)
        ]
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
