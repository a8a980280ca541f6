"""Checkpoints: named tensors and a description in one safetensors file, with a checksum of our own.

The file can be read by anything that reads safetensors. Its metadata hold one entry,
``cellsearch``: a JSON object with ``format`` (1), ``digest`` (SHA-256 over names, types, shapes and
bytes of all tensors and over the description), and ``meta`` (the description). Nothing in the file
is ever executed. A file that is damaged in any byte is refused.

Names of tensors: ``model.*`` the weights as they are now, ``best.*`` those with the best validation
score (absent if they are the present ones), ``optimizer.*``, ``state.*`` (carried state), ``rng``
(generator state). The recurrent layer's weights are ``model.cell.l0.i.weight_x`` and so on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellsearch.errors import CheckpointError
from cellsearch.files import read_plain, write_atomically

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "read", "write"]

FORMAT = 1
LARGEST = 4 << 30
LARGEST_HEADER = 32 << 20
CELL_PREFIX = "cell."


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds."""

    tensors: Mapping[str, torch.Tensor]
    """By the names that the module tells of."""
    meta: Mapping[str, Any]
    """The description."""

    def group(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names start with ``prefix``, without it."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }

    def weights(self) -> dict[str, torch.Tensor]:
        """The model's weights at its best validation score."""
        return self.group("best.") or self.group("model.")

    def cell_weights(self) -> dict[str, torch.Tensor]:
        """The weights of the recurrent layer at the best validation score, under the names of
        ``compile_cell`` (``l0.i.weight_x``).
        """
        return {
            name.removeprefix(CELL_PREFIX): tensor
            for name, tensor in self.weights().items()
            if name.startswith(CELL_PREFIX)
        }


def write(path: str | Path, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint: completely, or not at all (a file of the same name is replaced in one
    step).

    Raises :class:`EnvironmentFailure` if the place cannot be written.
    """
    from safetensors.torch import save

    # Copies, because weights that two layers share may not share memory in a file.
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    description = json.dumps(dict(meta), sort_keys=True)
    entry = json.dumps(
        {"format": FORMAT, "digest": _digest(whole, description), "meta": description}
    )
    data = save(whole, metadata={"cellsearch": entry})
    write_atomically(Path(path), data, what="checkpoint")


def read(path: str | Path) -> Checkpoint:
    """Read and check a checkpoint. Raises :class:`CheckpointError` for a file that is missing,
    damaged, or of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    where = str(path)
    try:
        if os.path.getsize(path) > LARGEST:
            raise CheckpointError(f"the file is larger than {LARGEST >> 30} GiB", where=where)
        data = read_plain(path)
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint cannot be read: {error}", where=where, hint="train the cell again"
        ) from error
    entry = _entry(data, where)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(where, str(error)) from error
    if entry["digest"] != _digest(tensors, entry["meta"]):
        raise _damaged(where, "its checksum does not fit")
    return Checkpoint(tensors, json.loads(entry["meta"]))


def _entry(data: bytes, where: str) -> dict[str, str]:
    """Our entry in the metadata of a safetensors file: 8 bytes with the size of a JSON header, the
    header, the tensors.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(LARGEST_HEADER, len(data) - 8):
        raise _damaged(where, "it is cut off, or not a safetensors file")
    try:
        header = json.loads(data[8 : 8 + size])
        text = header["__metadata__"]["cellsearch"]
    except (ValueError, RecursionError) as error:
        raise _damaged(where, f"its header is not JSON ({error})") from error
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            "the file is not a checkpoint of cellsearch",
            where=where,
            hint="checkpoints are written by a search",
        ) from error
    try:
        entry = json.loads(text)
        version, digest, meta = entry["format"], entry["digest"], entry["meta"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _damaged(where, "its description cannot be read") from error
    if version != FORMAT:
        raise CheckpointError(
            f"the checkpoint has format {version!r}, this version reads {FORMAT}",
            where=where,
            hint="use a newer cellsearch",
        )
    if not isinstance(digest, str) or not isinstance(meta, str):
        raise _damaged(where, "its description cannot be read")
    return {"digest": digest, "meta": meta}


def _digest(tensors: Mapping[str, torch.Tensor], description: str) -> str:
    import torch

    sha = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _damaged(where: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint is damaged: {why}", where=where, hint="train the cell again"
    )
