"""What the live page costs, in a browser without a window (Playwright and Chromium).

    python benchmarks/ui.py [--trials 100000] [--run DIR] [--live 300]

Builds a run of so many trials with an evaluation that does nothing (or takes ``--run``), serves it
with ``cellsearch ui`` as a process of its own, and prints a table: time to the first paint and to
the leaderboard, of sorting by each column and of filters, memory of page and server, requests to
other hosts, messages on the console, and what axe-core finds on each view (where ``--axe FILE``
names its axe.min.js). Then searches ``--live`` trials with short trainings alone, beside one open
page, beside 20, and alone once more, ``--rounds`` times, and compares; what the second alone
differs is the noise. Goals: first paint below 1 s, sort and filter below 200 ms, page and server
below 300 MB each, a search less than 2 % slower.
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
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from large_runs import build

from cellsearch.testing.search import small_experiment

CHROMIUM = "/usr/bin/chromium"
VIEWS = (
    *("overview", "leaderboard", "cell", "curves", "tradeoffs", "lineage", "operators"),
    *("failures", "workers", "finals", "settings"),
)
SORTS = ("weights", "steps", "time", "origin", "cell", "state")
SEARCHES = ("origin:mutate", "#4711", "op:blend", "op:softplus")
PIECE = "f * c[t-1]"
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
        for text in SEARCHES:
            say(f"search {text}, the first time", f"{settled(tab, text):.1f} s")
            say(f"search {text}, again", f"{searched(tab, text):.0f} ms", "< 200 ms")
        begun, used = time.perf_counter(), processor(server)
        first = settled(tab, PIECE, "so far")
        say(f"search {PIECE}: its first rows", f"{first:.1f} s")
        settled(tab, PIECE)
        say("until all equations are read, once", f"{time.perf_counter() - begun:.0f} s")
        say("processor time of the server for that", f"{processor(server) - used:.0f} s")
        say(f"search {PIECE}, again", f"{searched(tab, PIECE):.0f} ms", "< 200 ms")
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


def settled(tab: Any, text: str, until: str = "") -> float:
    """Seconds from typing a text until all that it finds is there, or its first rows and what is
    said of the others.
    """
    begun = time.perf_counter()
    tab.fill("#search", text)
    rows = "document.querySelectorAll('.body .row:not([hidden])').length"
    whole = f"!{TOLD}.includes('so far') && !{TOLD}.includes('looking')"
    tab.wait_for_timeout(100)
    test = f"{TOLD}.includes('{until}') && {rows}" if until else whole
    tab.wait_for_function(f"() => {test}", timeout=900_000)
    return time.perf_counter() - begun


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
with InProcess() as executor, Search.open(sys.argv[1], load_experiment(sys.argv[2])) as search:
    print("open", flush=True)
    sys.stdin.readline()
    start, used = time.perf_counter(), time.process_time()
    search.run(executor)
    print(time.perf_counter() - start, time.process_time() - used)
"""
READ = """
import sys, threading, urllib.request
def read():
    urllib.request.urlopen(sys.argv[1]).read()
    with urllib.request.urlopen(sys.argv[1] + "api/events") as events:
        print("reads", flush=True)
        for _ in events:
            pass
for _ in range(int(sys.argv[2])):
    threading.Thread(target=read, daemon=True).start()
sys.stdin.read()
"""


def live(trials: int, rounds: int) -> None:
    """A search alone, beside one page, beside many, and alone again; medians over the rounds."""
    from cellsearch.job import Training

    cases = {"alone": 0, "one open page": 1, f"{READERS} open pages": READERS, "alone again": 0}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        experiment = small_experiment(
            "random", trials=trials, baselines=(), training=Training(steps=40, hidden_size=16)
        )
        toml = Path(folder) / "experiment.toml"
        toml.write_text(experiment.to_toml())
        for k in range(rounds):
            order = [*cases][k % 4 :] + [*cases][: k % 4]
            for name in order:
                run = Path(folder) / f"run{k}-{order.index(name)}"
                found[name].append(searching(run, toml, cases[name]))
    alone = found.pop("alone")
    say(f"{trials} trials alone, median of {rounds}", f"{median(one[0] for one in alone):.2f} s")
    for name, kept in found.items():
        for k, what in enumerate(("time", "its processor time")):
            ratio = median(one[k] / other[k] for one, other in zip(kept, alone, strict=True))
            say(f"{name}: {what}", f"{(ratio - 1) * 100:+.1f} %", "< 2 %")
        share = median(served / wall for wall, _, served in kept)
        say(f"{name}: processor time of the server", f"{share * 100:.1f} %")


def searching(run: Path, toml: Path, readers: int) -> tuple[float, float, float]:
    """One search: its seconds, its processor seconds, and those of the server beside it."""
    command = [sys.executable, "-c", SEARCH, str(run), str(toml)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process, ExitStack() as stack:
        assert process.stdout is not None
        process.stdout.readline()
        server = 0
        if readers:
            address, server = stack.enter_context(serving(run))
            stack.enter_context(reading(address, readers))
        before = processor(server)
        said = process.communicate("go\n")[0].split()
        return float(said[0]), float(said[1]), processor(server) - before


@contextmanager
def reading(address: str, readers: int) -> Iterator[None]:
    """A process that reads the page once, and all changes, as so many browsers do."""
    command = [sys.executable, "-c", READ, address, str(readers)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        for _ in range(readers):
            process.stdout.readline()
        yield
        process.communicate("")


def processor(process: int) -> float:
    """Processor seconds of a process so far; 0 for none."""
    if not process:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
