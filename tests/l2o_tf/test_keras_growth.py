"""Variables that a Keras optimizer meets after its first step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer
from tests.l2o_tf import test_keras_optimizer as fit


def test_variables_added_later_begin_and_the_others_go_on():
    """Coordinates do not see each other: each variable moves as if it were alone."""

    def steps(optimizer, variables, number):
        for _ in range(number):
            optimizer.apply([tf.convert_to_tensor(v) * 0.1 for v in variables], variables)

    def made():
        return keras.Variable([1.0, -2.0]), keras.Variable([[3.0, -4.0, 5.0]])

    def optimizer():
        return LearnedOptimizer("RNNprop-CL-IL", use_ema=True)

    (late, early), (late_alone, early_alone) = made(), made()
    together, alone = optimizer(), optimizer()
    steps(together, [early], 4)
    steps(together, [late, early], 3)
    steps(alone, [early_alone], 7)
    np.testing.assert_allclose(early, early_alone, rtol=1e-6)
    np.testing.assert_allclose(together._model_variables_moving_average[1], alone._model_variables_moving_average[0])
    steps(optimizer(), [late_alone], 3)
    np.testing.assert_allclose(late, late_alone, rtol=1e-6)
    assert int(together.iterations.numpy()) == 7


@pytest.mark.parametrize("name", fit.NAMES)
def test_layers_that_thaw_later_join(name, tmp_path):
    model = fit.model_of()
    model.layers[0].trainable = False
    fit.train(fit.compiled(LearnedOptimizer(name), model), epochs=1)
    first = model.layers[0].kernel.numpy()
    model.layers[0].trainable = True
    fit.train(fit.compiled(model.optimizer, model), epochs=1)
    assert not np.array_equal(first, model.layers[0].kernel)
    assert int(model.optimizer.iterations.numpy()) == 8
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert fit.train(loaded) == fit.train(model)


def test_another_model_is_refused():
    """Growing is for layers that thaw; the states of many models would be many steps of the cell in each step."""
    optimizer, variables = LearnedOptimizer("RNNprop"), [keras.Variable([1.0], name=f"v{i}") for i in range(8)]
    optimizer.apply([tf.ones(1)], variables[:1])
    with pytest.raises(ValueError, match=r"variables v1, v2, v3, v4, v5, v6, and 1 more, none of which"):
        optimizer.apply([tf.ones(1)] * 7, variables[1:])
    optimizer.apply([tf.ones(1)] * 2, variables[:2])
    assert len(optimizer._trainable_variables) == 2
