"""The two ways in which a segment of the native runtime meets torch's autograd."""

from __future__ import annotations

import pytest

from cellsearch.compiler.backends.native import backend, node, node_build
from cellsearch.compiler.backends.native.build import is_as_built
from cellsearch.errors import EnvironmentFailure

__all__ = ["WAYS", "take"]

WAYS = ("by Python", "by the node")


def take(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels made from here on go this way; the node is built first if it is not there."""
    if way == WAYS[0]:
        monkeypatch.setattr(backend, "node", lambda: None)
        return
    try:
        target = node._target()
    except EnvironmentFailure as error:
        pytest.skip(f"the node cannot be built here: {error}")
    if not is_as_built(target.path):
        node_build.build(target)
    loaded = node.node()
    assert loaded is not None, node.state()
    monkeypatch.setattr(backend, "node", lambda: loaded)
