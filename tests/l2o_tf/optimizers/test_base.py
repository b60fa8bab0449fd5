"""What a rule may look at, and a rule with other meta-parameters."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers import Assigned, Step, make_optimizer
from l2o_tf.optimizers.blocks import Blocked
from l2o_tf.training.lessons.self_improving import Mixture
from l2o_tf.unrolling import unroll
from problems.base import make_seed
from tests.l2o_tf import tiny

SEED = make_seed(2)


def test_the_loss_fits_every_tensor():
    one = Step({}, {"w": tf.ones([2, 3]), "b": tf.ones([2])}, tf.constant(7.0))
    assert [x.shape for x in one.losses.values()] == [[], []]
    two = one._replace(loss=tf.constant([1.0, 2.0]))
    assert [x.shape for x in two.losses.values()] == [[2, 1], [2]]
    flat = two._replace(grads=two.params).flat()
    np.testing.assert_array_equal(flat.loss, [1, 1, 1, 2, 2, 2, 1, 2])
    block = flat.block(2, 4)
    np.testing.assert_array_equal(block.losses["block"], [1, 2, 2, 2])
    assert block.params["block"].shape == 4


def students(dtype):
    """`{name: an optimizer that learns}`, with the meta-parameters of a cell."""
    student, _ = tiny.random_student(1, layers=(3,), dtype=dtype)
    hierarchical = make_optimizer("L2O-Scale", {"seed": 1, "dtype": dtype})
    return {
        "a cell": student,
        "a hierarchical cell": hierarchical,
        "in blocks": Blocked(student, 20),
        "assigned": Assigned([("w1", student), ("*", make_optimizer("adam"))]),
        "mixture": Mixture(student, [make_optimizer("sgd")]),
    }


@pytest.mark.parametrize("name", students("float32"))
@pytest.mark.parametrize(("dtype", "jit_compile"), [("float64", False), ("float32", True)])
def test_other_meta_parameters_are_as_if_assigned(name, dtype, jit_compile):
    """In a whole window, compiled; and gradients flow to them."""
    optimizer = students(dtype)[name]
    problem = tiny.perceptron(4, tf.as_dtype(dtype))
    params, constants = problem.init(SEED)
    batches = problem.sample(SEED, 4)
    phi = [variable.value + 0.1 for variable in optimizer.trainable_variables]

    @tf.function(jit_compile=jit_compile, autograph=False)
    def at(phi, state):
        with tf.GradientTape() as tape:
            tape.watch(phi)
            other = optimizer.at(phi)
            losses = unroll.unroll(lambda p, b: problem.loss(p, constants, b), other, state, batches)[1].losses
        return losses, tape.gradient(losses, phi, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    before = [variable.numpy() for variable in optimizer.trainable_variables]
    losses, gradients = at(phi, unroll.initial_state(optimizer.at(phi), params, SEED))
    assert any(np.any(gradient) for gradient in gradients)
    for old, variable in zip(before, optimizer.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    first = at(before, unroll.initial_state(optimizer, params, SEED))[0]
    for variable, value in zip(optimizer.trainable_variables, phi, strict=True):
        variable.assign(value)
    state = unroll.initial_state(optimizer, params, SEED)
    assigned = unroll.unroll(lambda p, b: problem.loss(p, constants, b), optimizer, state, batches)[1].losses
    np.testing.assert_allclose(losses, assigned, rtol=1e-5 if jit_compile else 1e-12)
    assert np.abs(losses - first).max() > 1e-6


def test_meta_parameters_that_do_not_fit_are_refused():
    student = make_optimizer("RNNprop")
    assert student.at([v.value for v in student.trainable_variables]).trainable_variables == []
    with pytest.raises(ValueError, match=r"^Received meta-parameters of shapes \[\], expected \[\(2, 20\)"):
        student.at([])
    with pytest.raises(ValueError, match=r"shapes \[\(1,\)\], expected \[\]"):
        make_optimizer("adam").at([tf.ones([1])])
