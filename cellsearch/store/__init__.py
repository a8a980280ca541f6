"""Remembers a run: one SQLite file, one writer, any number of readers."""

from __future__ import annotations

from cellsearch.store.inbox import Inbox, ToldCell
from cellsearch.store.records import Records
from cellsearch.store.rows import Decision, Duplicate, Environment, Event, Timing
from cellsearch.store.store import Store

__all__ = [
    "Decision",
    "Duplicate",
    "Environment",
    "Event",
    "Inbox",
    "Records",
    "Store",
    "Timing",
    "ToldCell",
]
