"""What an experiment says of how candidates are trained, and within which bounds: plain values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Allowance", "Limits", "Prefilter", "Training"]


@dataclass(frozen=True, slots=True)
class Training:
    """How every candidate and every baseline is trained; the same for all of them within a run.

    ``hidden_size`` H; ``tbptt``: positions a segment of truncated backpropagation through time (0:
    the task's own); ``clip_norm``: largest global gradient norm (0: no clipping); ``evaluations``:
    validations a budget, the last at its end; ``patience``: training ends after so many validations
    in a row without a better score than before (0: it does not); ``dtype``: ``"float32"`` or
    ``"float64"``; ``weight_decay``, ``dropout`` (between layers and before the readout),
    ``variational_dropout`` (the same units at every position of a segment, recurrent ones too): 0
    to leave out.

    ``gate_penalty``: added to the loss for each connection gate (``scale`` weight): times its size,
    or, with ``relaxation = "l0"``, times the probability that it is open. ``relaxation``:
    ``"none"``, or ``"l0"`` for hard-concrete gates (:mod:`cellsearch.training.gates`).
    """

    steps: int = 300
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    variational_dropout: float = 0.0
    batch_size: int = 0
    tbptt: int = 0
    learning_rate: float = 4e-3
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    gate_penalty: float = 0.0
    relaxation: str = "none"
    evaluations: int = 4
    patience: int = 0
    backend: str = "auto"
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one candidate; 0 means none. ``seconds``: wall clock; ``memory_mb``: resident
    memory added by the training.
    """

    seconds: float = 0.0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Prefilter:
    """Cheap checks of an untrained cell; one that fails becomes a failed trial of kind
    ``"prefilter"`` in milliseconds.

    Each is off unless asked for. ``gradient``: of the output after ``positions`` positions with
    respect to the states at the start, by its norm: at least ``gradient_min``, at most
    ``gradient_max``; 4 positions back it must not vanish at all. ``growth``: with all weights
    multiplied by ``growth_scale``, which is where some steps of training may take them, no number
    may exceed ``growth_max`` (exponential growth stays far below it, faster growth does not).
    ``output``: the standard deviation of a unit over different inputs must exceed ``output_min`` (a
    dead cell puts out the same whatever it reads). Measured in
    :mod:`cellsearch.training.prefilter`.
    """

    gradient: bool = False
    growth: bool = False
    output: bool = False
    positions: int = 100
    gradient_min: float = 0.0
    gradient_max: float = 1e8
    growth_scale: float = 4.0
    growth_max: float = 1e100
    output_min: float = 1e-6

    @property
    def any(self) -> bool:
        """Whether there is anything to check."""
        return self.gradient or self.growth or self.output


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a whole search may use up, besides its number of trials; 0 means no bound. It can be
    raised when a run is resumed.

    ``hours``: wall clock, of all sittings together. ``steps``: optimizer steps of all trials
    together, as granted; a candidate that fails on the way counts in full, so that the sum follows
    from the decisions alone. When one is used up, nothing new begins; what is under way ends.
    """

    hours: float = 0.0
    steps: int = 0
