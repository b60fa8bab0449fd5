"""How many windows a run has, and how long they are."""

import numpy as np
import pytest

from l2o_tf import LongTail, Windows


def rng():
    return np.random.default_rng(5)


def test_numbers_follow_the_exponential_distribution():
    """Mean, smallest value and the weight of the tail; rounding moves the mean by less than 0.01."""
    drawn = LongTail(40.0, 3).draw(rng(), 200_000)
    assert drawn.dtype == np.int64 and drawn.min() == 3
    np.testing.assert_allclose(drawn.mean() - 3, 40.0, rtol=0.01)
    np.testing.assert_allclose(np.mean(drawn - 3 > 120), np.exp(-3.0), rtol=0.03)


def test_the_tail_can_be_cut():
    drawn = LongTail(20.0, 10, 30).draw(rng(), 10_000)
    assert (drawn.min(), drawn.max()) == (10, 30)
    np.testing.assert_allclose(np.mean(drawn == 30), np.exp(-19.5 / 20), atol=0.02)


def test_halves_are_rounded_to_even():
    class Fixed:
        def exponential(self, mean, count):
            return np.array([0.5, 1.5, 2.5, 2.6])[:count]

    np.testing.assert_array_equal(LongTail(1.0, 1).draw(Fixed(), 4), [1, 3, 3, 4])


def test_without_tails_the_horizon_is_cut_into_windows():
    lengths = Windows(20).draw(rng(), 100)
    assert lengths.dtype == np.int32
    np.testing.assert_array_equal(lengths, [20] * 5)


@pytest.mark.parametrize("seed", range(5))
def test_windows_and_steps_are_drawn_apart(seed):
    few, many = LongTail(2.0, 4, 8), LongTail(30.0, 10)
    drawn = Windows(20, few).draw(np.random.default_rng(seed), 100)
    assert 4 <= len(drawn) <= 8 and set(drawn) == {20}
    drawn = Windows(20, steps=many).draw(np.random.default_rng(seed), 100)
    assert len(drawn) == 5 and min(drawn) >= 10 and len(set(drawn)) > 1
    both = Windows(20, few, many).draw(np.random.default_rng(seed), 100)
    assert 4 <= len(both) <= 8 and min(both) >= 10


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LongTail(0.0, 1), "mean=0.0, expected a number above 0"),
        (lambda: LongTail(1.0, 0), "least=0, expected a positive integer"),
        (lambda: LongTail(1.0, 5, 4), "most=4, expected at least least=5"),
        (lambda: Windows(0), "length=0, expected a positive integer"),
        (lambda: Windows(20, count=5), "count=5, expected a LongTail or None"),
    ],
)
def test_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
