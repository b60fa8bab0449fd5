import numpy as np
import pytest
import tensorflow as tf

from problems.base import make_seed
from problems.data.sampling import shuffled_queue

SEED = make_seed(3)


def queue_by_hand(size, drawn, capacity, generator):
    """The original's queue, one row after the other."""
    queue, following, out = list(range(capacity)), capacity, []
    for _ in range(drawn):
        out.append(queue.pop(generator.integers(len(queue))))
        queue.append(following)
        following += 1
    return np.array(out) % size


def test_every_row_comes_once_per_pass_but_for_what_is_in_the_queue():
    rows = shuffled_queue(1_000, 50, capacity=100)(SEED, 60).numpy()
    assert rows.shape == (60, 50)
    assert rows.dtype == np.int32
    assert rows.min() == 0
    assert rows.max() == 999
    counts = np.bincount(rows.ravel(), minlength=1_000)
    assert counts.min() >= 1 and counts.max() <= 5  # three passes; 3,000 draws with replacement would leave out 50 rows
    assert all(len(set(row)) == 50 for row in rows)


@pytest.mark.parametrize("step", [0, 2_500, 4_900])
def test_rows_wait_as_long_as_in_a_real_queue(step):
    size, drawn, capacity = 10**9, 5_000, 500  # so many rows that the pass does not end
    sample = shuffled_queue(size, 1, capacity)
    delays = []
    for k in range(60):
        rows = sample(make_seed(k), drawn).numpy().ravel()
        delays.append(rows - rows.min())
    generator = np.random.default_rng(0)
    real = [queue_by_hand(size, drawn, capacity, generator) for _ in range(60)]
    window = slice(step, step + 100)
    ours, theirs = np.array(delays)[:, window], np.array(real)[:, window]
    np.testing.assert_allclose(ours.mean(), theirs.mean(), atol=0.05 * capacity)
    np.testing.assert_allclose(ours.std(), theirs.std(), atol=0.1 * capacity)


def test_seeds_begin_elsewhere():
    sample = shuffled_queue(10_000, 8)
    first, again, other = (sample(make_seed(seed), 3).numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    begun = [np.median(sample(make_seed(seed), 3)) for seed in range(20)]
    assert np.ptp(begun) > 5_000  # without a random row to begin with, all are within the first queue


def test_a_number_of_steps_that_is_a_tensor():
    """As in windows of different lengths."""
    sample = shuffled_queue(1_000, 4)
    for num_steps, found in ((n, tf.function(sample)(SEED, tf.constant(n))) for n in (3, 7)):
        np.testing.assert_array_equal(found, sample(SEED, num_steps))


def test_a_small_data_set_has_a_small_queue():
    rows = shuffled_queue(10, 5)(SEED, 40).numpy()
    assert np.bincount(rows.ravel(), minlength=10).min() > 10
