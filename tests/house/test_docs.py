"""What the documents say is true: commands, options, files and names exist, links and anchors
lead somewhere, no page is an orphan, Python examples run.
"""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import cellsearch
from cellsearch._moved import MOVED
from cellsearch.cli import cli
from cellsearch.tasks.data import shipped_text

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "experiments" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "cellsearch").rglob("*.md")),
]
WIDTH = 100
SITE = runpy.run_path(str(ROOT / "docs" / "make_site.py"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)")
IMAGE = re.compile(r'(?:src|srcset|href)="([^"]+)"')
# ``cellsearch/tasks/base.py``, ``tests/zoo/golden.json``: a file of this repository, or a pattern.
FILE = re.compile(r"(?:cellsearch|tests|benchmarks|docs|scripts|\.ci)/[\w./*-]*\w\.\w+")
NAME = re.compile(r"\bcellsearch(?:\.[A-Za-z_]\w*)+")
GROUPS = {
    f"cellsearch.{kind}"
    for kind in ("backends", "experiments", "search_spaces", "suites", "trackers")
}
"""Groups of entry points that are not the name of a module as well."""


def blocks(path: Path, *languages: str) -> Iterator[str]:
    for match in BLOCK.finditer(path.read_text("utf-8")):
        if match[1] in languages:
            yield match[2]


def commands(path: Path) -> Iterator[str]:
    """Lines of console blocks that start with ``$``, or of sh blocks, and commands in backticks."""
    for block in blocks(path, "console"):
        yield from (line[2:].strip() for line in block.splitlines() if line.startswith("$ "))
    for block in blocks(path, "sh"):
        lines = block.replace("\\\n", " ").splitlines()
        yield from (line.split("#")[0].strip() for line in lines if line.strip())
    yield from (
        match for match in re.findall(r"`((?:cellsearch|make) [^`\n]+)`", path.read_text("utf-8"))
    )


def check_command(text: str) -> str:
    """What is wrong with a cellsearch command line; ``""`` for nothing. It is parsed, not run."""
    arguments = shlex.split(text)[1:]
    if not arguments or arguments[0].startswith("-"):
        return ""
    command = cli.get_command(click.Context(cli), arguments[0])
    if command is None:
        return f"no command {arguments[0]}"
    if set(arguments[1:]) == {"..."} or len(arguments) == 1:
        return ""
    try:
        command.make_context("cellsearch", arguments[1:], resilient_parsing=False).close()
    except click.UsageError as error:
        return error.format_message()
    return ""


def links(text: str) -> list[str]:
    """Where a document points to inside of the repository; code does not count."""
    prose = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text))
    return [
        link
        for link in LINK.findall(prose) + IMAGE.findall(prose)
        if "://" not in link and not link.startswith("mailto:")
    ]


