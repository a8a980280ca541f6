"""What a model takes on a device: counted by hand for cells that one can count by hand. That the
C files take the same is tests/export/c.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from cellsearch import zoo
from cellsearch.errors import ConfigError, GenomeError
from cellsearch.genome.footprint import Surroundings, footprint
from cellsearch.genome.graph import Genome
from cellsearch.genome.step_plan import Array, StepPlan, placed

LSTM, GRU = zoo.load("lstm"), zoo.load("gru")
# r * h is read by a product: it must be known for all units before the next loop.
RESET_FIRST = Genome.from_text(
    """
r = sigmoid(linear(x[t], h[t-1]))
z = sigmoid(linear(x[t], h[t-1]))
n = tanh(linear(x[t], r * h[t-1]))
h[t] = blend(z, h[t-1], n)
"""
)


def test_an_lstm_takes_its_weights_and_its_states() -> None:
    found = footprint(LSTM, 3, 10, num_layers=2, outputs=4)
    first, second, readout = 40 * 3 + 40 * 10, 40 * 10 + 40 * 10, 4 * 10
    biases = 2 * 40 + 4
    assert found.data_bytes == 4 * (first + second + readout + biases)
    assert found.state_bytes == 4 * 2 * 2 * 10
    # c is overwritten unit by unit, h is read by all units: its next value waits for the others
    assert found.ram_bytes == found.state_bytes + 4 * 10
    assert found.macs_per_step == first + second + readout + 2 * 3 * 10
    assert found.flash_bytes > found.data_bytes


def test_integers_take_a_quarter_and_a_scale_a_row() -> None:
    found = footprint(GRU, 5, 7, precision="int8")
    rows = 3 * 7
    biases = footprint(GRU, 5, 7).data_bytes - 4 * rows * (5 + 7)
    assert found.data_bytes == rows * (5 + 7) + 2 * 4 * rows + biases
    # products read the copies of x and h, so h is overwritten unit by unit
    assert found.ram_bytes == 4 * 7 + 12
    assert footprint(GRU, 5, 7, precision="int8", activation_bits=16).ram_bytes == 4 * 7 + 24


def test_what_a_later_product_reads_needs_an_array() -> None:
    plan = StepPlan(RESET_FIRST, 3, 8)
    assert plan.stages == 2
    assert len(plan.arrays) == 2  # r * h, and the next h
    assert footprint(RESET_FIRST, 3, 8).ram_bytes == 4 * 3 * 8


def test_what_a_whole_model_has_around_its_layers() -> None:
    bare = footprint(GRU, 6, 6)
    tokens = footprint(GRU, 6, 6, around=Surroundings(symbols=9, outputs=9, function="softmax"))
    assert tokens.data_bytes - bare.data_bytes == 4 * (9 * 6 + 9 * 6 + 9)
    tied = footprint(GRU, 6, 6, around=Surroundings(symbols=9, outputs=9, tied=True))
    assert tied.data_bytes == tokens.data_bytes - 4 * 9 * 6
    raw = Surroundings(features=2, scaled_inputs=True, outputs=3, scaled_answers=True, mean=True)
    square = footprint(GRU, 6, 6, around=raw)
    assert square.data_bytes - bare.data_bytes == 4 * (6 * 2 + 6 + 3 * 2 + 3 * 6 + 3 + 2 * 3)
    assert square.macs_per_step - bare.macs_per_step == 2 + 2 * 6 + 3 * 6 + 3
    assert square.ram_bytes == bare.ram_bytes + 4 * (6 + 1) + 4 * 6


def test_what_cannot_be_on_a_device_is_said() -> None:
    with pytest.raises(ConfigError, match="a stream has no future"):
        footprint(LSTM, 3, 4, bidirectional=True)
    with pytest.raises(ConfigError, match="not a precision of a device"):
        footprint(LSTM, 3, 4, precision="int4")  # type: ignore[arg-type]
    with pytest.raises(GenomeError, match="without a linear between"):
        footprint(Genome.from_text("h[t] = x[t] + h[t-1]"), 3, 4)


def test_arrays_that_live_at_the_same_time_lie_beside_one_another() -> None:
    arrays = {0: Array(0, 1, 5), 1: Array(1, 2, 3), 2: Array(2, 3, 6), 3: Array(0, 3, 2)}
    places = placed(arrays)
    for a, first in arrays.items():
        for b, second in arrays.items():
            if a < b and first.first <= second.last and second.first <= first.last:
                apart = (places[a] + first.size, places[b] + second.size)
                assert apart[0] <= places[b] or apart[1] <= places[a]
    assert max(places[k] + array.size for k, array in arrays.items()) == 3 + 6 + 2


def test_it_needs_no_torch() -> None:
    code = "import sys; import cellsearch.genome.footprint; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
