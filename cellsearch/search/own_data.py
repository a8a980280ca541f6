"""The user's own data of a run: where they lie in this sitting, and whether they are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cellsearch.errors import ConfigError, InputFileError, RunError
from cellsearch.experiment import Experiment
from cellsearch.files import file_state
from cellsearch.options import parse_toml
from cellsearch.store import Store
from cellsearch.tasks.own_data import (
    DataOption,
    Given,
    Remembered,
    assigned,
    data_options,
    find,
    missing,
    other_data,
    with_values,
)

__all__ = ["OwnData", "placed", "remembered", "same_names", "settled"]


def remembered(document: Mapping[str, Any], where: str) -> dict[str, Remembered]:
    """What a run knows of its data, by option, out of :attr:`cellsearch.store.Store.data`. Raises
    :class:`InputFileError` for a damaged one, which names ``where``.
    """
    try:
        return {
            key: Remembered(str(value["digest"]), tuple(map(str, value["places"])))
            for key, value in document.items()
        }
    except (TypeError, KeyError) as error:
        raise InputFileError(
            f"what the store remembers of the data is damaged ({error})", where=where
        ) from error


@dataclass
class OwnData:
    """Where the data of a run lie now."""

    task: str
    """Name of the task."""
    options: Mapping[str, Any]
    """Its options, as the run names them."""
    run: Path
    """Folder of the run."""
    experiment: Path | None
    """Folder of the experiment file."""
    known: dict[str, Remembered]
    """What the run remembers of them, by option."""
    found: dict[str, str] = field(default_factory=dict)
    """Where they lie, by option."""
    states: dict[str, tuple[object, ...]] = field(default_factory=dict)
    """Their :func:`cellsearch.files.file_state` then."""

    @property
    def folders(self) -> tuple[Path | None, ...]:
        """Where relative paths are looked for besides the current folder."""
        return self.run, self.experiment

    def note(self, option: DataOption, path: Path, digest: str) -> None:
        """The data of an option lie at this path."""
        self.found[option.key] = str(path)
        self.states[option.key] = file_state(path)
        known = self.known.get(option.key, Remembered())
        self.known[option.key] = known.seen(path, digest, self.run)

    def look(self, option: DataOption) -> bool:
        """Find the data of an option; whether they are there."""
        place = find(option, self.known.get(option.key, Remembered()), self.folders)
        if place is not None:
            self.note(option, *place)
        return place is not None

    def take(self, option: DataOption, path: Path) -> None:
        """A person says that the data lie here."""
        digest = option.digest_of(path)
        if not digest:
            raise ConfigError(
                f"there is nothing at {path}",
                where="--data",
                hint=f"it is to be the data of task_options.{option.key}",
            )
        expected = self.known.get(option.key, Remembered()).digest or option.stated
        if expected and digest != expected:
            raise other_data(option.key, expected, [(path, digest)])
        self.note(option, path, digest)

    def loadable(self) -> dict[str, Any]:
        """The task's options with the paths at which the data lie. Raises :class:`ConfigError` for
        data that are nowhere.
        """
        for option in data_options(self.task, self.options).values():
            sought = option.is_path or option.stated or option.key in self.known
            if sought and option.key not in self.found and not self.look(option):
                raise missing(option, self.known.get(option.key, Remembered()), self.folders)
        return with_values(self.task, self.options, self.found)

    def require_unchanged(self) -> None:
        """To be called when the data have been loaded: what the run says of them is known since it
        was opened. Raises :class:`RunError` for data that somebody has replaced meanwhile.
        """
        options = data_options(self.task, self.options)
        for key, path in self.found.items():
            if self.states[key] and self.states[key] == file_state(path):
                continue  # large data are not read once more for nothing
            digest, expected = options[key].digest_of(path), self.known[key].digest
            if digest != expected:
                raise RunError(
                    f"the data were replaced while the run was open: {path} has the digest "
                    f"{digest or '(nothing is there)'}, it had {expected}",
                    where=f"task_options.{key}",
                    hint="put them back and go on, or choose another run folder with --run; "
                    "nothing was trained on the new ones",
                )

    def to_document(self) -> dict[str, Any]:
        """What the run is to remember, as plain data."""
        return {key: asdict(value) for key, value in self.known.items()}


def placed(
    task: str,
    options: Mapping[str, Any],
    run: Path,
    document: Mapping[str, Any],
    data: Given = None,
) -> dict[str, Any]:
    """The task's options of a run with the paths at which its data lie now.

    run: its folder.
    document: what it remembers, see :func:`remembered`.
    data: where a person says that they lie.

    Raises :class:`ConfigError` for data that are not there, :class:`RunError` for others.
    """
    own = OwnData(task, options, run, None, remembered(document, str(run)))
    known = data_options(task, options)
    for key, path in assigned(known, data, own.known).items():
        if known[key].value and not known[key].is_path:
            raise ConfigError(
                f"the data of the run are {known[key].value!r}, which is not a path",
                where=f"task_options.{key}",
                hint="leave out --data (in Python, data=)",
            )
        own.take(known[key], Path(path))
    return own.loadable()


def settled(store: Store, experiment: Experiment, data: Given) -> tuple[Experiment, OwnData]:
    """The experiment with the names that the run has for its data, and where these lie.

    Another path to equal data is the same experiment. Raises :class:`RunError` for other data,
    :class:`ConfigError` for data that somebody says and that are not there.
    """
    task = experiment.task
    options = data_options(task, experiment.task_options)
    before = _before(store, experiment)
    own = OwnData(
        task,
        experiment.task_options,
        store.path,
        experiment.folder,
        remembered(store.data, str(store.path)) if before else {},
    )
    given = assigned(options, data, own.known)
    names: dict[str, str | DataOption] = {}
    for key, option in options.items():
        was = before.get(key)
        if key in given:
            said = replace(option, value=given[key])
            if was is None or (was.value and not was.is_path):
                names[key] = said.value  # a new run, or another experiment, as will be said
                own.take(said, Path(said.value))
            else:
                own.take(was, Path(said.value))
                names[key] = was
        elif was is None or option.value == was.value:
            if option.is_path:
                own.look(option)
        elif option.is_path and (was.is_path or not was.value) and _is_same(own, option, was):
            names[key] = was
    own.options = with_values(task, experiment.task_options, names)
    return replace(experiment, task_options=MappingProxyType(dict(own.options))), own


def _before(store: Store, experiment: Experiment) -> dict[str, DataOption]:
    """The data options of the run as it began; none for a new run and one of another task."""
    if not store.has_trials:
        return {}
    document = parse_toml(store.experiment, str(store.path))
    if document.get("task") != experiment.task:
        return {}
    try:
        return data_options(experiment.task, document.get("task_options", {}))
    except ConfigError:  # options of another version: the comparison names them
        return {}


def _is_same(own: OwnData, option: DataOption, was: DataOption) -> bool:
    """Whether another path leads to the data of the run. ``False``: nobody knows what they held."""
    known = own.known.get(option.key, Remembered())
    place = find(replace(option, stated=""), Remembered(), own.folders)
    if place is None:
        raise missing(option, known, own.folders)
    expected = known.digest or was.stated
    if not expected and was.is_path:
        then = find(was, known, own.folders)
        expected = then[1] if then is not None else ""
    if expected and place[1] != expected:
        raise other_data(option.key, expected, [place])
    if expected:
        own.note(option, *place)
    return bool(expected)


def same_names(
    task: str,
    mine: tuple[Mapping[str, Any], Mapping[str, Remembered]],
    theirs: tuple[Mapping[str, Any], Mapping[str, Remembered]],
    folder: Path,
) -> dict[str, Any]:
    """The options of another run, with the names that this one has for equal data.

    mine, theirs: task options and what is known of their data.
    folder: of the other run.

    Raises :class:`RunError` for other data.
    """
    here, there = data_options(task, mine[0]), data_options(task, theirs[0])
    names: dict[str, str | DataOption] = {}
    for key, option in here.items():
        other = there.get(key)
        if other is None or not (option.is_path or other.is_path or option.stated):
            continue
        expected = mine[1].get(key, Remembered()).digest or option.stated
        known = theirs[1].get(key, Remembered())
        digest = known.digest or other.stated
        if not digest and other.is_path and option.value != other.value:
            place = find(other, known, (folder,))
            digest = place[1] if place is not None else ""
        if expected and digest and expected != digest:
            raise RunError(
                f"its data are others: they have the digest {digest}, those here {expected}",
                where=str(folder),
                hint="results on other data do not hold here; train its cells again with --enqueue",
            )
        if expected and digest:
            names[key] = option
    return with_values(task, theirs[0], names)
