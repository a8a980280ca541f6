"""What an experiment says of how candidates are trained, and within which bounds: plain values that
are checked when they are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cellsearch.errors import ConfigError
from cellsearch.options import OR_INFINITY, above, at_least, between, check_options

__all__ = ["MEMORY", "Allowance", "Limits", "Prefilter", "Training"]

MEMORY = 4
"""Positions over which the gradient of an untrained cell must not vanish altogether. With relu half
of the units may be off at each of them.
"""

Count = Annotated[int, at_least(0)]
Size = Annotated[int, at_least(1)]
Amount = Annotated[float, at_least(0)]
Bound = Annotated[float, at_least(0), OR_INFINITY]
Share = Annotated[float, between(0, 1, open_high=True)]


@dataclass(frozen=True, slots=True)
class Training:
    """How every candidate and every baseline is trained; the same for all of them within a run."""

    steps: Count = 300
    """Optimizer steps of a full training."""
    hidden_size: Size = 64
    """H, of one direction."""
    num_layers: Size = 1
    bidirectional: bool = False
    dropout: Share = 0.0
    """Between layers and before the readout."""
    variational_dropout: Share = 0.0
    """The same units at every position of a segment, recurrent ones too."""
    batch_size: Count = 0
    """B (0: the task's own)."""
    tbptt: Count = 0
    """Positions of a segment of truncated backpropagation through time (0: the task's own)."""
    learning_rate: Annotated[float, above(0)] = 4e-3
    clip_norm: Bound = 1.0
    """Largest global gradient norm (0: no clipping)."""
    weight_decay: Amount = 0.0
    gate_penalty: Amount = 0.0
    """Added to the loss for each connection gate (``scale`` weight): times its size, or, with
    ``relaxation = "l0"``, times the probability that it is open."""
    relaxation: Literal["none", "l0"] = "none"
    """``"l0"``: hard-concrete gates (:mod:`cellsearch.training.gates`)."""
    evaluations: Size = 4
    """Validations a budget, the last at its end."""
    patience: Count = 0
    """Training ends after so many validations in a row without a better score (0: it does not)."""
    backend: str = "auto"
    """See :mod:`cellsearch.compiler.backends`."""
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one candidate; 0 means none."""

    seconds: Bound = 0.0
    """Wall clock."""
    memory_mb: Count = 0
    """Resident memory added by the training."""

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True)
class Prefilter:
    """Cheap checks of an untrained cell, each off unless asked for; one that fails becomes a failed
    trial of kind ``"prefilter"`` in milliseconds. Measured in :mod:`cellsearch.training.prefilter`.
    """

    gradient: bool = False
    """The norm of the gradient of the output with respect to the states ``positions`` before lies
    within ``gradient_min`` and ``gradient_max``; :data:`MEMORY` positions back it does not vanish.
    """
    growth: bool = False
    """With all weights multiplied by ``growth_scale``, which is where some steps of training may
    take them, no number exceeds ``growth_max`` (exponential growth stays far below it)."""
    output: bool = False
    """The standard deviation of a unit over different inputs exceeds ``output_min`` (a dead cell
    puts out the same whatever it reads)."""
    positions: Annotated[int, at_least(MEMORY + 1)] = 100
    gradient_min: Amount = 0.0
    gradient_max: Bound = 1e8
    growth_scale: Annotated[float, at_least(1)] = 4.0
    growth_max: Annotated[float, at_least(1), OR_INFINITY] = 1e100
    output_min: Amount = 1e-6

    def __post_init__(self) -> None:
        check_options(self)
        if self.gradient_max < self.gradient_min:
            raise ConfigError(
                f"{self.gradient_max:g} is out of range",
                where="gradient_max",
                hint=f"allowed: a number, at least gradient_min, which is {self.gradient_min:g}",
            )

    @property
    def any(self) -> bool:
        """Whether there is anything to check."""
        return self.gradient or self.growth or self.output


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a whole search may use up, besides its number of trials; 0 means no bound. It can be
    raised when a run is resumed. When one is used up, nothing new begins; what is under way ends.
    """

    hours: Bound = 0.0
    """Wall clock, of all sittings together."""
    steps: Count = 0
    """Optimizer steps of all trials together, as granted; a candidate that fails on the way counts
    in full, so that the sum follows from the decisions alone."""

    def __post_init__(self) -> None:
        check_options(self)
