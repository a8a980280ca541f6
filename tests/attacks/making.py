"""The corpus of hostile files: the texts in ``corpus/``, and what is made here because it is
binary, large, or no file at all.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import sqlite3
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch

from cellsearch import tasks
from cellsearch.executors.in_process import InProcess
from cellsearch.export.weights import save_weights
from cellsearch.genome.graph import Genome
from cellsearch.search import Search
from cellsearch.store.seals import reseal
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment

__all__ = ["make", "weights_that_run"]

_TEXTS = Path(__file__).with_name("corpus")


class _Runs:
    """Unpickled, it would run a command."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch made",)


def make(folder: Path) -> None:
    """Put the corpus into this folder, which is empty."""
    shutil.copytree(_TEXTS, folder, dirs_exist_ok=True)
    _texts(folder)
    _arrays(folder)
    _weights(folder)
    _runs(folder)
    _sound(folder)
    for name in ("pipe.cell", "pipe.npz", "pipe.pt", "pipe.safetensors", "pipe.toml", "pipe.txt"):
        os.mkfifo(folder / name)
    for end in ("cell", "json", "toml", "npz", "pt", "safetensors", "txt"):
        (folder / f"empty.{end}").touch()
        (folder / f"folder.{end}").mkdir()
        (folder / f"link.{end}").symlink_to(folder / "nothing")
        (folder / f"loop.{end}").symlink_to(folder / f"loop.{end}")
        (folder / f"noise.{end}").write_bytes(np.random.default_rng(0).bytes(4096))


def _sound(folder: Path) -> None:
    """One of each kind that is as it should be; ``run`` is the sound run."""
    (folder / "sound.cell").write_text("h[t] = tanh(linear(x[t], h[t-1]))")
    genome = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))")
    (folder / "sound.json").write_text(genome.to_json())
    (folder / "sound.toml").write_text(small_experiment(trials=2).to_toml())
    (folder / "sound.txt").write_text("So many words that a model has something to read. " * 200)
    x = np.random.default_rng(0).normal(size=(40, 5, 2))
    tasks.arrays.save(tasks.from_arrays(x, x[:, 0, 0], kind="regression"), folder / "sound.npz")
    for end in ("pt", "safetensors"):
        save_weights({"w": torch.ones(3)}, folder / f"sound.{end}")


def _texts(folder: Path) -> None:
    deep = 20_000
    texts = {
        "deep.cell": "h[t] = " + "tanh(" * deep + "x[t]" + ")" * deep,
        "long_name.cell": "a" * 100_000 + "[t] = tanh(x[t])",
        "long_number.cell": "h[t] = x[t] * " + "9" * 100_000,
        "powers.cell": "h[t] = x[t] * 9**9**9**9",
        "many.cell": "h[t] = " + " + ".join(["x[t]"] * 50_000),
        "large.cell": "#" * 5_000_000,
        "deep.json": "[" * 100_000,
        "deep_objects.json": '{"a":' * 100_000,
        "long_number.json": '{"format": ' + "1" * 100_000 + "}",
        "deep.toml": "a = " + "[" * 50_000,
        "deep_tables.toml": "[" + ".".join(["a"] * 20_000) + "]\n",
        "long_number.toml": "trials = " + "9" * 100_000,
        "many_keys.toml": "".join(f"k{n} = {n}\n" for n in range(20_000)),
        "deep.txt": "(" * 100_000,
        "long_number.txt": "9" * 100_000,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")


def _npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def _arrays(folder: Path) -> None:
    def packed(name: str, **members: bytes) -> None:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member, data in members.items():
                archive.writestr(f"{member}.npy", data)

    objects = io.BytesIO()
    np.lib.format.write_array(objects, np.array([_Runs()], dtype=object), allow_pickle=True)
    packed("objects.npz", x=objects.getvalue(), y=objects.getvalue())
    shape = "{'descr': '%s', 'fortran_order': False, 'shape': %s}"
    packed("huge.npz", x=_npy(shape % ("<f8", "(10**6, 10**6)")))
    packed("huge_shape.npz", x=_npy(shape % ("<f8", "(1000000000000,)")))
    packed("negative.npz", x=_npy(shape % ("<f8", "(-1,)"), bytes(8)))
    packed("call.npz", x=_npy("__import__('os').system('touch made')"))
    packed("deep_header.npz", x=_npy("(" * 5000))
    packed("odd_type.npz", x=_npy(shape % ("|O", "(1,)"), pickle.dumps([_Runs()])))
    packed("records.npz", x=_npy(shape % ("|V9", "(1,)"), bytes(9)))
    packed("version.npz", x=_npy(shape % ("<f8", "(1,)"), bytes(8), b"\x09\x00"))
    packed("names.npz", **{"../../made": _npy(shape % ("<f8", "(1,)"), bytes(8))})
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(20_000_000))
    (folder / "bomb.npz").write_bytes(bomb.getvalue())


