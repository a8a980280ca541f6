"""Docstrings name things as Sphinx does, :class:`Genome`; on pages in Markdown that is code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data):`~?([^`]+)`")
_LITERAL = re.compile(r"(?<=\S)::$", re.M)
_LITERAL_ALONE = re.compile(r"^::$", re.M)


class Roles(griffe.Extension):
    """Turns roles into code, and the mark of a literal block into a colon."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object, when it has been read."""
        if obj.docstring is not None:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = _LITERAL.sub(":", _LITERAL_ALONE.sub("", text))
