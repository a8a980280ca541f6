"""CogScale: fourteen small tasks of memory and manipulation at three difficulties, by the authors'
data, loss and score. The data come from their package (``pip install 'cellsearch[bench]'``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, EnvironmentFailure
from cellsearch.job import Training
from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays, Batch, CellFactory, Split, Task, writable
from cellsearch.tasks.interface import Answer, Interface, features, values
from cellsearch.tasks.later import heads, nn, torch
from cellsearch.tasks.options import TaskOptions, parse_options

__all__ = ["CATEGORIES", "DIFFICULTIES", "Cogscale", "CogscaleOptions", "variant_name"]

CATEGORIES: Mapping[str, str] = {
    "discrete_postcasting": "classification",
    "discrete_pattern_completion": "classification",
    "bracket_matching": "classification",
    "simple_copy": "classification",
    "selective_copy": "classification",
    "adding_problem": "classification",
    "sorting_problem": "classification",
    "cross_situation": "multi_classification",
    "associative_recall": "classification",
    "induction_heads": "classification",
    "sinus_forecasting": "regression",
    "chaotic_forecasting": "regression",
    "continuous_postcasting": "regression",
    "continuous_pattern_completion": "regression",
}
"""The authors' fourteen tasks, and what each is: ten are scored by errors, four by squares."""
DIFFICULTIES = ("small", "medium", "large")
MASK = -100
"""Target of a position at which nothing is asked; the authors' number, and torch's."""
EPOCHS, PATIENCE, BATCH = 50, 10, 10
"""Of the authors' protocol."""
THRESHOLDS = np.linspace(0.01, 0.99, 100)
"""Where an answer of several labels may be cut, the authors' grid."""
_SPLITS: tuple[Split, ...] = ("train", "valid", "test")


def variant_name(problem: str, difficulty: str) -> str:
    """What a task of the family is called in experiments: ``cogscale:simple_copy:small``."""
    return f"cogscale:{problem}:{difficulty}"


@dataclass(frozen=True, slots=True)
class CogscaleOptions(TaskOptions):
    """Options of :class:`Cogscale`."""

    batch_size: Annotated[int, at_least(1)] = BATCH
    """B, sequences in a training batch; the authors' is 10."""
    data_seed: Annotated[int, at_least(0)] = 0
    """Which data: the authors take 0 to 9, and the same number for the weights."""


