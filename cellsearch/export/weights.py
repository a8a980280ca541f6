"""Weights as files: a state dict that ``torch.load(weights_only=True)`` reads, or safetensors."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from cellsearch.compiler.weights import live_parameters, rows_as_int8
from cellsearch.errors import CheckpointError, ConfigError, checked_arguments
from cellsearch.export.expressions import is_dense
from cellsearch.export.source import Precision
from cellsearch.files import read_plain, write_atomically
from cellsearch.genome.graph import Genome

__all__ = ["in_precision", "load_weights", "packed", "save_weights"]

_CHECKSUM = "sha256"


@checked_arguments
def in_precision(
    genome: Genome, weights: Mapping[str, Tensor], precision: Precision
) -> dict[str, Tensor]:
    """The state dict of a compiled cell as that of the class that
    :func:`cellsearch.export.source.to_source` writes for ``precision``.

    ``"int8"``: each dense weight ``n`` becomes ``n.integers`` (int8, nearest) and ``n.scale``, one
    a row, see :func:`cellsearch.compiler.weights.rows_as_int8`. Raises :class:`ConfigError` for
    weights that are not finite, or beyond the range of the precision.
    """
    dense = {spec.name for spec in live_parameters(genome) if is_dense(spec)}
    reduced: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if not bool(weight.isfinite().all()):
            raise ConfigError(
                f"the weight {name} is not finite", hint="export it with --precision float32"
            )
        if precision != "int8":
            reduced[name] = weight.detach().to(getattr(torch, precision))
            if not bool(reduced[name].isfinite().all()):
                raise ConfigError(
                    f"the weight {name} is beyond the range of {precision}",
                    hint="use bfloat16, or int8",
                )
        elif name.partition(".")[2] in dense:
            reduced[f"{name}.integers"], reduced[f"{name}.scale"] = rows_as_int8(weight)
        else:
            reduced[name] = weight.detach().float()
    return reduced


@checked_arguments
def save_weights(weights: Mapping[str, Tensor], path: Path | str) -> None:
    """Write a state dict: ``.safetensors`` with a SHA-256 of its contents beside it
    (``<name>.sha256``), ``.pt`` or ``.pth`` for torch. Each holds a digest that
    :func:`load_weights` checks.

    The file appears whole or not at all. Raises :class:`ConfigError` for another suffix,
    :class:`EnvironmentFailure` if the place cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise ConfigError(
            f"{path.name}: weights are written as .pt, .pth or .safetensors",
            hint=f"for example {path.stem}.safetensors",
        )
    data = packed(weights, path.suffix)
    write_atomically(path, data, what="file of weights")
    if path.suffix == ".safetensors":
        line = f"{hashlib.sha256(data).hexdigest()}  {path.name}\n"
        write_atomically(path.with_name(f"{path.name}.{_CHECKSUM}"), line, what="checksum")


def packed(weights: Mapping[str, Tensor], suffix: str) -> bytes:
    """A state dict as bytes, with a digest: safetensors, or what ``torch.load(...,
    weights_only=True)`` reads.
    """
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in weights.items()}
    if suffix == ".safetensors":
        described = {"format": "pt", _CHECKSUM: _digest(tensors)}
        return bytes(save_safetensors(tensors, metadata=described))
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return _with_comment(buffer.getvalue())


@checked_arguments
def load_weights(path: Path | str) -> dict[str, Tensor]:
    """Read what :func:`save_weights` wrote, on the CPU; its digest, and a checksum beside it, are
    checked where they are there (files of version 0.1 have none). Nothing in the file is executed.

    Raises :class:`CheckpointError` for a file that is damaged or holds anything but tensors.
    """
    path = Path(path)
    try:
        data = read_plain(path)
        if path.suffix == ".safetensors":
            _check_beside(path, data)
            loaded = load_safetensors(data)
            _check(path, _described(data), _digest(loaded))
        else:
            _check(path, *_comment(data))
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"cannot be read: {type(error).__name__}: {str(error)[:200]}", where=str(path)
        ) from error
    if not isinstance(loaded, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()
    ):
        raise CheckpointError("does not hold named tensors", where=str(path))
    return dict(loaded)


def _check_beside(path: Path, data: bytes) -> None:
    beside = path.with_name(f"{path.name}.{_CHECKSUM}")
    if beside.exists():
        text = read_plain(beside).decode("utf-8", errors="replace")
        _check(path, text.partition(" ")[0], hashlib.sha256(data).hexdigest(), beside.name)


def _check(path: Path, wanted: str | None, found: str, place: str = "the file") -> None:
    if wanted is not None and wanted != found:
        raise CheckpointError(
            f"the checksum in {place} is another one",
            where=str(path),
            hint="the file is damaged: export it again",
        )


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and values."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _described(data: bytes) -> str | None:
    """The digest in a safetensors file, which its reader has found well formed."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    described: dict[str, str] = header.get("__metadata__", {})
    return described.get(_CHECKSUM)


# What torch.save writes is a ZIP archive. It ends with a record of 22 bytes, the last two of which
# hold the length of a comment that may follow (PKWARE APPNOTE, section 4.3.16).
_END, _END_SIZE = b"PK\x05\x06", 22
_MARK = f"cellsearch {_CHECKSUM} ".encode()


def _with_comment(archive: bytes) -> bytes:
    """The archive with the digest of all before as its comment."""
    size = len(_MARK) + 2 * hashlib.sha256().digest_size
    begun = archive[:-2] + size.to_bytes(2, "little")
    return begun + _MARK + hashlib.sha256(begun).hexdigest().encode()


def _comment(data: bytes) -> tuple[str | None, str]:
    """The digest that an archive of torch has, and the one that it should have; no digest for a
    file that ends without a comment, as others write it.
    """
    size = len(_MARK) + 2 * hashlib.sha256().digest_size
    found = hashlib.sha256(data[:-size]).hexdigest()
    if data[-size:].startswith(_MARK):
        return data[-size + len(_MARK) :].decode("ascii", "replace"), found
    ends = data[-_END_SIZE:].startswith(_END) and data.endswith(b"\0\0")
    return (None if ends or not data.startswith(b"PK") else "", found)
