"""Which backend runs a program: the one that was asked for, or the first that can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from cellsearch.compiler import backends
from cellsearch.compiler.backends.base import Kernel, Support
from cellsearch.compiler.program import Program
from cellsearch.errors import BackendError

__all__ = ["Choice", "choose", "support_of"]


@dataclass(frozen=True)
class Choice:
    """The kernel for one device and dtype."""

    program: Program
    kernel: Kernel
    report: Mapping[str, str]
    """For each backend ``"taken"``, or why it was not."""


def choose(backend: str, program: Program, device: torch.device, dtype: torch.dtype) -> Choice:
    """``backend``: a name, or ``"auto"`` for the first that supports the program. Raises
    :class:`BackendError` if the one that was asked for does not, :class:`ConfigError` if there is
    none of that name.
    """
    if backend != "auto":
        support = support_of(backend, program, device, dtype)
        if not support.ok:
            raise BackendError(
                f"the backend {backend} cannot run this cell on {device} in {dtype}: "
                f"{support.reason}",
                hint='backend="auto" takes one that can',
            )
        others = dict.fromkeys(backends.names(), f"not asked for (backend={backend!r})")
        return Choice(program, _built(backend, program), {**others, backend: "taken"})
    report: dict[str, str] = {}
    taken = ""
    for name in backends.names():
        if taken:
            report[name] = f"not needed, {taken} comes first"
            continue
        support = support_of(name, program, device, dtype)
        report[name] = "taken" if support.ok else support.reason
        taken = name if support.ok else ""
    return Choice(program, _built(taken, program), report)


def support_of(backend: str, program: Program, device: torch.device, dtype: torch.dtype) -> Support:
    """Whether a backend runs a program, and why not."""
    asked = backends.get(backend)
    more = [name.partition(":")[0] for name, _ in program.inputs[1:]]
    if more and not asked.more_inputs:
        return Support(False, f"it takes x alone, not {' and '.join(dict.fromkeys(more))}")
    if program.precision not in asked.precisions:
        return Support(False, f"it does not compute products in {program.precision}")
    return asked.supports(program, device, dtype)


def _built(backend: str, program: Program) -> Kernel:
    kernel = backends.get(backend).build(program)
    if not isinstance(kernel, Kernel):
        raise TypeError(
            f"the backend {backend} built a {type(kernel).__name__}, which is not a "
            "cellsearch.compiler.backends.Kernel: derive its class from that one"
        )
    return kernel
