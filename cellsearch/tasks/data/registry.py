"""Data sets that are not shipped: where they are expected, what must be in them, where they come
from.

They are looked for in the folder that ``CELLSEARCH_DATA`` names, then among the files downloaded
before; those whose canonical place offers exactly this file are downloaded when they are first
needed, unless ``CELLSEARCH_OFFLINE`` is set. Each file has a checksum over its content: of the
unpacked bytes for text (``.xz`` or plain), over names, types, shapes and bytes of the arrays for
``.npz``. So a file that was packed anew is fine, one that differs in any value is not.
"""

from __future__ import annotations

import hashlib
import lzma
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellsearch.errors import ConfigError, EnvironmentFailure, InputFileError
from cellsearch.tasks.data.download import OFFLINE, data_cache, download, offline
from cellsearch.tasks.data.npz import read_npz

__all__ = [
    "DATA_SETS",
    "VARIABLE",
    "DataFile",
    "DataSet",
    "available",
    "data_folder",
    "get",
    "read_arrays",
    "read_idx",
    "read_text",
    "to_download",
]

VARIABLE = "CELLSEARCH_DATA"
LARGEST = 1 << 29


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file: ``path`` below the data folder, ``sha256`` of its content (see the module).

    ``url``: where the unpacked file can be downloaded, ``""`` where no place offers exactly this
    content; ``size``: its bytes.
    """

    path: str
    sha256: str
    url: str = ""
    size: int = 0

    @property
    def plain(self) -> str:
        """The path of the unpacked file."""
        return self.path.removesuffix(".xz")


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set. ``origin``: the canonical place; ``content``: what the files hold, for who makes
    them by hand.
    """

    name: str
    files: tuple[DataFile, ...]
    origin: str
    licence: str
    content: str


def _row(
    name: str,
    files: Mapping[str, str],
    origin: str,
    licence: str,
    content: str,
    url: str = "",
    size: int = 0,
) -> DataSet:
    return DataSet(
        name,
        tuple(DataFile(path, sha, url, size) for path, sha in files.items()),
        origin,
        licence,
        content,
    )


