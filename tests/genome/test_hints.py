"""What somebody is told who writes a cell as a paper does, or with a slip."""

from pathlib import Path

import pytest

from cellsearch import Genome
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded
from cellsearch.errors import CellSyntaxError, GenomeError
from cellsearch.genome.checks import static_checks

CASES = {
    "h[t] = tanh(W*x[t] + U*h[t-1])": ("W is not known", "is linear(x[t], h[t-1])"),
    "h[t] = tanh(W_i*x[t] + h[t-1])": ("W_i is not known", "is linear(x[t], h[t-1])"),
    "h[t] = tanh(linear(x[t], h[t-1]) + b)": ("b is not known", "bias()"),
    "h[t] = tanh(W @ h[t-1])": ("MatMult is not allowed", "linear(x[t])"),
    "h[t] = sigm(linear(x[t], h[t-1]))": ("unknown op sigm", "did you mean sigmoid?"),
    "h[t] = σ(linear(x[t], h[t-1]))": ("unknown op", "did you mean sigmoid?"),
    "h[t] = tahn(linear(x[t], h[t-1]))": ("unknown op tahn", "did you mean tanh?"),
    "h[t] = Tanh(linear(x[t], h[t-1]))": ("unknown op Tanh", "did you mean tanh?"),
    "h[t] = layernorm(h[t-1])": ("unknown op layernorm", "did you mean layer_norm?"),
    "h[t] = tanh(linear(x[t], h(t-1)))": ("unknown op h", "did you mean h[t-1]?"),
    "h = tanh(linear(x[t], h[t-1]))": ("h[t] is never assigned", "did you mean h[t] = in line 1?"),
    "h[t] = tanh(linear(x[t], h_{t-1}))": ("column", "write h[t-1]"),
    "h_{t} = tanh(linear(x[t], h[t-1]))": ("", "write h[t]"),
    "h[t] = tanh(linear(x_t, h[t-1]))": ("x_t is not known", "write x[t]"),
    "h[t] = tanh(linear(x[t], h[t-1]) * h_t)": ("h_t is not known", "write h[t] or h[t-1]"),
    "h[t] = tanh(linear(x[t], h[t\u22121]))": ("column", "minus of the keyboard"),
    "gate = sigmoid(linear(x[t]))\nh[t] = gaet * h[t-1]": ("gaet", "did you mean gate?"),
    "h[t] = tanh(x[t], h[t-1])": ("takes exactly 1 operand, not 2", ""),
    "h[t] = blend(x[t], h[t-1])": ("takes exactly 3 operands, not 2", ""),
    "h[t] = linear() + h[t-1]": ("takes at least 1 operand, not 0", ""),
    "h[t] = bias(h[t-1])": ("takes exactly 0 operands, not 1", ""),
}


@pytest.mark.parametrize("text", CASES)
def test_a_slip_is_met_with_what_was_probably_meant(text: str) -> None:
    message, hint = CASES[text]
    with pytest.raises(CellSyntaxError) as caught:
        Genome.from_text(text)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.where == f"<text>:{len(text.splitlines())}"


@pytest.mark.parametrize("before", ["", "a = tanh(x[t])\n", "# note\n\n"])
@pytest.mark.parametrize("line", ["h[t] = tanh(x[t] h[t-1])", "h[t] = = x[t]", "h[t] = tanh(x[t)"])
def test_a_syntax_error_shows_the_line_and_the_column(line: str, before: str) -> None:
    with pytest.raises(CellSyntaxError) as caught:
        Genome.from_text(before + line)
    first, shown, mark = caught.value.message.split("\n")
    assert shown == "    " + line
    column = int(first.rpartition("(column ")[2].rstrip(")"))
    assert mark.index("^") == 4 + column - 1
    assert column > 6


def test_a_long_line_is_shown_around_the_mark() -> None:
    with pytest.raises(CellSyntaxError) as caught:
        Genome.from_text("h[t] = " + "tanh(x[t]) + " * 300 + "\x1b] h[t-1] h[t-1]")
    _, shown, mark = caught.value.message.split("\n")
    assert len(shown) < 100
    assert shown.isprintable()
    assert mark.index("^") < len(shown) + 1


def test_the_command_line_prints_the_mark_below_the_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "slip.cell"
    path.write_text("h[t] = tanh(x[t] h[t-1])\n", encoding="utf-8")
    assert guarded(cli, ["show", str(path)]) == 3
    error, shown, mark, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert shown == "    h[t] = tanh(x[t] h[t-1])"
    assert mark.strip() == "^"
    assert shown[mark.index("^")] == "x"
    assert hint.startswith("hint: ")


def test_an_unknown_op_of_a_stored_genome_gets_the_same_hint() -> None:
    stored = Genome.from_text("h[t] = tanh(linear(x[t], h[t-1]))").to_json()
    with pytest.raises(GenomeError) as caught:
        Genome.from_json(stored.replace('"tanh"', '"tahn"'))
    assert "did you mean tanh?" in caught.value.hint


def test_a_state_that_never_reaches_the_output_is_said() -> None:
    genome = Genome.from_text(
        "h[t] = tanh(linear(x[t], h[t-1]))\nc[t] = sigmoid(linear(x[t], c[t-1])) * c[t-1]\n"
        "y[t] = h[t]"
    )
    found = {(finding.code, finding.where) for finding in static_checks(genome)}
    assert ("state-unseen", "c_t") in found
