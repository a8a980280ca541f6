"""A key in the wrong table, or under a name that others give it, is met with the key that was
meant.
"""

from __future__ import annotations

import pytest

from cellsearch.errors import ConfigError
from cellsearch.experiment import load_experiment

WEIGHTS = [
    f"{table}{key}"
    for table in ("", "limits.", "training.", "allowance.", "prefilter.", "space.", "space.limits.")
    for key in (
        "max_parameters",
        "max_params",
        "parameters",
        "weights",
        "max_weight",
        "num_weights",
    )
]


def hint(key: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_experiment("quickstart", {key: 5})
    return caught.value.hint


@pytest.mark.parametrize("key", [*WEIGHTS, "limits.max_weights", "constrain.max_weights"])
def test_any_limit_on_weights_leads_to_max_weights(key: str) -> None:
    assert hint(key).startswith("did you mean max_weights")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("limits.max_nodes", "constrain.max_nodes"),
        ("max_depth", "constrain.max_depth"),
        ("hidden_size", "training.hidden_size"),
        ("limits.hidden_size", "training.hidden_size"),
        ("steps", "training.steps"),
        ("limits.foo", ""),
        ("training.seconds", "limits.seconds"),
        ("limits.hours", "allowance.hours"),
        ("training.population", "strategy_options.population"),
        ("population", "strategy_options.population"),
        ("training.text", "task_options.text"),
        ("strategy_options.hidden_size", "training.hidden_size"),
        ("task_options.steps", "training.steps"),
        ("training.trials", "trials"),
        ("space.limits.max_nodes", "constrain.max_nodes"),
        ("training.stepz", "steps"),
        ("limits.memory", "memory_mb"),
    ],
)
def test_a_key_of_another_table_is_named_with_it(key: str, meant: str) -> None:
    assert hint(key).startswith(f"did you mean {meant}?" if meant else "allowed: ")


def test_every_key_of_every_table_is_found_from_any_other() -> None:
    """Never a guess at a place where the key is unknown, too."""
    from cellsearch.experiment.misplaced import _TABLES

    for table, names in _TABLES.items():
        for name in names:
            if name in {key for other, keys in _TABLES.items() if other != table for key in keys}:
                continue  # hidden_size stands in two
            for other in _TABLES.keys() - {table}:
                expected = "max_weights" if name == "max_parameters" else f"{table}.{name}"
                said = hint(f"{other}.{name}")
                near = said.partition("? ")[0].removeprefix("did you mean ")
                assert said.startswith(f"did you mean {expected}") or near in _TABLES[other]
