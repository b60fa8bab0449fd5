"""Cells and rules of the user's own: what is wrong with a step is said when the optimizer is made."""

import pytest

from l2o_tf.optimizers import from_file, make_optimizer
from problems import make_problem
from tests import contracts

FILE = """
import keras
import tensorflow as tf

class Good(keras.layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)

    def build(self, input_shape):
        self.rate = self.add_weight(name="rate", shape=[])

    def get_initial_state(self, batch_size=None):
        return [tf.zeros([batch_size, 1])]

    def call(self, inputs, states):
        return -self.rate * inputs, [states[0] + inputs]

    def get_config(self):
        return {}

class Fails(Good):
    def call(self, inputs, states):
        return inputs @ tf.zeros([3, 1]), states
"""


def test_a_cell_that_fails_and_one_that_does_not(tmp_path):
    (tmp_path / "own.py").write_text(FILE)
    message = r"of which a step raised InvalidArgumentError: .*own.py, line 23\)\. See docs"
    with pytest.raises(ValueError, match=message) as caught:
        make_optimizer(f"{tmp_path / 'own.py'}:Fails")
    assert "\n" not in str(caught.value)
    assert list(make_optimizer(f"{tmp_path / 'own.py'}:Good").named_variables) == ["0/rate"]


RULE = """
import keras
import tensorflow as tf
import l2o_tf as l2o

class Rule(l2o.Optimizer):
    coordinatewise = True

    def __init__(self, decay=0.1, seed=0):
        self.architecture = {"decay": decay, "seed": seed}
        self.rate, self.decay = keras.Variable(0.1 + 0.1 * seed), decay

    @property
    def named_variables(self):
        return {"rate": self.rate}

    def initial_state(self, params, seed):
        return {"m": {name: tf.zeros_like(x) for name, x in params.items()}}

    def update(self, step, state):
        losses = step.losses
        m = {name: 0.9 * old + step.grads[name] for name, old in state["m"].items()}
        return {
            name: -self.rate * (m[name] + self.decay * losses[name] * x) for name, x in step.params.items()
        }, {"m": m}

class Reversed(Rule):
    def update(self, step, state):
        updates, state = super().update(step, state)
        return dict(reversed(updates.items())), state

class Stateless(Rule):
    def update(self, step, state):
        return super().update(step, state)[0], ()

class Random(Rule):
    def update(self, step, state):
        updates, state = super().update(step, state)
        return {name: x + tf.random.normal([]) for name, x in updates.items()}, state

class Forgetful(Rule):
    def __init__(self, seed=0):
        super().__init__(0.1, seed)
        self.architecture = {}
        self.decay = self.decay + 0.1 * Forgetful.made
        Forgetful.made += 1
    made = 0

class Mixing(Rule):
    def update(self, step, state):
        updates, state = super().update(step, state)
        total = tf.add_n([tf.reduce_sum(x) for x in updates.values()])
        return {name: x - total for name, x in updates.items()}, state

class Unfinished(l2o.Optimizer):
    def initial_state(self, params, seed):
        return ()
"""


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("Reversed", "whose `update` returns .*, expected \\(updates, state\\) like parameters and state"),
        ("Stateless", "whose `update` returns .*, expected"),
        ("Random", "which gives another result when a step is repeated, expected a pure function"),
        ("Forgetful", "which gives other updates when it is made again from its `architecture`"),
        ("Mixing", "which is said to be coordinatewise and depends on the other coordinates"),
        ("Unfinished", "an optimizer without \\['update'\\]"),
        ("Nothing", "expected path/to/file.py:Class with one of \\['Rule', 'Reversed',"),
    ],
)
def test_a_rule_that_cannot_be(tmp_path, rule, message):
    (tmp_path / "own.py").write_text(RULE)
    with pytest.raises(ValueError, match=message):
        make_optimizer(f"{tmp_path / 'own.py'}:{rule}")


def test_a_rule_of_ones_own_is_an_optimizer_like_any_other(tmp_path):
    (tmp_path / "own.py").write_text(RULE)
    name = f"{tmp_path / 'own.py'}:Rule"
    assert from_file.initial_architecture(name, 3) == {"seed": 3}
    rule = make_optimizer(name, {"seed": 3, "decay": 0.2})
    assert (rule.name, rule.kind, rule.architecture) == (name, name, {"seed": 3, "decay": 0.2})
    problem = make_problem("simple_multi_optimizer")
    contracts.check_remake(rule, make_optimizer(rule.kind, rule.architecture), problem)
    contracts.check_optimizer(rule, problem)
