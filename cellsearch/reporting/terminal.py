"""Standard output and standard error that show what they are given: whatever text comes from a
file, a run or another host, nothing in it moves the cursor, colours, links or turns lines round.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from cellsearch.errors import escaped, visible

__all__ = ["own_stream", "shown_output", "shows"]


class _Shown:
    """A text stream on top of another; what is written through it is made visible first.

    It has no ``buffer``, so that nobody writes past it by accident. What draws on purpose writes
    to :func:`own_stream`.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream
        """The stream below, under the name by which rich finds it."""

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self.rich_proxied_file, name)

    def write(self, text: str) -> int:
        """Write the text, without what a terminal would obey or the encoding does not have."""
        shown = visible(text)
        encoding = self.rich_proxied_file.encoding
        if encoding and not shown.isascii():
            try:
                shown.encode(encoding)
            except UnicodeEncodeError:
                shown = "".join(c if _can_write(c, encoding) else escaped(c) for c in shown)
        self.rich_proxied_file.write(shown)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)


def _can_write(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def shows(stream: TextIO) -> TextIO:
    """The stream, made to show what it is given; one that does so already stays as it is."""
    return stream if isinstance(stream, _Shown) else cast(TextIO, _Shown(stream))


def own_stream(stream: TextIO) -> TextIO:
    """What lies below, for those who draw and make each text visible themselves."""
    while isinstance(stream, _Shown):
        stream = stream.rich_proxied_file
    return stream


@contextmanager
def shown_output() -> Iterator[None]:
    """Inside, ``sys.stdout`` and ``sys.stderr`` show what they are given."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(shows, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
