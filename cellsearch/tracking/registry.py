"""Trackers by name."""

from __future__ import annotations

from importlib.util import find_spec

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.files import Parts
from cellsearch.tracking.base import Tracker

__all__ = ["get", "names", "require"]

_TRACKERS: Parts[Tracker] = Parts(
    "tracker",
    "cellsearch.trackers",
    Tracker,
    {
        "tensorboard": "cellsearch.tracking.tensorboard:TensorBoard",
    },
)


def names() -> tuple[str, ...]:
    """The names of all trackers, those of other installed packages included."""
    return _TRACKERS.names()


@checked_arguments
def get(name: str) -> type[Tracker]:
    """The tracker of this name; raises :class:`ConfigError` for an unknown one."""
    return _TRACKERS.get(name)


@checked_arguments
def require(name: str) -> None:
    """Raise :class:`ConfigError` for an unknown tracker, and one whose library is not
    installed.
    """
    tracker = get(name)
    if find_spec(tracker.package) is None:
        wanted = f"cellsearch[{tracker.extra}]" if tracker.extra else tracker.package
        raise ConfigError(
            f"the tracker {name} needs the package {tracker.package}, which is not installed",
            where="--track",
            hint=f"pip install '{wanted}'",
        )
