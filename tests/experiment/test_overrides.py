"""``--set key=value``: the value is TOML, or a bare word."""

from __future__ import annotations

import pytest

from cellsearch.errors import ConfigError
from cellsearch.experiment.overrides import parse_setting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trials=8", ("trials", 8)),
        ("training.steps = 100", ("training.steps", 100)),
        ("strategy=grow", ("strategy", "grow")),
        ("task=suite:long_memory", ("task", "suite:long_memory")),
        ("space=./mine.toml", ("space", "./mine.toml")),
        ('question="a = b"', ("question", "a = b")),
        ('baselines=["lstm"]', ("baselines", ["lstm"])),
        ("deterministic=true", ("deterministic", True)),
        ("training.learning_rate=1e-3", ("training.learning_rate", 1e-3)),
    ],
)
def test_settings(text: str, expected: tuple[str, object]) -> None:
    assert parse_setting(text) == expected


@pytest.mark.parametrize(
    "text", ["trials", "=3", "a b=3", "a=[1", "a=1 2", "question=what is it", "a=1\nb=2"]
)
def test_wrong_settings(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_setting(text)
    assert caught.value.hint
