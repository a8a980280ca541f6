"""A run that somebody hostile wrote, and the server of ``cellsearch ui`` as it really runs."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import uvicorn

from cellsearch.executors.in_process import InProcess
from cellsearch.genome.graph import Genome
from cellsearch.job import Budget, Failure, Outcome
from cellsearch.runs import open_run
from cellsearch.runs.ablation import plan_cell_ablation
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment
from cellsearch.trial import Proposal, Rung, Status, Trial
from cellsearch.ui.server import Server
from tests.support.small_runs import Untrained

HOSTILE = "</script><img src=x onerror=window.hit=1><svg onload=window.hit=2>\u2028{{script}}"


def add(folder: Path, cell: str, *, origin: str, reason: str, failure: Failure) -> int:
    """A trial that fails, written as a search writes it; its number."""
    genome = Genome.from_text(cell)
    with Store.open(folder) as store:
        number = store.lookup.count
        trial = Trial(
            number,
            Proposal(genome, (0,), origin, reason=reason),
            Status.RUNNING,
            (Rung(Budget(9, 0)),),
        )
        key, text = genome.key, genome.to_json()
        store.add_trial(trial, key=key, genome=text, attempt=0, seed=7, horizon=number)
        store.add_outcome(Outcome(number, 0, None, failure, worker=HOSTILE), Status.FAILED)
    return number


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that trained nothing, a failure whose every text is hostile, and ablations: of trial
    0 as it is, of trial 1 with hostile texts, of trial 2 a damaged one.
    """
    folder = tmp_path_factory.mktemp("ui") / "run"
    experiment = small_experiment(
        "genetic", trials=40, baselines=("lstm", "gru"), name=HOSTILE, question=HOSTILE
    )
    with (
        InProcess(evaluation=EVALUATION) as executor,
        Search.open(folder, experiment) as search,
    ):
        search.run(executor, arrays={"x": np.zeros(10)})
    cell = "h[t] = 7.5 * tanh(linear(x[t], h[t-1]))"
    failure = Failure(HOSTILE, HOSTILE)
    add(folder, cell, origin=f"mutate:{HOSTILE}", reason=HOSTILE, failure=failure)
    lstm, kept = open_run(folder).trials[0].genome, folder / "ablation" / "trial-1.json"
    for path in (kept.with_name("trial-0.json"), kept):
        plan = plan_cell_ablation(
            *(lstm, "lstm", ("parity", {}, {}), experiment.training),
            folder=path.parent,
            name=path.stem,
            seeds=2,
        )
        plan.run(Untrained())
    document = json.loads(kept.read_text())
    document |= {"cell": HOSTILE, "idle": [HOSTILE]}
    document["rows"][0] |= dict.fromkeys(("removed", "meaning", "cell"), HOSTILE)
    document["rows"][0] |= {"also": [HOSTILE], "failures": [HOSTILE]}
    kept.write_text(json.dumps(document))
    kept.with_name("trial-2.json").write_text("{")
    return folder


@dataclass
class Client:
    """Asks a server as a browser does, and with whatever headers a test wants."""

    port: int

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in small letters, and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        """The document of an answer that must be fine."""
        status, _, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)

    @contextmanager
    def events(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """Changes as they come: kind and document."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/api/events")
        answer = connection.getresponse()

        def read() -> Iterator[tuple[str, Any]]:
            kind = ""
            while line := answer.readline().decode():
                if line.startswith("event: "):
                    kind = line[7:].strip()
                elif line.startswith("data: "):
                    yield kind, json.loads(line[6:])

        try:
            yield read()
        finally:
            connection.close()


@contextmanager
def serving(*folders: Path, host: str = "127.0.0.1", token: str = "") -> Iterator[Client]:
    """The server in a thread, on a free port."""
    server = Server(folders, host, token)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            server.app, log_level="error", loop="asyncio", http="h11", ws="none", lifespan="on"
        )
        config.timeout_graceful_shutdown = 1
        running = uvicorn.Server(config)
        thread = Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            end = time.monotonic() + 60
            while not running.started:
                assert thread.is_alive()
                assert time.monotonic() < end, "the server does not start"
                time.sleep(0.01)
            yield Client(listening.getsockname()[1])
        finally:
            server.end()
            running.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def client(run: Path) -> Iterator[Client]:
    """A server of the run."""
    with serving(run) as served:
        yield served
