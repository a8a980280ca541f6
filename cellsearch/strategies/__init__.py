"""Strategies: pure functions from the history of a search to the next proposal."""

from cellsearch.strategies.base import Strategy
from cellsearch.strategies.registry import create, get, names, options

__all__ = ["Strategy", "create", "get", "names", "options"]
