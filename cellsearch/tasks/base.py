"""What every task is: data, a model around a recurrent layer, a loss, and a score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, checked_arguments
from cellsearch.job import Naive, Training
from cellsearch.tasks.interface import Interface
from cellsearch.tasks.options import TaskOptions, parse_options

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "Arrays",
    "Batch",
    "CellFactory",
    "LinearCrossEntropy",
    "Split",
    "Task",
    "TokenCell",
]

Split = Literal["train", "valid", "test"]
Arrays = Mapping[str, NDArray[Any]]
LinearCrossEntropy = Callable[
    ["torch.Tensor", "torch.Tensor", "torch.Tensor | None", "torch.Tensor"], "torch.Tensor"
]
"""``(hidden [N, H], weight [V, H], bias [V], targets [N])`` -> the mean of
``cross_entropy(linear(hidden, weight, bias), targets)``.
"""


class TokenCell(Protocol):
    """A recurrent layer that can read tokens itself, and is faster so."""

    def run_tokens(self, tokens: Any, embedding: torch.Tensor, hx: Any = None) -> tuple[Any, Any]:
        """The same as calling the layer on ``embedding[tokens]``: ``tokens [T, B]`` or a packed
        sequence, ``embedding [V, I]``.
        """
        ...


@dataclass(frozen=True, slots=True)
class CellFactory:
    """Builds the recurrent layer of a model: ``factory(input_size)`` gives a module with nn.LSTM's
    convention, batch_first=False.

    ``hidden_size`` is H. The layer's output is ``[T, B, width * directions]``: a direction is as
    wide as ``width_of(H)`` says, H without it. ``dropout``: for what the task's model drops before
    its readout. ``square``: the cell needs I = H, so the model projects other inputs to H first.
    ``cross_entropy``: what a readout may use for its loss in training (``None``: torch's own
    functions).
    """

    build: Callable[[int], nn.Module]
    hidden_size: int
    directions: int = 1
    dropout: float = 0.0
    square: bool = False
    cross_entropy: LinearCrossEntropy | None = None
    width_of: Callable[[int], int] | None = None

    def __call__(self, input_size: int) -> nn.Module:
        """The layer over inputs of this width."""
        return self.build(input_size)

    @property
    def width(self) -> int:
        """Width of the output of one direction."""
        return self.width_of(self.hidden_size) if self.width_of else self.hidden_size

    @property
    def output_size(self) -> int:
        """Width of the layer's output."""
        return self.width * self.directions


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimizer step's data. ``x``: ``[T, B]`` token numbers or ``[T, B, I]``; ``y``: targets;
    ``lengths``: ``[B]`` or ``None``.

    ``first``: the sequence starts here, so the carried state is reset (truncated BPTT).
    ``beside``: what a step is given beside x, by name: ``dt [T, B]``, ``mask [T, B, I]``, and
    ``reset [T, B]``, true where the sequence starts afresh within the batch.
    """

    x: torch.Tensor
    y: torch.Tensor
    lengths: torch.Tensor | None = None
    first: bool = True
    beside: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @checked_arguments
    def read_by(self, model: nn.Module, state: Any = None) -> tuple[Any, Any]:
        """What a task's model makes of the batch, and its state."""
        if self.beside:
            return model(self.x, state, self.lengths, self.beside)  # type: ignore[no-any-return]
        return model(self.x, state, self.lengths)  # type: ignore[no-any-return]


