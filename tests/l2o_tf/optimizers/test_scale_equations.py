import numpy as np
import tensorflow as tf

from l2o_tf.optimizers.scale.equations import decays


def test_no_memory_at_all_has_a_slope():
    """Far below 0 the sigmoid of a decay is 0 in float32, where a root's slope has no bound."""
    slowest = tf.constant([[0.0, 0.25]])
    with tf.GradientTape() as tape:
        tape.watch(slowest)
        found = decays(slowest, 3)
    np.testing.assert_allclose(found, slowest.numpy() ** [[1], [0.5], [0.25]], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(found, slowest), [[1, 1 + 1 + 0.25**0.25]], rtol=1e-6)
