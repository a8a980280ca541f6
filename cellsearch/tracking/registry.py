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
        "mlflow": "cellsearch.tracking.mlflow:MLflow",
        "tensorboard": "cellsearch.tracking.tensorboard:TensorBoard",
        "trackio": "cellsearch.tracking.trackio:Trackio",
        "wandb": "cellsearch.tracking.wandb:WeightsAndBiases",
    },
)


def names() -> tuple[str, ...]:
    """The names of all trackers, those of other installed packages included."""
    return _TRACKERS.names()


@checked_arguments
def get(name: str) -> type[Tracker]:
    """The tracker of this name; raises :class:`ConfigError` for an unknown one, and for one of ours
    whose library, which has the same name and extra, is not installed.
    """
    try:
        return _TRACKERS.get(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name:
            raise
        raise _missing(name, name, name) from None


@checked_arguments
def require(name: str) -> None:
    """Raise :class:`ConfigError` for an unknown tracker, and one whose library is not
    installed.
    """
    tracker = get(name)
    if find_spec(tracker.package) is None:
        raise _missing(name, tracker.package, tracker.extra)


def _missing(name: str, package: str, extra: str) -> ConfigError:
    wanted = f"cellsearch[{extra}]" if extra else package
    return ConfigError(
        f"the tracker {name} needs the package {package}, which is not installed",
        where="--track",
        hint=f"pip install '{wanted}'",
    )
