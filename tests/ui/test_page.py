"""The modules of the page fit together as one."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from cellsearch.store.columns import STATUSES
from cellsearch.ui.live import CHUNK
from cellsearch.ui.page import MODULES, page, script

STATIC = Path(str(resources.files("cellsearch.ui").joinpath("static")))
TEXTS = {name: (STATIC / name).read_text("utf-8") for name in MODULES}
TOP = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (?:\{ ?)?([\w$]+)", re.M)


def test_every_module_is_part_of_the_page() -> None:
    assert sorted(path.name for path in STATIC.glob("*.js")) == sorted(MODULES)


def test_names_of_all_modules_are_apart_and_used() -> None:
    names = [name for text in TEXTS.values() for name in TOP.findall(text)]
    assert len(names) > 80
    assert sorted(set(names)) == sorted(names)
    unused = [name for name in names if len(re.findall(rf"\b{name}\b", script())) < 2]
    assert not unused


def test_what_a_module_imports_is_there_before_it() -> None:
    exported: dict[str, set[str]] = {}
    for name, text in TEXTS.items():
        for names, source in re.findall(r'^import \{([^}]*)\} from "\./([\w.]+)";$', text, re.M):
            wanted = {one.strip() for one in names.split(",") if one.strip()}
            assert wanted <= exported[source], f"{name} imports {wanted - exported[source]}"
            used = TEXTS[name].split("\n", text.count("import {"))[-1]
            unused = {one for one in wanted if not re.search(rf"\b{one}\b", used)}
            assert not unused, f"{name} does not use {unused}"
        exported[name] = set(
            re.findall(r"^export (?:async )?(?:function|const|let|class) (\w+)", text, re.M)
        )
    assert not re.search(r"^(?:import|export)\b", script(), re.M)


def test_nothing_makes_markup_of_text() -> None:
    """Elements are made of text; the one door for drawings is closed to scripts by the policy."""
    sinks = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function"
    )
    assert not sinks.search(script())
    assert script().count("parseFromString") == 1


def test_the_page_and_the_store_number_states_alike() -> None:
    listed = re.search(r"STATUSES = \[([^\]]*)\]", TEXTS["data.js"])
    assert listed is not None
    assert re.findall(r'"(\w+)"', listed[1]) == list(STATUSES)


def test_the_page_and_the_server_cut_the_texts_alike() -> None:
    assert re.findall(r"\bCHUNK = (\d+)", TEXTS["data.js"]) == [str(CHUNK)]


def test_data_cannot_end_the_element_that_they_are_in() -> None:
    text = page({"x": "</script><!--\u2028&{{nonce}}"}, "N")
    assert text.count("</script>") == 2
    assert "<!--" not in text.split('id="boot"')[1].split("</script>")[0]
