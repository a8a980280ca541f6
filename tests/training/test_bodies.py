"""A transformer in place of the recurrent layer: causal, as large as asked, and trained by the same
loop on every task of sequences where it can stand.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cellsearch import tasks, training
from cellsearch.errors import ConfigError
from cellsearch.job import Job, Training
from cellsearch.training.bodies import BODIES, CausalTransformer, body_factory, check_body, shape


@pytest.mark.parametrize("size", [5, 16, 37])
def test_no_position_sees_what_comes_later(size: int) -> None:
    torch.manual_seed(0)
    body = CausalTransformer(3, size).eval()
    x = torch.randn(9, 2, 3)
    changed = x.clone()
    changed[5:] += 1.0
    before, after = body(x)[0], body(changed)[0]
    assert torch.allclose(before[:5], after[:5], atol=1e-6)
    assert not torch.allclose(before[5:], after[5:], atol=1e-3)
    earlier = x.clone()
    earlier[0] += 1.0
    assert not torch.allclose(body(earlier)[0][-1], before[-1], atol=1e-3)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    body = CausalTransformer(3, 16).eval()
    x, lengths = torch.randn(7, 3, 3), torch.tensor([4, 7, 2])
    packed, _ = body(pack_padded_sequence(x, lengths, enforce_sorted=False))
    output, found = pad_packed_sequence(packed)
    assert found.tolist() == [4, 7, 2]
    for k, length in enumerate(lengths.tolist()):
        alone = body(x[:length, k : k + 1])[0]
        assert torch.allclose(output[:length, k : k + 1], alone, atol=1e-5)
        assert not output[length:, k].any()


def test_the_order_of_what_came_before_matters() -> None:
    torch.manual_seed(0)
    body = CausalTransformer(3, 16).eval()
    x = torch.randn(6, 1, 3)
    turned = torch.cat([x[[2, 1, 0]], x[3:]])
    assert not torch.allclose(body(x)[0][-1], body(turned)[0][-1], atol=1e-4)


def test_segments_of_longer_sequences_are_read_as_long_as_in_training() -> None:
    torch.manual_seed(0)
    body = CausalTransformer(3, 16)
    x = torch.randn(4, 1, 3)
    _, state = body(x)
    body(x, state)  # a second segment: longer sequences are cut
    body.eval()
    long = torch.cat([x, x, x[:2]])
    output = body(long)[0]
    assert torch.allclose(output[4:8], output[:4], atol=1e-6)
    whole = CausalTransformer(3, 16)
    whole(x)
    whole.eval()  # trained on whole sequences: those beyond are read whole
    output = whole(long)[0]
    assert not torch.allclose(output[4:8], output[:4], atol=1e-3)


def weights(size: int) -> int:
    return sum(p.numel() for p in CausalTransformer(shape(size)[0], size).parameters())


def test_its_weights_grow_with_h_in_steps_like_those_of_a_cell() -> None:
    counts = [weights(size) for size in range(8, 200)]
    assert counts == sorted(counts)
    for size, count in zip(range(8, 200), counts, strict=True):
        exact = 2 * (12 * size * size + 13 * size) + 2 * size
        assert count == pytest.approx(exact, rel=0.02)
    for size in range(1, 200):
        width, heads, wide = shape(size)
        assert width % 4 == 0
        assert width % heads == 0
        assert abs(width - size) <= max(2, 4 - size)
        assert wide >= 1


def job(task: str, **options: object) -> Job:
    made = Training(steps=3, hidden_size=16, **options)  # type: ignore[arg-type]
    return Job(0, 0, "", task, {}, made, 3, 1, body="transformer", test=True)


@pytest.mark.parametrize("task", ["adding", "copy", "char_lm", "online_drift", "dyck1"])
def test_the_same_loop_trains_it(task: str) -> None:
    arrays = tasks.get(task).load({})
    first = training.evaluate(job(task), arrays)
    again = training.evaluate(job(task), arrays)
    assert first.score == again.score
    assert first.metrics["test_score"] > 0
    assert first.cell_parameters > 2 * 12 * 16 * 16 * 0.9
    assert first.parameters > first.cell_parameters


def test_it_learns() -> None:
    arrays = tasks.get("copy").load({"delay": 3})
    asked = replace(job("copy", learning_rate=3e-3), task_options={"delay": 3})
    short, long = (training.evaluate(replace(asked, steps=n), arrays) for n in (2, 60))
    assert long.score < 0.8 * short.score


def test_where_it_cannot_stand_is_said() -> None:
    with pytest.raises(ConfigError, match="has no state"):
        check_body("transformer", "translation", Training())
    with pytest.raises(ConfigError, match="one direction"):
        check_body("transformer", "adding", Training(bidirectional=True))
    with pytest.raises(ConfigError, match="no model body") as caught:
        body_factory("mamba", Training())
    assert all(name in caught.value.hint for name in BODIES)
    with pytest.raises(ConfigError, match="connections cannot be asked for"):
        training.evaluate(replace(job("adding"), connections=True), tasks.get("adding").load({}))
