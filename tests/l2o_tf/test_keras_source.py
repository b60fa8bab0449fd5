"""A Keras optimizer of an optimizer in memory, and of a rule that sees more than gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import l2o_tf
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer
from l2o_tf.optimizers import Optimizer, make_optimizer
from tests.l2o_tf import test_keras_optimizer as fit


class Pulled(Optimizer):
    """Δ = -φ (m + θ), and what else it sees goes into its state: an entry for every tensor, two numbers for all."""

    name = kind = "Pulled"
    architecture = {}  # noqa: RUF012

    def __init__(self, losses=False):
        self.rate, self.losses = keras.Variable(0.1, name="rate"), losses

    @property
    def named_variables(self):
        return {"rate": self.rate}

    def initial_state(self, params, seed):
        return {name: tf.zeros_like(x) for name, x in params.items()}, tf.zeros([2], tf.int32), tf.zeros([])

    def update(self, step, state):
        m = {name: 0.5 * state[0][name] + grad for name, grad in step.grads.items()}
        updates = {name: -self.rate * (m[name] + x) for name, x in step.params.items()}
        loss = step.loss if self.losses else state[2]
        return updates, (m, tf.stack([step.index, step.horizon]), loss)


def stepped(optimizer, number=1, value=1.0):
    variable = keras.Variable([2.0, -1.0])
    for _ in range(number):
        if optimizer._wants_loss:
            optimizer.scale_loss(tf.constant(value))
        optimizer.apply([tf.constant([1.0, 0.5])], [variable])
    return variable.numpy()


def test_further_training_of_the_student_changes_nothing():
    student = make_optimizer("RNNprop", {"seed": 3})
    before = stepped(LearnedOptimizer(student), 2)
    optimizer = LearnedOptimizer(student)
    for variable in student.trainable_variables:
        variable.assign(variable + 1.0)
    np.testing.assert_array_equal(stepped(optimizer, 2), before)
    again = LearnedOptimizer.from_config(optimizer.get_config())
    np.testing.assert_allclose(stepped(again, 2), before, rtol=1e-6)
    assert np.any(stepped(LearnedOptimizer(student), 2) != before)


def test_a_model_with_it_is_saved_and_goes_on(tmp_path):
    model = fit.compiled(LearnedOptimizer(l2o_tf.load("L2O-DM-CL-IL")))
    assert fit.train(model, 1) == pytest.approx(fit.train(fit.compiled(LearnedOptimizer("L2O-DM-CL-IL")), 1), rel=1e-6)
    model.save(tmp_path / "m.keras")
    assert fit.train(keras.models.load_model(tmp_path / "m.keras"), 1) == pytest.approx(fit.train(model, 1), rel=1e-6)


def test_a_rule_sees_parameters_index_and_horizon():
    optimizer = LearnedOptimizer(Pulled(), horizon=7, learning_rate=0.5)
    assert not optimizer._wants_loss
    np.testing.assert_allclose(stepped(optimizer, 3)[:1], [2.0 - 0.15 - 0.1675 - 0.171625], rtol=1e-6)
    _, (index, horizon), _ = tf.nest.map_structure(lambda x: x.numpy(), optimizer.state[0])
    assert (index, horizon) == (2, 7)
    with pytest.raises(ValueError, match="Received horizon=-1, expected a number of steps, or 0"):
        LearnedOptimizer(Pulled(), horizon=-1)


def test_a_rule_that_looks_at_the_loss_is_told():
    optimizer = LearnedOptimizer(Pulled(losses=True))
    stepped(optimizer, value=3.5)
    assert float(optimizer.state[0][2]) == 3.5
    with pytest.raises(ValueError, match="Received the rule Pulled, which looks at the loss, but no loss"):
        LearnedOptimizer(Pulled(losses=True)).apply([tf.ones([2])], [keras.Variable([1.0, 2.0])])


def test_in_fit_and_with_a_layer_that_thaws():
    model = fit.model_of()
    model.layers[0].trainable = False
    optimizer = LearnedOptimizer(Pulled(losses=True), learning_rate=0.01, guard=True)
    fit.train(fit.compiled(optimizer, model), 1)
    before = [x.numpy() for x in optimizer.state[0][0].values()]
    model.layers[0].trainable = True
    model.compile(optimizer, model.loss, jit_compile=False)
    optimizer._check_variables_are_known(model.trainable_variables)
    for old, new in zip(before, list(optimizer.state[0][0].values())[2:], strict=True):
        np.testing.assert_array_equal(new.numpy(), old)
    assert np.isfinite(fit.train(model, 1)).all()


def test_what_another_process_could_not_make_is_not_saved():
    with pytest.raises(ValueError, match="of the class Pulled, which another process does not know. Put"):
        LearnedOptimizer(Pulled()).get_config()
    with pytest.raises(ValueError, match="Received the optimizer 'adam', which has no meta-parameters"):
        LearnedOptimizer(make_optimizer("adam"))
