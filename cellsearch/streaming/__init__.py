"""A cell in a stream: position by position, learning while it predicts, in fewer bits.

``CellModule.step`` runs any compiled cell one position at a time, differentiably. Around it:
:class:`Stepper` for inference with little delay and in low precision, :class:`OnlineLearner`
(predict, then learn), and :func:`generate` (text from a language model).
"""

from cellsearch.streaming.online import OnlineLearner, Prequential
from cellsearch.streaming.stepper import Stepper
from cellsearch.streaming.streams import drifting_filter
from cellsearch.streaming.text import decode, generate

__all__ = ["OnlineLearner", "Prequential", "Stepper", "decode", "drifting_filter", "generate"]
