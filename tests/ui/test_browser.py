"""The page in a browser: every view draws, asks nobody else, runs nothing hostile, and follows.

They need playwright for Python and a Chromium; what axe-core (npm) says is asked where the variable
CELLSEARCH_AXE names its axe.min.js.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ui.conftest import HOSTILE, add, serving

from cellsearch.ablation import AblationTable
from cellsearch.job import Failure
from cellsearch.runs import open_run

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
VIEWS = (
    *("overview", "leaderboard", "cell", "curves", "tradeoffs", "lineage", "operators"),
    *("failures", "workers", "finals", "settings", "runs"),
)
TAKEN = ("cell?n=0", "cell?n=1", "cell?n=2")
"""Cells that were taken apart; the second has hostile texts, the third is damaged."""
ROWS = "[...document.querySelectorAll('.body .row:not([hidden])')]"
SIZES = {"desk": (1300, 850), "phone": (390, 800)}


class Watched:
    """A tab of a browser, with what it complained of and whom it asked."""

    def __init__(self, tab: Any, address: str) -> None:
        self.tab, self.address = tab, address
        self.complaints: list[str] = []
        tab.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", self._asked)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:")):
            self.complaints.append(f"asked {request.url}")

    def open(self, view: str) -> None:
        self.tab.goto("about:blank")  # so that each view is the first that is seen, as of a link
        self.tab.goto(f"{self.address}/#{view}")
        self.tab.wait_for_selector("main h1", state="attached")
        reading = "document.querySelector('main').textContent.includes('Reading …')"
        self.tab.wait_for_function(f"() => !{reading}")
        self.tab.wait_for_timeout(300)

    def text(self) -> str:
        found: str = self.tab.evaluate("() => document.querySelector('main').textContent")
        return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def other(run: Path, tmp_path: Path) -> Path:
    """A second run, beside the first."""
    return Path(shutil.copytree(run, tmp_path / "other"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_draws_and_nothing_hostile_runs(
    browser: Any, run: Path, other: Path, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    with serving(run, other) as client:
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = Watched(tab, f"http://127.0.0.1:{client.port}")
        last = len(open_run(run).trials) - 1
        more = (f"cell?n={last}&to=lstm", f"lineage?n={last}", "leaderboard?status=failed", *TAKEN)
        for view in (*VIEWS, *more):
            page.open(view)
            assert len(page.text()) > 40, view
            wide = tab.evaluate("() => document.documentElement.scrollWidth")
            assert wide <= width + 1, f"{view} is {wide} wide"
        page.open(TAKEN[1])
        assert HOSTILE.partition("\u2028")[0] in page.text()
        page.open("failures")
        assert HOSTILE.partition("\u2028")[0] in page.text()
        assert tab.evaluate("() => window.hit") is None
        assert not page.complaints
        tab.close()


def test_sorting_searching_and_keys(browser: Any, run: Path) -> None:
    opened = open_run(run)
    with serving(run) as client:
        tab = browser.new_page()
        page = Watched(tab, f"http://127.0.0.1:{client.port}")
        page.open("leaderboard")
        cells = f"() => {ROWS}.map(row => row.cells[1].textContent)"
        assert tab.evaluate(cells)[:5] == [trial.name for trial in opened.trials.top(5)]
        tab.click(".head button:has-text('weights')")
        size = {number: weights for number, _, weights in opened.trials.sizes()}
        by_weights = sorted(opened.trials.ranked, key=lambda t: (size[t.number], t.number))
        assert tab.evaluate(cells)[:5] == [trial.name for trial in by_weights[:5]]
        tab.keyboard.press("/")
        tab.wait_for_timeout(200)
        tab.keyboard.type("op:softplus")
        tab.wait_for_timeout(1500)
        wanted = [t.name for t in opened.trials.ranked if "softplus(" in t.genome.to_text()]
        assert sorted(tab.evaluate(cells)) == sorted(wanted)
        assert "q=op:softplus" in tab.url  # the address is a link to what is shown
        texts = {t.name: t.genome.to_text().replace(" ", "") for t in opened.trials.ranked}
        for part in ("* c[t-1]", "(linear(x[t],"):
            tab.fill("#search", part)
            tab.wait_for_timeout(1500)
            wanted = [name for name, text in texts.items() if part.replace(" ", "") in text]
            assert 0 < len(wanted) < len(texts)
            assert set(tab.evaluate(cells)) <= set(wanted)
            told = tab.locator(".bar [role=status]").text_content()
            assert told == f"{len(wanted)} of {len(opened.trials)}"
        tab.keyboard.press("Escape")
        tab.keyboard.press("b")
        tab.wait_for_selector("h1:has-text('Trial')")
        assert f"n={opened.best().number}" in tab.url
        assert not page.complaints
        tab.close()


def test_the_leaderboard_of_one_of_several_runs_can_be_what_is_opened_first(
    browser: Any, run: Path, other: Path
) -> None:
    best = open_run(run).best().trial
    with serving(run, other) as client:
        tab = browser.new_page()
        page = Watched(tab, f"http://127.0.0.1:{client.port}")
        for name in ("run", "other"):
            page.open(f"leaderboard?run={name}")
            tab.wait_for_function(f"() => {ROWS}.length > 9", timeout=15_000)
            shown = tab.evaluate(f"() => {ROWS}[0].cells.map(cell => cell.textContent)")
            assert shown[:3] == ["1", best.name, f"{best.score:.4f}"]
        assert not page.complaints
        tab.close()


def test_an_ablation_is_beside_the_cell_and_at_its_boxes(browser: Any, run: Path) -> None:
    table = AblationTable.read(run / "ablation" / "trial-0.json")
    with serving(run) as client:
        tab = browser.new_page()
        page = Watched(tab, f"http://127.0.0.1:{client.port}")
        page.open("cell?n=0")
        rows = tab.locator("[aria-label=Removals] .removed code").all_text_contents()
        assert rows[1:] == [row.name for row, _ in table.rows][: len(rows) - 1]
        tab.click("button:has-text('removals')")
        assert tab.locator("[aria-label=Removals] tbody tr").count() == 1 + len(table.rows)
        gates = [row.name for row, _ in table.rows if row.kind == "gate"]
        assert tab.locator(".graph .gate .worth").count() == len(gates) == 3
        tab.hover(".graph .gate >> nth=0")
        assert "without" in tab.locator(".reading").text_content()
        assert table.sentence in page.text()
        assert not page.complaints
        tab.close()


def test_a_change_of_the_run_is_on_the_page_at_once(
    browser: Any, run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "followed"
    shutil.copytree(run, folder)
    with serving(folder) as client:
        tab = browser.new_page()
        page = Watched(tab, f"http://127.0.0.1:{client.port}")
        page.open("leaderboard?status=failed")
        failure = Failure("timeout", "too slow")
        cell = "h[t] = 2.125 * tanh(linear(x[t], h[t-1]))"
        number = add(folder, cell, origin="mutate:op", reason="", failure=failure)
        tab.wait_for_selector(f".body .row:has-text('trial {number}')", timeout=15_000)
        assert not page.complaints
        tab.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Any, run: Path, other: Path, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    axe = os.environ.get("CELLSEARCH_AXE", "")
    if not axe:
        pytest.skip("CELLSEARCH_AXE does not name the axe.min.js of npm's axe-core")
    with serving(run, other) as client:
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = Watched(tab, f"http://127.0.0.1:{client.port}")
        found = []
        for view in (*VIEWS, *TAKEN, "cell?n=5&to=gru"):
            page.open(view)
            tab.evaluate(Path(axe).read_text("utf-8"))
            for one in tab.evaluate("async () => (await axe.run(document)).violations"):
                if one["impact"] in ("serious", "critical"):
                    found.append((view, one["id"], one["nodes"][0]["html"][:200]))
        assert not found
        tab.close()
