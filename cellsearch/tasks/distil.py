"""Distillation: a cell learns what a trained teacher answers, from sequences without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, InputFileError
from cellsearch.tasks.base import Arrays, Batch, Split
from cellsearch.tasks.data.npz import kind_of_file, read_npz
from cellsearch.tasks.interface import Answer
from cellsearch.tasks.later import heads, nn, teacher, torch
from cellsearch.tasks.options import DataPath, parse_options
from cellsearch.tasks.own_arrays import arrays_of
from cellsearch.tasks.own_sequences import ArraysOptions, ArraysTask, read

__all__ = ["Distil", "DistilOptions", "answered"]

Loss = Literal["mse", "kl"]
Where = Literal["every", "last"]


@dataclass(frozen=True, slots=True)
class DistilOptions(ArraysOptions):
    """Options of the task; or the sequences with the teacher's answers, in ``path``, as
    :func:`cellsearch.tasks.arrays.save` writes them.
    """

    sequences: Annotated[str, DataPath()] = ""
    """An ``.npz`` with sequences: ``x`` ``[N, T, I]``, or tokens ``[N, T]``, and perhaps
    ``lengths`` ``[N]``."""
    teacher: Annotated[str, DataPath()] = ""
    """File with the state dict of a ``torch.nn.LSTM``, ``GRU`` or ``RNN``, with or without a linear
    readout, or of what ``module`` makes."""
    module: str = ""
    """``"package.module:function"`` of your own that makes the teacher; named in the environment
    variable ``CELLSEARCH_TEACHER`` as well, because it is code."""
    batch_first: bool = False
    """Whether the teacher takes ``[B, T, I]``."""
    readout: Where = "every"
    """Whether the teacher's answers at ``every`` position are learned, or its ``last``."""
    loss: Loss = "mse"
    """``mse``: its answers are values; ``kl``: they are logits over classes."""


class Distil(ArraysTask):
    """Imitate a trained teacher on sequences without labels (Hinton et al. 2015, at temperature 1).

    ``mse``: score is the mean squared error from the teacher's answers divided by their variance
    (1 is what their mean reaches), metric the root mean squared error in their unit. ``kl``: both
    are the divergence KL(teacher || cell) of the class probabilities in nats.
    """

    name: ClassVar[str] = "distil"
    metric: ClassVar[str] = "RMSE, or KL divergence (nats)"
    summary: ClassVar[str] = "imitate a trained teacher on your own sequences, without labels"
    source: ClassVar[str] = "Hinton et al. 2015, arXiv 1503.02531; your own data"
    Options: ClassVar[type[DistilOptions]] = DistilOptions
    options: DistilOptions

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Ask the teacher about the sequences, or read what was saved. Raises :class:`ConfigError`
        for options that do not say both, :class:`InputFileError` for a damaged file.
        """
        parsed = parse_options(cls.Options, options)
        if parsed.path:
            return read(parsed.path)
        if not parsed.sequences or not (parsed.teacher or parsed.module):
            missing = "sequences" if not parsed.sequences else "teacher"
            raise ConfigError(
                f"there is no {missing} to distil from",
                where=f"task_options.{missing}",
                hint="give sequences (an .npz with x) and teacher (a file with a state dict) or "
                "module (a function of yours that makes it); in Python: "
                "cellsearch.tasks.from_teacher",
            )
        module = teacher.load_teacher(parsed.teacher, parsed.module)
        where = f"teacher {parsed.module or parsed.teacher}"
        sequences = _sequences(Path(parsed.sequences))
        return answered(module, sequences, parsed, where)

    def answer(self) -> Answer:
        """Values as the teacher gives them, or the classes that its logits are about."""
        if self.options.loss == "mse":
            return super().answer()
        return Answer(kind="classes", names=tuple(map(str, range(self.targets))), label_type="int")

    def loss(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean squared error of the standardised answers, or the divergence in nats."""
        if self.options.loss == "mse":
            return super().loss(prediction, batch)
        return _divergence(*self._counted(prediction, batch))

    @classmethod
    def metric_name(cls, score: float, metric: float) -> str:
        """The divergence is the score itself."""
        return "KL divergence (nats)" if metric == score else "RMSE"

    def score(self, model: nn.Module, split: Split) -> tuple[float, float]:
        """See the class."""
        if self.options.loss == "mse":
            return super().score(model, split)
        total, count = 0.0, 0
        with heads.evaluation(model):
            for batch in self.batches(split, 0):
                said, wanted = self._counted(model(batch.x, None, batch.lengths)[0], batch)
                total += float(_divergence(said, wanted)) * len(said)
                count += len(said)
        return total / count, total / count


