"""`import cellsearch` and `cellsearch --help` are light."""

from __future__ import annotations

import ast
import json
import resource
import subprocess
import sys
from pathlib import Path

HEAVY = {
    "torch",
    "ray",
    "matplotlib",
    "onnx",
    "triton",
    "tensorboard",
    "mlflow",
    "wandb",
    "pandas",
    "sklearn",
    "starlette",
    "uvicorn",
}


def modules_after(code: str) -> set[str]:
    program = (
        f"{code}\nimport json, sys\nprint(json.dumps(sorted({{m.split('.')[0] for m in "
        f"sys.modules}})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_measure_sees_a_heavy_import() -> None:
    assert "torch" in modules_after("import torch")


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = modules_after("import cellsearch")
    assert not loaded & HEAVY
    assert "networkx" not in loaded
    assert "numpy" not in loaded


def test_genomes_spaces_zoo_and_experiments_need_neither_torch_nor_ray() -> None:
    loaded = modules_after(
        "import cellsearch as cs\n"
        "g = cs.zoo.load('lstm'); g.key; g.to_json(); g.to_text(); g.parameters\n"
        "cs.load_space('tiny'); cs.SearchSpace; cs.History"
    )
    assert not loaded & HEAVY


def test_the_door_to_a_run_and_the_executors_need_neither_torch_nor_ray() -> None:
    loaded = modules_after("import cellsearch as cs\ncs.open_run, cs.Run, cs.InProcess")
    assert not loaded & HEAVY


def test_no_task_needs_torch_before_it_trains() -> None:
    loaded = modules_after(
        "from cellsearch import tasks\n"
        "for name in tasks.names(): tasks.get(name).Options, tasks.info(name)"
    )
    assert not loaded & HEAVY


def test_opening_a_run_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    loaded = modules_after(
        "import cellsearch as cs\n"
        "from cellsearch.search import Search\n"
        "experiment = cs.load_experiment('quickstart', {'trials': 3, 'max_weights': 0})\n"
        f"run = {str(tmp_path)!r}\n"
        "with Search.open(run, experiment) as search: search.ask()\n"
        "with Search.open(run, experiment) as search: assert len(search.history) == 1"
    )
    assert not loaded & HEAVY


def test_predicting_what_a_cell_costs_needs_no_torch() -> None:
    loaded = modules_after(
        "import cellsearch as cs\n"
        "from cellsearch.compiler import cost\n"
        "assert cost.position_microseconds(cs.zoo.load('lstm'), input_size=3, hidden_size=4) > 0"
    )
    assert not loaded & HEAVY


def test_compiling_needs_no_ray_and_no_optional_package() -> None:
    loaded = modules_after(
        "import cellsearch as cs\ncs.compile_cell(cs.zoo.load('gru'), input_size=3, hidden_size=4)"
    )
    assert "torch" in loaded
    assert not loaded & {"ray", "matplotlib", "onnx"}


def test_help_loads_no_torch_and_no_rich() -> None:
    loaded = modules_after(
        "from cellsearch.cli.failures import guarded\nfrom cellsearch.cli import "
        "cli\nguarded(cli, ['--help'])"
    )
    assert not loaded & (HEAVY | {"rich", "numpy", "networkx"})


def test_help_takes_less_than_three_tenths_of_a_second() -> None:
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "cellsearch", "--help"],
            capture_output=True,
            check=True,
            timeout=60,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # Processor time, and the best of five: other processes of the machine may take the core away
    # from any one of them.
    assert min(seconds) < 0.3, seconds


def changes_of_path(source: str) -> list[int]:
    """Lines in which a module changes where modules are found, as soon as it is imported."""
    return [
        part.lineno
        for statement in ast.parse(source).body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        for part in ast.walk(statement)
        if isinstance(part, ast.Attribute) and ast.unparse(part) == "sys.path"
    ]


def test_no_test_changes_where_the_others_find_their_modules() -> None:
    """benchmarks/ui.py, say, would be found in place of the folder tests/ui."""
    assert changes_of_path("import sys\nsys.path.insert(0, 'here')\n") == [2]
    tests = Path(__file__).parents[1]
    texts = {path: path.read_text("utf-8") for path in tests.rglob("*.py")}
    assert not [str(path) for path, text in texts.items() if changes_of_path(text)]
