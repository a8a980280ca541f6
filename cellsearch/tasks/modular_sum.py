"""Sum of digits modulo five, trained on short strings and tested on longer ones."""

from __future__ import annotations

from typing import ClassVar

from cellsearch.tasks.parity import Parity

__all__ = ["ModularSum"]


class ModularSum(Parity):
    """The sum of the digits 0 to 4 of a string, modulo 5.

    Definition: the regular task of Deletang et al. 2023 without brackets and signs: a cyclic group
    of five states instead of the two of parity. Lengths, score and metric as in :class:`Parity`:
    score is the error rate, metric the accuracy; chance is 0.2.
    """

    name: ClassVar[str] = "modular_sum"
    summary: ClassVar[str] = "sum of digits modulo 5, trained on 1-20 digits, tested on up to 100"
    source: ClassVar[str] = "Deletang et al. 2023, arXiv 2207.02098"
    modulus: ClassVar[int] = 5
