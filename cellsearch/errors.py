"""Every exception that cellsearch raises on purpose.

::

    CellsearchError                 exit code 1
    ├── ConfigError                 exit code 2   usage, experiment, search space, unknown name
    │   ├── SpaceError              exit code 2   a search space that cannot hold what it declares
    │   └── ArgumentTypeError       exit code 2   a Python argument of a wrong type; a TypeError too
    ├── InputFileError              exit code 3   an invalid or unsafe file
    │   ├── GenomeError             exit code 3   a cell that is not a legal genome
    │   │   └── CellSyntaxError     exit code 3   text or JSON that is not a cell
    │   └── CheckpointError         exit code 3   a damaged or foreign checkpoint
    ├── RunError                    exit code 4   a run that is missing, locked or in the way
    ├── NoCandidateError            exit code 5   the budget ended without a valid candidate
    ├── EnvironmentFailure          exit code 6   ray, disk, compiler, GPU, missing data set
    │   └── BackendError            exit code 6   a backend that cannot run this cell here
    └── TrainingError               exit code 1   one training failed (becomes its result)

Each error says what is wrong, where (file, line, node), what is allowed, and what to do (``hint``).
"""

from __future__ import annotations

__all__ = [
    "ArgumentTypeError",
    "BackendError",
    "CellSyntaxError",
    "CellsearchError",
    "CheckpointError",
    "ConfigError",
    "DataWarning",
    "EnvironmentFailure",
    "GenomeError",
    "InputFileError",
    "NoCandidateError",
    "RunError",
    "SpaceError",
    "TrainingError",
]


class CellsearchError(Exception):
    """Base of all errors of cellsearch.

    ``message`` says what is wrong, ``where`` names the place (``"file.cell:3"``, ``"node i"``),
    ``hint`` says what to do; it is a note of the exception, so tracebacks show it.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    @property
    def hint(self) -> str:
        """What to do."""
        return self._hint

    @hint.setter
    def hint(self, text: str) -> None:
        old = getattr(self, "_hint", "")
        self._hint = text
        notes = [note for note in getattr(self, "__notes__", []) if note != f"hint: {old}"]
        self.__notes__ = [*notes, f"hint: {text}"] if text else notes

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.where, self.hint)


def _rebuild(kind: type[CellsearchError], message: str, where: str, hint: str) -> CellsearchError:
    return kind(message, where=where, hint=hint)


class ConfigError(CellsearchError):
    """Wrong usage: an option, an experiment, a name that does not exist."""

    exit_code = 2


class ArgumentTypeError(ConfigError, TypeError):
    """An argument of a wrong type."""


class SpaceError(ConfigError):
    """A search space that contradicts itself or cannot hold what it declares."""


class InputFileError(CellsearchError):
    """A file that is not what it should be; nothing was changed."""

    exit_code = 3


class GenomeError(InputFileError):
    """A graph that is not a legal genome."""


class CellSyntaxError(GenomeError):
    """Text or JSON that does not describe a cell."""


class CheckpointError(InputFileError):
    """A checkpoint that is damaged, or belongs to something else."""


class RunError(CellsearchError):
    """A run that is missing, already there, of another experiment, or locked by another process."""

    exit_code = 4


class NoCandidateError(CellsearchError):
    """The budget ended and no candidate has a valid score."""

    exit_code = 5


class EnvironmentFailure(CellsearchError):
    """The machine lacks something: Ray, disk space, a compiler, a GPU, a data set."""

    exit_code = 6


class BackendError(EnvironmentFailure):
    """The requested backend cannot run this cell on this device with this dtype."""


class TrainingError(CellsearchError):
    """The training of one candidate failed; ``kind`` is the machine-readable reason."""

    def __init__(
        self, message: str, *, kind: str = "error", where: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_training, (self.message, self.kind, self.where, self.hint)


def _rebuild_training(message: str, kind: str, where: str, hint: str) -> TrainingError:
    return TrainingError(message, kind=kind, where=where, hint=hint)


class DataWarning(UserWarning):
    """Something about your data that is probably not meant; what is asked for happens all the
    same. The command line prints it as a line ``warning:``.
    """
