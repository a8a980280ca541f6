"""The one page: markup, style and modules in a single answer that asks for nothing else."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

from cellsearch.genome.drawing.style import page_style
from cellsearch.plain import plain

__all__ = ["MODULES", "page", "policy", "script"]

MODULES = (
    "base.js",
    "data.js",
    "chart.js",
    "table.js",
    "views.js",
    "board.js",
    "progress.js",
    "plots.js",
    "ablation.js",
    "cell.js",
    "tree.js",
    "records.js",
    "main.js",
)
"""The modules of the page, each after those that it imports from."""
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.M)
_EXPORT = re.compile(r"^export (?=(?:async )?function|const|let|class)", re.M)


def policy(nonce: str) -> str:
    """The content security policy of the page: its own script and style, answers of this server,
    and nothing else.
    """
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types drawing"
    )


def page(boot: dict[str, Any], nonce: str) -> str:
    """The page. boot: what it shows before it has asked for anything, as plain data."""
    text = json.dumps(plain(boot), allow_nan=False)
    for sign in "<>&\u2028\u2029":  # nothing in it can end the element that it stands in
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    pieces = {"nonce": nonce, "style": _style(), "boot": text, "script": script()}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: pieces[found[1]], _static("index.html"))


@cache
def script() -> str:
    """All modules as one: a module of the page has nowhere to import another from."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", _static(name))) for name in MODULES)


@cache
def _style() -> str:
    return _static("page.css") + page_style()


@cache
def _static(name: str) -> str:
    return resources.files("cellsearch.ui").joinpath("static", name).read_text("utf-8")
