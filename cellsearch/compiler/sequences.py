"""Sequences of different length: between torch's ``PackedSequence`` and what kernels take (padded,
longest first).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

__all__ = ["Packing", "reverse"]


@dataclass(frozen=True)
class Packing:
    """How the rows of a packed sequence lie in a padded one ``[T, B, ...]`` whose sequences are
    sorted by length, longest first.
    """

    packed: PackedSequence
    sizes: tuple[int, ...]
    """Sequences still running at each position."""
    rows: Tensor
    """For each packed row its row in ``[T * B]``."""

    @classmethod
    def of(cls, packed: PackedSequence) -> Packing:
        """The packing of this packed sequence."""
        device, sizes = packed.data.device, packed.batch_sizes
        running = torch.arange(int(sizes[0]), device="cpu")[None, :] < sizes[:, None]
        return cls(packed, tuple(sizes.tolist()), running.reshape(-1).nonzero()[:, 0].to(device))

    @property
    def lengths(self) -> Tensor:
        """Length of each sequence, longest first, ``[B]``, on the CPU."""
        sizes = torch.tensor(self.sizes, device="cpu")
        return (sizes[:, None] > torch.arange(self.sizes[0], device="cpu")[None, :]).sum(0)

    def pad(self, data: Tensor | None = None) -> Tensor:
        """The data, or others packed alike, as ``[T, B, ...]``, zero beyond the end of each
        sequence.
        """
        data = self.packed.data if data is None else data
        padded = data.new_zeros(len(self.sizes) * self.sizes[0], *data.shape[1:])
        return padded.index_copy(0, self.rows, data).view(
            len(self.sizes), self.sizes[0], *data.shape[1:]
        )

    def pack(self, padded: Tensor) -> PackedSequence:
        """``[T, B, ...]`` in the order of :meth:`pad` -> a packed sequence like the one this
        packing came from.
        """
        data = padded.flatten(0, 1).index_select(0, self.rows)
        return PackedSequence(
            data, self.packed.batch_sizes, self.packed.sorted_indices, self.packed.unsorted_indices
        )

    def sort(self, state: Tensor) -> Tensor:
        """A state ``[L, B, H]`` in the caller's order -> longest first."""
        return (
            state
            if self.packed.sorted_indices is None
            else state.index_select(1, self.packed.sorted_indices)
        )

    def unsort(self, state: Tensor) -> Tensor:
        """A state ``[L, B, H]``, longest first -> the caller's order."""
        return (
            state
            if self.packed.unsorted_indices is None
            else state.index_select(1, self.packed.unsorted_indices)
        )


def reverse(x: Tensor, packing: Packing | None) -> Tensor:
    """``[T, B, ...]`` with each sequence reversed in time; what lies beyond its end stays there."""
    if packing is None:
        return x.flip(0)
    steps, batch = x.shape[:2]
    position = torch.arange(steps, device="cpu")[:, None]
    column = torch.arange(batch, device="cpu")[None, :]
    mirrored = packing.lengths[None, :] - 1 - position
    source = torch.where(mirrored >= 0, mirrored, position) * batch + column
    return x.flatten(0, 1).index_select(0, source.reshape(-1).to(x.device)).view(x.shape)