class Cogscale(Task):
    """Fourteen tasks at three difficulties, as ``cogscale:TASK:DIFFICULTY``.

    Tasks (``cogscale`` alone is the first at small): simple_copy, selective_copy,
    discrete_postcasting, discrete_pattern_completion, bracket_matching, adding_problem,
    sorting_problem, cross_situation, associative_recall, induction_heads (scored by errors);
    continuous_postcasting, continuous_pattern_completion, sinus_forecasting, chaotic_forecasting
    (by squares). Difficulties: small, medium, large. Loss, score and the choice of the best epoch
    are the authors': cross-entropy, binary cross-entropy or squared error at the positions at which
    something is asked; the error rate or mean squared error there; of equal validation scores the
    first. The labels of cross_situation are cut at 0.5 in validation, in the test at the first of
    100 thresholds at which most validation sequences are answered without any fault: the score is
    the share of wrong labels. The metric is the score itself.

    Their protocol (:meth:`protocol`): one layer, Adam, batches of 10, 50 epochs, patience 10, no
    clipping, learning rates 1e-2 to 1e-4, ten seeds. ``cellsearch benchmark cogscale`` follows it.
    """

    name: ClassVar[str] = "cogscale"
    metric: ClassVar[str] = "error rate or MSE"
    summary: ClassVar[str] = (
        "a family, cogscale:TASK:DIFFICULTY: 14 tasks of copying, recall, sorting, adding, "
        "brackets, patterns, forecasts; small, medium or large"
    )
    source: ClassVar[str] = "CogScale, arXiv 2605.19758, 2026; data of the package cogscale 0.2"
    package: ClassVar[str] = "cogscale"
    Options: ClassVar[type[CogscaleOptions]] = CogscaleOptions
    options: CogscaleOptions
    keeps_first: ClassVar[bool] = True
    problem: ClassVar[str] = "simple_copy"
    """Which of the tasks."""
    difficulty: ClassVar[str] = "small"
    """How hard."""

    @classmethod
    def variant(cls, text: str) -> type[Task]:
        """The class of ``TASK:DIFFICULTY``. Raises :class:`ConfigError` for anything else."""
        problem, _, difficulty = text.partition(":")
        if problem not in CATEGORIES or difficulty not in DIFFICULTIES:
            raise ConfigError(
                f"there is no task {cls.name}:{text}",
                where="task",
                hint=f"write cogscale:TASK:DIFFICULTY; tasks: {', '.join(CATEGORIES)}; "
                f"difficulties: {', '.join(DIFFICULTIES)}",
            )
        return _variant(problem, difficulty)

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """``train_x [N, T, I]``, ``train_y`` (``[N, T]`` classes or ``[N, T, O]``, ``MASK`` where
        nothing is asked), and so on; from the package, by its seed.

        Raises :class:`EnvironmentFailure` where the package is not installed.
        """
        if find_spec(cls.package) is None:
            raise EnvironmentFailure(
                "the package cogscale, which makes the data, is not installed",
                where=f"task {cls.name}",
                hint="pip install 'cellsearch[bench]', or pip install cogscale==0.2.0",
            )
        from cogscale import evals

        declared = parse_options(cls.Options, options)
        configuration = getattr(evals, f"cogscale_{cls.difficulty}")[cls.problem]
        # A copy: the package's own build_task writes the seed into what all calls share.
        found = configuration["fct"](**{**configuration["params"], "seed": declared.data_seed})
        arrays: dict[str, NDArray[Any]] = {}
        order = _column_order(found) if cls.problem == "cross_situation" else slice(None)
        for split in _SPLITS:
            arrays[f"{split}_x"] = found[f"X_{split}"].astype(np.float32)[..., order]
            arrays[f"{split}_y"] = _targets(found[f"Y_{split}"], found["category"])
        arrays["outputs"] = np.array(found["Y_train"].shape[-1])
        return arrays

    def __init__(self, options: TaskOptions, arrays: Arrays) -> None:
        super().__init__(options, arrays)
        self._parts = {
            split: (
                torch.from_numpy(writable(arrays[f"{split}_x"])),
                torch.from_numpy(writable(arrays[f"{split}_y"])),
            )
            for split in _SPLITS
        }
        self._whole = {split: _batch(*self._parts[split]) for split in ("valid", "test")}

    @property
    def category(self) -> str:
        """``classification``, ``multi_classification`` (several labels at once) or
        ``regression``.
        """
        return CATEGORIES[self.problem]

    @property
    def outputs(self) -> int:
        """Width of the readout."""
        return int(self.arrays["outputs"])

    @property
    def features(self) -> int:
        """Width I of the inputs."""
        return int(self.arrays["train_x"].shape[-1])

    def protocol(self, learning_rate: float, hidden_size: int) -> Training:
        """How the authors train, with one of their learning rates."""
        steps = EPOCHS * math.ceil(len(self.arrays["train_x"]) / self.options.batch_size)
        return Training(
            steps=steps,
            hidden_size=hidden_size,
            learning_rate=learning_rate,
            clip_norm=0.0,
            evaluations=EPOCHS,
            patience=PATIENCE,
        )

    def batches(self, split: Split, seed: int, start: int = 0) -> Iterator[Batch]:
        """See :meth:`Task.batches`; each epoch is a new permutation of all sequences."""
        if split != "train":
            yield self._whole[split]
            return
        x, y = self._parts["train"]
        size = self.options.batch_size
        epoch, first = divmod(start, math.ceil(len(x) / size))
        while True:
            rng = np.random.default_rng([seed, epoch])
            order = torch.from_numpy(rng.permutation(len(x)))
            for chosen in list(torch.split(order, size))[first:]:
                yield _batch(x[chosen], y[chosen])
            epoch, first = epoch + 1, 0

    def model(self, cell_factory: CellFactory) -> nn.Module:
        """The cell and a linear readout at every position."""
        return heads.SequenceModel(cell_factory, features=self.features, outputs=self.outputs)

    def interface(self) -> Interface:
        """The authors' columns in; a class, labels or values out, at every position."""
        names = tuple(f"y{k}" for k in range(self.outputs))
        if self.category == "classification":
            numbers = tuple(map(str, range(self.outputs)))
            answer = Answer(kind="classes", names=numbers, label_type="int")
        elif self.category == "multi_classification":
            answer = Answer(kind="bits", names=names)
        else:
            answer = values(names)
        return Interface(
            inputs=features(tuple(f"x{k}" for k in range(self.features))), answer=answer
        )

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy in nats, or squared error, where something is asked."""
        if self.category == "classification":
            return nn.functional.cross_entropy(
                prediction.flatten(0, 1), batch.y.flatten(), ignore_index=MASK
            )
        asked, y = _asked(prediction, batch)
        if self.category == "multi_classification":
            return nn.functional.binary_cross_entropy_with_logits(asked, y)
        return nn.functional.mse_loss(asked, y)

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """Error rate or mean squared error where something is asked, for both."""
        threshold = 0.5
        if split == "test" and self.category == "multi_classification":
            threshold = self._threshold(model)
        found = self._error(model, split, threshold)
        return found, found

    def errors(self, model: nn.Module, split: Split) -> Mapping[str, float]:
        """Of cross_situation, the share of wrong labels at the threshold 0.5."""
        if self.category != "multi_classification":
            return {}
        return {"error at threshold 0.5": self._error(model, split, 0.5)}

    def _error(self, model: nn.Module, split: Split, threshold: float) -> float:
        batch = self._whole[split]
        with heads.evaluation(model):
            prediction, _ = model(batch.x)
        if self.category == "classification":
            if not torch.isfinite(prediction).all():
                return math.nan
            asked = batch.y != MASK
            right = (prediction.argmax(-1) == batch.y)[asked]
            return 1.0 - float(right.double().mean())
        answers, y = _asked(prediction, batch)
        if not torch.isfinite(answers).all():
            return math.nan
        if self.category == "multi_classification":
            right = (torch.sigmoid(answers) >= threshold) == (y > 0.5)
            return 1.0 - float(right.double().mean())
        return float((answers.double() - y.double()).square().mean())

    def _threshold(self, model: nn.Module) -> float:
        """The first of the authors' thresholds at which most sequences are answered without fault:
        the smallest of all where none is.
        """
        batch = self._whole["valid"]
        with heads.evaluation(model):
            answers, y = _asked(model(batch.x)[0], batch)
        cuts = torch.from_numpy(THRESHOLDS)[:, None, None]
        whole = ((torch.sigmoid(answers.double()) >= cuts) == (y > 0.5)).all(-1)
        return float(THRESHOLDS[int(whole.sum(-1).argmax())])


@cache
def _variant(problem: str, difficulty: str) -> type[Cogscale]:
    category = CATEGORIES[problem]
    return type(
        "Cogscale",
        (Cogscale,),
        {
            "__doc__": Cogscale.__doc__,
            "__module__": __name__,
            "name": variant_name(problem, difficulty),
            "problem": problem,
            "difficulty": difficulty,
            "metric": "mean squared error" if category == "regression" else "error rate",
            "summary": f"CogScale's {problem.replace('_', ' ')}, {difficulty} ({category})",
        },
    )


def _column_order(found: Mapping[str, Any]) -> list[int]:
    """An order of the words of cross_situation that is the same in every process: by where they
    occur. The package numbers them in the order of a set, which Python draws anew each time.
    """
    x = np.concatenate([found[f"X_{split}"] for split in _SPLITS]).astype(np.uint8)
    return sorted(range(x.shape[-1]), key=lambda k: x[..., k].tobytes(), reverse=True)


def _targets(y: NDArray[Any], category: str) -> NDArray[Any]:
    """Class numbers ``[N, T]``, or the values; ``MASK`` where nothing is asked."""
    if category != "classification":
        return y.astype(np.float32)
    asked = np.any(y != MASK, axis=-1)
    return np.where(asked, y.argmax(-1), MASK).astype(np.int64)


def _batch(x: torch.Tensor, y: torch.Tensor) -> Batch:
    """``[N, T, ...]`` as a batch ``[T, N, ...]``."""
    return Batch(x.transpose(0, 1).contiguous(), y.transpose(0, 1).contiguous())


def _asked(prediction: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and targets where something is asked, ``[rows, O]``."""
    asked = (batch.y != MASK).any(-1)
    return prediction[asked], batch.y[asked].to(prediction.dtype)
