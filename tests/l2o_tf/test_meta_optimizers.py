"""Meta-optimizers against TensorFlow 1's own kernel, and by hand."""

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.training.meta_optimizers import META_OPTIMIZERS, RMSprop1

RNG = np.random.default_rng(2)
STEPS = [RNG.normal(size=[3, 2]).astype(np.float32) * 10.0**power for power in (-6, -3, 0, 3)]


def test_rmsprop_is_tensorflow_1s():
    """The kernel that `tf.compat.v1.train.RMSPropOptimizer` calls, its accumulator starting at 1."""
    ours, optimizer = keras.Variable(np.ones([3, 2], np.float32)), RMSprop1(0.01)
    optimizer.build([ours])
    theirs, mean_square = tf.Variable(tf.ones([3, 2])), tf.Variable(tf.ones([3, 2]))
    momentum = tf.Variable(tf.zeros([3, 2]))
    for gradient in STEPS:
        optimizer.apply([tf.constant(gradient)], [ours])
        tf.raw_ops.ResourceApplyRMSProp(
            var=theirs.handle,
            ms=mean_square.handle,
            mom=momentum.handle,
            lr=0.01,
            rho=0.9,
            momentum=0.0,
            epsilon=1e-20,
            grad=gradient,
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert np.abs(ours.numpy() - 1).max() > 0.01


def test_its_first_updates_are_as_small_as_the_gradient():
    """s = 0.9 + 0.1 g²."""
    variable, optimizer = keras.Variable([0.0, 0.0]), RMSprop1(1.0)
    optimizer.apply([tf.constant([1e-4, 2.0])], [variable])
    np.testing.assert_allclose(variable, [-1e-4 / np.sqrt(0.9), -2.0 / np.sqrt(1.3)], rtol=1e-5)


def test_clipping_of_entries():
    for make in META_OPTIMIZERS.values():
        results = []
        for gradient in ([1e6, 1.0], [2e6, 1.0]):
            variable, optimizer = keras.Variable([0.0, 0.0]), make(0.1, clipvalue=1e3)
            optimizer.apply([tf.constant(gradient)], [variable])
            results.append(variable.numpy())
        np.testing.assert_array_equal(*results)


def test_configuration_round_trip():
    optimizer = RMSprop1(0.5, rho=0.8, epsilon=1e-3, clipvalue=2.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, RMSprop1) and again.get_config() == optimizer.get_config()
