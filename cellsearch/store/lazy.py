"""Sequences and mappings of trials that are read one by one, when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from cellsearch.history import History
from cellsearch.store.lookup import Lookup
from cellsearch.trial import Status, Trial

__all__ = ["ByKey", "ByNumber", "Numbered", "Ranked"]


class Numbered(Sequence[Trial]):
    """Trials with these numbers, read one by one."""

    def __init__(self, history: History, numbers: Sequence[int]) -> None:
        self._history = history
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Trial]: ...

    def __getitem__(self, index: Any) -> Any:
        found = self._numbers[index]
        if isinstance(index, slice):
            return [self._history[number] for number in found]
        return self._history[found]


class Ranked(Sequence[Trial]):
    """Trials of a history by rank.

    count: how many have one.
    numbers: those of the trials from a place on, so many at most.
    """

    def __init__(
        self,
        history: History,
        count: Callable[[], int],
        numbers: Callable[[int, int], Sequence[int]],
    ) -> None:
        self._history = history
        self._count = count
        self._numbers = numbers

    def __len__(self) -> int:
        return self._count()

    def __iter__(self) -> Iterator[Trial]:
        start, size = 0, 16
        while numbers := self._numbers(start, size):
            yield from [self._history[number] for number in numbers]
            start, size = start + size, 2 * size

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Trial]: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            if _needs_length(index):
                return tuple(self)[index]
            return tuple(self._history[n] for n in self._numbers(0, index.stop)[index])
        place = range(len(self))[index]
        return self._history[self._numbers(place, 1)[0]]


def _needs_length(index: slice) -> bool:
    """Whether where a slice ends depends on how long the sequence is."""
    parts = (index.start or 0, -1 if index.stop is None else index.stop, index.step or 1)
    return min(parts) < 0


class ByNumber(Mapping[int, Trial]):
    """Trials by number."""

    def __init__(self, history: History, count: int) -> None:
        self._history = history
        self._numbers = range(count)

    def __getitem__(self, number: int) -> Trial:
        if number not in self._numbers:
            raise KeyError(number)
        trial: Trial = self._history[number]
        return trial

    def __contains__(self, number: object) -> bool:
        return number in self._numbers

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


class ByKey(Mapping[str, Trial]):
    """The first trial of each genome key, as the store finds it."""

    def __init__(self, history: History, lookup: Lookup, count: int) -> None:
        self._history = history
        self._lookup = lookup
        self._count = count

    def _number(self, key: object) -> int | None:
        number = self._lookup.with_cell(key) if isinstance(key, str) else None
        return number if number is not None and number < self._count else None

    def __getitem__(self, key: str) -> Trial:
        number = self._number(key)
        if number is None:
            raise KeyError(key)
        trial: Trial = self._history[number]
        return trial

    def __contains__(self, key: object) -> bool:
        return self._number(key) is not None

    def __iter__(self) -> Iterator[str]:
        keys = (t.key for t in self._history if t.status is not Status.DUPLICATE)
        return iter(dict.fromkeys(keys))

    def __len__(self) -> int:
        return sum(1 for _ in self)
