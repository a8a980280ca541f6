"""Weights as files."""

import pickle

import pytest
import torch

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
