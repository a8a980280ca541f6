"""Colours and fonts of the drawings: light ones, and dark ones for readers who prefer a dark
scheme.

Every rule starts with the class of the drawing, so that a page that holds several drawings, or a
notebook, is not affected.
"""

from __future__ import annotations

import re

__all__ = ["page_style", "style"]

_PREFIX = ".cellsearch-cell "
_COMMON = {
    "text": "font-family:ui-sans-serif,system-ui,'Segoe "
    "UI',Helvetica,Arial,sans-serif;text-anchor:middle",
    ".title": "font-size:14px;font-weight:600;text-anchor:start",
    ".name": "font-size:13px;font-weight:600;font-style:italic",
    ".op": "font-size:11.5px",
    ".sign": "font-size:15px",
    ".step": "font-size:9px",
    ".port": "font-size:10px;text-anchor:start",
    ".port.left": "text-anchor:end",
    ".v rect": "stroke-width:1.2",
    ".state rect": "stroke-dasharray:4 3",
    ".out rect": "stroke-width:2.2",
    ".w": "fill:none;stroke-width:1.2",
    ".w.head": "stroke:none",
    ".w.loop": "stroke-dasharray:5 4",
    ".w.removed": "stroke-dasharray:1.5 3;stroke-width:1.6",
    ".w.added": "stroke-width:1.8",
    ".v.removed rect": "stroke-dasharray:1.5 3;stroke-width:1.6",
    ".v.added rect": "stroke-width:2.2",
    ".v.changed rect": "stroke-width:2.2",
}

# What -> (fill, stroke) in the light and in the dark scheme.
_FILLS = {
    "input": ("#e3effd", "#2f6db5", "#16304d", "#7db4f0"),
    "state": ("#ffffff", "#2f6db5", "#101820", "#7db4f0"),
    "output": ("#e3effd", "#2f6db5", "#16304d", "#7db4f0"),
    "function": ("#f1f2f4", "#7a828c", "#262b31", "#98a2ad"),
    "gate": ("#fdeecb", "#b57b12", "#44330d", "#e2b04a"),
    "product": ("#ecdffb", "#7f4fc0", "#352252", "#bb93ee"),
    "operation": ("#ffffff", "#7a828c", "#14181c", "#98a2ad"),
    "added": ("#dcf5e1", "#1a7f37", "#123820", "#4cc46c"),
    "removed": ("#fde4e2", "#c4322b", "#471a18", "#ff7b72"),
    "changed": ("#fff1c2", "#b08800", "#4a3b06", "#e3b341"),
}
_WIRES = {
    "": ("#6a737d", "#8b96a1"),
    ".added": ("#1a7f37", "#4cc46c"),
    ".removed": ("#c4322b", "#ff7b72"),
}
_INK = {
    "text": ("#1b1f24", "#e8ecf0"),
    ".op": ("#3d444d", "#c3cbd4"),
    ".port": ("#57606a", "#a4aeb8"),
}


_SHAPES = frozenset({"v", "w", "head"})


def style(used: frozenset[str]) -> str:
    """The style sheet for a drawing that uses these classes."""
    size = f"{_PREFIX.strip()}{{max-width:100%;height:auto}}"
    light, dark = _rules(_scheme(False), used), _rules(_scheme(True), used)
    return f"{size}{_rules(_COMMON, used)}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def page_style() -> str:
    """The style sheet of all drawings of a page, which takes theirs out; colours follow the
    ``color-scheme`` of the page.
    """
    light, dark = _scheme(False), _scheme(True)
    both: dict[str, str] = {}
    for what, rule in light.items():
        pairs = zip(rule.split(";"), dark[what].split(";"), strict=True)
        both[what] = ";".join(
            one
            if one == other
            else one.replace(":", ":light-dark(", 1) + f",{other[other.index(':') + 1 :]})"
            for one, other in pairs
        )
    size = f"{_PREFIX.strip()}{{max-width:100%;height:auto}}"
    rules = [f"{_PREFIX}{what}{{{body}}}" for what, body in [*_COMMON.items(), *both.items()]]
    return "\n".join([size, *rules])


def _scheme(dark: bool) -> dict[str, str]:
    rules: dict[str, str] = {}
    for what, colours in _INK.items():
        rules[what] = f"fill:{colours[dark]}"
    for what, fills in _FILLS.items():
        fill, stroke = fills[2:] if dark else fills[:2]
        rules[f".v.{what} rect"] = f"fill:{fill};stroke:{stroke}"
    for what, colours in _WIRES.items():
        rules[f".w{what}"] = f"stroke:{colours[dark]}"
        rules[f".w{what}.head"] = f"fill:{colours[dark]};stroke:none"
    return rules


def _rules(rules: dict[str, str], used: frozenset[str]) -> str:
    kept = {
        selector: body
        for selector, body in rules.items()
        if set(re.findall(r"\.(\w+)", selector)) - _SHAPES <= used
    }
    return "".join(f"{_PREFIX}{selector}{{{body}}}" for selector, body in kept.items())
