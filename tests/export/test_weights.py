"""Weights as files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cellsearch import zoo
from cellsearch.compiler import compile_cell
from cellsearch.errors import CheckpointError, ConfigError
from cellsearch.export import load_weights, save_weights


@pytest.fixture
def weights():
    return compile_cell(zoo.load("lstm"), input_size=3, hidden_size=4).state_dict()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_round_trip(weights, suffix, tmp_path):
    path = tmp_path / f"cell{suffix}"
    save_weights(weights, path)
    loaded = load_weights(path)
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name] + (
        [f"{path.name}.sha256"] if suffix == ".safetensors" else []
    )


def test_torch_reads_it_without_unpickling_code(weights, tmp_path):
    save_weights(weights, tmp_path / "cell.pt")
    assert torch.load(tmp_path / "cell.pt", weights_only=True).keys() == weights.keys()


def test_other_suffixes_are_refused(weights, tmp_path):
    with pytest.raises(ConfigError, match="written as"):
        save_weights(weights, tmp_path / "cell.pkl")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damage_is_found(weights, suffix, tmp_path):
    path = tmp_path / f"cell{suffix}"
    save_weights(weights, path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="cell"):
        load_weights(path)


def test_every_flipped_bit_of_safetensors_is_found(weights, tmp_path):
    path = tmp_path / "cell.safetensors"
    save_weights(weights, path)
    data = path.read_bytes()
    for place in range(0, len(data), 37):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(CheckpointError):
            load_weights(path)


def damaged(data: bytes, draw: np.random.Generator) -> bytes:
    """The bytes with one bit turned, a piece gone, or a piece of zeros, at random."""
    at, length = int(draw.integers(len(data))), int(draw.integers(1, 200))
    kind = draw.integers(4)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes(len(data[at : at + length])) + data[at + length :]
    return data[:at] + bytes([data[at] ^ 1 << int(draw.integers(8))]) + data[at + 1 :]


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_damaged_files_are_refused_or_hold_the_same(weights, suffix, tmp_path):
    path = tmp_path / f"cell{suffix}"
    save_weights(weights, path)
    (tmp_path / f"{path.name}.sha256").unlink(missing_ok=True)
    data, draw, found = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(1000):
        path.write_bytes(damaged(data, draw))
        try:
            loaded = load_weights(path)
        except CheckpointError:
            found += 1
        else:
            assert loaded.keys() == weights.keys()
            assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    assert found > 900


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_others_wrote_has_no_digest_and_is_read(weights, suffix, tmp_path):
    path = tmp_path / f"cell{suffix}"
    if suffix == ".pt":
        torch.save(weights, path)
    else:
        save_file(weights, path)
    assert load_weights(path).keys() == weights.keys()
    exported = Path(__file__).parents[1] / "data" / "v0_1" / "exported"
    assert load_weights(exported / "state_dict.pt")


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_file_is_not_executed(tmp_path, capsys):
    path = tmp_path / "cell.pt"
    torch.save({"a": Evil()}, path)
    with pytest.raises(CheckpointError):
        load_weights(path)
    path.write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(CheckpointError):
        load_weights(path)
    torch.save({"a": 3}, path)
    with pytest.raises(CheckpointError, match="named tensors"):
        load_weights(path)
    assert "executed" not in capsys.readouterr().out
