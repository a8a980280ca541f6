"""What the server answers: what the store says, to whom it may, and changes as they come."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ui.conftest import HOSTILE, Client, add, serving

from cellsearch.ablation import AblationTable
from cellsearch.errors import CellsearchError
from cellsearch.executors.in_process import InProcess
from cellsearch.job import Failure
from cellsearch.reporting.operators import operators
from cellsearch.runs import open_run
from cellsearch.search import Search
from cellsearch.space import layer_weights
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
from cellsearch.ui.answers import ANSWERS
from cellsearch.ui.server import Server


def test_the_page_is_one_answer_that_asks_for_nothing_else(client: Client) -> None:
    status, headers, body = client.ask("/")
    text = body.decode()
    assert status == 200
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    nonces = set(re.findall(r"nonce-([\w-]+)", policy))
    assert len(nonces) == 1
    assert set(re.findall(r'nonce="([^"]*)"', text)) == nonces
    assert not re.search(r'(?:src|href)="(?!#|data:,)', text)
    assert "http://" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text)
    assert client.ask("/")[1]["content-security-policy"] != policy  # a new nonce each time


def test_hostile_texts_cannot_leave_the_data_that_they_are_in(client: Client) -> None:
    text = client.ask("/")[2].decode()
    boot = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)
    assert boot is not None
    document = json.loads(boot[1])
    assert document["runs"][0]["name"] == HOSTILE
    assert "<" not in boot[1]
    assert text.count("<script") == 2  # the data, and the modules as one


def test_what_is_answered_is_what_the_run_says(client: Client, run: Path) -> None:
    opened = open_run(run)
    best = opened.best().trial
    (about,) = client.json("/api/runs")["runs"]
    assert about["statuses"] == {s: opened.counts[s] for s in about["statuses"]}
    found = client.json(f"/api/trial?run=run&n={best.number}")
    assert found["score"] == best.score
    assert found["cell"] == best.genome.to_text()
    assert found["svg"].count('<g class="v ') == len(found["vertices"])
    family = client.json("/api/lineage?run=run")
    assert family["trial"] == best.number
    assert {tuple(one["parents"]) for one in family["family"] if one["number"] == best.number} == {
        best.proposal.parents
    }
    failures = client.json("/api/failures?run=run")
    assert failures["count"] == opened.counts["failed"] > 0
    assert HOSTILE in [kind["kind"] for kind in failures["kinds"]]
    curves = client.json(f"/api/curves?run=run&trials={best.number},0")["curves"]
    assert set(curves) == {str(best.number), "0"}
    assert [tuple(point) for point in curves[str(best.number)][0]] == list(best.curve) != []
    texts = client.json("/api/texts?run=run&trials=3,5")["texts"]
    assert {n: text[0] for n, text in texts.items()} == {
        str(n): opened.trials[n].genome.to_text() for n in (3, 5)
    }
    chunk = client.json("/api/chunk?run=run&start=7")
    assert chunk["start"] == 0
    assert [text for text, *_ in chunk["texts"]] == [t.genome.to_text() for t in opened.trials]
    assert client.json("/api/settings?run=run")["experiment"] == opened.settings
    workers = client.json("/api/workers?run=run")["workers"]
    assert sum(len(one["spans"]) for one in workers) == len(opened.timings)
    rows = operators(opened.trials)
    found = client.json("/api/operators?run=run")
    assert [one["operator"] for one in found["operators"]] == [row.operator for row in rows] != []
    assert [one["tried"] for one in found["operators"]] == [row.tried for row in rows]
    kin = client.json("/api/relatives?run=run&n=0")
    assert (opened.trials[0].name, kin["equals"]) == ("LSTM", ["lstm"])


def test_an_ablation_is_told_with_the_boxes_that_it_touches(client: Client, run: Path) -> None:
    table = AblationTable.read(run / "ablation" / "trial-0.json")
    found = client.json("/api/ablation?run=run&n=0")
    assert [row["texts"][0] for row in found["rows"]] == [row.name for row, _ in table.rows]
    vertices = client.json("/api/trial?run=run&n=0")["vertices"]
    touched = {
        vertex["label"]: [found["rows"][k]["texts"][0] for k in rows]
        for vertex, rows in zip(vertices, found["vertices"], strict=True)
    }
    assert touched["f"][0] == "f"
    assert {"sigmoid in f", "x[t] in f", "h[t-1] in f"} < set(touched["f"])
    assert touched["x_t"] == []
    none = client.json("/api/ablation?run=run&n=3")
    assert (none["rows"], none["command"]) == ([], f"cellsearch ablate {run}:3")
    assert "table of an ablation" in client.json("/api/ablation?run=run&n=2")["error"]
    said = {one["trial"]: one for one in client.json("/api/finals?run=run")["ablations"]}
    assert said[0]["said"] == table.sentence
    assert "table of an ablation" in said[2]["error"]


def test_gates_are_said_where_they_are_measured_or_how_to_measure_them(
    run: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "kept"))
    with serving(folder) as client:
        asked = client.json("/api/trial?run=kept&n=0")["measure_gates"]
        assert asked == f"cellsearch diagnose {folder}:0 --keep"
        gate = {"node": "f", "closed": 0.25, "open": 0.5, "mean": 0.625}
        document = {"cells": [{"gates": [gate]}]}
        (folder / "diagnosis-0.json").write_text(json.dumps(document))
        found = client.json("/api/trial?run=kept&n=0")
        assert found["measure_gates"] == ""
        (kept,) = [one["gate"] for one in found["vertices"] if "gate" in one]
        assert kept == {key: gate[key] for key in ("closed", "open", "mean")}
        (folder / "diagnosis-0.json").write_text('{"cells": []}')
        found = client.json("/api/trial?run=kept&n=0")
        assert "is no diagnosis" in found["gates_error"]
        assert found["measure_gates"] == asked


def test_a_difference_is_to_a_parent_a_trial_or_a_zoo_cell(client: Client, run: Path) -> None:
    child = next(t for t in open_run(run).trials if t.proposal.parents)
    asked = f"/api/difference?run=run&n={child.number}&to="
    parent = child.proposal.parents[0]
    assert client.json(asked + "parent") == client.json(f"{asked}{parent}")
    found = client.json(asked + "lstm")
    assert found["distance"] == len(found["edits"]) > 0
    assert "<svg" in found["svg"]
    assert client.ask(asked + "nobody")[0] == 404


def test_columns_come_compressed_for_who_can_read_that(client: Client) -> None:
    status, headers, body = client.ask("/api/columns?run=run", Accept_Encoding="gzip")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == client.ask("/api/columns?run=run")[2]


def test_cells_that_hold_ops_and_words_are_found_in_what_is_stored(
    client: Client, run: Path
) -> None:
    trials = open_run(run).trials
    for op in ("softplus", "tanh", "blend", "nothing"):
        found = client.json(f"/api/having?run=run&ops={op}")
        assert found["count"] == len(trials)
        having = [t.number for t in trials if op in {node.op for node in t.genome.nodes}]
        assert found["numbers"] == having
    for words in (["linear", "c"], ["TANH", "sigm"]):
        found = client.json(f"/api/having?run=run&words={','.join(words)}")["numbers"]
        texts = [(t.number, t.genome.to_text().lower()) for t in trials]
        assert {n for n, text in texts if all(w.lower() in text for w in words)} <= set(found)
    assert len(client.json("/api/having?run=run")["numbers"]) == len(trials)


def test_texts_are_made_once_and_ahead_of_who_searches(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cellsearch.ui.live.CHUNK", 7)
    (live,) = Server([run]).runs
    live.load()
    assert not live.read_ahead()  # nobody looks
    live.packed()
    made, texts = [], live.texts
    monkeypatch.setattr(live, "texts", lambda numbers: made.append(numbers[0]) or texts(numbers))
    whole = len(live.columns) // 7
    live.chunk(1)
    while live.read_ahead():
        pass
    for place in range(whole + 1):
        live.chunk(place)
    assert made == [7, 0, *range(14, 7 * whole, 7), 7 * whole]  # the last can still grow
    monkeypatch.setattr("cellsearch.store.Store.writer", lambda path: "process 7")
    live.summary()
    live._chunks.clear()
    assert not live.read_ahead()  # a search goes first


@pytest.mark.parametrize("name", [*ANSWERS, "columns", "chunk"])
def test_what_is_not_there_is_said(client: Client, name: str) -> None:
    status, _, body = client.ask(f"/api/{name}?run=nobody&n=0")
    assert status == 404
    assert "no run is called" in json.loads(body)["error"]


@pytest.mark.parametrize("number", ["", "-1", "4e4", "99999", "9" * 40, "%00", "١"])
def test_no_text_is_taken_for_the_number_of_a_trial(client: Client, number: str) -> None:
    for name in ("trial", "relatives", "difference"):
        path = f"/api/{name}?run=run&n={number}".encode("ascii", "ignore").decode()
        assert client.ask(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_only_reads(client: Client, method: str) -> None:
    assert client.ask("/", method)[0] == 405


def test_a_foreign_name_for_this_machine_is_refused(client: Client) -> None:
    assert client.ask("/api/runs", Host="evil.example:80")[0] == 421
    assert client.ask("/api/runs", Host="localhost:1")[0] == 200
    assert client.ask("/api/runs", Host="[::1]:1")[0] == 200
    assert client.ask("/api/runs", Sec_Fetch_Site="cross-site")[0] == 403


def test_every_answer_forbids_framing_sniffing_and_keeping(client: Client) -> None:
    for path in ("/", "/api/runs", "/api/trial?run=run&n=99999", "/nothing"):
        headers = client.ask(path)[1]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_a_token_opens_the_page_and_leaves_the_address(run: Path) -> None:
    with serving(run, host="0.0.0.0", token="s3cret") as client:
        assert client.ask("/")[0] == 401
        assert client.ask("/api/columns?run=run")[0] == 401
        assert client.ask("/?token=wrong")[0] == 401
        assert client.ask("/", Cookie=f"cellsearch_{client.port}=wrong")[0] == 401
        status, headers, _ = client.ask("/?token=s3cret")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert client.ask("/", Cookie=cookie.partition(";")[0])[0] == 200


def test_changes_come_to_every_reader(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "followed"
    shutil.copytree(run, folder)
    with serving(folder) as client, client.events() as one, client.events() as other:
        count = client.json("/api/runs")["runs"][0]["count"]
        assert client.ask("/api/columns?run=followed")[0] == 200
        cell = "h[t] = 3.25 * tanh(linear(x[t], h[t-1]))"
        failure = Failure("timeout", "too slow")
        number = add(folder, cell, origin="mutate:op", reason="", failure=failure)
        assert number == count
        for reader in (one, other):
            rows = []
            while number not in [row[0] for row in rows]:
                kind, said = next(reader)
                rows += said.get("rows", []) if kind == "change" else []
        assert client.json("/api/runs")["runs"][0]["count"] == count + 1


def test_a_store_that_takes_the_place_of_another_is_read_anew(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "replaced"
    shutil.copytree(run, folder)
    (live,) = Server([folder]).runs
    live.load()
    live.poll()
    before = len(live.columns)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    failure = Failure("nan", "the loss is nan")
    add(copy, "h[t] = tanh(diag(h[t-1]))", origin="mutate:op", reason="", failure=failure)
    (copy / "store.sqlite").rename(folder / "store.sqlite")
    said = live.poll()
    assert said is not None
    assert "rows" not in said
    assert len(live.columns) == before + 1


def test_runs_of_a_folder_are_side_by_side(run: Path, tmp_path: Path) -> None:
    for name in ("a/one", "b/one", "c"):
        shutil.copytree(run, tmp_path / name)
    broken = tmp_path / "d"
    broken.mkdir()
    (broken / "store.sqlite").write_text("nothing")
    with serving(tmp_path) as client:
        found = client.json("/api/runs")
        assert [one["run"] for one in found["runs"]] == ["one", "one~2", "c"]
        assert [Path(one["path"]).name for one in found["unreadable"]] == ["d"]
        with client.events() as events:
            shutil.copytree(run, tmp_path / "new")
            kind, said = next(one for one in events if one[0] == "runs")
            assert (kind, [one["run"] for one in said][-1]) == ("runs", "new")
    with pytest.raises(CellsearchError):
        Server([broken])


def test_a_read_only_copy_and_a_run_of_an_older_version_are_shown(run: Path) -> None:
    old = Path(__file__).parents[1] / "data" / "v0_1" / "genetic_whole"
    with serving(old) as client:
        (about,) = client.json("/api/runs")["runs"]
        assert about["count"] > 0
        assert client.ask("/api/columns?run=genetic_whole")[0] == 200
        assert client.json("/api/trial?run=genetic_whole&n=0")["cell"]


def test_sizes_that_were_guessed_before_a_cell_was_trained_are_not_kept(tmp_path: Path) -> None:
    """How wide the inputs are follows from the weights of a trained cell."""
    folder = tmp_path / "run"
    experiment = small_experiment("random", trials=4, baselines=("lstm",))
    with InProcess(evaluation=EVALUATION) as executor, Search.open(folder, experiment) as search:
        (live,) = Server([folder]).runs
        before = live.sizes()
        assert before is not None
        trial = search.ask()
        assert trial is not None
        executor.start("parity", {}, {})
        executor.submit(search.job(trial))
        (outcome,) = executor.events(0)
        assert outcome.result is not None
        true = replace(before, input_size=before.hidden_size + 3)
        weights = layer_weights(trial.genome, true)
        search.tell(replace(outcome, result=replace(outcome.result, cell_parameters=weights)))
    assert live.sizes() == true
