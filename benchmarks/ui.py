"""What the live page costs, in a browser without a window (Playwright and Chromium).

    python benchmarks/ui.py [--trials 100000] [--run DIR] [--live 300]

Builds a run of so many trials with an evaluation that does nothing (or takes ``--run``), serves it
with ``cellsearch ui`` as a process of its own, and prints a table: time to the first paint and to
the leaderboard, of sorting by each column and of filters, memory of page and server, requests to
other hosts, messages on the console, and what axe-core finds on each view (where ``--axe FILE``
names its axe.min.js). Then searches twice ``--live`` trials that train nothing much, without and
with a page and 20 readers, and compares. Goals: first paint below 1 s, sort and filter below
200 ms, page and server below 300 MB each, a search less than 2 % slower.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from large_runs import build

from cellsearch.testing.search import small_experiment

CHROMIUM = "/usr/bin/chromium"
VIEWS = (
    *("overview", "leaderboard", "cell", "curves", "tradeoffs", "lineage", "operators"),
    *("failures", "workers", "finals", "settings"),
)
SORTS = ("weights", "steps", "time", "origin", "cell", "state")
SEARCHES = ("origin:mutate", "#4711", "op:blend", "f * c[t-1]")
READERS = 20
TOLD = "document.querySelector('.bar [role=status]').textContent"
"""What the leaderboard says of how many it shows."""


@contextmanager
def serving(*runs: Path) -> Iterator[tuple[str, int]]:
    """``cellsearch ui`` as a process: its address and number."""
    command = [sys.executable, "-m", "cellsearch", "ui", *map(str, runs), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        try:
            yield found[0], process.pid
        finally:
            process.send_signal(signal.SIGINT)


def resident(process: int, kind: str = "VmHWM") -> float:
    """MB of memory of a process: the most so far, or (VmRSS) now."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{kind}:\s+(\d+) kB", text)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def renderer() -> float:
    """MB of the largest process of the browser that renders a page."""
    most = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "--type=renderer" in line and "chromium" in line:
                most = max(most, resident(int(folder.name), "VmRSS"))
        except OSError:
            continue  # it has ended meanwhile
    return most


def say(what: str, value: str, goal: str = "") -> None:
    print(f"{what:44} {value:>16}   {goal}", flush=True)


def page(address: str, server: int, axe: Path | None) -> None:
    """Everything about one page."""
    from playwright.sync_api import sync_playwright

    foreign: list[str] = []
    console: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--js-flags=--expose-gc"]
        )
        tab = browser.new_page(viewport={"width": 1360, "height": 900})
        tab.on("console", lambda said: console.append(said.text))
        tab.on("pageerror", lambda error: console.append(str(error)))
        tab.on(
            "request",
            lambda asked: asked.url.startswith((address, "data:")) or foreign.append(asked.url),
        )
        until_columns(address)
        first = paint(tab, f"{address}#leaderboard")
        say("first paint of the leaderboard", f"{first['paint']:.0f} ms", "< 1000 ms")
        say("its first rows", f"{first['rows']:.0f} ms", "< 1000 ms")
        tab.wait_for_function(f"() => {TOLD}.includes(' of ')")
        tab.wait_for_timeout(1500)
        for name in SORTS:
            say(
                f"sort by {name}",
                f"{clicked(tab, f'.rows .head button >> text=/^{name}/'):.0f} ms",
                "< 200 ms",
            )
        for state in ("completed", "failed"):
            say(f"filter {state}", f"{clicked(tab, f'.filter.{state}'):.0f} ms", "< 200 ms")
        begun = time.perf_counter()
        tab.fill("#search", "op:tanh")
        tab.wait_for_function(f"() => {TOLD}.includes('whose')")
        tab.wait_for_function(f"() => !{TOLD}.includes('whose')", timeout=900_000)
        say("all equations read, once", f"{time.perf_counter() - begun:.0f} s")
        for text in SEARCHES:
            say(f"search {text}", f"{searched(tab, text):.0f} ms", "< 200 ms")
        tab.fill("#search", "")
        tab.evaluate("gc()")
        heap = tab.evaluate("performance.memory.usedJSHeapSize") / 1e6
        say("memory of the page: objects", f"{heap:.0f} MB", "< 300 MB")
        say("memory of its process", f"{renderer():.0f} MB")
        say("memory of the server, at most", f"{resident(server):.0f} MB", "< 300 MB")
        for view in VIEWS:
            tab.goto(f"{address}#{view}")
            tab.wait_for_timeout(2500)
            if axe is not None:
                serious(tab, axe, view)
        say("memory of the server after all views", f"{resident(server):.0f} MB", "< 300 MB")
        say("requests to others", str(len(foreign)), "0")
        say("messages on the console", str(len(console)), "0")
        for line in [*foreign, *console][:10]:
            print("   ", line)
        browser.close()


