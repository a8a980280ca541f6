"""Cells in other people's notations.

``nas-bench-nlp``: recipes of NAS-Bench-NLP (Klyuchnikov et al. 2020), JSON, also written back by
:func:`export_cell`. ``darts``: genotypes of DARTS and enas_lm (Liu et al. 2019), as they stand in
``genotypes.py`` or as ``sigmoid0 relu1 ...``. ``enas``: arc strings of ENAS (Pham et al. 2018) and
of enas_lm, whose opcodes have another order.

Nothing that is read is executed. A text on which the project of its format would fail gets an error
that says why.
"""

from __future__ import annotations

from collections.abc import Callable

from cellsearch.errors import ConfigError
from cellsearch.genome.graph import Genome
from cellsearch.options import unknown as unknown_name
from cellsearch.zoo.importers import darts, enas, nas_bench_nlp

__all__ = ["FORMATS", "export_cell", "import_cell"]

_READERS: dict[str, Callable[..., Genome]] = {
    "nas-bench-nlp": nas_bench_nlp.read_recipe,
    "darts": darts.read_genotype,
    "enas": enas.read_arc,
}
_WRITERS: dict[str, Callable[[Genome], str]] = {"nas-bench-nlp": nas_bench_nlp.write_recipe}
_OPTIONS = {"nas-bench-nlp": {"square"}, "darts": {"concat"}, "enas": {"opcodes", "average"}}
FORMATS = tuple(_READERS)


def import_cell(text: str, format: str = "nas-bench-nlp", **options: object) -> Genome:
    """The genome of a text in another notation; what the options mean is said where each format is
    read. A byte order mark at its head is skipped.

    ``nas-bench-nlp``: ``square=True`` accepts cells that need I = H. ``darts``: ``concat=(1, 2,
    8)`` names the nodes that are averaged. ``enas``: ``opcodes="enas"|"enas_lm"``,
    ``average="loose"|"all"``. Raises :class:`ConfigError` for an unknown format or option and
    :class:`CellSyntaxError` for a text that is not a cell.
    """
    if format not in _READERS:
        raise unknown_name("format", format, FORMATS)
    unknown = sorted(set(options) - _OPTIONS[format])
    if unknown:
        raise ConfigError(
            f"{format} has no option {unknown[0]!r}",
            hint="options: " + ", ".join(sorted(_OPTIONS[format])),
        )
    plain = text.removeprefix("\ufeff") if isinstance(text, str) else text
    return _READERS[format](plain, **options)


def export_cell(genome: Genome, format: str = "nas-bench-nlp") -> str:
    """The cell in another notation.

    Raises :class:`ConfigError` for a format that cannot be written and :class:`GenomeError` for a
    cell that the format has no words for.
    """
    if format not in _WRITERS:
        raise ConfigError(
            f"cells cannot be written as {format!r}", hint="formats: " + ", ".join(_WRITERS)
        )
    return _WRITERS[format](genome)
