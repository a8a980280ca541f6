"""benchmarks/like_lstm.py: each of its checks holds for the compiled layer, the exported source and
the package; and it sees what is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.scripts import benchmark
from torch import nn

from cellsearch.errors import BackendError

REFUSED = {
    "wrong: dtype, packed",
    "wrong: hx dtype",
    "wrong: dropout of 2",
    "wrong: dropout of -1",
    "wrong: dropout is a text",
    "wrong: hidden_size 0",
    "wrong: input_size -1",
    "wrong: num_layers 0",
    "bias=False",
    "proj_size=2",
    "proj_size of H",
    "jacobian, vectorize=True",
    "double backward",
    "autograd.functional.hessian",
    "jit.script",
}
"""The only checks that end with a sentence of ours where the backend is left to us."""
SLOW = ("torch.compile", "torch.export", "module.compile()", "make_fx")
"""How the names of checks start that take seconds; tests/compiler/test_like_lstm.py has their kinds
in the default suite.
"""

SCRIPT = benchmark("like_lstm")


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("like_lstm")
    exported = SCRIPT.write_package(folder)
    yield {form: SCRIPT.maker(form, exported) for form in ("nn.LSTM", *SCRIPT.FORMS)}
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == SCRIPT.PACKAGE]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith(SLOW) else [])
        for name in SCRIPT.CHECKS
    ],
)
def test_every_form_does_what_an_lstm_does(makers: dict[str, Any], name: str) -> None:
    cells = SCRIPT.row(SCRIPT.CHECKS[name], makers)
    for form, (word, got) in cells.items():
        assert word != "FAIL", (form, got, cells["nn.LSTM"][1])
        if form in ("auto", "reference", "source", "package"):
            assert word != "sentence" or name in REFUSED, (form, got)


class Wrong(nn.LSTM):
    """An LSTM whose output is not one."""

    def forward(self, *given: Any) -> Any:
        output, states = super().forward(*given)
        return output * 1.01, states


def test_it_sees_what_is_wrong() -> None:
    call = SCRIPT.CHECKS["call"]
    expected = SCRIPT.outcome(call, SCRIPT.maker("nn.LSTM", None))
    torch.manual_seed(0)
    assert SCRIPT.verdict(SCRIPT.outcome(call, lambda: Wrong(3, 4, 2)), expected) == "FAIL"
    assert SCRIPT.verdict(RuntimeError("unsupported scalarType"), expected) == "FAIL"
    assert SCRIPT.verdict(ValueError("x"), TypeError("x")) == "FAIL"
    assert SCRIPT.verdict(expected, TypeError("x")) == "more"
    assert SCRIPT.verdict(BackendError("no", hint="take another"), expected) == "sentence"
