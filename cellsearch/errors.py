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
    └── TrainingError               exit code 7   one training failed (in a search, its result)

Each error says what is wrong, where (file, line, node), what is allowed, and what to do (``hint``).
"""

from __future__ import annotations

import inspect
import numbers
import operator
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "ArgumentTypeError",
    "BackendError",
    "CellSyntaxError",
    "CellsearchError",
    "CellsearchWarning",
    "CheckpointError",
    "ConfigError",
    "DataWarning",
    "EnvironmentFailure",
    "GenomeError",
    "InputFileError",
    "NoCandidateError",
    "RunError",
    "SearchWarning",
    "SpaceError",
    "TrainingError",
    "amount",
    "checked_arguments",
    "command",
    "escaped",
    "quoted",
    "visible",
]

P = ParamSpec("P")
R = TypeVar("R")

_COMMANDS = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # what terminals obey: all but tab and line feed
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # what turns text round, and ends lines
    "\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # unseen
    "\ud800-\udfff"  # halves of characters, which no file can hold
    "]"
)


def visible(text: str, *, newlines: bool = False) -> str:
    """The text with every character that a terminal would obey, and every unseen one, written as
    :func:`escaped`; tabs and line feeds stay, the latter unless ``newlines``.
    """
    shown = _COMMANDS.sub(_escape, text)
    return shown.replace("\n", "\\n") if newlines else shown


def escaped(character: str) -> str:
    r"""The escape of one character, as in Python: ``\x1b``, ``\u2013``, ``\U0001f600``."""
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape(found: re.Match[str]) -> str:
    return escaped(found.group())


def amount(number: int, one: str, many: str = "") -> str:
    """A number with its noun in the right form: ``1 edit``, ``12,000 edits``, ``2 matrices``.

    many: the plural, where that is not ``one`` with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def command(*words: object) -> str:
    """A command line of cellsearch for people to copy, quoted as a shell needs it:
    ``command("show", "my run:7")`` is ``cellsearch show 'my run:7'``. A :class:`pathlib.Path` that
    looks like an option is written as a path.
    """
    return " ".join(["cellsearch", *map(quoted, words)])


