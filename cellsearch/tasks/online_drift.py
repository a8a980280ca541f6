"""Online learning: predict, then learn, on a stream whose law changes without notice."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError
from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task, writable
from cellsearch.tasks.interface import Interface, features, values
from cellsearch.tasks.later import heads, nn, optimizer, torch
from cellsearch.tasks.options import TaskOptions, parse_options

__all__ = ["OnlineDrift", "OnlineDriftOptions"]

GROUP = 32
"""Training segments that are drawn at once."""
STREAMS = 8
"""Streams of validation and test, side by side under the same law."""
CLIP_NORM = 1.0
_TRAIN, _VALID, _TEST = range(3)


@dataclass(frozen=True, slots=True)
class OnlineDriftOptions(TaskOptions):
    """Options of :class:`OnlineDrift`."""

    tbptt: Annotated[int, at_least(1)] = 32
    """Positions T of a training segment, at least ``taps``."""
    length: int = 960
    """Positions of the validation and of the test stream."""
    laws: Annotated[int, at_least(1)] = 3
    """How many laws follow one another in each, the first being that of training."""
    taps: Annotated[int, at_least(1)] = 6
    """Inputs that the law looks back on."""
    noise: Annotated[float, at_least(0)] = 0.05
    """Deviation of the noise of the targets."""
    every: Annotated[int, at_least(1)] = 8
    """Positions between two updates in the stream, each on these positions alone."""
    online_rate: Annotated[float, at_least(0)] = 5e-3
    """Learning rate of the updates."""

    def check(self) -> None:
        """See :meth:`TaskOptions.check`."""
        if self.tbptt < self.taps:
            raise ConfigError(
                f"{self.tbptt} is too small", where="tbptt", hint=f"use {self.taps} (taps) or more"
            )
        if self.length < self.laws * self.every:
            raise ConfigError(
                f"{self.length} positions hold no update under each of {self.laws} laws",
                where="length",
                hint=f"use {self.laws * self.every} or more",
            )


class OnlineDrift(Task):
    """Go on learning in a stream after the law of its targets has changed.

    Source: generated; abrupt concept drift (Gama et al. 2014, ACM Computing Surveys 46(4), section
    2), prequential evaluation (Gama, Sebastiao & Rodrigues 2013, Machine Learning 90): every
    prediction is made before its answer is seen, then the answer is learned from. A law is ``y_t =
    tanh(sum_k w_k x_{t-k}) + noise`` with x uniform in [-1, 1] and k from 1 to ``taps``; w is drawn
    once for each law. Training: endless streams under the first law. Validation and test: eight
    streams side by side that begin under the first law and change it twice; the trained model
    predicts ``every`` positions, then its weights (a copy) take one Adam step on them, and so on.
    Validation and test have other later laws. Metric and score: prequential squared error over the
    whole stream, as a share of the variance of the targets. About 1: no memory, or one that never
    recovers; the noise alone gives about 0.01.
    """

    name: ClassVar[str] = "online_drift"
    metric: ClassVar[str] = "prequential error (share of variance)"
    summary: ClassVar[str] = (
        "predict a stream and learn from every answer while the law behind it changes"
    )
    source: ClassVar[str] = "generated; Gama et al. 2013 (prequential error), 2014 (drift)"
    Options: ClassVar[type[OnlineDriftOptions]] = OnlineDriftOptions
    options: OnlineDriftOptions

    def __init__(self, options: OnlineDriftOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        self._laws = np.asarray(arrays["laws"])
        self._streams = {
            split: torch.from_numpy(writable(arrays[split])) for split in ("valid", "test")
        }

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """The law of training ``laws [taps]``, and the streams ``valid`` and ``test`` ``[length, 8,
        2]``: input and target.
        """
        parsed = parse_options(cls.Options, options)
        first = _draw_law(np.random.default_rng([0, _TRAIN]), parsed.taps)
        arrays: dict[str, NDArray[Any]] = {"laws": first}
        for number, split in ((_VALID, "valid"), (_TEST, "test")):
            rng = np.random.default_rng([0, number])
            laws = [first, *(_draw_law(rng, parsed.taps) for _ in range(parsed.laws - 1))]
            x = _uniform(rng, (parsed.length + parsed.taps, STREAMS))
            which = np.arange(parsed.length) * parsed.laws // parsed.length
            arrays[split] = np.stack(
                [x[parsed.taps :], _targets(x, np.array(laws)[which], parsed.noise, rng)], axis=-1
            )
        return arrays

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`. Validation and test come in pieces of ``every`` positions."""
        if split != "train":
            whole, every = self._streams[split], self.options.every
            for k in range(0, len(whole), every):
                given, wanted = (
                    part.contiguous() for part in torch.split(whole[k : k + every], 1, 2)
                )
                yield Batch(given, wanted, first=k == 0)
            return
        group, first = divmod(start, GROUP)
        shape, taps = (GROUP * self.options.tbptt, self.options.batch_size), self.options.taps
        past = _inputs(seed, group - 1, shape)[-taps:]
        while True:
            x = np.concatenate(
                [past, _inputs(seed, group, shape)]
            )  # a group looks back on the end of the one before
            y = _targets(
                x, self._laws, self.options.noise, np.random.default_rng([seed, 1 + group, 1])
            )
            past = x[-taps:]
            segments = [
                torch.split(torch.from_numpy(part).unsqueeze(2), self.options.tbptt)
                for part in (x[taps:], y)
            ]
            for k in range(first, GROUP):
                yield Batch(segments[0][k], segments[1][k], first=group == k == 0)
            group, first = group + 1, 0

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """The cell over ``[T, B, 1]``, a linear readout at every position."""
        return heads.SequenceModel(cell_factory, features=1, outputs=1)

    def interface(self) -> Interface:
        """The input in, the target of the same position out; what goes on learning is the user's
        own loop around the model.
        """
        return Interface(inputs=features(("x",)), answer=values(("y",)))

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean squared error."""
        return nn.functional.mse_loss(prediction, batch.y.to(prediction.dtype))

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Prequential error over the variance, twice; NaN if the learner blows up. The model itself
        stays as it is.
        """
        errors = self.prequential(model, split)
        share = float(errors.mean() / self._streams[split][..., 1].double().var())
        return (share, share) if math.isfinite(share) else (math.nan, math.nan)

    def prequential(self, model: nn.Module, split: Split) -> NDArray[np.float64]:
        """Mean squared error over the streams at every position ``[length]``, each prediction made
        before its answer was learned from.
        """
        learner = copy.deepcopy(model).eval()
        adam = optimizer.FlatAdam(
            learner.parameters(), lr=self.options.online_rate, max_norm=CLIP_NORM
        )
        errors, state = [], None
        with torch.enable_grad():
            for batch in self.batches(split, 0):
                prediction, state = learner(batch.x, state)
                wrong = (prediction - batch.y.to(prediction.dtype)).square()
                errors.append(wrong.detach().double().mean((1, 2)).numpy())
                adam.zero_grad()  # the first time, of what the copy has brought
                wrong.mean().backward()
                adam.step()
                state = (
                    state.detach()
                    if isinstance(state, torch.Tensor)
                    else tuple(part.detach() for part in state)
                )
        return np.concatenate(errors)


def _draw_law(rng: np.random.Generator, taps: int) -> NDArray[np.float32]:
    """Weights of the last inputs, of length 1.5: the tanh bends, but does not saturate."""
    weights = rng.standard_normal(taps)
    return (1.5 * weights / np.linalg.norm(weights)).astype(np.float32)


def _uniform(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    return 2 * rng.random(shape, dtype=np.float32) - 1


def _inputs(seed: int, group: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Inputs ``[T, B]`` of a group of training segments, from -1 on."""
    return _uniform(np.random.default_rng([seed, 1 + group, 0]), shape)


def _targets(
    x: NDArray[np.float32], laws: NDArray[np.float32], noise: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Inputs ``[taps + T, B]``, laws ``[taps]`` or ``[T, taps]`` -> targets ``[T, B]`` of all
    positions but the first ``taps``.
    """
    taps = laws.shape[-1]
    y = np.zeros_like(x[taps:])
    for k in range(1, taps + 1):
        y += laws[..., k - 1, None] * x[taps - k : len(x) - k]
    y = np.tanh(y)
    y += np.float32(noise) * rng.standard_normal(y.shape, dtype=np.float32)
    return y