def anchors(text: str) -> set[str]:
    """The anchors that the headings of a document have, as GitHub names them."""
    headings = re.findall(r"^#+ (.+?) *$", BLOCK.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(path: Path) -> list[str]:
    """Links of a document to files that are not there (a folder is no page), and to headings that
    its target lacks.
    """
    found = []
    for link in links(path.read_text("utf-8")):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        missing = not target.is_file()
        if missing or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            found.append(link)
    return found


def value_of(name: str) -> object:
    """What ``cellsearch.a.b.C.d`` is. Raises :class:`AttributeError` if there is no such thing."""
    module, _, attribute = name.rpartition(".")
    owner = value_of(module) if module else None
    # first: a folder of data is imported as well, and would take the place of its namesake
    if attribute in getattr(owner, "__dict__", {}):
        return owner.__dict__[attribute]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        if not module:
            raise AttributeError(name) from None
    annotated = attribute in getattr(owner, "__annotations__", {})  # a field without a default
    return attribute if annotated else getattr(owner, attribute)


def exists(name: str) -> bool:
    try:
        value_of(name)
    except AttributeError:
        return False
    return True


def test_the_check_sees_wrong_commands_and_options() -> None:
    assert check_command("cellsearch serch quickstart")
    assert check_command("cellsearch show lstm --png")
    assert check_command("cellsearch export runs/a --to wav -o x")
    assert not check_command("cellsearch show lstm --svg -o lstm.svg --force")


def test_the_checks_see_wrong_links_anchors_and_names(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page, and more\n[a](no.md) [b](#a-page-and-more) [c](#no) `[d](e)` [f](.)\n"
    )
    assert broken(page) == ["no.md", "#no", "."]
    assert not exists("cellsearch.nothing")
    assert not exists("cellsearch.Genome.nothing")
    assert exists("cellsearch.Genome.key")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    wrong = []
    for text in commands(path):
        words = shlex.split(text)
        if words[0] == "cellsearch" and (problem := check_command(text)):
            wrong.append(f"{text}: {problem}")
        if words[0] == "make":
            wrong += [
                f"{text}: no target {word}"
                for word in words[1:]
                if "=" not in word and word not in targets
            ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(path: Path) -> None:
    assert not broken(path)


@pytest.mark.parametrize(
    "path",
    [p for p in DOCUMENTS if p.name != "CHANGELOG.md"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_files_and_names_that_are_mentioned_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    files = [name for name in FILE.findall(text) if not list(ROOT.glob(name))]
    names = [n for n in NAME.findall(FILE.sub("", text)) if n not in GROUPS and not exists(n)]
    assert not files + names


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_lines_are_no_wider_than_those_of_the_code(path: Path) -> None:
    """But for tables and links, which cannot be broken, and lines that a program wrote."""
    long = [
        f"{number}: {line}"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if len(line) > WIDTH and " " in line.strip() and not line.lstrip().startswith("|")
    ]
    assert not long or path.name == "gallery.md", "\n".join(long)


def test_every_page_is_reached_from_the_readme() -> None:
    assert set(DOCUMENTS) <= SITE["reached"]()


def test_the_site_has_every_page_and_explains_every_public_name() -> None:
    listed = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8"))
    pages = {str(path.relative_to(ROOT)) for path in DOCUMENTS}
    assert {page for page in listed if not page.startswith("reference/")} == pages
    assert {page for page in listed if page.startswith("reference/")} == {
        f"reference/{page}.md" for page in SITE["REFERENCE"]
    }
    names = {
        f"cellsearch.{name}" for _, them in SITE["REFERENCE"].values() for name in them.split()
    }
    for name in sorted(names):  # a package or module stands for what it declares
        names |= {f"{name}.{member}" for member in getattr(value_of(name), "__all__", ())}
    explained = [value_of(name) for name in names]
    public = {name: getattr(cellsearch, name) for name in set(cellsearch.__all__) - {"__version__"}}
    assert not [name for name, value in public.items() if value not in explained]


def test_the_changes_say_where_each_module_has_gone() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", text, re.M))
    assert rows == MOVED


def test_the_readme_starts_with_the_two_commands() -> None:
    first = next(commands(ROOT / "README.md"))
    assert first.startswith(("make demo", "git clone"))
    text = (ROOT / "README.md").read_text("utf-8")
    assert "make test" in text[: text.index("\n## ")] or "make test" in text[:3000]


WITH_PYTHON = [
    path
    for path in DOCUMENTS
    if path.is_file()
    and list(blocks(path, "python"))
    # whose examples need libraries that are not ours: tests/export/test_recipes.py runs them
    and path.name != "recipes.md"
]


@pytest.mark.parametrize("path", WITH_PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_examples_run(path: Path, tmp_path: Path) -> None:
    (tmp_path / "my_text.txt").write_text(
        shipped_text()[:20_000], "utf-8"
    )  # the reader's own text, which the examples name
    program = "\n".join(blocks(path, "python"))
    done = subprocess.run(
        # what a toy search finds is often worse than LSTM, and said to be
        [sys.executable, "-W", "error", "-W", "default:the best cell of", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr


SHOWN = re.compile(r"^`([\w./]+)`:\n\n```\w*\n(.*?)^```", re.M | re.S)


def test_the_example_package_is_shown_as_it_is() -> None:
    package = ROOT / "tests" / "packages" / "cellsearch_example"
    shown = dict(SHOWN.findall((ROOT / "docs" / "extending.md").read_text("utf-8")))
    assert {name: (package / name).read_text("utf-8") for name in shown} == shown
    written = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    assert written - {"cellsearch_example/__init__.py"} <= set(shown)


def test_the_readme_counts_the_cells_of_the_zoo() -> None:
    said = re.findall(r"gallery of (\d+) published cells", README.read_text("utf-8"))
    assert said == [str(len(cellsearch.zoo.names()))]


def test_the_readme_has_python_examples() -> None:
    assert ROOT / "README.md" in WITH_PYTHON
