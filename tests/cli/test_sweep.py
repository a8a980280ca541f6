"""``cellsearch sweep``: the grid, what is left of it after an interruption, and its comparison."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cellsearch as cs
from cellsearch.errors import ConfigError
from cellsearch.runs.compute import Meter, spent
from cellsearch.runs.sweeping import plan_sweep, read_seeds, search_to_the_end
from cellsearch.search import SearchEvent, TrialEnded
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import final_table

Call = Callable[..., tuple[int, str, str]]
QUICK = {
    "space": "tiny",
    "workers": 0,
    "training.steps": 12,
    "training.hidden_size": 6,
    "training.evaluations": 1,
    "task_options.batch_size": 8,
}
SETTINGS = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]


def in_process() -> cs.InProcess:
    return cs.InProcess(evaluation=EVALUATION)


def tables(folder: Path) -> dict[str, list]:
    return {path.name: final_table(cs.open_run(path).trials) for path in sorted(folder.iterdir())}


def test_seeds_are_numbers_and_ranges() -> None:
    assert read_seeds("0..4") == (0, 1, 2, 3, 4)
    assert read_seeds("3, 1,7..8,1") == (3, 1, 7, 8)
    for text in ("", "4..1", "a", "0...4", "-1", "0..99999999", "1,,2"):
        with pytest.raises(ConfigError, match="seeds"):
            read_seeds(text)


def test_the_grid_has_every_strategy_with_one_seed_before_the_next(tmp_path: Path) -> None:
    planned = plan_sweep("parity", tmp_path, names=["random", "grow"], seeds=[3, 1, 3])
    assert [one.name for one in planned] == ["random-3", "grow-3", "random-1", "grow-1"]
    assert [one.folder for one in planned] == [tmp_path / one.name for one in planned]
    assert {(o.experiment.strategy.name, o.experiment.seed) for o in planned} == {
        *(("random", 3), ("grow", 3), ("random", 1), ("grow", 1))
    }
    (own,) = plan_sweep("parity", tmp_path, overrides={"strategy_options": {}})
    assert own.experiment.strategy.name == cs.load_experiment("parity").strategy.name
    with pytest.raises(ConfigError, match="unknown strategy 'gorw'"):
        plan_sweep("parity", tmp_path, names=["gorw"])
    with pytest.raises(ConfigError, match="what the searches of a sweep differ in"):
        plan_sweep("parity", tmp_path, overrides={"seed": 4})


def test_what_was_stopped_goes_on_and_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    changes = {**QUICK, "trials": 8}
    for folder, breaks in ((tmp_path / "whole", False), (tmp_path / "broken", True)):
        for one in plan_sweep("parity", folder, names=["random", "grow"], overrides=changes):
            opened: list[cs.Search] = []

            def stop_early(event: SearchEvent, opened: list[cs.Search] = opened) -> None:
                if isinstance(event, TrialEnded) and event.trial.number == 4:
                    opened[0].stop()

            if breaks:
                how = {"on_open": opened.append, "on_event": stop_early}
                assert not search_to_the_end(one.experiment, one.folder, in_process, **how)
            assert search_to_the_end(one.experiment, one.folder, in_process)
    assert tables(tmp_path / "broken") == tables(tmp_path / "whole")


def test_a_search_ends_when_its_compute_is_used_up(tmp_path: Path) -> None:
    (one,) = plan_sweep("parity", tmp_path, compute=3, overrides={**QUICK, "baselines": []})
    assert one.experiment.trials == 30
    assert search_to_the_end(one.experiment, one.folder, in_process, compute=3)
    run = cs.open_run(one.folder)
    found = [at for at, _ in spent(run.trials, Meter.of(run.experiment, run.load_arrays()))]
    assert found[-1] >= 3 > found[-2]
    assert len(found) < 30

    def never() -> cs.InProcess:
        raise AssertionError("nothing is left to be done")

    assert search_to_the_end(one.experiment, one.folder, never, compute=3)


def test_the_command_searches_and_compares(tmp_path: Path, call: Call) -> None:
    words = ["sweep", "parity", *SETTINGS, "--trials", "4", "--out", tmp_path / "s"]
    code, out, err = call(*words, "--strategies", "random", "--seeds", "0,1")
    assert (code, err) == (0, "")
    assert "[2/2] random-1: best" in out
    before = tables(tmp_path / "s")
    code, out, err = call(*words, "--strategies", "random,genetic", "--seeds", "0..1", "--json")
    assert code == 0
    found = json.loads(out)
    assert {g["name"]: len(g["runs"]) for g in found["groups"]} == {"random": 2, "genetic": 2}
    assert "[4/4]" in err
    after = tables(tmp_path / "s")
    assert {name: after[name] for name in before} == before


def test_workers_join_the_cluster_that_is_named(tmp_path: Path, call: Call) -> None:
    with socket.socket() as reserved:  # nobody listens there
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        words = ["sweep", "parity", *SETTINGS, "--trials", "2", "--seeds", "0", "--workers", "1"]
        code, _, err = call(*words, "--out", tmp_path, "--ray-address", address)
    assert code == 6
    assert address in err


def test_one_search_that_cannot_be_done_is_said_and_the_others_are(
    tmp_path: Path, call: Call
) -> None:
    words = ["sweep", "parity", *SETTINGS, "--trials", "3", "--out", tmp_path]
    (tmp_path / "random-0").mkdir()
    (tmp_path / "random-0" / "store.sqlite").write_bytes(b"no store")
    code, out, err = call(*words, "--strategies", "random", "--seeds", "0,1")
    assert "[1/2] random-0 failed" in err
    assert "[2/2] random-1: best" in out
    assert code == 3
    assert "One run says nothing" not in out
    assert "1  " in out.split("random (control)")[1]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    words = ["sweep", "parity", *SETTINGS, "--set", "training.steps=150", "--trials", "10"]
    words += ["--strategies", "random,grow", "--seeds", "0,1", "--out", str(folder), *more]
    command = [sys.executable, "-m", "cellsearch", *words]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 200
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--at-once", "2")], ids=["one", "two"])
def test_it_goes_on_after_ctrl_c_and_after_kill(tmp_path: Path, more: tuple[str, ...]) -> None:
    whole = start(tmp_path / "whole")
    _, err = whole.communicate(timeout=250)
    assert whole.returncode == 0, err
    folder = tmp_path / "broken"
    for number, place in ((signal.SIGINT, "random-0"), (signal.SIGKILL, "grow-0")):
        process = start(folder, *more)
        wait_for(folder / place / "checkpoints")
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), out
        if number == signal.SIGINT:
            assert "the same command goes on" in err
    end = time.monotonic() + 60  # searches of their own end by themselves when they are left
    while any(cs.open_run(path.parent).writer for path in folder.glob("*/store.sqlite")):
        assert time.monotonic() < end
        time.sleep(0.2)
    last = start(folder, *more)
    _, err = last.communicate(timeout=250)
    assert last.returncode == 0, err
    assert tables(folder) == tables(tmp_path / "whole")