def quoted(word: object) -> str:
    """One word of a command line; where a terminal could not show it, in the escapes of bash and
    zsh, so that it is one line whatever it holds.
    """
    text = f"./{word}" if isinstance(word, PurePath) and str(word).startswith("-") else str(word)
    if text.isprintable() and "  " not in text:
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character.isprintable() and character not in " \\'":
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


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
        notes = [note for note in getattr(self, "__notes__", []) if note != visible(f"hint: {old}")]
        self.__notes__ = [*notes, visible(f"hint: {text}")] if text else notes

    def __str__(self) -> str:
        return visible(f"{self.where}: {self.message}" if self.where else self.message)

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

    exit_code = 7

    def __init__(
        self, message: str, *, kind: str = "error", where: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.kind = kind

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_training, (self.message, self.kind, self.where, self.hint)


def _rebuild_training(message: str, kind: str, where: str, hint: str) -> TrainingError:
    return TrainingError(message, kind=kind, where=where, hint=hint)


class CellsearchWarning(UserWarning):
    """Base of all warnings of cellsearch: what is asked for happens all the same. The command line
    prints them as lines ``warning:``.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


class DataWarning(CellsearchWarning):
    """Something about your data that is probably not meant."""


class SearchWarning(CellsearchWarning):
    """Something about a search or its result that is easily overlooked: seed genomes that do not
    fit, a best cell that is worse than a baseline.
    """


# -- arguments of Python calls ---------------------------------------------------------------------

_NUMBERS: Mapping[str, tuple[type, Callable[[Any], object], str]] = {
    "int": (numbers.Integral, operator.index, "a whole number"),
    "float": (numbers.Real, float, "a number"),
}
"""What counts as one, how it becomes Python's own (numpy has others), and in words. ``True`` and
``False`` are not numbers here.
"""
_PLAIN: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "None": (type(None), "None"),
    "bool": (bool, "True or False"),
    "str": (str, "text"),
    "bytes": (bytes, "bytes"),
    "Path": (os.PathLike, "a path"),
    # Names of choices; which there are, the function says.
    "Form": (str, "a form's name"),
    "Kind": (str, "a kind's name"),
    "Precision": (str, "a precision's name"),
}
_CLASSES: Mapping[str, str] = {
    "Experiment": "cellsearch.load_experiment(name)",
    "Genome": "cellsearch.zoo.load(name) or cellsearch.Genome.from_text(text)",
    "History": "cellsearch.open_run(path).trials",
    "Outcome": "what an executor hands back",
    "SearchSpace": "cellsearch.load_space(name)",
    "Task": "cellsearch.tasks.get(name).create(arrays)",
    "TaskData": "cellsearch.tasks.from_arrays(x, y)",
    "Trial": "cellsearch.open_run(path).find(number)",
    "nn.Module": "a torch.nn.Module",
    "np.random.Generator": "numpy.random.default_rng(seed)",
    "torch.device": 'a device such as "cpu"',
    "torch.dtype": "a dtype such as torch.float32",
}
"""Classes of arguments, by their names, since many modules import them for type checkers only; and
how one is made.
"""


_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator of what people call: refuses arguments of a type other than the annotation says.

    Checked are numbers, texts, truth values, paths, the classes that users pass around, and
    ``Sequence`` and ``Mapping`` of those; other annotations are left to the function. Numbers of
    numpy become Python's. The module must have ``from __future__ import annotations``.

    Raises :class:`ArgumentTypeError`, a :class:`TypeError`, that names the function, the argument
    and what is allowed.
    """
    where = function.__qualname__.removesuffix(".__init__")
    parameters = inspect.signature(function).parameters.values()
    checks = {
        one.name: _Check(one.name, parts, where)
        for one in parameters
        if one.kind not in _MANY
        and one.annotation is not inspect.Parameter.empty
        and all(map(_is_checked, parts := _parts(one.annotation)))
    }
    placed = [checks.get(one.name) for one in parameters if one.kind < _MANY[0]]

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = list(args)
        for k, (value, check) in enumerate(zip(args, placed, strict=False)):
            if check is not None and type(value) not in check.plain:
                given[k] = check(value)
        if kwargs:
            for name in kwargs.keys() & checks.keys():
                kwargs[name] = checks[name](kwargs[name])
        return function(*given, **kwargs)  # type: ignore[arg-type]

    return call


class _Check:
    """What an argument has to be."""

    def __init__(self, name: str, parts: list[str], where: str) -> None:
        self.name, self.parts, self.where = name, parts, where
        self.plain: set[type] = set()
        """Types whose values fit and stay as they are, as far as they have been seen."""

    def __call__(self, value: Any) -> object:
        """The value, if it fits one of the alternatives, numbers as Python's own."""
        part = next((one for one in self.parts if _fits(value, one)), None)
        if part is None:
            raise ArgumentTypeError(
                f"{self.name} is {_short(value)}, of type {type(value).__name__}",
                where=self.where,
                hint=" or ".join(map(_words, self.parts)),
            )
        converted = _converted(value, part)
        if converted is value and not _items(part):
            self.plain.add(type(value))
        return converted


def _parts(hint: str) -> list[str]:
    """The alternatives of an annotation; bars inside brackets do not divide."""
    return [part.strip() for part in re.split(r"\|(?![^\[]*\])", hint)]


def _items(part: str) -> str:
    """What a sequence holds; empty for other annotations."""
    return part[9:-1] if part.startswith("Sequence[") else ""


def _is_checked(part: str) -> bool:
    return (
        part in _NUMBERS
        or part in _PLAIN
        or part in _CLASSES
        or part.startswith("Mapping[")
        or (bool(_items(part)) and _is_checked(_items(part)))
    )


def _converted(value: Any, part: str) -> object:
    """A value that fits, with numbers as Python's own."""
    if items := _items(part):
        return tuple(_converted(item, items) for item in value)
    return _NUMBERS[part][1](value) if part in _NUMBERS else value


def _fits(value: Any, part: str) -> bool:
    kind = type(value)
    if part in _NUMBERS:
        return issubclass(kind, _NUMBERS[part][0]) and kind is not bool
    if part in _PLAIN:
        return issubclass(kind, _PLAIN[part][0])
    if part.startswith("Mapping["):
        return issubclass(kind, Mapping)
    if items := _items(part):
        is_list = issubclass(kind, Sequence) and not issubclass(kind, (str, bytes))
        return is_list and all(_fits(item, items) for item in value)
    return any(part.rpartition(".")[2] == one.__name__ for one in kind.__mro__)


def _words(part: str) -> str:
    """What an alternative allows, for people."""
    if part in _NUMBERS:
        return _NUMBERS[part][2]
    if part in _PLAIN:
        return _PLAIN[part][1]
    if part.startswith("Mapping["):
        return "a dictionary"
    return f"a list of these: {_words(_items(part))}" if _items(part) else _CLASSES[part]


def _short(value: object) -> str:
    """The value, as far as it can be shown in a line."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a repr of a user's class may raise anything
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."
