"""Finds benchmarks by name."""

from __future__ import annotations

from cellsearch.benchmark.base import Benchmark
from cellsearch.errors import checked_arguments
from cellsearch.files import Parts

__all__ = ["benchmarks", "get"]

_BENCHMARKS: Parts[Benchmark] = Parts(
    "benchmark",
    "cellsearch.benchmarks",
    Benchmark,
    {
        "cogscale": "cellsearch.benchmark.cogscale:CogscaleBenchmark",
        "formal_languages": "cellsearch.benchmark.formal:FormalLanguagesBenchmark",
        "mad": "cellsearch.benchmark.formal:MadBenchmark",
        "state_tracking": "cellsearch.benchmark.formal:StateTrackingBenchmark",
    },
)


def benchmarks() -> tuple[str, ...]:
    """The names of all benchmarks, those of other installed packages included."""
    return tuple(sorted(_BENCHMARKS.names()))


@checked_arguments
def get(name: str) -> type[Benchmark]:
    """The class of a benchmark. Raises :class:`ConfigError` for an unknown name."""
    return _BENCHMARKS.get(name)
