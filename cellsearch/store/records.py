"""The trials of a run as a history that is read from its store as far as it is asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload
from weakref import WeakSet

from cellsearch.history import AnIndex, Descent, Granted, History, Index, Totals
from cellsearch.store.lazy import ByKey, ByNumber, Numbered, Ranked
from cellsearch.store.lookup import Lookup
from cellsearch.store.reading import answered
from cellsearch.trial import Origin, Trial

__all__ = ["Records"]

KEPT = 1024
"""Trials that stay in memory: more than any strategy looks at for one proposal."""
CHUNK = 512
"""Trials that are read at once, at most."""


class Records:
    """The trials as somebody may know them: those of the store, some of them as they were before.

    lookup: of the store.
    shown: what is made of a trial that was read from the store.
    """

    def __init__(
        self, lookup: Lookup, shown: Callable[[Trial], Trial] = lambda trial: trial
    ) -> None:
        self.lookup = lookup
        self.count = lookup.count
        """How many trials there are."""
        self.hidden: Mapping[int, Trial] = {}
        """Trials that are shown otherwise than they are stored: as unfinished ones."""
        self.shown = self.count
        """How many of them are shown."""
        self._shown = shown
        self._kept: OrderedDict[int, Trial] = OrderedDict()
        self._unfinished: dict[int, Trial] = {}
        self._indexes: dict[tuple[object, ...], Index] = {}
        self._views: WeakSet[_View] = WeakSet()
        self._has_duplicates = lookup.has_duplicates
        for number in lookup.unfinished:
            self.stored(number)

    # -- trials ------------------------------------------------------------------------------------

    def stored(self, number: int) -> Trial:
        """The trial as it is stored, a duplicate without results."""
        trial = self._unfinished.get(number) or self._kept.get(number)
        if trial is None:
            trial = self._shown(self.lookup.trials(range(number, number + 1))[0])
            self._keep(trial)
        elif number in self._kept:
            self._kept.move_to_end(number)
        return trial

    def trial(self, number: int) -> Trial:
        """The trial as it is shown; a duplicate has the results of the trial that answers it."""
        trial = self.hidden.get(number)
        return self.complete(self.stored(number) if trial is None else trial, self.trial)

    def complete(self, trial: Trial, find: Callable[[int], Trial]) -> Trial:
        """A duplicate with the results of the trial that answers it."""
        return trial if trial.duplicate_of is None else answered(trial, find(trial.duplicate_of))

    def chunk(self, numbers: range, *, curves: bool = True) -> list[Trial]:
        """Trials with these successive numbers, as they are shown but for the answers."""
        kept = [self.hidden.get(n) or self._unfinished.get(n) or self._kept.get(n) for n in numbers]
        if None not in kept:
            return kept  # type: ignore[return-value]
        read = map(self._shown, self.lookup.trials(numbers, curves=curves))
        return [self.hidden.get(trial.number) or trial for trial in read]

    def _keep(self, trial: Trial) -> None:
        if not trial.status.finished:  # will change, and then it must be known what it was
            self._unfinished[trial.number] = trial
            return
        self._unfinished.pop(trial.number, None)
        self._kept[trial.number] = trial
        self._kept.move_to_end(trial.number)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def is_as_stored(self, number: int) -> bool:
        """Whether the trial is shown as it is stored."""
        return number < self.shown and number not in self.hidden

    def ranked_count(self) -> int:
        """How many trials that are shown as they are stored rank."""
        left_out = {*self.hidden, *range(self.shown, self.count)}
        return self.lookup.ranked_count - sum(self.stored(number).ranks for number in left_out)

    def ranked(self, start: int, count: int) -> list[int]:
        """Numbers of these trials from a place on, best first."""
        more = len(self.hidden) + self.count - self.shown
        found = filter(self.is_as_stored, self.lookup.ranked(0, start + count + more))
        return list(found)[start : start + count]

    def view(self) -> History:
        """The trials as they are shown now; it does not change when they do."""
        view = _View(self)
        self._views.add(view)
        return view

    # -- changes -----------------------------------------------------------------------------------

    def put(self, trial: Trial) -> None:
        """A trial was stored: the next one, or a known one that has changed."""
        number = trial.number
        is_new = number == self.count
        before = None if is_new else self.stored(number)
        self._keep(trial)
        if is_new:
            if self.shown < self.count:
                self.show({}, self.count)
            self.count += 1
            self.shown += 1
            self._has_duplicates = self._has_duplicates or trial.duplicate_of is not None
        if number < self.shown and number not in self.hidden:
            self._changed(trial, before)

    def show(self, hidden: Mapping[int, Trial], count: int) -> None:
        """From now on show the first ``count`` trials, these so, all others as they are stored."""
        while self.shown > count:
            self.shown -= 1
            self._put_away(self.shown)
        before, self.hidden = self.hidden, hidden
        for number in sorted(before.keys() | hidden.keys()):
            if number < self.shown:
                stored = self.stored(number)
                old, new = before.get(number, stored), hidden.get(number, stored)
                if old is not new and old != new:
                    self._changed(new, old)
        while self.shown < count:
            self.shown += 1
            self._changed(self.hidden.get(self.shown - 1) or self.stored(self.shown - 1), None)

    def _changed(self, trial: Trial, before: Trial | None) -> None:
        if before is not None:
            for view in self._views:
                view.remember(before)
        if not self._indexes:
            return
        pairs = [(self.complete(trial, self.trial), before)]
        if before is not None and self._has_duplicates:
            for number in self.lookup.answered_by(trial.number):
                if number < self.shown:
                    duplicate = self.stored(number)
                    pairs.append((answered(duplicate, trial), answered(duplicate, before)))
        for index in self._indexes.values():
            for after, was in pairs:
                index.put(after, was)

    def _put_away(self, number: int) -> None:
        """The newest trial that is shown is shown no more."""
        raw = self.hidden.get(number) or self.stored(number)
        for view in self._views:
            view.remember(raw)
        for index in self._indexes.values():
            index.drop(self.complete(raw, self.trial))

    def detach(self) -> None:
        """Let the views that somebody holds go on without the store, which others may write now."""
        for view in list(self._views):
            view.detach()

    # -- indexes -----------------------------------------------------------------------------------

    def index(self, kind: Callable[..., AnIndex], *arguments: object) -> AnIndex:
        """See :meth:`History.index`."""
        key = (kind, *arguments)
        if key not in self._indexes:
            self._indexes[key] = self._made(kind(*arguments))
        return self._indexes[key]  # type: ignore[return-value]

    def _made(self, index: Index) -> Index:
        if not isinstance(index, Totals | Granted):
            index.fill(self.all(curves=index.reads_curves))
            return index
        made = self.lookup.totals() if isinstance(index, Totals) else self.lookup.granted()
        for number in self.lookup.unfinished:
            made.put(self.stored(number))
        for number, trial in self.hidden.items():
            made.put(trial, self.stored(number))
        for number in reversed(range(self.shown, self.count)):
            made.drop(self.hidden.get(number) or self.stored(number))
        return made

    def all(self, *, curves: bool) -> Iterator[Trial]:
        """Every trial as it is shown."""
        for start in range(0, self.shown, CHUNK):
            numbers = range(start, min(start + CHUNK, self.shown))
            for trial in self.chunk(numbers, curves=curves):
                yield self.complete(trial, self.trial)


class _View(History):
    """The trials as they were shown when the view was made. While nothing has changed, questions go
    to the records; afterwards what has changed is remembered here.
    """

    def __init__(self, records: Records) -> None:
        super().__init__()
        self._records = records
        self._count = records.shown
        self._before: dict[int, Trial] = {}

    def remember(self, before: Trial) -> None:
        """The trial will be shown otherwise by the records."""
        if before.number < self._count:
            self._before.setdefault(before.number, before)

    def detach(self) -> None:
        """Become a history in memory."""
        whole = self._whole
        self.__dict__.clear()
        self.__dict__.update(whole.__dict__)
        self.__class__ = History  # type: ignore[assignment]

    @property
    def _is_current(self) -> bool:
        return not self._before and self._count == self._records.shown

    @cached_property
    def _whole(self) -> History:
        """All of it in memory, for questions about what is past."""
        return History.ordered(self)

    def _trial(self, number: int) -> Trial:
        before = self._before.get(number)
        if before is None:
            before = self._records.hidden.get(number) or self._records.stored(number)
        return self._records.complete(before, self._trial)

    # -- as a sequence -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Trial]:
        start, size = 0, 4
        while start < self._count:
            numbers = range(start, min(start + size, self._count))
            yield from self._chunk(numbers)
            start, size = numbers.stop, min(2 * size, CHUNK)

    def __reversed__(self) -> Iterator[Trial]:
        stop, size = self._count, 4
        while stop > 0:
            numbers = range(max(stop - size, 0), stop)
            yield from reversed(self._chunk(numbers))
            stop, size = numbers.start, min(2 * size, CHUNK)

    def _chunk(self, numbers: range) -> list[Trial]:
        if len(numbers) <= KEPT // 4:  # mostly in memory already, or soon wanted again
            return [self._trial(number) for number in numbers]
        complete, before = self._records.complete, self._before
        return [
            complete(before.get(trial.number, trial), self._trial)
            for trial in self._records.chunk(numbers)
        ]

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Trial]: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(map(self._trial, range(self._count)[index]))
        return self._trial(range(self._count)[index])

    # -- questions ---------------------------------------------------------------------------------

    def index(self, kind: Callable[..., AnIndex], *arguments: object) -> AnIndex:
        """See :meth:`History.index`."""
        asked = self._records if self._is_current else self._whole
        return asked.index(kind, *arguments)

    @cached_property
    def by_number(self) -> Mapping[int, Trial]:
        """See :attr:`History.by_number`."""
        return ByNumber(self, self._count)

    @property
    def by_key(self) -> Mapping[str, Trial]:
        """See :attr:`History.by_key`."""
        if not self._is_known:
            return self._whole.by_key
        return ByKey(self, self._records.lookup, self._count)

    @cached_property
    def _is_known(self) -> bool:
        return self._records.lookup.has_all_keys

    @property
    def ranked(self) -> Sequence[Trial]:
        """See :attr:`History.ranked`."""
        if not self._is_current:
            return self._whole.ranked
        return Ranked(self, self._records.ranked_count, self._records.ranked)

    def top(self, count: int) -> Sequence[Trial]:
        """See :meth:`History.top`."""
        return self.ranked[:count]

    def place(self, trial: Trial) -> int:
        """See :meth:`History.place`."""
        if not self._is_current:
            return self._whole.place(trial)
        records, own = self._records, (trial.score, trial.number)
        beyond = map(records.stored, {*records.hidden, *range(records.shown, records.count)})
        fewer = sum(t.ranks and (t.score, t.number) < own for t in beyond)
        return 1 + records.lookup.ranked_before(*own) - fewer

    @property
    def unfinished(self) -> Sequence[Trial]:
        """See :attr:`History.unfinished`."""
        if not self._is_current:
            return self._whole.unfinished
        found = {*self._records.lookup.unfinished, *self._records.hidden}
        shown = map(self._trial, sorted(number for number in found if number < self._count))
        return [trial for trial in shown if not trial.status.finished]

    def failed(self, most: int, kind: str = "") -> Sequence[Trial]:
        """See :meth:`History.failed`."""
        if not self._is_current:
            return self._whole.failed(most, kind)
        found = self._records.lookup.failed(most + len(self._records.hidden), kind)
        return [self._trial(number) for number in found if self._records.is_as_stored(number)][
            :most
        ]

    def of_kind(self, kind: str) -> Sequence[Trial]:
        """See :meth:`History.of_kind`."""
        return self._numbered(self._records.lookup.of_kind(kind))

    def children(self, number: int) -> Sequence[Trial]:
        """See :meth:`History.children`."""
        return self._numbered(self._records.lookup.children(number))

    def answers(self, number: int) -> Sequence[Trial]:
        """See :meth:`History.answers`."""
        return self._numbered(self._records.lookup.answered_by(number))

    def _numbered(self, numbers: Iterable[int]) -> Sequence[Trial]:
        return Numbered(self, [number for number in numbers if number < self._count])

    def descents(self) -> Sequence[Descent]:
        """See :meth:`History.descents`."""
        if not self._is_current:
            return self._whole.descents()
        if not self._records.hidden and self._records.count == self._count:  # as stored, all
            return list(self._records.lookup.descents())
        as_stored = self._records.is_as_stored
        return [
            one if as_stored(one[0]) else one._replace(score=float("inf"), ended=False)
            for one in self._records.lookup.descents()
            if one[0] < self._count
        ]

    def origins(self, numbers: Collection[int]) -> Mapping[int, Origin]:
        """See :meth:`History.origins`."""
        return self._records.lookup.origins(numbers)

    def reasoned(self) -> Sequence[Trial]:
        """See :meth:`History.reasoned`."""
        return self._numbered(self._records.lookup.reasoned())

    def sizes(self) -> Sequence[tuple[int, float, int]]:
        """See :meth:`History.sizes`."""
        if not self._is_current:
            return self._whole.sizes()
        as_stored = self._records.is_as_stored
        return [row for row in self._records.lookup.sizes() if as_stored(row[0])]
