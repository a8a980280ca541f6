"""What tests of training share."""

from __future__ import annotations

import pytest
from support.trainings import ADDING, LM

from cellsearch import tasks
from cellsearch.tasks.base import Arrays


@pytest.fixture(scope="session")
def text() -> Arrays:
    """The data of the character model."""
    return tasks.get("char_lm").load(LM)


@pytest.fixture(scope="session")
def data() -> Arrays:
    """The data of the adding task."""
    return tasks.get("adding").load(ADDING)