def weights_that_run() -> bytes:
    """A file of torch whose pickle would run a command."""
    buffer = io.BytesIO()
    torch.save({"l0.w": torch.zeros(2), "run": _Runs()}, buffer)
    return buffer.getvalue()


def _weights(folder: Path) -> None:
    (folder / "runs.pt").write_bytes(weights_that_run())
    (folder / "plain_pickle.pt").write_bytes(pickle.dumps(_Runs()))
    torch.save([1, 2], folder / "list.pt")

    def header(name: str, size: int, text: str, data: bytes = b"") -> None:
        content = struct.pack("<Q", size) + text.encode() + data
        (folder / name).write_bytes(content)

    tensor = '{"w": {"dtype": "F32", "shape": [%s], "data_offsets": [0, %d]}}'
    for name, text in {
        "beyond": tensor % ("1000000000000", 4_000_000_000_000),
        "negative": tensor % ("-1", 4),
        "overlap": '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        '"b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        "type": '{"w": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 4]}}',
        "deep": "[" * 100_000,
        "described": '{"__metadata__": {"cellsearch": "[[[["}}',
        "odd_description": '{"__metadata__": {"cellsearch": "{\\"format\\": 1e999}"}}',
        "list_description": '{"__metadata__": []}',
    }.items():
        header(f"{name}.safetensors", len(text), text, bytes(4))
    header("false_size.safetensors", 2**63, "{}")
    header("negative_size.safetensors", 2**64 - 1, "{}")


def _runs(folder: Path) -> None:
    plain = folder / "run"
    with (
        Search.open(plain, small_experiment(trials=3)) as search,
        InProcess(evaluation=EVALUATION) as executor,
    ):
        search.run(executor, arrays={})
    for name, change in {
        "texts": "UPDATE trials SET origin = char(27) || '[2J' || char(8238)",
        "genomes": "UPDATE trials SET genome = '" + "[" * 10_000 + "'",
        "numbers": "UPDATE rungs SET score = 9e999, steps = -1, granted = 9000000000000000000",
        "checkpoints": "UPDATE rungs SET checkpoint = '../../../../etc/passwd'",
        "experiment": "UPDATE run SET value = 'task = [' WHERE name = 'experiment'",
        "nobody": "UPDATE decisions SET trial = 999 WHERE position = 2",
        "environments": "UPDATE environments SET fingerprint = '[[[['",
    }.items():
        here = Path(shutil.copytree(plain, folder / f"run_{name}"))
        connection = sqlite3.connect(here / "store.sqlite", isolation_level=None)
        connection.execute(change)
        reseal(connection, "")
        connection.close()
    links = Path(shutil.copytree(plain, folder / "run_links"))
    for name in ("best.cell", "report.html", "experiment.toml"):
        (links / name).unlink(missing_ok=True)
        (links / name).symlink_to("/etc/passwd")
    pipes = Path(shutil.copytree(plain, folder / "run_pipes"))
    for name in ("best.cell", "finals.json", "finals.partial.json", "lock"):
        (pipes / name).unlink(missing_ok=True)
        os.mkfifo(pipes / name)
    finals = Path(shutil.copytree(plain, folder / "run_finals"))
    (finals / "finals.json").write_text("[" * 100_000)
    (finals / "finals.partial.json").write_text(json.dumps({"rows": [{}], "plan": 5}))
