"""Benchmarks that other people have published: their data, protocol and score, and our rows beside
theirs. ``cellsearch benchmark`` runs them.
"""

from cellsearch.benchmark.base import Benchmark, BenchmarkOptions, Contestant
from cellsearch.benchmark.registry import benchmarks, get
from cellsearch.benchmark.runner import run_benchmark

__all__ = ["Benchmark", "BenchmarkOptions", "Contestant", "benchmarks", "get", "run_benchmark"]
