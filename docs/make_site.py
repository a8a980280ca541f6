"""Builds the documentation as a web site in site/: make docs.

The pages are the Markdown files of the repository as they are: the README and whatever can be
reached from it by links, under the same paths, so a link that works in the one works in the other.
The reference is written from the docstrings of the public names and of what parts are made from.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
SITE = ROOT / "site"
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)
_LINK = re.compile(r'\]\(([^)#\s]+)|(?:src|href)="([^"#]+)"')
_FETCHED = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="?(?:https?:)?//[^>]*>')
# Page of the reference -> its title, and the names below cellsearch that it explains.
REFERENCE = {
    "cells": ("Cells", "Genome compile_cell zoo"),
    "search": ("Searching", "load_experiment Experiment Search progress InProcess Ray"),
    "run": ("What a search has left", "open_run Run load_model runs.RunTrial compare"),
    "history": ("History", "History Trial Proposal Budget Result"),
    "space": ("Search spaces", "load_space SearchSpace"),
    "tasks": ("Tasks", "tasks"),
    "strategies": ("Strategies", "strategies"),
    "errors": ("Errors", "errors"),
    "parts": (
        "Parts of your own",
        "strategies.base.Strategy schedules.base.Schedule tasks.base.Task tasks.base.Batch "
        "tasks.base.CellFactory tasks.options.TaskOptions compiler.backends.base.Backend "
        "compiler.backends.base.Kernel executors.base.Executor job.Job job.Outcome ops.Op options",
    ),
    "contracts": (
        "Contracts",
        "testing.strategies.StrategyContract testing.schedules.ScheduleContract "
        "testing.tasks.TaskContract testing.ops.OpContract testing.backends.BackendContract "
        "testing.executors.ExecutorContract",
    ),
}


def linked(page: Path) -> set[Path]:
    """The files of the repository that a Markdown page links to or shows."""
    names = {a or b for a, b in _LINK.findall(_CODE.sub("", page.read_text("utf-8")))}
    return {(page.parent / n).resolve() for n in names if "://" not in n and "mailto:" not in n}


def reached() -> set[Path]:
    """The README, and all files that one comes to from it."""
    found, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += linked(file) if file.suffix == ".md" else ()
    return found


def foreign() -> list[str]:
    """What the built pages would fetch from other hosts."""
    pages = sorted(SITE.rglob("*.html"))
    return [found for page in pages for found in _FETCHED.findall(page.read_text("utf-8"))]


def write_pages() -> None:
    """Put all pages into the folder that the site is built from."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for file in reached():
        place = PAGES / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    for page, (title, names) in REFERENCE.items():
        text = "".join(f"\n::: cellsearch.{name}\n" for name in names.split())
        place = PAGES / "reference" / f"{page}.md"
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"# {title}\n{text}", encoding="utf-8")
    shutil.copyfile(ROOT / "docs" / "site.css", PAGES / "site.css")


def main() -> int:
    """Write the pages and build the site; the exit code is 0 if nothing was found wrong."""
    write_pages()
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    built = subprocess.run(command, cwd=ROOT, check=False).returncode
    if built == 0 and (fetched := foreign()):
        print("these would be fetched from other hosts:", *fetched, sep="\n", file=sys.stderr)
        return 1
    return built


if __name__ == "__main__":
    sys.exit(main())
