"""Character language modelling: bits per character of an English text."""

from __future__ import annotations

import codecs
import io
import statistics
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, DataWarning, InputFileError, command
from cellsearch.files import read_plain
from cellsearch.options import at_least
from cellsearch.tasks.base import Arrays
from cellsearch.tasks.data import shipped_text
from cellsearch.tasks.language import UNKNOWN, LanguageModel, LanguageOptions
from cellsearch.tasks.options import DataPath, parse_options
from cellsearch.tasks.tables.cells import is_missing, number_style, time_style
from cellsearch.tasks.tables.dialect import find_dialect

__all__ = ["CharLM", "CharLMOptions", "encode", "text_arrays"]

LARGEST_FILE = 1 << 30
A_TABLE = 0.5
"""More numbers than this among the fields of a text, and it is a table rather."""
FIRST_CHARACTERS = 16_384
FEWEST_ROWS = 5


def text_digest(path: Path) -> str:
    """Of a text: whatever its line ends, with or without a byte order mark."""
    _check_size(path)
    data = read_plain(path).removeprefix(codecs.BOM_UTF8)
    return sha256(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).hexdigest()[:16]


_TEXT = DataPath(words=("kjv",), digest=text_digest)


@dataclass(frozen=True, slots=True)
class CharLMOptions(LanguageOptions):
    """Options of :class:`CharLM`."""

    text: Annotated[str, _TEXT] = "kjv"
    """``"kjv"`` (shipped), or the path of a UTF-8 text file."""
    max_symbols: Annotated[int, at_least(2)] = 512
    """Rarer characters become U+FFFD."""


class CharLM(LanguageModel):
    """Predict the next character of a text.

    Data: the King James New Testament (shipped, public domain; ``data/PROVENANCE.md``),
    949,481 characters, 63 symbols. Split: first 90 % of the characters train, next 5 % validation,
    last 5 % test, in the order of the text. Metric: bits per character (cross-entropy in base 2),
    which is also the score. Search validates on the first 32,768 characters of the validation split
    (``valid_tokens = 0`` reads all 47,474); the test split is always read whole. Training: B
    streams with carried state, segments of ``tbptt`` characters. Reference: n-gram models of order
    0 to 4 with add-0.1 smoothing reach 4.29, 3.23, 2.54, 2.06, 1.96 bits on the last 10 %.
    """

    name: ClassVar[str] = "char_lm"
    metric: ClassVar[str] = "bits per character"
    summary: ClassVar[str] = (
        "predict the next character of an English text (King James New Testament, or your own file)"
    )
    source: ClassVar[str] = (
        "shipped text, public domain; protocol as in Mikolov et al. 2012 and Graves 2013"
    )
    Options: ClassVar[type[CharLMOptions]] = CharLMOptions

    @classmethod
    def load(cls, options: Mapping[str, Any]) -> Arrays:
        """Token numbers of the three splits, and the symbols (code points)."""
        parsed = parse_options(cls.Options, options)
        text = shipped_text() if parsed.text == "kjv" else read_text(parsed.text)
        return text_arrays(text, parsed.max_symbols)


def read_text(path: str) -> str:
    """A UTF-8 text file, without a byte order mark at its head. Raises :class:`ConfigError` if it
    is not there, :class:`InputFileError` if it is not text.
    """
    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"there is no text file {path}",
            where="task_options.text",
            hint='use "kjv" (shipped) or the path of a text file',
        )
    _check_size(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputFileError(
            f"the file is not UTF-8 text: {error}",
            where=path,
            hint="convert it, for example with iconv; arrays are given as task = arrays with "
            "task_options.path",
        ) from error
    share = _share_of_numbers(text)
    if share > A_TABLE:
        warnings.warn(
            f"{path} looks like a table of numbers ({share:.0%} of the fields of its first lines), "
            "and is read as text: the model predicts the next character, not the next value. For a "
            f"forecast write {command('search', '--csv', path, '--predict', 'COLUMN')}",
            DataWarning,
            stacklevel=2,
        )
    return text


def _check_size(file: Path) -> None:
    if file.stat().st_size > LARGEST_FILE:
        raise InputFileError(
            f"the file is larger than {LARGEST_FILE >> 20} MiB",
            where=str(file),
            hint="use a part of it",
        )


def _share_of_numbers(text: str) -> float:
    """How many cells of the first rows are numbers or times, if these are rows of one table;
    else 0.
    """
    head = text[:FIRST_CHARACTERS]
    lines = io.StringIO(head, newline="")
    try:
        rows = [row for _, row in find_dialect(head, whole=len(head) == len(text)).rows(lines)]
    except InputFileError:
        return 0.0
    rows = rows[1:-1]  # the first: names, the last: cut
    width = statistics.mode(map(len, rows)) if rows else 0
    alike = [row for row in rows if len(row) == width]
    if len(alike) < max(FEWEST_ROWS, 0.9 * len(rows)):
        return 0.0
    cells = [cell for row in alike for cell in row if not is_missing(cell)]
    found = sum(number_style([c]) is not None or time_style([c]) is not None for c in cells)
    return found / max(1, len(cells))


def text_arrays(text: str, max_symbols: int) -> Arrays:
    """Split a text 90/5/5 and number its characters. The symbols are those of the training split,
    the most frequent ``max_symbols``.

    If characters are left over, U+FFFD stands for them and is one of the symbols.
    """
    a, b = len(text) * 90 // 100, len(text) * 95 // 100
    counts = Counter(text[:a])
    kept = {
        symbol
        for symbol, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:max_symbols]
    }
    if set(text) - kept:
        if len(kept) == max_symbols:
            kept = {
                symbol
                for symbol, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[
                    : max_symbols - 1
                ]
            }
        kept.add(UNKNOWN)
    symbols = np.array(sorted(ord(symbol) for symbol in kept), dtype=np.int32)
    return {
        "train": encode(text[:a], symbols),
        "valid": encode(text[a:b], symbols),
        "test": encode(text[b:], symbols),
        "symbols": symbols,
    }


def encode(text: str, symbols: NDArray[Any]) -> NDArray[np.int32]:
    """Numbers of the characters in the sorted code points ``symbols``; an unknown one gets the
    number of U+FFFD.

    Raises :class:`ConfigError` if there is an unknown character and U+FFFD is not among the
    symbols.
    """
    points = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
    numbers = np.minimum(np.searchsorted(symbols, points), len(symbols) - 1)
    foreign = symbols[numbers] != points
    if foreign.any():
        unknown = int(np.searchsorted(symbols, ord(UNKNOWN)))
        if unknown == len(symbols) or symbols[unknown] != ord(UNKNOWN):
            character = chr(int(points[foreign][0]))
            raise ConfigError(
                f"the character {character!r} is not one of the {len(symbols)} symbols"
            )
        numbers = np.where(foreign, unknown, numbers)
    return numbers.astype(np.int32)
