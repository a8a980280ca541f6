"""benchmarks/like_lstm.py --cells: one cell for each part of the wider language stands where a
torch.nn.LSTM can, in each form; and a layer that does not is seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.scripts import benchmark
from torch import nn

CHECKED = (
    "call with hx",
    "batch_first",
    "bidirectional, hx",
    "unbatched, hx",
    "packed, unsorted, hx, bidirectional",
    "packed, batch_first",
    "empty batch",
    "T = 1",
    "wrong: width",
    "wrong: dtype float64",
    "wrong: hx width",
    "wrong: hx 3-D, unbatched",
    "wrong: unknown option",
    "proj_size=2",
    "nn.LSTM's order of positions, up to bias",
    ".double()",
    "autocast: packed, hx",
    "autocast: state carried on",
    "gradients: input, hx, weights",
    "gradients: packed",
    "torch.func.vmap over the input",
    "prune, then for good",
    "attributes",
    "all_weights",
    "pickle",
)
"""The kinds of call, cheap ones; all checks are in the script."""
SCRIPT = benchmark("like_lstm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    sys.path[:] = [part for part in sys.path if part != str(tmp_path)]
    for name in [name for name in sys.modules if name.startswith(SCRIPT.PACKAGE)]:
        del sys.modules[name]


@pytest.mark.parametrize("part", SCRIPT.CASES)
def test_every_form_is_called_like_an_lstm(part: str, folder: Path) -> None:
    makers, missing = SCRIPT.case_makers(part, folder)
    assert not missing
    for name in CHECKED:
        for form, (word, got) in SCRIPT.case_row(SCRIPT.CHECKS[name], makers).items():
            assert word != "FAIL", (name, form, got)
            if form in ("auto", "reference", "source", "package"):
                assert word != "sentence" or name == "proj_size=2", (name, form, got)


class Wrong(nn.Module):
    """The plain layer, but one argument does not reach it, or a number is a little off."""

    def __init__(self, law: nn.Module, without: str) -> None:
        super().__init__()
        self.law, self.without = law, without

    def forward(self, x: Any, hx: Any = None, **given: Any) -> Any:
        given.pop(self.without, None)
        output, states = self.law.forward(x, hx, **given)
        return (output if self.without else output * 1.01), states


@pytest.mark.parametrize("without", ["dt", "mask", "reset", ""])
def test_it_sees_what_is_wrong(without: str) -> None:
    part = "all given"
    right = SCRIPT.law_maker(part)

    def make(*sizes: int, **options: Any) -> nn.Module:
        law = right(*sizes, **options)
        wrong = Wrong(law, without)
        wrong.register_forward_pre_hook(
            next(iter(law._forward_pre_hooks.values())), with_kwargs=True
        )
        wrong.register_forward_hook(next(iter(law._forward_hooks.values())))
        return wrong

    makers = {"nn.LSTM": SCRIPT.maker("nn.LSTM", None), "law": right, "auto": make}
    for name in ("call", "bidirectional, hx", "packed, unsorted, hx"):
        assert SCRIPT.case_row(SCRIPT.CHECKS[name], makers)["auto"][0] == "FAIL", name
        assert SCRIPT.case_row(SCRIPT.CHECKS[name], {**makers, "auto": right})["auto"][0] == "ok"