def until_columns(address: str) -> None:
    """Wait until the server has read what it serves."""
    while not json.load(urllib.request.urlopen(f"{address}api/runs"))["runs"][0]["ready"]:
        time.sleep(0.2)


def paint(tab: Any, address: str) -> dict[str, float]:
    """Milliseconds from the start of loading to the first paint, and to the first rows."""
    tab.add_init_script(
        "new MutationObserver(() => { "
        "if (!window.rowsAt && document.querySelector('.rows .body .row')) "
        "window.rowsAt = performance.now(); })"
        ".observe(document, {childList: true, subtree: true})"
    )
    tab.goto(address)
    tab.wait_for_function("() => window.rowsAt")
    found: dict[str, float] = tab.evaluate(
        "() => ({rows: window.rowsAt, "
        "paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN})"
    )
    return found


WAIT = "await new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)));"


def clicked(tab: Any, selector: str) -> float:
    """Milliseconds from a click until what it changes is on the screen."""
    handle = tab.locator(selector).first.element_handle()
    found: float = handle.evaluate(
        "async (button) => { const begun = performance.now(); button.click(); "
        f"{WAIT} return performance.now() - begun; }}"
    )
    return found


def searched(tab: Any, text: str) -> float:
    """Milliseconds from typing a text until what it finds is on the screen."""
    found: float = tab.evaluate(
        "async (text) => { const field = document.getElementById('search'); const begun = "
        "performance.now(); window.lastShow = 0; field.value = text; "
        "field.dispatchEvent(new Event('input')); while (!window.lastShow) "
        f"{{ {WAIT} }} return performance.now() - begun; }}",
        text,
    )
    return found


def serious(tab: Any, axe: Path, view: str) -> None:
    """What axe-core finds that is serious or worse."""
    tab.evaluate(axe.read_text("utf-8"))
    found = tab.evaluate("async () => (await axe.run(document)).violations")
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    say(f"axe: {view}", f"{len(bad)} of {len(found)}", "0 serious")
    for one in bad:
        print("   ", one["id"], one["help"], one["nodes"][0]["html"][:140])


SEARCH = """
import sys, time
from cellsearch.experiment import load_experiment
from cellsearch.executors.in_process import InProcess
from cellsearch.search import Search
begun = time.perf_counter()
with InProcess() as executor, Search.open(sys.argv[1], load_experiment(sys.argv[2])) as search:
    start = time.perf_counter()
    search.run(executor)
    print(time.perf_counter() - start, time.process_time())
"""


def live(trials: int, rounds: int) -> None:
    """A search alone, and with a page that many look at, in turn."""
    from cellsearch.job import Training

    found: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        experiment = small_experiment(
            "random", trials=trials, baselines=(), training=Training(steps=40, hidden_size=16)
        )
        toml = Path(folder) / "experiment.toml"
        toml.write_text(experiment.to_toml())
        for k in range(2 * rounds):
            watched, run = bool(k % 2), Path(folder) / f"run{k}"
            command = [sys.executable, "-c", SEARCH, str(run), str(toml)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                while not (run / "store.sqlite").exists() and process.poll() is None:
                    time.sleep(0.05)
                if watched:
                    time.sleep(0.5)
                    with serving(run) as (address, _):
                        readers = [
                            threading.Thread(target=read, args=(address,), daemon=True)
                            for _ in range(READERS)
                        ]
                        for reader in readers:
                            reader.start()
                        said = process.communicate()[0]
                else:
                    said = process.communicate()[0]
            found[watched].append(float(said.split()[0]))
    alone, beside = min(found[False]), min(found[True])
    say(f"search of {trials} trials alone, best of {rounds}", f"{alone:.2f} s")
    say(
        f"beside {READERS} readers",
        f"{beside:.2f} s",
        f"{(beside / alone - 1) * 100:+.1f} %; < 2 %",
    )


def read(address: str) -> None:
    """One reader: columns once, and all changes."""
    urllib.request.urlopen(address).read()
    try:
        with urllib.request.urlopen(f"{address}api/events") as events:
            for _ in events:
                pass
    except OSError:
        return  # the server has ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--run", type=Path, help="a run that is there")
    parser.add_argument("--axe", type=Path, help="axe.min.js of npm's axe-core")
    parser.add_argument("--live", type=int, default=0, help="trials of the searches that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-page", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run
        if run is None and not options.no_page:
            run = Path(folder) / "run"
            build(run, small_experiment(trials=options.trials), options.trials)
        if not options.no_page:
            with serving(run) as (address, server):
                page(address, server, options.axe)
    if options.live:
        live(options.live, options.rounds)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
