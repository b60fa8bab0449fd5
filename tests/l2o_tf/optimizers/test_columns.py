"""A coordinate as a column is the same coordinate: `columns` against `lstm`, values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers import Step, make_optimizer
from l2o_tf.optimizers.lstm import columns, rows
from problems.base import make_seed
from tests.l2o_tf import tiny

N, F, H = 7, 3, 4


def arrays(*shapes, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [tf.constant(rng.normal(size=shape), dtype) for shape in shapes]


def transposed(tensors):
    return [tf.transpose(tensor) for tensor in tensors]


def test_a_step_and_its_gradient():
    """The hand-written gradient against automatic differentiation of the equations, for every argument."""
    inputs, h, c, w, b = arrays((N, F), (N, H), (N, H), (F + H, 4 * H), (4 * H,))
    ends = arrays((N, H), (N, H), seed=1)

    def both(function, arguments, ends):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            results = function(*arguments)
        return results, tape.gradient(results, arguments, ends)

    ours_by_row, row_gradients = both(rows.step, [inputs, h, c, w, b], ends)
    found, gradients = both(columns.step, [*transposed([inputs, h, c]), w, b], transposed(ends))
    for ours, theirs in zip(transposed(found), ours_by_row, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    for ours, theirs in zip([*transposed(gradients[:3]), *gradients[3:]], row_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("kind", ["L2O-DM", "RNNprop"])
def test_a_loop_of_the_cell(kind, jit_compile):
    """In float32, at full size: what a loop runs is the Keras cell, its updates to 1e-6, step after step."""
    optimizer = make_optimizer(kind, {"seed": 1})
    for weight in optimizer.trainable_variables:
        weight.assign(3.0 * weight)
    params = {name: tf.zeros(shape) for name, shape in tiny.SHAPES.items()}
    state, loop = optimizer.initial_state(params, make_seed(0)), optimizer.loop()
    inner = loop.enter(state)
    update = tf.function(loop.update, jit_compile=jit_compile, autograph=False)
    for step in range(5):
        values = arrays(*tiny.SHAPES.values(), dtype="float32", seed=step)
        grads = dict(zip(params, values, strict=True))
        expected, state = optimizer.update(Step(grads, params), state)
        updates, inner = update(Step(grads, params), inner)
        for name in params:
            np.testing.assert_allclose(updates[name], expected[name], rtol=0, atol=1e-6)
        for ours, theirs in zip(loop.leave(inner), state, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=5e-6)
