"""``cellsearch export --to c``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.c_files import built, needs, replayed

from cellsearch import open_run
from cellsearch.cli import cli
from cellsearch.cli.failures import guarded

EXPERIMENT = """
question = "Does a cell keep its accuracy in C?"
space = "tiny"
strategy = "random"
task = "parity"
trials = 3
seed = 3
baselines = ["lstm"]
[task_options]
batch_size = 8
[training]
steps = 10
hidden_size = 8
evaluations = 1
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    (folder / "mine.toml").write_text(EXPERIMENT, "utf-8")
    search = ["search", str(folder / "mine.toml"), "--run", str(folder / "run"), "--workers", "0"]
    assert guarded(cli, search) == 0
    return folder / "run"


def test_the_best_cell_of_a_run_leaves_as_c(call: Call, searched: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.c"
    code, out, err = call("export", searched, "--to", "c", "-o", path)
    assert (code, err) == (0, "")
    assert "flash " in out
    assert "RAM " in out
    assert "multiply-adds a step" in out
    card = (tmp_path / "best.c.md").read_text("utf-8")
    assert "## On a device" in card
    assert "rial" in (tmp_path / "best.h").read_text("utf-8")
    built([needs("gcc"), "-std=c99", "best.c", "best_test.c", "-o", "test", "-lm"], tmp_path)
    assert replayed(tmp_path, str(tmp_path / "test"))[0] == 0
    assert call("export", searched, "--to", "c", "-o", path)[0] == 2  # it is there


@pytest.mark.parametrize("bits", ["8", "16"])
def test_it_says_what_integers_cost(call: Call, searched: Path, tmp_path: Path, bits: str) -> None:
    options = ["--precision", "int8", "--activations", bits, "--math", "table"]
    code, out, _ = call("export", searched, "--to", "c", "-o", tmp_path / "i.c", *options)
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("accuracy: "))
    assert f"in int8 with {bits}-bit activations" in line
    assert abs(float(line.rpartition("(")[2].partition(";")[0])) < 0.05
    built([needs("gcc"), "-std=c99", "i.c", "i_test.c", "-o", "test"], tmp_path)  # without libm
    assert replayed(tmp_path, str(tmp_path / "test"))[0] == 0


def test_the_layers_alone(call: Call, searched: Path, tmp_path: Path) -> None:
    assert call("export", searched, "--to", "c", "-o", tmp_path / "l.c", "--bare")[0] == 0
    header = (tmp_path / "l.h").read_text("utf-8")
    assert "#define L_OUTPUTS 8 " in header
    done = open_run(searched).best().export(tmp_path / "p.c", "c", bare=True)
    assert "multiply-adds" in done.takes


def test_what_cannot_be_is_said(call: Call, searched: Path, tmp_path: Path) -> None:
    path = tmp_path / "n.c"
    for arguments, said in (
        (("lstm", "--to", "c"), "no trained weights"),
        ((searched, "--to", "source", "--math", "table"), "are for c, not for source"),
        ((searched, "--to", "c", "--precision", "float16"), "C is not written in float16"),
    ):
        code, _, err = call("export", *arguments, "-o", path)
        assert code == 2, err
        assert said in err
    assert not path.exists()
