"""What the native backend can run."""

from __future__ import annotations

import torch

from cellsearch.compiler.backends.base import Backend, Kernel, Support
from cellsearch.compiler.backends.native.blocks import dense_form
from cellsearch.compiler.backends.native.build import library
from cellsearch.compiler.backends.native.instructions import missing_instruction
from cellsearch.compiler.backends.native.kernel import NativeKernel
from cellsearch.compiler.backends.native.node import node
from cellsearch.compiler.program import Program
from cellsearch.errors import BackendError

__all__ = ["Native"]


class Native(Backend):
    """The fastest backend on a CPU; see the folder."""

    name = "native"
    more_inputs = True
    precisions = ("float32", "bf16")

    def supports(self, program: Program, device: torch.device, dtype: torch.dtype) -> Support:
        """Programs of ops that the runtime has, in float32 on the CPU, where it can be built or was
        delivered.
        """
        if device.type != "cpu":
            return Support(False, f"it runs on the CPU, not on {device}")
        if dtype != torch.float32:
            return Support(False, f"it computes in float32, not in {dtype}")
        missing = missing_instruction(dense_form(program))
        if missing:
            return Support(False, missing)
        try:
            library()
        except BackendError as error:
            return Support(False, f"{error.message}" + (f" ({error.hint})" if error.hint else ""))
        return Support(True)

    def build(self, program: Program) -> Kernel:
        """The kernel of a program."""
        return NativeKernel(program, library(), node())
