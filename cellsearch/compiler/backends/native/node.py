"""A segment as one node of torch's autograd in C++ (``graph/segment.cpp``), which does what
:mod:`~cellsearch.compiler.backends.native.kernel` does in Python, with the same results, sooner.

A plan is handed over once, with all its tables; a call then consists of tensors. Errors are raised
here (:func:`_unusual`), so the two ways have the same words.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from threading import get_ident, main_thread

import torch
from torch import Tensor, nn

from cellsearch.compiler.backends.native import node_build
from cellsearch.compiler.backends.native.build import is_as_built
from cellsearch.compiler.backends.native.calls import (
    CHANGED,
    CREATES_GRAPH,
    EXCHANGED,
    Call,
)
from cellsearch.compiler.backends.native.codes import WITH_TOKENS
from cellsearch.compiler.backends.native.plan import Pool, Tables, refusal
from cellsearch.compiler.backends.native.sized import Sized, Tokens
from cellsearch.compiler.backends.transforms import refuse_gradients
from cellsearch.errors import EnvironmentFailure

__all__ = ["Handle", "NodeLibrary", "Segments", "node", "state"]

PLANS = 128
_PLAIN = frozenset((Tensor, nn.Parameter))
_modes = torch._C._len_torch_dispatch_stack
_MAIN = main_thread().ident
"""Python ends the other threads that come back from a call when the process ends, and if that call
was one of torch's, torch aborts the process. So theirs without gradients, which may be long, are
calls of the runtime; with gradients they are torch's either way.
"""


def _unusual(what: int, number: int) -> None:
    """Raise the error that the node stands before; ``what`` as ``Unusual`` there counts them."""
    if what == 0:
        raise refusal(number)
    if what == 1:
        raise RuntimeError(CREATES_GRAPH)
    if what == 2:
        refuse_gradients("native", "vmap")
    raise RuntimeError((CHANGED, EXCHANGED)[what - 3])


class Handle:
    """What the library has made; given back with this object."""

    def __init__(self, number: int, free: Callable[[int], None]) -> None:
        self.number = number
        weakref.finalize(self, free, number).atexit = False


class NodeLibrary:
    """The loaded library. Raises :class:`OSError` where it cannot be loaded."""

    def __init__(self, path: Path, name: str) -> None:
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
        found = getattr(torch.ops, name)
        self.segment = found.segment.default
        self.plan, self.free_plan = found.plan.default, found.free_plan.default
        self.pool, self.free_pool = found.pool.default, found.free_pool.default
        self._errors = torch.library.Library(name, "IMPL")  # type: ignore[no-untyped-call]
        self._errors.impl("unusual", _unusual, "CompositeImplicitAutograd")  # type: ignore[no-untyped-call]

    def segments(self, sized: Sized) -> Segments:
        """What runs the segments of one size."""
        return Segments(self, sized)


@cache
def _target() -> node_build.Target:
    return node_build.target(
        Path(torch.__file__).parent,
        f"{torch.__version__} {torch.version.git_version}",
        torch.compiled_with_cxx11_abi(),
    )


_loaded: dict[Path, NodeLibrary] = {}
_refused: dict[Path, str] = {}
_asked_for: set[Path] = set()


def node() -> NodeLibrary | None:
    """The library, if it is there; else its building begins, unless that has failed before. A
    process asks for it once: what stops a build without a word (no room, no memory) would stop
    the next, and every cell that is compiled comes here.
    """
    try:
        target = _target()
    except EnvironmentFailure:
        return None
    if target.path not in _loaded and target.path not in _refused:
        if is_as_built(target.path):
            try:
                _loaded[target.path] = NodeLibrary(target.path, target.name)
            except (OSError, RuntimeError, AttributeError) as error:
                _refused[target.path] = str(error)
        elif target.path not in _asked_for and not target.failure.exists():
            _asked_for.add(target.path)
            node_build.build_aside(target)
    return _loaded.get(target.path)


def state() -> tuple[bool, str]:
    """Whether segments run by the library, and which, or why not."""
    if node() is not None:
        return True, str(_target().path)
    try:
        target = _target()
    except EnvironmentFailure as error:
        return False, f"{error.message}" + (f" ({error.hint})" if error.hint else "")
    if target.path in _refused:
        return False, f"it cannot be loaded: {_refused[target.path].splitlines()[0]}"
    if target.failure.exists():
        said = target.failure.read_text(encoding="utf-8", errors="replace").splitlines()
        return False, f"it does not compile: {said[0] if said else 'no word why'}"
    return False, "it is being built, which takes some 15 seconds"


class Segments:
    """What the node knows of the plans of one size."""

    def __init__(self, node: NodeLibrary, sized: Sized) -> None:
        self.node = node
        self.pool = Handle(node.pool(Pool.KEPT), node.free_pool)  # memory as that of a kernel
        self.sized = sized
        self.handles: dict[tuple[str, int, int], Handle] = {}

    def run(
        self,
        x: Tensor,
        tensors: Sequence[Tensor],
        source: Tokens | None,
        *,
        training: bool,
    ) -> list[Tensor]:
        """Output and final states; nothing for what only Python takes: a batch of no sequences,
        tensors of another kind, those of a wrong size, which are refused there, and other threads
        without gradients.
        """
        words = None if source is None else source.tokens
        steps, rows = (x if words is None else words).shape[:2]
        if (
            not rows
            or _modes()
            or type(x) not in _PLAIN
            or not _PLAIN.issuperset(map(type, tensors))
        ):
            return []
        if not training and get_ident() != _MAIN:
            return []
        end = "" if words is None else WITH_TOKENS
        before = self.plan(("training" if training else "inference") + end, steps, rows)
        after = None
        if training:
            kind = "backward" if end or x.requires_grad else "backward without x"
            after = self.plan(kind + end, steps, rows)
        found: list[Tensor] = self.node.segment(
            self.pool.number,
            before.number,
            0 if after is None else after.number,
            x,
            tensors,
            words,
            Pool.poison,
        )
        return found

    def plan(self, kind: str, steps: int, rows: int) -> Handle:
        """A plan, which is made and handed over when it is first asked for. It lives as long as
        somebody has it, so that a thread may use one that another has just put away.
        """
        handle = self.handles.get((kind, steps, rows))
        if handle is None:
            if len(self.handles) >= PLANS:
                self.handles.clear()
            number = self._hand_over(self.sized.plan(kind, steps, rows, False), kind)
            handle = self.handles[kind, steps, rows] = Handle(number, self.node.free_plan)
        return handle

    def _hand_over(self, call: Call, kind: str) -> int:
        sized, plan, result = self.sized, call.plan, call.result
        tables = Tables(plan, call.area, call.place, call.copies, call.count)
        run = ctypes.cast(sized.library.call, ctypes.c_void_p).value
        folded = {name for name, _ in sized.folding or ()} if kind.endswith(WITH_TOKENS) else ()
        shift = result.parts[0] if result is not None and result.number else 0
        numbers = [call.count, call.scratch, call.saved, plan.lookup]
        numbers += [sized.states, len(sized.names), shift, plan.steps]
        found: int = self.node.plan(
            run,
            tables.call_address,
            numbers,
            call.sizes,
            [] if result is None else [*result.shape],
            [*map(int, call.zeroed or (False,) * len(sized.names))],
            [name in folded for name in sized.names],
        )
        return found
