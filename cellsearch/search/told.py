"""Taking up what a run was told from outside: each letter of the inbox becomes a proposal, is the
answer to nothing new, or is refused; nothing of it is lost without a word in the store.
"""

from __future__ import annotations

import json

from cellsearch.errors import InputFileError
from cellsearch.genome.identity import search_key
from cellsearch.search.ledger import Ledger
from cellsearch.space import SearchSpace
from cellsearch.store.inbox import Letter, ToldCell
from cellsearch.trial import TOLD, Origin, Proposal

__all__ = ["KNOWN", "REFUSED", "opened"]

KNOWN, REFUSED = "told again", "told and refused"
"""Kinds of event: the run had the cell already; the cell is not of its space, or cannot be read."""


def opened(letter: Letter, space: SearchSpace, ledger: Ledger) -> tuple[Proposal, str] | None:
    """The proposal in a letter, and its search key. ``None``, with an event in the store and the
    letter put out of the way, for a cell that the run knows, or that cannot be trained in it.
    """
    try:
        told = letter.read()
    except InputFileError as error:
        if letter.path.exists():
            ledger.note(REFUSED, json.dumps({"why": str(error), "reason": "", "cell": ""}))
            letter.set_aside()
        return None
    outside = space.contains(told.genome)
    if outside is not None:
        ledger.note(REFUSED, _event(told, why=f"not in the space {space.name}: {outside}"))
        letter.remove()
        return None
    key = search_key(told.genome)
    twin = ledger.number_of(key)
    if twin is not None:
        ledger.note(KNOWN, _event(told, trial=twin))
        letter.remove()
        return None
    parents = tuple(n for n in dict.fromkeys(told.parents) if 0 <= n < ledger.count)
    return Proposal(told.genome, parents, Origin(TOLD), reason=told.reason), key


def _event(told: ToldCell, **facts: object) -> str:
    return json.dumps({**facts, "reason": told.reason, "cell": told.genome.to_text()})