def _divergence(said: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The mean of KL(wanted || said) in nats, of logits ``[n, K]``."""
    logs = (said.log_softmax(-1), wanted.to(said.dtype).log_softmax(-1))
    return nn.functional.kl_div(*logs, reduction="batchmean", log_target=True)


def answered(
    module: Callable[..., Any],
    sequences: Sequence[NDArray[Any]],
    options: DistilOptions,
    where: str,
) -> Arrays:
    """Sequences and the teacher's answers as the data of the task. Raises :class:`ConfigError` for
    those that do not fit.
    """
    sequences = [_readable(one) for one in sequences]
    every = options.readout == "every"
    said = teacher.answers(
        module, sequences, every=every, batch_first=options.batch_first, where=where
    )
    made = arrays_of({"train": (sequences, said)}, kind="regression", readout=options.readout)
    if options.loss == "mse":
        return made
    if made["y"].ndim != 2 or made["y"].shape[1] < 2:
        raise ConfigError(
            "the teacher answers with one number, and logits are of two or more classes",
            where=where,
            hint='use loss = "mse"',
        )
    # Logits stay as they are: the divergence has no unit that would have to be taken out.
    logits = made["y"] * made["y_scale"] + made["y_mean"]
    plain = {"y_mean": np.zeros(logits.shape[1]), "y_scale": np.ones(logits.shape[1])}
    return {**made, "y": logits.astype(np.float32), **plain}


def _readable(sequence: NDArray[Any]) -> NDArray[Any]:
    """``[T, I]``, or tokens ``[T]`` as int64."""
    if sequence.ndim == 1 and sequence.dtype.kind in "iu":
        return sequence.astype(np.int64)
    if sequence.ndim not in (1, 2) or not len(sequence) or sequence.dtype.kind not in "iufb":
        raise ConfigError(
            f"a sequence has shape {list(sequence.shape)} and type {sequence.dtype}",
            where="x",
            hint="each is an array [T, I] or [T] of numbers, with T at least 1",
        )
    return sequence.reshape(len(sequence), -1)


def _sequences(path: Path) -> list[NDArray[Any]]:
    """The sequences of a file; of one that :func:`cellsearch.tasks.arrays.save` wrote as they were
    before they were scaled.
    """
    hint = (
        "write it with numpy.savez(PATH, x=x), x of shape [N, T, I], or [N, T] for tokens; with "
        "lengths=lengths where sequences are shorter than T"
    )
    if not path.is_file():
        raise ConfigError(f"there is no file {path}", where="task_options.sequences", hint=hint)
    kind = kind_of_file(path)
    arrays = {} if kind else read_npz(path, hint=hint)
    x, lengths = arrays.get("x"), arrays.get("lengths")
    if x is None or x.ndim not in (1, 2, 3) or not x.size:
        found = kind or ", ".join(f"{n} {list(a.shape)}" for n, a in arrays.items()) or "nothing"
        raise InputFileError(f"the file holds {found}, not sequences", where=str(path), hint=hint)
    if lengths is None:
        if x.ndim == 1:
            raise InputFileError("x is one row of numbers", where=str(path), hint=hint)
        return list(x)
    wrong = lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not len(lengths)
    if wrong or lengths.min() < 1 or int(lengths.sum(dtype=np.int64)) < 1:
        raise InputFileError("lengths are not whole numbers from 1 on", where=str(path), hint=hint)
    if len(lengths) == len(x) and x.ndim > 1 and lengths.max() <= x.shape[1]:
        return [one[:length] for one, length in zip(x, lengths, strict=True)]
    if x.ndim < 3 and lengths.sum() == len(x):
        if x.ndim == 2 and {"x_mean", "x_scale"} <= arrays.keys():
            x = x * arrays["x_scale"] + arrays["x_mean"]
        return np.split(x, np.cumsum(lengths)[:-1])
    raise InputFileError(
        f"lengths do not fit x of shape {list(x.shape)}", where=str(path), hint=hint
    )
