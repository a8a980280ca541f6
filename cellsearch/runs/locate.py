"""Finding the cell that a text names: a zoo name, a file, a run's best, or one trial of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellsearch import zoo
from cellsearch.errors import ConfigError, InputFileError, checked_arguments, command
from cellsearch.files import open_plain
from cellsearch.genome.graph import Genome
from cellsearch.genome.text import parse
from cellsearch.runs.run import open_run
from cellsearch.runs.trial import BARE, RunTrial

if TYPE_CHECKING:
    from cellsearch.export.write import Exported, Form
    from cellsearch.tasks.heads import SequenceModel
    from cellsearch.tasks.own_data import Given

__all__ = ["Located", "load_model", "locate", "read_cell_file", "read_text"]

OF_TRAINED = ("precision", "with_head")
"""Options of an export that only a trained cell has."""
MAX_FILE = 4_194_304
FORMS = "a zoo name, a .cell or .json file, a run folder (its best cell), or RUN:TRIAL"


@dataclass(frozen=True)
class Located:
    """A cell and where it came from."""

    genome: Genome
    label: str
    """What to call it."""
    doc: str = ""
    """What its file says of it."""
    trial: RunTrial | None = None
    """The trial, if it is a run's."""

    @property
    def trained(self) -> RunTrial:
        """The trial whose weights are meant. Raises :class:`ConfigError` if the cell is not from a
        run.
        """
        if self.trial is None:
            raise ConfigError(
                f"{self.label} has no trained weights",
                hint="name a trained cell: a run folder (its best cell), or RUN:TRIAL for one of "
                "the best, whose weights are kept",
            )
        return self.trial

    @property
    def provenance(self) -> str:
        """Where the cell comes from, in a sentence."""
        if self.trial is not None:
            return self.trial.provenance
        return self.doc or f"{self.label}."

    def export(self, path: Path, form: Form, **options: Any) -> Exported:
        """Write the cell, see :meth:`cellsearch.runs.RunTrial.export`: ``options`` are of that."""
        from cellsearch.export.write import export_cell  # loads torch

        named = options.pop("named", {})
        if form not in BARE or self.trial is not None or any(map(options.get, OF_TRAINED)):
            if named:
                raise ConfigError(
                    "a trained cell has its sizes",
                    where="--size (in Python, named=)",
                    hint="leave it out, or name a cell that is not trained",
                )
            return self.trained.export(path, form, **options)
        options = {name: value for name, value in options.items() if name not in OF_TRAINED}
        sizes = {"sizes": named} if named else {}
        return export_cell(self.genome, path, form, doc=self.provenance, sizes=sizes, **options)


@checked_arguments
def locate(text: str, data: Given = None) -> Located:
    """The cell that ``text`` names, see :data:`FORMS`. Raises the error of what it looks like.

    data: where the data of the run lie now, if it is one.
    """
    found = _located(text, data)
    if data and found.trial is None:
        raise ConfigError(
            "--data (in Python, data=) is for the data of a run",
            where=text,
            hint="leave it out, or name a run or RUN:TRIAL",
        )
    return found


@checked_arguments
def load_model(path: str | Path, *, data: Given = None) -> SequenceModel:
    """The trained model of a run's best cell (``"runs/a"``) or of one trial (``"runs/a:8"``).

    ``model.predict(x)`` takes raw values or texts and gives answers in the user's units and labels;
    ``model.stream()`` does so position by position. It is a ``torch.nn.Module``.

    data: where the data of the run lie now, which only runs of version 0.1 need.

    Raises :class:`ConfigError` for what is not a trained cell, weights that were not kept, and a
    task that does not say what its model reads and answers; :class:`RunError` without such a run.
    """
    from cellsearch.tasks.heads import SequenceModel  # loads torch

    trial = locate(str(path), data).trained
    model = trial.model()
    if not isinstance(model, SequenceModel):
        task = trial.trained().task
        task.interface()
        raise ConfigError(
            f"the model of the task {task.name} is a {type(model).__name__}, which has no predict",
            where=str(path),
            hint="use RunTrial.trained(), which gives the model as its task made it",
        )
    return model


def _located(text: str, data: Given) -> Located:
    path = Path(text)
    if path.is_file() or path.suffix in (".cell", ".json"):
        return read_cell_file(path)
    if path.is_dir():
        return _of_run(path, "best", data)
    folder, colon, trial = text.rpartition(":")
    if colon and (Path(folder).is_dir() or "/" in folder):
        return _of_run(Path(folder), trial, data)
    if "/" in text:
        raise ConfigError(f"there is no file or run {text}", hint=f"a cell is {FORMS}")
    return _of_zoo(text)


def read_text(path: Path) -> str:
    """The text of a file of limited size. Raises :class:`ConfigError` if it cannot be read,
    :class:`InputFileError` if it is not text.
    """
    try:
        # below /dev is what a shell hands over; a pipe anywhere else would keep us waiting
        handed_over = path.parts[:2] == ("/", "dev")
        with path.open("rb") if handed_over else open_plain(path) as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint=f"a cell is {FORMS}"
        ) from None
    if len(data) > MAX_FILE:
        raise InputFileError(f"larger than {MAX_FILE} bytes", where=str(path))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputFileError(f"not UTF-8 text (byte {error.start})", where=str(path)) from None


def read_cell_file(path: Path) -> Located:
    """The cell of a ``.cell`` or ``.json`` file. Raises :class:`InputFileError` with line and node
    for a damaged one.
    """
    content = read_text(path)
    if path.suffix == ".json":
        return Located(Genome.from_json(content, source=str(path)), path.stem)
    cell = parse(content, source=str(path))
    return Located(cell.genome, path.stem, cell.doc)


def _of_zoo(name: str) -> Located:
    try:
        entry = zoo.entry(name)
    except ConfigError as error:
        raise ConfigError(error.message, hint=f"{error.hint} (a cell is {FORMS})") from None
    return Located(entry.genome, entry.name, entry.doc)


def _of_run(folder: Path, which: str, data: Given) -> Located:
    run = open_run(folder, data=data)
    if which != "best" and not which.isdecimal():
        raise ConfigError(
            f"{which!r} is not the number of a trial",
            hint=f"write {folder}:NUMBER or {folder}:best; {command('ls', folder)} lists them",
        )
    trial = run.best() if which == "best" else run.trial(int(which))
    return Located(trial.genome, trial.label, trial=trial)
