"""Small data sets in the form in which their public homes offer them, made from scratch, and what
must be read from them.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
import tarfile
import wave
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Content = bytes | dict[str, NDArray[Any]] | None
Made = tuple[list[Content], dict[str, bytes]]
"""The content of each file of our own form (``None``: it differs), and the published files by the
path where they are kept."""


def zipped(members: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a folder/", b"")
        archive.writestr("Index", b"what is in here")
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


def text(path: str) -> Made:
    data = b"It was a dark and stormy night; the rain fell in torrents.\n" * 300
    return [data], {path: data}


def jsb() -> Made:
    pieces = {"train": 229, "valid": 76, "test": 77}
    document = {
        split: [[[60 + k % 12, 64], [67], [55, 59, 62]] for k in range(count)]
        for split, count in pieces.items()
    }
    data = json.dumps(document).encode()
    return [data], {"music/jsb-chorales-quarter.json": data}


def etth1() -> Made:
    rows = ["date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT"]
    for hour in range(14_420):
        values = (f"{math.sin(hour / (5 + k)):.6f}" for k in range(7))
        rows.append(f"2016-07-01 {hour},{','.join(values)}")
    data = "\n".join(rows).encode()
    return [data], {"series/ETTh1.csv": data}


def wikitext2() -> Made:
    parts = {
        "train": b" \n = A title = \n \n the cat sat on the <unk> mat . \n" * 300,
        "valid": b" the cat sat . \n" * 200,
        "test": b" the mat sat . \n" * 200,
    }
    members = {f"wikitext-2/wiki.{part}.tokens": data for part, data in parts.items()}
    packed = {"text/wikitext2/wikitext-2-v1.zip": zipped(members)}
    return [None, parts["valid"], parts["test"]], packed


def sentences() -> Made:
    parts = {
        site: "".join(
            f"{site} number {k} is {'good'[: k % 3]}.\t{k % 2}\n" for k in range(60)
        ).encode()
        for site in ("imdb", "amazon_cells", "yelp")
    }
    members = {f"sentiment labelled sentences/{site}_labelled.txt": d for site, d in parts.items()}
    members["__MACOSX/sentiment labelled sentences/._imdb_labelled.txt"] = b"\0\5"
    return list(parts.values()), {"sentences/sentiment+labelled+sentences.zip": zipped(members)}


def mnist() -> Made:
    contents: list[Content] = []
    packed = {}
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.zeros((count, 28, 28), dtype=np.uint8)
        images[np.arange(count), labels] = 200
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = struct.pack(f">{array.ndim}i", *array.shape)
            data = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
            contents.append(data)
            packed[f"images/{part}-{kind}-ubyte.gz"] = gzip.compress(data, 1)
    return contents, packed


def pendigits() -> Made:
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 101, (90, 16)), np.arange(90) % 10
    lines = [",".join(f"{v:3d}" for v in row) + f", {k}" for row, k in zip(x, y, strict=True)]
    members = {
        "pendigits.tra": "\n".join([*lines[:60], ""]).encode(),
        "pendigits.tes": "\n".join([*lines[60:], ""]).encode(),
        "pendigits-orig.tra.Z": b"\x1f\x9d\x90",
    }
    points = np.array([[[row[2 * t + c] for row in x] for c in (0, 1)] for t in range(8)])
    arrays = {
        "x": points.astype(np.uint8),
        "y": y.astype(np.uint8),
        "n_train": np.array(60, dtype=np.int32),
    }
    return [arrays], {"images/pen+based+recognition+of+handwritten+digits.zip": zipped(members)}


def vowels() -> tuple[list[NDArray[np.float64]], list[int], int]:
    """Utterances ``[frames, 12]``, their speakers from 0, and how many of them are for training."""
    rng = np.random.default_rng(2)
    counts = [[3] * 9, [2, 1, 3, 1, 1, 2, 1, 1, 2]]
    labels = [k for part in counts for k, count in enumerate(part) for _ in range(count)]
    utterances = [np.round(rng.normal(0, 0.7, (7 + n % 23, 12)), 6) for n in range(len(labels))]
    return utterances, labels, sum(counts[0])


def vowel_arrays() -> dict[str, NDArray[Any]]:
    utterances, labels, train = vowels()
    return {
        "x": np.array(
            [[round(v * 8192) for v in row] for row in np.vstack(utterances).T], np.int16
        ),
        "scale": np.array(2.0**-13, dtype=np.float32),
        "length": np.array([len(u) for u in utterances], dtype=np.uint8),
        "y": np.array(labels, dtype=np.uint8),
        "n_train": np.array(train, dtype=np.int32),
    }


def japanese_vowels() -> Made:
    utterances, labels, train = vowels()
    members = {}
    for name, part in (("train", slice(0, train)), ("test", slice(train, None))):
        blocks = ["".join(" ".join(map(str, row)) + " \n" for row in u) for u in utterances[part]]
        members[f"ae.{name}"] = "\n".join([*blocks, ""]).encode()
        counts = [labels[part].count(k) for k in range(9)]
        members[f"size_ae.{name}"] = (" ".join(map(str, counts)) + "\n").encode()
    return [vowel_arrays()], {"speech/japanese+vowels.zip": zipped(members)}


def vowel_tables() -> dict[str, str]:
    """The two files that aeon and sktime hold."""
    utterances, labels, train = vowels()
    found = {}
    for name, part in (("TRAIN", slice(0, train)), ("TEST", slice(train, None))):
        lines = ["#about", "@problemName JapaneseVowels", "@classLabel true 1 2 3", "@data"]
        for u, label in zip(utterances[part], labels[part], strict=True):
            series = ":".join(",".join(map(str, column)) for column in u.T)
            lines.append(f"{series}:{label + 1}")
        found[f"datasets/data/JapaneseVowels/JapaneseVowels_{name}.ts"] = "\n".join([*lines, ""])
    return found


def sunspot_table() -> tuple[dict[str, NDArray[Any]], str]:
    values = np.random.default_rng(3).integers(0, 2500, (110, 12))
    values = np.append(values.ravel()[:-6], [])
    lines = ["      MONTHLY MEAN SUNSPOT NUMBERS", "=" * 79, "Year    Jan   Feb   Mar", "-" * 79]
    for k in range(0, len(values), 12):
        months = "".join(f"{value / 10:6.1f}" for value in values[k : k + 12])
        lines.append(f"{1749 + k // 12}  {months}")
    lines += ["-" * 79, "No observations were available during February 1824.", "", "Note: Dec 08."]
    arrays = {"x": values.astype(np.uint16), "scale": np.array(0.1, dtype=np.float32)}
    return arrays, "\n".join(lines)


def sunspots() -> Made:
    arrays, table = sunspot_table()
    return [arrays], {"series/sunspots_monthly.dat": table.encode()}


def eng_fra() -> Made:
    lines = [f"Say {k} !\tDis {k} !" for k in range(5100)]
    packed = zipped(
        {"fra-eng/fra.txt": "\n".join([*lines, ""]).encode(), "fra-eng/_about.txt": b""}
    )
    return [None], {"translation/fra-eng.zip": packed}


def fsdd() -> Made:
    made = io.BytesIO()
    root = "free-spoken-digit-dataset-1.0.9"
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name in ("README.md", "recordings/readme.txt"):
            archive.addfile(tarfile.TarInfo(f"{root}/{name}"), io.BytesIO())
        for k in range(240):
            digit, speaker, index = k % 10, ("theo", "george")[k // 10 % 2], k // 20
            data = recording(300 + 80 * digit, 1200 + 90 * index)
            info = tarfile.TarInfo(f"{root}/recordings/{digit}_{speaker}_{index}.wav")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return [None], {"speech/free-spoken-digit-dataset-1.0.9.tar.gz": made.getvalue()}


def recording(frequency: float, samples: int) -> bytes:
    made = io.BytesIO()
    tone = np.sin(2 * np.pi * frequency / 8000 * np.arange(samples)) * 12_000
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, 8000, samples, "NONE", ""))
        file.writeframes(tone.astype("<i2").tobytes())
    return made.getvalue()


HOMES: dict[str, Callable[[], Made]] = {
    "tinyshakespeare": lambda: text("text/tinyshakespeare.txt"),
    "timemachine": lambda: text("text/timemachine.txt"),
    "jsb": jsb,
    "etth1": etth1,
    "wikitext2": wikitext2,
    "sentences": sentences,
    "mnist": mnist,
    "pendigits": pendigits,
    "japanese_vowels": japanese_vowels,
    "sunspots": sunspots,
    "eng_fra": eng_fra,
    "fsdd": fsdd,
}
"""Every data set that has a public home to download from."""
