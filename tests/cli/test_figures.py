"""``--figure`` of the commands that draw: a file for a paper, in one form for all."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]
DRAWING = (("show", "lstm"), ("diff", "lstm", "gru"))


@pytest.mark.parametrize("command", DRAWING, ids=lambda words: words[0])
def test_a_figure_is_written_beside_what_is_printed(
    command: tuple[str, ...], tmp_path: Path, call: Call
) -> None:
    path = tmp_path / "a.svg"
    code, out, _ = call(*command, "--figure", path)
    assert code == 0
    assert f"figure: {path}" in out
    assert 'mm"' in path.read_text("utf-8")
    written = path.read_bytes()
    code, _, err = call(*command, "--figure", path)
    assert code == 2
    assert "exists" in err
    assert call(*command, "--figure", path, "--force")[0] == 0
    assert path.read_bytes() == written


@pytest.mark.parametrize("command", [*DRAWING, ("diagnose", "lstm", "--task", "parity")])
def test_a_figure_of_another_kind_is_refused_before_anything_is_done(
    command: tuple[str, ...], tmp_path: Path, call: Call
) -> None:
    code, out, err = call(*command, "--figure", tmp_path / "a.png")
    assert (code, out) == (2, "")
    assert "a.svg" in err


@pytest.mark.skipif(find_spec("svglib") is None, reason="svglib is not installed")
def test_every_drawing_becomes_pdf(tmp_path: Path, call: Call) -> None:
    task = ("--task", "parity", "--steps", "2", "--hidden", "3", "--positions", "4")
    for number, command in enumerate((*DRAWING, ("diagnose", "lstm", *task))):
        path = tmp_path / f"{number}.pdf"
        code, _, err = call(*command, "--figure", path)
        assert code == 0, err
        assert path.read_bytes().startswith(b"%PDF")
        assert "Can't" not in err  # svglib says so of a colour or a length that it cannot read
