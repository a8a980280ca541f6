"""Options of tasks: frozen dataclasses whose fields are the options, checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from cellsearch.options import at_least, check_options, read_options

__all__ = ["TaskOptions", "parse_options"]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """Options that every task has. Annotations say what a field allows, see
    :mod:`cellsearch.options`; what fields must have in common a subclass checks in
    ``__post_init__``, after ``check_options(self)``.
    """

    batch_size: Annotated[int, at_least(1)] = 32
    """B, sequences in a training batch."""

    def __post_init__(self) -> None:
        check_options(self)


T = TypeVar("T", bound=TaskOptions)


def parse_options(kind: type[T], options: Mapping[str, Any], *, source: str = "") -> T:
    """The options of a task from plain data; ``source``: the file that says so. Raises
    :class:`ConfigError` for an unknown name, a wrong type or an illegal value.
    """
    return read_options(kind, options, source=source, path="task_options")
