"""Cells that a run is told from outside: taken up by the search that is at work or the next one,
once, whoever is killed when; what is wrong with one touches no other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import cellsearch as cs
from cellsearch import zoo
from cellsearch.errors import ConfigError, InputFileError
from cellsearch.executors.in_process import InProcess
from cellsearch.job import Allowance
from cellsearch.runs.telling import MAX_CELLS, read_cells
from cellsearch.search import Search, SearchEvent, WaitsForTold
from cellsearch.search.told import KNOWN, REFUSED
from cellsearch.store import Inbox, Store, ToldCell
from cellsearch.store.inbox import MAX_REASON
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
from cellsearch.testing.strategies import space
from cellsearch.trial import Status

MGU = zoo.load("mgu")
RAN = zoo.load("ran")
OWN = "h[t] = tanh(linear(x[t], h[t-1])) * sigmoid(linear(x[t]))"


def search(folder: Path, *, wait: bool = False, **changes: Any) -> Search:
    """One sitting."""
    with Search.open(folder, small_experiment("external", **changes)) as found:
        found.run(InProcess(evaluation=EVALUATION), arrays={}, wait=wait)
        return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    search(tmp_path / "run")
    return tmp_path / "run"


def statuses(run: Path, *cells: Any, **options: Any) -> list[str]:
    return [answer.status for answer in cs.open_run(run).tell(*cells, **options)]


# -- taken up --------------------------------------------------------------------------------------


def test_told_cells_are_trained_in_order_with_reason_and_parents(run: Path) -> None:
    first = search(run)
    assert first.waits_for_told
    assert len(first.history) == 2  # the baselines
    answers = cs.open_run(run).tell([MGU, OWN], "fewer gates", parents=[1, 0, 1])
    assert [answer.status for answer in answers] == ["accepted", "accepted"]
    told = search(run).history[2:]
    assert [str(trial.proposal.origin) for trial in told] == ["told", "told"]
    assert [trial.proposal.reason for trial in told] == ["fewer gates"] * 2
    assert told[0].proposal.parents == (1, 0)
    assert told[0].genome.key == MGU.key
    assert all(trial.status is Status.COMPLETED for trial in told)
    assert not Inbox(run).letters()
    stored = cs.open_run(run).trials[3]
    assert stored.proposal.reason == "fewer gates"
    assert stored.to_row()["reason"] == "fewer gates"
    assert "fewer gates" in cs.open_run(run).report().read_text("utf-8")


def test_they_count_as_trials_and_wait_when_these_are_used_up(tmp_path: Path) -> None:
    run = tmp_path
    search(run, trials=3)
    statuses(run, [MGU, RAN])
    assert len(search(run, trials=3).history) == 3
    assert len(Inbox(run).letters()) == 1
    assert len(search(run, trials=4).history) == 4
    assert search(run, trials=4).finished


def test_any_strategy_trains_what_is_told_before_what_it_proposes(tmp_path: Path) -> None:
    experiment = small_experiment("genetic", trials=3)
    with Search.open(tmp_path, experiment):
        pass
    assert statuses(tmp_path, OWN, "mine") == ["accepted"]
    with Search.open(tmp_path, experiment) as found:
        found.run(InProcess(evaluation=EVALUATION), arrays={})
        assert found.history[2].proposal.reason == "mine"


def test_a_search_that_waits_hears_of_cells_told_by_another_thread(tmp_path: Path) -> None:
    waiting = threading.Event()

    def listen(event: SearchEvent) -> None:
        if isinstance(event, WaitsForTold):
            waiting.set()

    def propose() -> None:
        assert waiting.wait(60)
        assert statuses(tmp_path, [MGU, RAN]) == ["accepted", "accepted"]

    teller = threading.Thread(target=propose)
    teller.start()
    experiment = small_experiment("external", trials=4)
    with Search.open(tmp_path, experiment) as found:
        found.run(InProcess(evaluation=EVALUATION), listen, arrays={}, wait=True)
        assert [trial.genome.key for trial in found.history][2:] == [MGU.key, RAN.key]
    teller.join()


def test_waiting_ends_with_the_allowance_and_needs_an_outsider(tmp_path: Path) -> None:
    bounded = search(tmp_path / "a", wait=True, allowance=Allowance(steps=18))
    assert bounded.used_up
    with (
        Search.open(tmp_path / "b", small_experiment("random")) as found,
        pytest.raises(ConfigError, match="waits for nobody"),
    ):
        found.run(InProcess(evaluation=EVALUATION), arrays={}, wait=True)


def test_an_enqueued_cell_has_a_reason(run: Path) -> None:
    with Search.open(run, small_experiment("external")) as found:
        number = found.enqueue(MGU, "because").number
    assert cs.open_run(run).find(number).proposal.reason == "because"


# -- known, refused --------------------------------------------------------------------------------


def test_what_is_known_is_answered_without_training(run: Path) -> None:
    lstm = cs.open_run(run).tell(zoo.load("lstm"))[0]
    assert (lstm.status, lstm.trial) == ("known", 0)
    assert statuses(run, [MGU, MGU]) == ["accepted", "known"]
    assert statuses(run, MGU) == ["known"]  # it waits
    Inbox(run).put([ToldCell(MGU, "of a teller who looked at the same time")])
    assert len(search(run).history) == 3
    with Store.read(run) as store:
        assert [event.kind for event in store.events()] == [KNOWN]
    assert not Inbox(run).letters()


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("h[t] = tanh(linear(x[t], q))", "<text>:1", r"q is not known here \(column 26\)"),
        ("\nh[t] = tanh(linear(x[t])", "<text>:2", r"was never closed \(column 12\)"),
        ("a = linear(x[t], h[t-1])\nh[t] = sin(a)", "<text>:2", r"the op sin .*\(column 8\)"),
        ("# only a comment", "<text>:1", "the cell is empty"),
        (f'"""{"why " * MAX_REASON}"""\n{OWN}', "<text>:1", "the reason has 39,999"),
    ],
)
def test_a_wrong_cell_is_refused_and_the_others_are_not(
    run: Path, text: str, place: str, said: str
) -> None:
    wrong, good = cs.open_run(run).tell(f"{text}\n---\n{OWN}")
    assert (wrong.status, good.status) == ("refused", "accepted")
    assert wrong.error is not None
    assert wrong.error.where == place
    with pytest.raises(type(wrong.error), match=said):
        raise wrong.error
    assert len(Inbox(run).letters()) == 1


def test_parents_must_be_there(run: Path) -> None:
    assert statuses(run, OWN, parents=[2]) == ["refused"]
    assert statuses(run, OWN, parents=[1]) == ["accepted"]


def test_the_search_refuses_what_its_space_does_not_hold(run: Path) -> None:
    """The inbox is a folder: what lies in it may be anything."""
    strange = cs.Genome.from_text("h[t] = sin(linear(x[t], h[t-1]))")
    Inbox(run).put([ToldCell(strange, "waves")])
    (run / "told" / "0.json").write_bytes(b"\xff[")
    (run / "told" / "1.json").symlink_to("/etc/hostname")
    (run / "told" / "2.json").write_text('{"cell": 1, "reason": "", "parents": []}', "utf-8")
    statuses(run, OWN)
    history = search(run).history
    assert len(history) == 3
    with Store.read(run) as store:
        assert [event.kind for event in store.events()] == [REFUSED] * 4
    refused = cs.open_run(run).ask()["refused"]
    assert sorted(one["reason"] for one in refused) == ["", "", "", "waves"]
    assert sum("the op sin" in one["why"] for one in refused) == 1
    left = sorted(path.name for path in (run / "told").iterdir())
    assert left == ["0.unreadable", "1.unreadable", "2.unreadable"]


# -- what is written -------------------------------------------------------------------------------


def test_reasons_come_from_comments_docstrings_and_json() -> None:
    text = f"# one\n# two\n{OWN}\n---\n{OWN}\n----\n\n"
    cells = read_cells(text, "f.cell", reason="")
    assert [(cell.line, cell.reason) for cell in cells] == [(1, "one\ntwo"), (5, "")]
    given = read_cells(f'["{OWN}", {{"cell": "{OWN}", "reason": "r", "parents": [1]}}]', reason="d")
    assert [(cell.source, cell.reason, cell.parents) for cell in given] == [
        ("<text>[0]", "d", ()),
        ("<text>[1]", "r", (1,)),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no cell in it"),
        ("---\n\n---", "there is no cell in it"),
        ("[]", "there is no cell in it"),
        ('[{"cell": "a"', r":1: not JSON: Expecting ',' delimiter \(column 14\)"),
        ("[" * 100_000, "not JSON: RecursionError"),
        ("[3]", "not a cell with a reason"),
        ('{"cell": "a", "resaon": "b"}', "unknown key 'resaon'"),
        ('{"cell": "a", "reason": 3}', "the reason is not text"),
        ('{"cell": "a", "parents": [true]}', "parents are numbers"),
        ("---\nx\n" * (MAX_CELLS + 1), "at most 1,000"),
    ],
)
def test_what_is_no_list_of_cells_is_an_error(text: str, said: str) -> None:
    with pytest.raises(InputFileError, match=said):
        read_cells(text)


# -- at the same time, and killed ------------------------------------------------------------------

TELLER = """
import sys
import cellsearch as cs
for text in sys.argv[2:]:
    cs.open_run(sys.argv[1]).tell(text, "from " + text)
