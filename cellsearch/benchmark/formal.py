"""The benchmarks of state tracking, formal languages and MAD. What is published is quoted from
memory and has not been compared with the papers; the tables say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from cellsearch import tasks
from cellsearch.benchmark.algorithmic import (
    AlgorithmicBenchmark,
    AlgorithmicOptions,
    Problem,
    PublishedModel,
)
from cellsearch.options import above, at_least

__all__ = [
    "FormalLanguagesBenchmark",
    "MadBenchmark",
    "MadBenchmarkOptions",
    "StateTrackingBenchmark",
]

_UNVERIFIED = "Published numbers are quoted from memory, not verified."
_FAR: dict[str, Any] = {"min_length": 3, "test_lengths": [40, 94, 148, 202, 256]}
"""Lengths of Beck et al. 2024 and Grazzi et al. 2025."""


def _word(group: str) -> Problem:
    return Problem("group_word", {"group": group, "test_lengths": [25, 100]}, "last")


def _arithmetic(name: str, parity: float, plain: float, brackets: float) -> PublishedModel:
    """A row of Grazzi et al. 2025, scaled accuracy."""
    found = {"parity": parity, "modular_arithmetic": plain, "modular_arithmetic_brackets": brackets}
    return PublishedModel(name, found)


class StateTrackingBenchmark(AlgorithmicBenchmark):
    """Group word problems, a walk on a circle, and arithmetic modulo 5."""

    name: ClassVar[str] = "state_tracking"
    summary: ClassVar[str] = (
        "products in S3, A5, S5, Z60, parity, a walk on a circle, arithmetic modulo 5: short "
        "sequences in training, far longer ones in the test"
    )
    source: ClassVar[str] = (
        "Merrill, Petty & Sabharwal 2024, arXiv 2404.08819; Grazzi et al. 2025, arXiv 2411.12537"
    )
    questions: ClassVar[Mapping[str, Problem]] = {
        "s3": _word("s3"),
        "a5": _word("a5"),
        "s5": _word("s5"),
        "z60": _word("z60"),
        "parity": Problem("parity_check", _FAR, "scaled"),
        "cycle_navigation": Problem("cycle_navigation", _FAR, "scaled"),
        "modular_arithmetic": Problem("modular_arithmetic", _FAR, "scaled"),
        "modular_arithmetic_brackets": Problem(
            "modular_arithmetic_brackets", {**_FAR, "multiply": True}, "scaled"
        ),
    }
    others: ClassVar[tuple[PublishedModel, ...]] = (
        _arithmetic("mLSTM", 0.09, 0.04, 0.11),
        _arithmetic("sLSTM", 1.0, 0.79, 0.18),
        _arithmetic("Mamba [0,1]", 0.0, 0.10, 0.12),
        _arithmetic("Mamba [-1,1]", 1.0, 0.24, 0.12),
        _arithmetic("DeltaNet [-1,1]", 1.0, 0.97, 0.26),
    )
    remarks: ClassVar[tuple[str, ...]] = (
        "s3 to z60: accuracy at the last of 100 positions, trained on 2 to 25; chance is "
        "1/V. Others: scaled accuracy (0 chance, 1 perfect), mean "
        "over lengths 40 to 256, trained on 3 to 40.",
        f"{_UNVERIFIED} They are of models of two blocks, trained for far longer (batch 256, up "
        "to 100,000 steps), best of three.",
    )


class FormalLanguagesBenchmark(AlgorithmicBenchmark):
    """The fifteen tasks of Deletang et al. 2023."""

    name: ClassVar[str] = "formal_languages"
    summary: ClassVar[str] = (
        "15 tasks along the Chomsky hierarchy, trained on up to 40 symbols, tested on 41 to 500"
    )
    source: ClassVar[str] = "Deletang et al. 2023, arXiv 2207.02098"
    questions: ClassVar[Mapping[str, Problem]] = {
        name: Problem(name)
        for name in (
            "even_pairs",
            "modular_arithmetic",
            "parity_check",
            "cycle_navigation",
            "stack_manipulation",
            "reverse_string",
            "modular_arithmetic_brackets",
            "solve_equation",
            "duplicate_string",
            "missing_duplicate",
            "odds_first",
            "binary_addition",
            "binary_multiplication",
            "compute_sqrt",
            "bucket_sort",
        )
    }
    _regular: ClassVar[dict[str, float]] = dict.fromkeys(
        ("even_pairs", "modular_arithmetic", "parity_check", "cycle_navigation"), 1.0
    )
    others: ClassVar[tuple[PublishedModel, ...]] = (
        PublishedModel("RNN", {**_regular, "bucket_sort": 0.279}),
        PublishedModel("LSTM", {**_regular, "bucket_sort": 0.993}),
    )
    remarks: ClassVar[tuple[str, ...]] = (
        f"{_UNVERIFIED} They are of H = 256, maxima over seeds and rates; of the LSTM, the tasks "
        "without a number lie between 0.53 and 0.68. Test lengths here: ten from 41 to 500.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MadBenchmarkOptions(AlgorithmicOptions):
    """Options of :class:`MadBenchmark`."""

    rates: Annotated[tuple[Annotated[float, above(0)], ...], at_least(1)] = (1e-4, 5e-4, 1e-3)
    hidden: Annotated[int, at_least(1)] = 128
    steps: Annotated[int, at_least(0)] = 0
    """Optimizer steps of a training (0: those of ``epochs``)."""
    epochs: Annotated[int, at_least(1)] = 200
    """Passes over the training set."""


class MadBenchmark(AlgorithmicBenchmark):
    """The six tasks of MAD at their baseline difficulty."""

    name: ClassVar[str] = "mad"
    summary: ClassVar[str] = (
        "6 tasks of recall, memory, copying and compression that foretell language models"
    )
    source: ClassVar[str] = "Poli et al. 2024, arXiv 2403.17844"
    Options: ClassVar[type[AlgorithmicOptions]] = MadBenchmarkOptions
    questions: ClassVar[Mapping[str, Problem]] = {
        name: Problem(f"mad_{name}")
        for name in (
            "compression",
            "fuzzy_recall",
            "in_context_recall",
            "memorization",
            "noisy_recall",
            "selective_copying",
        )
    }
    decays: ClassVar[tuple[float, ...]] = (0.0, 0.1)
    remarks: ClassVar[tuple[str, ...]] = (
        "Baseline difficulty, one layer, a constant learning rate (the authors: two blocks, a "
        "cosine schedule, and a mean over difficulties). No row of an LSTM or GRU is known.",
    )

    def steps(self, problem: str) -> int:
        """As many as the epochs have batches, or what is asked for."""
        options: Any = self.options
        if options.steps:
            return int(options.steps)
        kind: Any = tasks.get(self.questions[problem].task)
        return int(options.epochs * max(1, kind.Options().examples // options.batch_size))
