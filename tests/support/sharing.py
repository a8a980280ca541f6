"""Which of many tests run first where there is no time for all."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def commit() -> str:
    """The commit that is checked out; ``"none"`` outside a repository."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "none"


def spread(items: Sequence[T], *, seed: str, name: Callable[[T], str]) -> list[T]:
    """The items in another order for each seed: one of each folder in turn, so that any beginning
    of it looks at all rooms.

    name: what an item is called, ``folder/file.py::test``; its order hangs on that and the seed
        alone.
    """

    def place(text: str) -> str:
        return sha256(f"{seed}:{text}".encode()).hexdigest()

    folders: defaultdict[str, list[T]] = defaultdict(list)
    for item in sorted(items, key=lambda one: place(name(one))):
        folders[name(item).partition("::")[0].rpartition("/")[0]].append(item)
    rounds: list[tuple[int, str, T]] = [
        (turn, place(folder), item)
        for folder, inside in folders.items()
        for turn, item in enumerate(inside)
    ]
    return [item for _, _, item in sorted(rounds, key=lambda one: one[:2])]
