"""Using a trained model position by position, with the state carried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cellsearch.errors import ConfigError
from cellsearch.tasks.interface import FeatureInputs, Interface, TokenInputs
from cellsearch.tasks.prediction import Predicted, predict, prepare, run, scores_of, standardised

__all__ = ["ModelStream"]


class ModelStream:
    """A trained model position by position: ``answer = stream(position)``.

    A model that answers at every position carries its state on. A forecast keeps the last
    ``history`` positions, and answers from the position on that completes the first window; before
    it the answer is ``None``. Raises :class:`ConfigError` for a model that needs whole sequences.
    """

    def __init__(self, model: nn.Module, interface: Interface, directions: int = 1) -> None:
        inputs = interface.inputs
        windows = isinstance(inputs, FeatureInputs) and inputs.history is not None
        if directions != 1 and not windows:
            raise ConfigError(
                "a model that reads both directions needs the whole sequence",
                hint="use predict, or search with bidirectional = false",
            )
        if not interface.streams and not windows:
            raise ConfigError(
                "the model answers once a sequence, so it cannot answer in a stream",
                hint='use predict, or make the task with readout = "every"',
            )
        self.model, self.interface = model, interface
        self.windows = windows and not interface.streams
        self.state: Any = None
        """The recurrent state after the last position; ``None`` at the start."""
        self._rows: list[NDArray[Any]] = []
        self._gaps: list[float] = []
        genome = getattr(getattr(model, "cell", None), "genome", None)
        self._timed = (
            genome is not None and "dt" in genome.inputs and interface.time_unit is not None
        )

    @staticmethod
    def can(interface: Interface, directions: int) -> bool:
        """Whether a model with this interface can answer position by position."""
        inputs = interface.inputs
        if isinstance(inputs, FeatureInputs) and inputs.history is not None:
            return True
        return interface.streams and directions == 1

    def reset(self) -> None:
        """Begin anew."""
        self.state, self._rows, self._gaps = None, [], []

    def __call__(self, position: Any, *, dt: float | None = None) -> Any:
        """The answer at the next position: a symbol or token number, or raw values ``[I]``. ``dt``:
        the time since the position before, in the unit of the training's times, for a cell that
        reads it; it is not asked for at the first position, nor after :meth:`reset`.
        """
        found = self.predicted(position, dt=dt)
        return None if found is None else found.rows[0]

    def _gap(self, dt: float | None) -> float:
        """The time since the position before; NaN at the first one."""
        if dt is not None and self.interface.time_unit is None:
            raise ConfigError(
                "the model was trained without times", where="dt", hint="leave it out"
            )
        if self.state is None and not self._rows:
            return float("nan")
        if dt is None and self._timed:
            raise ConfigError(
                "the cell reads the time between positions, and none is given",
                where="dt",
                hint="stream(position, dt=...), the time since the position before",
            )
        if dt is not None and not 0 <= dt < float("inf"):
            raise ConfigError(f"the time since the position before is {dt!r}", where="dt")
        return float("nan") if dt is None else float(dt)

    def predicted(self, position: Any, *, dt: float | None = None) -> Predicted | None:
        """The same with its probabilities."""
        gap = self._gap(dt)
        inputs = self.interface.inputs
        if isinstance(inputs, TokenInputs):
            given = position if isinstance(position, str) else [position]
        else:
            given = [np.atleast_1d(np.asarray(position))]
        (sequence,), _ = prepare(self.interface, given, "position")
        if self.windows:
            assert isinstance(inputs, FeatureInputs)
            self._rows = [*self._rows, *sequence][-(inputs.history or 0) :]
            self._gaps = [*self._gaps, gap][-(inputs.history or 0) :]
            if len(self._rows) < (inputs.history or 0):
                return None
            times = np.cumsum([0.0, *self._gaps[1:]])
            beside = [{"times": times} if self._timed else {}]
            return predict(self.model, self.interface, [np.stack(self._rows)], beside)[0]
        gaps = np.array([gap]) if self._timed else None
        values, around = standardised(self.interface, sequence, gaps=gaps)
        more = {name: torch.from_numpy(value[:, None]) for name, value in around.items()}
        x = values[:, None]
        output, self.state, _ = run(self.model, self.interface, x, self.state, None, more)
        return Predicted(scores_of(self.interface, output[-1:, 0], None), self.interface)
