"""Options of the whole test suite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.sharing import commit, spread

from cellsearch.cli import cli
from cellsearch.cli.failures import guarded

# On a busy machine making examples is slow; that says nothing of what is tested.
settings.register_profile(
    "any machine", suppress_health_check=[HealthCheck.too_slow], deadline=None
)
settings.load_profile("any machine")
os.environ["CELLSEARCH_OFFLINE"] = (
    "1"  # no test, nor a process that it starts, asks the network for data
)

collect_ignore = ["packages"]
"""Packages of their own, whose tests run where they are installed."""
_BUDGET = "--slow-seconds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        _BUDGET,
        type=float,
        default=0.0,
        help="start no further slow test after this many seconds (0: no bound)",
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_STARTED] = time.monotonic()


@pytest.hookimpl(trylast=True)  # after pytest has put those together that share a fixture
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where only a share of the slow tests runs, it is another one at each commit, of all rooms."""
    if config.getoption(_BUDGET):
        items[:] = spread(items, seed=commit(), name=lambda item: item.nodeid)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which share it was; ``-q`` shows this, but not the header."""
    if config.getoption(_BUDGET):
        terminalreporter.write_line(
            f"slow tests: a bounded share, one of each folder in turn, in the order of {commit()}"
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the budget has no time for, so that CI runs a bounded share of the slow tests."""
    budget = item.config.getoption(_BUDGET)
    spent = time.monotonic() - item.config.stash[_STARTED]
    if budget and spent > budget and item.get_closest_marker("slow") is not None:
        pytest.skip(f"{_BUDGET} {budget:g} is spent")


_STARTED = pytest.StashKey[float]()


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls the command line with arguments; returns the exit code, the output and the errors."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = guarded(cli, [str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return run
