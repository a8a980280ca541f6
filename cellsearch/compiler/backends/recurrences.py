"""Affine recurrences over time, in parallel: all states of ``s_t = M_t s_{t-1} + b_t``.

Composition of affine maps is associative: log2(T) rounds combine ever longer runs (Hillis & Steele
1986; Blelloch 1990, section 1.4). ``M`` is a diagonal, or acts on pairs of neighbouring units,
``M s = scale * s + turned * turn(s)`` with ``turn(s)_(2j, 2j+1) = (-s_2j+1, s_2j)``. Where both are
equal within each pair that is the product with the complex number ``scale + i turned``. Both kinds
are closed under composition.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellsearch.compiler.backends.functions import turn

__all__ = ["affine_scan", "exchanged", "rotating_scan"]

_FIRST_ONLY = "the scan backend computes first derivatives only; use backend='reference'"


def _combine(a: Tensor, b: Tensor, *, cuts: bool) -> Tensor:
    """``s_t`` for all t of ``s_t = a_t s_{t-1} + b_t`` from ``s_{-1} = 0``; a and b ``[T, ...]``.
    ``cuts``: where a_t is 0, s_t is b_t whatever stands before, NaN too.
    """
    a, b = a.clone(), b.clone()
    distance = 1
    while distance < len(b):
        joined = torch.addcmul(b[distance:], a[distance:], b[:-distance])
        joined = torch.where(a[distance:] == 0, b[distance:], joined) if cuts else joined
        b = torch.cat([b[:distance], joined])
        a = torch.cat([a[:distance], a[distance:] * a[:-distance]])
        distance *= 2
    return b


class _AffineScan(torch.autograd.Function):
    """Backward is the same scan from the end: ``db_t = g_t + a_{t+1} db_{t+1}``, ``da_t = db_t
    s_{t-1}``.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor, cuts: bool) -> Tensor:
        first = torch.addcmul(b[:1], a[:1], start[None])
        first = torch.where(a[:1] == 0, b[:1], first) if cuts else first
        states = _combine(a, torch.cat([first, b[1:]]), cuts=cuts)
        ctx.save_for_backward(a, states, start)
        ctx.cuts = cuts
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(_FIRST_ONLY)
        a, states, start = ctx.saved_tensors
        following = torch.cat([a[1:], a.new_zeros(1, *a.shape[1:])])
        d_b = _combine(following.flip(0), gradient.flip(0), cuts=ctx.cuts).flip(0)
        before = torch.cat([start[None], states[:-1]])
        return d_b * before, d_b, a[0] * d_b[0], None


def affine_scan(a: Tensor, b: Tensor, start: Tensor, *, cuts: bool = False) -> Tensor:
    """All states of ``s_t = a_t * s_{t-1} + b_t`` with ``s_{-1} = start``: a, b ``[T, B, H]``,
    start ``[B, H]`` -> ``[T, B, H]``. ``cuts``: where ``a_t`` is 0, what is not finite before does
    not matter.
    """
    states: Tensor = _AffineScan.apply(a, b, start, cuts)  # type: ignore[no-untyped-call]
    return states


# -- pairs of units --------------------------------------------------------------------------------

_Map = tuple[Tensor, Tensor]
"""Scale and turned of a map, ``[..., H]`` each."""


def exchanged(a: Tensor) -> Tensor:
    """The two units of each pair exchanged; a number for all units (width 1) stays."""
    if a.shape[-1] == 1:
        return a
    return torch.stack([a[..., 1::2], a[..., 0::2]], -1).flatten(-2)


def _after(one: _Map, other: _Map) -> _Map:
    """The map that applies ``other`` first."""
    (a, u), (b, v) = one, other
    return a * b - u * exchanged(v), a * v + u * exchanged(b)


def _transposed(one: _Map) -> _Map:
    return one[0], -exchanged(one[1])


def _moved(maps: _Map, b: Tensor, before: Tensor, *, cuts: bool) -> Tensor:
    """``M before + b``; ``cuts``: where M is 0 it is b."""
    scale, turned = maps
    found = torch.addcmul(torch.addcmul(b, scale, before), turned, turn(before))
    return torch.where((scale == 0) & (turned == 0), b, found) if cuts else found


def _combine_pairs(maps: _Map, b: Tensor, *, cuts: bool) -> Tensor:
    """As :func:`_combine`, for maps of pairs."""
    (scale, turned), b, distance = maps, b.clone(), 1
    while distance < len(b):
        late = (scale[distance:], turned[distance:])
        joined = _moved(late, b[distance:], b[:-distance], cuts=cuts)
        b = torch.cat([b[:distance], joined])
        both = _after(late, (scale[:-distance], turned[:-distance]))
        scale = torch.cat([scale[:distance], both[0]])
        turned = torch.cat([turned[:distance], both[1]])
        distance *= 2
    return b


class _RotatingScan(torch.autograd.Function):
    """Backward is the scan of the transposed maps from the end."""

    @staticmethod
    def forward(
        ctx: Any, scale: Tensor, turned: Tensor, b: Tensor, start: Tensor, cuts: bool
    ) -> Tensor:
        first = _moved((scale[:1], turned[:1]), b[:1], start[None], cuts=cuts)
        states = _combine_pairs((scale, turned), torch.cat([first, b[1:]]), cuts=cuts)
        ctx.save_for_backward(scale, turned, states, start)
        ctx.cuts = cuts
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        if torch.is_grad_enabled():
            raise RuntimeError(_FIRST_ONLY)
        scale, turned, states, start = ctx.saved_tensors
        none = scale.new_zeros(1, *scale.shape[1:])
        along, across = _transposed((scale, turned))
        following = (
            torch.cat([along[1:], none]).flip(0),
            torch.cat([across[1:], none]).flip(0),
        )
        d_b = _combine_pairs(following, gradient.flip(0), cuts=ctx.cuts).flip(0)
        before = torch.cat([start[None], states[:-1]])
        first = (along[0], across[0])
        d_start = _moved(first, torch.zeros_like(start), d_b[0], cuts=ctx.cuts)
        return d_b * before, d_b * turn(before), d_b, d_start, None


def rotating_scan(
    scale: Tensor, turned: Tensor, b: Tensor, start: Tensor, *, cuts: bool = False
) -> Tensor:
    """All states of ``s_t = scale_t * s_{t-1} + turned_t * turn(s_{t-1}) + b_t``: all ``[T, B,
    H]``, start ``[B, H]`` -> ``[T, B, H]``; H is even. ``cuts`` as of :func:`affine_scan`.
    """
    states: Tensor = _RotatingScan.apply(scale, turned, b, start, cuts)  # type: ignore[no-untyped-call]
    return states
