"""What moves without a gradient, against rules whose answer is known, and of everything that ships against its card."""

import pytest
import tensorflow as tf

from docs.cards import read
from l2o_tf.common import names
from l2o_tf.optimizers import Analytic, make_optimizer
from l2o_tf.saving import drift, loading


def test_momentum_comes_to_rest():
    """Its last step with a steady g was η (1 + μ + ... + μ⁴⁹) g; what follows is that times μ + μ² + ..."""
    found = drift.measure(make_optimizer("momentum", {"learning_rate": 0.01, "momentum": 0.5}))
    assert found.never == drift.Quiet(0.0, 0.0)
    assert found.ended.moved == pytest.approx(2.0, rel=0.2)  # a steady 100; the end of the noise may be a little more
    assert found.ended.last <= drift.REST


def test_what_a_gradient_has_set_off_is_seen():
    """At rest from its first state, whatever the last bias; a gradient of one or more sets it off for good."""

    def update(grads, state, params):
        state = {
            name: tf.maximum(state[name], tf.cast(tf.abs(grad) >= 1.0, tf.float32)) for name, grad in grads.items()
        }
        return {name: -0.25 * started for name, started in state.items()}, state

    latch = Analytic("latch", lambda params: tf.nest.map_structure(tf.zeros_like, params), update)
    assert drift.measure(latch) == (drift.Quiet(0.0, 0.0), drift.Quiet(250.0, 0.25))


@pytest.mark.parametrize("name", names.pretrained_names())
def test_what_ships_does_as_its_card_says(name):
    """And the L2O-DM of meta-training with a curriculum come to rest from wherever gradients have left them."""
    card, found = read(name)[2], drift.measure(loading.load(name))
    for case, quiet in found._asdict().items():
        said = drift.Quiet(**card[case])
        assert (quiet.last <= drift.REST) == (said.last <= drift.REST)
        if said.moved < 10 * drift.SEEN:  # beyond, learning rates have run away, and every rounding counts
            assert quiet.moved == pytest.approx(said.moved, rel=0.05)
        else:
            assert quiet.moved > drift.SEEN
    assert (found.ended.last <= drift.REST) == (name in ("L2O-DM-CL", "L2O-DM-CL-IL"))
