"""Weights as files: a state dict that ``torch.load(weights_only=True)`` reads, or safetensors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from cellsearch.compiler.weights import live_parameters
from cellsearch.errors import CheckpointError, ConfigError, checked_arguments
from cellsearch.export.expressions import is_dense
from cellsearch.export.source import Precision
from cellsearch.genome.graph import Genome

__all__ = ["in_precision", "load_weights", "save_weights"]

_CHECKSUM = "sha256"


@checked_arguments
def in_precision(
    genome: Genome, weights: Mapping[str, Tensor], precision: Precision
) -> dict[str, Tensor]:
    """The state dict of a compiled cell as that of the class that
    :func:`cellsearch.export.source.to_source` writes for ``precision``.

    ``"int8"``: each dense weight ``n`` becomes ``n.integers`` (int8, nearest) and ``n.scale``, one
    a row, so that the largest absolute value of a row is 127 (symmetric quantisation a channel,
    Krishnamoorthi 2018, arXiv 1806.08342, sections 2.2 and 3). Raises :class:`ConfigError` for
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
            whole = weight.detach().float()
            scale = (whole.abs().amax(1) / 127).clamp_min(
                torch.finfo(torch.float32).tiny
            )  # no division by 0 in a row of zeros
            reduced[f"{name}.integers"] = (whole / scale[:, None]).round().to(torch.int8)
            reduced[f"{name}.scale"] = scale
        else:
            reduced[name] = weight.detach().float()
    return reduced


@checked_arguments
def save_weights(weights: Mapping[str, Tensor], path: Path | str) -> None:
    """Write a state dict: ``.safetensors`` with a SHA-256 of its contents beside it
    (``<name>.sha256``), ``.pt`` or ``.pth`` for torch.

    The file appears whole or not at all. Raises :class:`ConfigError` for another suffix.
    """
    path = Path(path)
    tensors = {name: tensor.detach().to("cpu").contiguous() for name, tensor in weights.items()}
    if path.suffix == ".safetensors":
        data = save_safetensors(tensors, metadata={"format": "pt"})
        _replace(path, data)
        _replace(
            path.with_name(f"{path.name}.{_CHECKSUM}"),
            f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode(),
        )
    elif path.suffix in (".pt", ".pth"):
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        torch.save(tensors, temporary)
        temporary.replace(path)
    else:
        raise ConfigError(
            f"{path.name}: weights are written as .pt, .pth or .safetensors",
            hint=f"for example {path.stem}.safetensors",
        )


@checked_arguments
def load_weights(path: Path | str) -> dict[str, Tensor]:
    """Read what :func:`save_weights` wrote, on the CPU; a checksum beside the file is checked.
    Nothing in the file is executed.

    Raises :class:`CheckpointError` for a file that is damaged or holds anything but tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            data = path.read_bytes()
            _check(path, data)
            loaded = load_safetensors(data)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
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


def _check(path: Path, data: bytes) -> None:
    beside = path.with_name(f"{path.name}.{_CHECKSUM}")
    if (
        beside.exists()
        and beside.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
        != hashlib.sha256(data).hexdigest()
    ):
        raise CheckpointError(
            f"the checksum in {beside.name} is another one",
            where=str(path),
            hint="the file is damaged: export it again",
        )


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
