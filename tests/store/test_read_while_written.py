"""Opening a store while another process writes it finds no damage."""

from __future__ import annotations

import threading
from pathlib import Path

from cellsearch.executors.in_process import InProcess
from cellsearch.search import Search
from cellsearch.store import Store
from cellsearch.testing.noop import EVALUATION
from cellsearch.testing.search import small_experiment


def test_a_store_is_whole_at_every_moment(tmp_path: Path) -> None:
    run, ended = tmp_path / "run", threading.Event()
    errors, lengths = list[Exception](), set[int]()
    with Search.open(run, small_experiment("random", trials=150)) as search:

        def read() -> None:
            while not ended.is_set():
                try:
                    with Store.read(run) as store:
                        lengths.add(len(store.history()))
                except Exception as error:  # noqa: BLE001 - looked at below
                    errors.append(error)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        search.run(InProcess(evaluation=EVALUATION), arrays={})
        ended.set()
        for reader in readers:
            reader.join()
    assert not errors
    assert len(lengths) > 10, "the readers saw no run that grows"