class Task(ABC):
    """A sequence task. ``name``: what experiments call it; ``metric``: name of its number; lower
    score is always better.

    A task is made from plain options and numpy arrays, so that it can be rebuilt in a worker:
    ``Task.create(options, arrays)`` with ``arrays = Task.load(options)`` read once in the driver.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    summary: ClassVar[str]
    """One line for people: what is learned, and from what."""
    source: ClassVar[str]
    """Paper or data set that defines the task."""
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    bidirectional: ClassVar[bool] = False
    """Whether a model that sees the whole sequence at once is allowed."""
    keeps_first: ClassVar[bool] = False
    """Which weights a training keeps of equal validation scores: the first, or the last, which are
    trained longer.
    """
    hands_state_on: ClassVar[bool] = False
    """Whether the model gives the state of one layer to another, or needs it to go on position by
    position, so that nothing without a state can stand in its place."""
    dataset: ClassVar[str] = ""
    """Name of the data set in :mod:`cellsearch.tasks.data` that must be there; ``""``: generated,
    shipped, or the user's own.
    """
    package: ClassVar[str] = ""
    """Name of the Python package that makes the data; ``""``: none is needed."""

    def __init__(self, options: TaskOptions, arrays: Arrays) -> None:
        self.options = options
        self.arrays = arrays

    @classmethod
    def variant(cls, text: str) -> type[Task]:
        """The class of ``NAME:text``, for a family of tasks. Raises :class:`ConfigError` for a text
        that names none; here, and for every task that is no family, always.
        """
        raise ConfigError(
            f"the task {cls.name} has no variants, so there is no {cls.name}:{text}",
            where="task",
            hint=f"write {cls.name}",
        )

    @classmethod
    @abstractmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Read (or generate) the data; this is what is shared with the workers."""

    @classmethod
    def create(cls, options: Mapping[str, Any], arrays: Arrays) -> Self:
        """The task over loaded data. Raises :class:`cellsearch.errors.ConfigError` for an unknown
        or illegal option.
        """
        return cls(parse_options(cls.Options, options), arrays)

    @classmethod
    def metric_name(cls, score: float, metric: float) -> str:
        """What the task's number of a result is called: ``metric`` of the class, but for a task
        whose data decide which of several it is.
        """
        return cls.metric

    @classmethod
    def check_training(cls, training: Training, *, where: str = "training") -> None:
        """Raise :class:`cellsearch.errors.ConfigError` for a training that this task does not
        allow; ``where``: the table that says how to train.
        """
        if training.bidirectional and not cls.bidirectional:
            raise ConfigError(
                f"task {cls.name} cannot be read in both directions",
                where=f"{where}.bidirectional",
                hint="set it to false",
            )

    @abstractmethod
    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """Batches of a split. ``train`` never ends and depends on ``seed``; ``valid`` and ``test``
        are one pass, always the same.

        ``start``: the number of the training batch to begin with, so that training can go on where
        it stopped.
        """

    @abstractmethod
    def model(self, cell_factory: CellFactory) -> nn.Module:
        """A model around the cell: ``forward(x, state=None, lengths=None) -> (prediction, state)``;
        the cell is its ``.cell``.
        """

    def interface(self) -> Interface:
        """What the model reads and answers, in the user's terms: for predictions and exports.

        Raises :class:`ConfigError` for a task that does not say it.
        """
        raise ConfigError(
            f"the task {self.name} does not say what its model reads and answers",
            where=f"task {self.name}",
            hint="its model can be called as it is (RunTrial.model), and the bare layer exported "
            "with --to source; a task says it with a method interface(), see docs/extending.md",
        )

    @abstractmethod
    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The training loss of one batch: a scalar."""

    def training_loss(
        self, model: nn.Module, batch: Batch, state: Any = None
    ) -> tuple[torch.Tensor, Any]:
        """``(loss, state)`` of a training batch that begins with ``state``: what :meth:`loss` says
        of the model's prediction.

        A task whose model can compute the two faster together overrides it; the number is the same
        up to rounding.
        """
        prediction, state = batch.read_by(model, state)
        return self.loss(prediction, batch), state

    @abstractmethod
    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """``(score, metric)`` of a model on a split, without gradients; lower score is better."""

    def errors(self, model: nn.Module, split: Split) -> Mapping[str, float]:
        """Further numbers of a model on a split, by name: the error of each predicted column in its
        own unit. Here none.
        """
        return {}

    def naive(self, split: Split) -> tuple[Naive, ...]:
        """What is reached on a split without a cell, which found cells have to beat. Here none."""
        return ()


def writable(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or a copy of a read-only one: arrays from a shared object store cannot
    become tensors.
    """
    return array if array.flags.writeable else np.array(array)
