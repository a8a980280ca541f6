"""The weights that a run has kept of a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from cellsearch.runs.locate import Located

__all__ = ["has_weights", "trained_sizes", "trained_weights"]


def has_weights(located: Located) -> bool:
    """Whether the cell is a run's, and the run has kept its checkpoint (it keeps those of its best
    trials).
    """
    result = located.trial.result if located.trial is not None else None
    return result is not None and located.run is not None and bool(result.checkpoint) and (located.run.folder / result.checkpoint).is_file()


def trained_weights(located: Located) -> dict[str, Tensor]:
    """The recurrent layer's weights at the trial's best validation score. Raises
    :class:`ConfigError` if there are none.
    """
    from cellsearch.training import checkpoint
    from cellsearch.errors import ConfigError

    if not has_weights(located) or located.trial is None or located.trial.result is None or located.run is None:
        hint = "name a trained cell: a run folder (its best cell), or RUN:TRIAL for one of the best, whose weights are kept"
        raise ConfigError(f"{located.label} has no trained weights", hint=hint)
    return checkpoint.read(located.run.folder / located.trial.result.checkpoint).cell_weights()


def trained_sizes(located: Located, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The arguments with which the cell was trained; empty for one that was not."""
    if not tensors or located.run is None:
        return {}
    training = located.run.experiment["training"]
    hidden_size = training["hidden_size"]
    wide = [spec for spec in located.genome.parameters if spec.shape == ("H", "I") and f"l0.{spec.name}" in tensors]
    return {
        # without such a weight I = H
        "input_size": tensors[f"l0.{wide[0].name}"].shape[1] if wide else hidden_size,
        "hidden_size": hidden_size,
        "num_layers": training["num_layers"],
        "bidirectional": training["bidirectional"],
    }