"""
SEARCHER = """
import sys
from cellsearch.executors.in_process import InProcess
from cellsearch.search import Search
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
with Search.open(sys.argv[1], small_experiment("external")) as found:
    found.run(InProcess(evaluation=EVALUATION), arrays={})
"""


def start(code: str, *arguments: str | Path, fail: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "CELLSEARCH_FAILPOINT": fail}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)


def test_two_tellers_at_once_lose_nothing(run: Path) -> None:
    cells = [f"h[t] = {op}(linear(x[t], h[t-1]))" for op in ("tanh", "sigmoid", "relu")]
    tellers = [start(TELLER, run, *cells[:2]), start(TELLER, run, *cells[::-1][:2])]
    for teller in tellers:
        _, err = teller.communicate(timeout=120)
        assert teller.returncode == 0, err
    history = search(run).history
    keys = {cs.Genome.from_text(text).key for text in cells}
    assert {trial.genome.key for trial in history[2:]} == keys
    assert len(history) == 5


@pytest.mark.parametrize(
    "place",
    ["told cell: written@2", pytest.param("told cell: in place@2", marks=pytest.mark.slow)],
)
def test_a_teller_that_is_killed_leaves_whole_cells_only(run: Path, place: str) -> None:
    teller = start(TELLER, run, OWN, MGU.to_text(), fail=place)
    teller.communicate(timeout=120)
    assert teller.returncode == -9
    told = 1 if "written" in place else 2
    assert [type(cell) for cell in Inbox(run).waiting()] == [ToldCell] * told
    assert statuses(run, [OWN, MGU]) == ["known", "accepted" if told == 1 else "known"]
    assert len(search(run).history) == 4


@pytest.mark.parametrize(
    "place",
    [
        "inbox: taken up@1",
        *(
            pytest.param(f"store: {place}", marks=pytest.mark.slow)
            for place in ("changed@3", "committed@3", "committed@4")
        ),
    ],
)
def test_a_search_that_is_killed_takes_each_cell_up_once(run: Path, place: str) -> None:
    statuses(run, [OWN, MGU], reason="mine")
    searcher = start(SEARCHER, run, fail=place)
    searcher.communicate(timeout=120)
    assert searcher.returncode == -9
    history = search(run).history
    assert [trial.genome.key for trial in history[2:]] == [cs.Genome.from_text(OWN).key, MGU.key]
    assert [trial.proposal.reason for trial in history[2:]] == ["mine", "mine"]
    assert not Inbox(run).letters()


# -- the briefing ----------------------------------------------------------------------------------


def test_the_briefing_holds_what_a_proposer_needs(run: Path) -> None:
    statuses(run, OWN, "gated")
    brief = cs.open_run(run).ask()
    assert brief["waiting"] == [
        {"cell": cs.Genome.from_text(OWN).to_text(), "reason": "gated"},
    ]
    search(run)
    brief = cs.open_run(run).ask(best=1)
    assert [one["reason"] for one in brief["best"]] == ["gated"]
    assert [one["name"] for one in brief["baselines"]] == ["LSTM", "GRU"]
    assert brief["trials"] == {"asked_for": 30, "used": 3, "left": 27}
    assert brief["space"]["ops"].keys() == space().ops.keys()
    example = cs.Genome.from_text(brief["example"])
    assert space().contains(example) is None
    for cell in [*brief["best"], *brief["baselines"]]:  # what is handed out can be told again
        assert statuses(run, cell["cell"]) == ["known"]
