"""JSB chorales: the next chord of a chorale by Bach."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import InputFileError
from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays, Batch, Split
from cellsearch.tasks.data import registry
from cellsearch.tasks.interface import Answer, FeatureInputs, Readout, features
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions, parse_options
from cellsearch.tasks.sequences import SPLITS, SequenceTask, join

__all__ = ["JSB", "JSBOptions"]

KEYS, LOWEST = 88, 21
NOTES = tuple(
    f"{('C', 'C#', 'D', 'D#', 'E', 'F', 'F#', 'G', 'G#', 'A', 'A#', 'B')[n % 12]}{n // 12 - 1}"
    for n in range(LOWEST, LOWEST + KEYS)
)
"""The keys: A0 to C8, C4 is the middle one."""
PIECES = {"train": 229, "valid": 76, "test": 77}


@dataclass(frozen=True, slots=True)
class JSBOptions(TaskOptions):
    """See :class:`TaskOptions`."""

    batch_size: Annotated[int, at_least(1)] = 8


class JSB(SequenceTask):
    """Predict which of 88 keys sound in the next quarter note of a chorale by J. S. Bach.

    Source: Boulanger-Lewandowski, Bengio & Vincent 2012: 229, 76 and 77 chorales (official split).
    Each frame is predicted from those before it, the first one is given; the keys are independent
    given the past (88 logistic outputs). Metric and score: negative log-likelihood of a frame in
    nats, summed over keys, averaged over all predicted frames of the split. Published: LSTM 8.45,
    GRU 8.43, TCN 8.10 (Bai et al. 2018, table 1, with the same definition). Keys with their own
    frequency, without memory: about 11.1.
    """

    name: ClassVar[str] = "jsb"
    metric: ClassVar[str] = "nats per frame"
    summary: ClassVar[str] = "predict the next chord of a Bach chorale (88 keys)"
    source: ClassVar[str] = (
        "Boulanger-Lewandowski et al. 2012, arXiv 1206.6392; protocol of Bai et al. "
        "2018, arXiv 1803.01271"
    )
    dataset: ClassVar[str] = "jsb"
    Options: ClassVar[type[JSBOptions]] = JSBOptions
    targets = KEYS
    readout: Readout = "every"

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Piano rolls: x without the last frame, y without the first."""
        parse_options(cls.Options, options)
        pieces = json.loads(registry.read_text(cls.dataset))
        if {name: len(pieces.get(name, ())) for name in PIECES} != PIECES:
            raise InputFileError("the numbers of pieces are not 229, 76 and 77", where=cls.dataset)
        rolls = [
            (_roll(piece), number) for number, split in enumerate(SPLITS) for piece in pieces[split]
        ]
        x, lengths = join([roll[:-1] for roll, _ in rolls])
        y, _ = join([roll[1:] for roll, _ in rolls])
        return {
            "x": x,
            "y": y,
            "lengths": lengths,
            "split": np.array([number for _, number in rolls], dtype=np.uint8),
        }

    def inputs(self) -> FeatureInputs:
        """The keys, 1 where one sounds."""
        return features(NOTES)

    def answer(self) -> Answer:
        """The keys of the next frame."""
        return Answer(kind="bits", names=NOTES)

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Negative log-likelihood of a frame, in nats."""
        logits, y = self._counted(prediction, batch)
        return nn.functional.binary_cross_entropy_with_logits(logits, y.to(logits.dtype)) * KEYS

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Negative log-likelihood of a frame, for both."""
        total, count = 0.0, 0
        with heads.evaluation(model):
            for batch in self.batches(split, 0):
                prediction, _ = model(batch.x, None, batch.lengths)
                if not torch.isfinite(prediction).all():
                    return math.nan, math.nan
                frames = (
                    int(batch.lengths.sum())
                    if batch.lengths is not None
                    else batch.x.shape[0] * batch.x.shape[1]
                )
                total += float(self.loss(prediction, batch)) * frames
                count += frames
        return total / count, total / count


def _roll(piece: list[list[int]]) -> NDArray[np.float32]:
    """``[frames, 88]``, 1 where a key sounds."""
    roll = np.zeros((len(piece), KEYS), dtype=np.float32)
    for t, notes in enumerate(piece):
        roll[t, [note - LOWEST for note in notes]] = 1.0
    return roll
