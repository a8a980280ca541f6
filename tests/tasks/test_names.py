"""Tasks are found by name, those of other packages too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cellsearch import tasks
from cellsearch.errors import ConfigError

OTHER = """
from cellsearch.tasks.adding import Adding

class Twice(Adding):
    name = "twice"

NO_TASK = 3
"""


@pytest.mark.parametrize("name", tasks.names())
def test_every_name_gives_its_class(name: str) -> None:
    task = tasks.get(name)
    assert issubclass(task, tasks.Task)
    assert task.name == name
    assert task.Options() == task.Options()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="no task 'chess'") as caught:
        tasks.get("chess")
    assert "char_lm" in caught.value.hint


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "other_tasks.py").write_text(OTHER)
    metadata = tmp_path / "other_tasks-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-tasks\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[cellsearch.tasks]\ntwice = other_tasks:Twice\nbroken = other_tasks:NO_TASK\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_tasks_of_other_packages_are_found(other_package: Path) -> None:
    assert "twice" in tasks.names()
    assert tasks.get("twice").name == "twice"
    with pytest.raises(ConfigError, match="names no task"):
        tasks.get("broken")


def test_tasks_of_other_packages_are_found_in_another_process(other_package: Path) -> None:
    program = "from cellsearch import tasks; print(tasks.get('twice').name)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "twice"


def test_finding_tasks_does_not_load_torch() -> None:
    program = "import sys, cellsearch.tasks as t; t.names(); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