_ALL = (
    _row(
        "tinyshakespeare",
        {
            "text/tinyshakespeare.txt.xz": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
        },
        "https://github.com/karpathy/char-rnn",
        "no licence stated",
        "the text itself, plain or packed with xz",
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        1_115_394,
    ),
    _row(
        "timemachine",
        {
            "text/timemachine.txt.xz": "8424dbd9532ac81f7e5f0b6add90e6952baea29158309d7d1bf3884f4e12c516"
        },
        "https://www.gutenberg.org/ebooks/35",
        "public domain",
        "the text itself, plain or packed with xz",
        "https://d2l-data.s3-accelerate.amazonaws.com/timemachine.txt",
        178_979,
    ),
    _row(
        "wikitext2",
        {
            "text/wikitext2/wiki.train.reordered.tokens.xz": "728c77e87e176af4730f9a80fc6008bcaff421a7202c1c048877c0eec3685f89",
            "text/wikitext2/wiki.valid.tokens.xz": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            "text/wikitext2/wiki.test.tokens.xz": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        },
        "https://huggingface.co/datasets/Salesforce/wikitext",
        "CC BY-SA",
        "tokens separated by blanks, one paragraph a line",
    ),
    _row(
        "japanese_vowels",
        {
            "speech/japanese_vowels.npz": "9d90a077f405f0a55aa15318c2cf23687e6b72012b7a688193f6098c852c12d9"
        },
        "https://archive.ics.uci.edu/dataset/128",
        "CC BY 4.0, Kudo, Toyama & Shimbo 1999",
        "x [12, frames] int16 times scale, length [640], y [640], n_train = 270",
    ),
    _row(
        "fsdd",
        {
            "speech/fsdd_mfcc13.npz": "ddc31b97d306346f8b160758930cd9d61984492b0c480e9b0dc314a2417078bb"
        },
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        "CC BY-SA 4.0",
        "feat [frames, 13] (13 MFCC), lens, digit, speaker, index, each [3000]",
    ),
    _row(
        "pendigits",
        {
            "images/pendigits.npz": "13e9aab3ac4b7afc759a89346b5f2c49333f577e580194f48aa2f2223cca2c4e"
        },
        "https://archive.ics.uci.edu/dataset/81",
        "CC BY 4.0, Alpaydin & Alimoglu 1998",
        "x [8, 2, 10992], y [10992], n_train = 7494",
    ),
    _row(
        "mnist1d",
        {"images/mnist1d.npz": "994a0c510acc59ecad3c7e36ecc4d83b2ce5105dddab21ca68df18ebe6b8281b"},
        "https://github.com/greydanus/mnist1d",
        "Apache-2.0",
        "x [5000, 40] uint8 between lo and hi, y [5000], n_train = 4000",
    ),
    _row(
        "mnist",
        {
            "images/train-images-idx3-ubyte.xz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "images/train-labels-idx1-ubyte.xz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "images/t10k-images-idx3-ubyte.xz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "images/t10k-labels-idx1-ubyte.xz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        "http://yann.lecun.com/exdb/mnist/",
        "CC BY-SA 3.0, LeCun & Cortes",
        "IDX file with unsigned bytes, plain (unpack .gz) or packed with xz",
    ),
    _row(
        "sunspots",
        {
            "series/sunspots_monthly.npz": "4fd91f9f134a0aebf82cbb2a14d816345633cdc918936888bf84fd54083ba3a8"
        },
        "https://www.sidc.be/SILSO",
        "public domain",
        "x [3126] monthly numbers 1749-2009 times scale",
    ),
    _row(
        "etth1",
        {"series/ETTh1.csv.xz": "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"},
        "https://github.com/zhouhaoyi/ETDataset",
        "CC BY-ND 4.0",
        "the table as it is, plain or packed with xz",
        "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
        2_589_657,
    ),
    _row(
        "jsb",
        {
            "music/jsb-chorales-quarter.json.xz": "2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91"
        },
        "https://github.com/czhuang/JSB-Chorales-dataset",
        "none stated",
        "JSON: train, valid, test, each a list of pieces, each a list of frames, each a "
        "list of MIDI notes",
        "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/master/jsb-chorales-quarter.json",
        407_200,
    ),
    _row(
        "sentences",
        {
            "sentences/imdb_labelled.txt.xz": "a5851cfed830b68d4b18fa11f7e9fa85debee7566be0933c9a679ce747c86d67",
            "sentences/amazon_cells_labelled.txt.xz": "47003fc0a0d4840b00e96e715b6189bad09e7443a3da41c4cbe12ffc79f86ae3",
            "sentences/yelp_labelled.txt.xz": "c76468b7b5c6e56a0804d728345c5f84aa2142ddb214420f61cc9cfd4c00d2ea",
        },
        "https://archive.ics.uci.edu/dataset/331",
        "CC BY 4.0, Kotzias 2015",
        "sentence, tabulator, 0 or 1 a line; plain or packed with xz",
    ),
    _row(
        "eng_fra",
        {
            "translation/eng-fra.txt.xz": "d952b56a181da5270b7bb4ded3f3bbe61e67a9b1de0e0fbc1d46438c71fb55a7"
        },
        "https://www.manythings.org/anki/",
        "CC BY 2.0 FR, Tatoeba",
        "English, tabulator, French, tabulator, attribution a line; 5,000 lines",
    ),
)

DATA_SETS: Mapping[str, DataSet] = {row.name: row for row in _ALL}
"""All data sets by name."""


def get(name: str) -> DataSet:
    """The data set of this name. Raises :class:`ConfigError` for an unknown one."""
    if name not in DATA_SETS:
        raise ConfigError(
            f"there is no data set {name!r}", hint="data sets: " + ", ".join(sorted(DATA_SETS))
        )
    return DATA_SETS[name]


def data_folder() -> Path | None:
    """The folder that ``CELLSEARCH_DATA`` names, or ``None``. Raises :class:`EnvironmentFailure` if
    it is not a folder.
    """
    value = os.environ.get(VARIABLE, "")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise EnvironmentFailure(
            f"{folder} is not a folder",
            where=VARIABLE,
            hint="set it to the folder that holds your data sets",
        )
    return folder


def _folders() -> tuple[Path, ...]:
    """Where files are looked for, in this order."""
    folder = data_folder()
    return (data_cache(),) if folder is None else (folder, data_cache())


def _find(file: DataFile) -> Path | None:
    """The file, or its unpacked form."""
    for folder in _folders():
        for path in (folder / file.path, folder / file.plain):
            if path.is_file():
                return path
    return None


def available(name: str) -> str:
    """``""`` if all files of a data set are there (they are checked when they are read), else what
    is missing.
    """
    folder = data_folder()
    missing = [file.path for file in get(name).files if _find(file) is None]
    if not missing:
        return ""
    return f"{VARIABLE} is not set" if folder is None else f"not in {folder}: {', '.join(missing)}"


def to_download(name: str) -> tuple[DataFile, ...]:
    """The files that reading the data set would download now: none if it is there, cannot be
    downloaded, or downloads are forbidden.
    """
    missing = tuple(file for file in get(name).files if _find(file) is None)
    return missing if not offline() and all(file.url for file in missing) else ()


def read_text(name: str, number: int = 0) -> str:
    """The checked text of file ``number`` of a data set.

    Raises :class:`EnvironmentFailure` if it is not there, :class:`InputFileError` if it is damaged
    or another one.
    """
    return _read_bytes(name, number)[0].decode("utf-8")


def read_idx(name: str, number: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The checked array of file ``number``, an IDX file of unsigned bytes that must have this
    shape; raises like :func:`read_text`.

    IDX (LeCun 1998): two zero bytes, 8 for unsigned bytes, the number of dimensions, each size as a
    big-endian int32, the values.
    """
    raw, path = _read_bytes(name, number)
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    if not raw.startswith(header) or len(raw) != len(header) + math.prod(shape):
        raise InputFileError(
            f"no IDX file with {' x '.join(map(str, shape))} bytes",
            where=str(path),
            hint=_get_again(name),
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=len(header)).reshape(shape)


def _read_bytes(name: str, number: int) -> tuple[bytes, Path]:
    """The unpacked, checked content of a file, and where it lies."""
    path, file = _path(name, number)
    data = path.read_bytes()
    try:
        raw = _unpacked(data) if path.suffix == ".xz" else data
    except (lzma.LZMAError, EOFError) as error:
        raise InputFileError(
            f"the file is damaged: {error}", where=str(path), hint=_get_again(name)
        ) from error
    _check(hashlib.sha256(raw).hexdigest(), file, path, name)
    return raw, path


def read_arrays(name: str, number: int = 0) -> dict[str, NDArray[Any]]:
    """The checked arrays of file ``number`` (``.npz``) of a data set; raises like
    :func:`read_text`.
    """
    path, file = _path(name, number)
    arrays = read_npz(path, hint=_get_again(name))
    _check(arrays_digest(arrays), file, path, name)
    return arrays


def arrays_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Checksum over names, types, shapes and bytes, in order of the names."""
    sha = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        sha.update(f"{key} {array.dtype.str} {array.shape} ".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def _path(name: str, number: int) -> tuple[Path, DataFile]:
    data_set = get(name)
    file = data_set.files[number]
    path = _find(file)
    if path is None and file.url and not offline():
        path = data_cache() / file.plain
        download(
            file.url,
            path,
            sha256=file.sha256,
            size=file.size,
            what=f"the data set {name} ({data_set.licence})",
        )
    if path is None:
        raise _absent(data_set, file)
    if path.stat().st_size > LARGEST:
        raise InputFileError(
            f"the file is larger than {LARGEST >> 20} MiB", where=str(path), hint=_get_again(name)
        )
    return path, file


def _absent(data_set: DataSet, file: DataFile) -> EnvironmentFailure:
    folder = data_folder()
    way = (
        f"set {VARIABLE} to a folder with the file {file.path}: {data_set.content}; origin: "
        f"{file.url or data_set.origin}"
    )
    if file.url:
        way = f"allow the download (no --offline, {OFFLINE} not set), or {way}"
    return EnvironmentFailure(
        f"the data set {data_set.name} is not here ({data_set.licence}; it may not be shipped)",
        where=str(folder / file.path) if folder is not None else file.path,
        hint=way,
    )


def _unpacked(data: bytes) -> bytes:
    """The unpacked bytes, refusing a file that unpacks to far more than any data set holds."""
    unpacker = lzma.LZMADecompressor()
    raw = unpacker.decompress(data, max_length=LARGEST)
    if not unpacker.eof:
        raise EOFError("it is cut off, or far too large")
    return raw


def _check(digest: str, file: DataFile, path: Path, name: str) -> None:
    if digest != file.sha256:
        raise InputFileError(
            f"the content is not the expected one: sha256 {digest[:12]}..., expected "
            f"{file.sha256[:12]}...",
            where=str(path),
            hint=_get_again(name),
        )


def _get_again(name: str) -> str:
    return f"get it again from {get(name).origin}"
