"""Checkpoint files: what is written comes back, what is damaged is refused, nothing is executed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cellsearch.errors import CheckpointError, EnvironmentFailure
from cellsearch.training import checkpoint

TENSORS = {
    "model.cell.l0.i.weight_x": torch.arange(6.0).view(2, 3),
    "model.cell.l0.n.scale": torch.tensor(0.5),
    "best.cell.l0.i.weight_x": torch.ones(2, 3),
    "optimizer.step.cell.l0.i.weight_x": torch.tensor(3.0, dtype=torch.float64),
    "rng": torch.arange(5, dtype=torch.uint8),
}
META = {"identity": {"task": "char_lm"}, "progress": {"step": 3, "curve": [[1, 2.5]]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "folder" / "0.safetensors"
    checkpoint.write(target, TENSORS, META)
    return target


def test_what_is_written_comes_back(path: Path) -> None:
    stored = checkpoint.read(path)
    assert stored.meta == META
    assert stored.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert stored.tensors[name].dtype == tensor.dtype
        assert torch.equal(stored.tensors[name], tensor)
    assert list(stored.weights()) == ["cell.l0.i.weight_x"]
    assert torch.equal(stored.cell_weights()["l0.i.weight_x"], torch.ones(2, 3))


def test_it_is_an_ordinary_safetensors_file(path: Path) -> None:
    assert load_file(path).keys() == TENSORS.keys()
    assert list(path.parent.iterdir()) == [path]


def test_the_present_weights_are_the_best_if_no_others_are_there(tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "a", {"model.cell.l0.i.bias": torch.zeros(2)}, {})
    assert list(checkpoint.read(tmp_path / "a").cell_weights()) == ["l0.i.bias"]


def test_every_damaged_byte_is_found(path: Path) -> None:
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(16), *rng.integers(16, len(whole), 300)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            stored = checkpoint.read(path)
        except CheckpointError:
            continue
        # Only blanks between the parts of the header may change without a consequence.
        assert stored.meta == META
        assert all(torch.equal(stored.tensors[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="not a checkpoint of cellsearch"):
        checkpoint.read(tmp_path / "foreign")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError):
        checkpoint.read(tmp_path / "pickle")
    (tmp_path / "text").write_text("hello " * 100)
    with pytest.raises(CheckpointError):
        checkpoint.read(tmp_path / "text")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.read(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.read(tmp_path)
    deep = ("[" * 100_000).encode()
    (tmp_path / "deep").write_bytes(len(deep).to_bytes(8, "little") + deep)
    with pytest.raises(CheckpointError):
        checkpoint.read(tmp_path / "deep")


def test_a_newer_format_is_refused(path: Path) -> None:
    entry = json.dumps({"format": 2, "digest": "", "meta": "{}"})
    save_file({"a": torch.zeros(2)}, path, metadata={"cellsearch": entry})
    with pytest.raises(CheckpointError, match="format 2, this version reads 1"):
        checkpoint.read(path)


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match="cannot be written"):
        checkpoint.write(tmp_path / "file" / "checkpoint", TENSORS, META)


def test_a_file_is_replaced_as_a_whole(path: Path) -> None:
    checkpoint.write(path, {"model.a": torch.ones(1)}, {"second": True})
    assert checkpoint.read(path).meta == {"second": True}
    assert list(path.parent.iterdir()) == [path]
