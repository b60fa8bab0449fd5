"""What DeepMind's learning-to-learn program demands of itself on `f(x) = x²`, `x_0 = 1`.

The optimizer is its smallest: no hidden layer, no preprocessing, scale 1. So `Δx = w f'(x) + b`, and `w = b = 0` at the
start.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers.base import CoordinatewiseOptimizer
from l2o_tf.optimizers.lstm.dm import DMCell
from l2o_tf.training.meta_epoch import compile_meta_epoch
from l2o_tf.unrolling.objectives import total
from problems.base import fold, make_seed
from problems.toys.deepmind import simple
from tests.l2o_tf import lessons

ROUND_OFF = 5e-6
"""Adam's first step is off by 6e-6 of its length, since 1 - 0.999 is not exact in float32."""


def meta_training(jit_compile=False):
    cell = DMCell(layers=(), preprocess="identity", scale=1.0, initializer="zeros")
    student, meta_optimizer = CoordinatewiseOptimizer(cell), keras.optimizers.Adam(0.01, epsilon=1e-8)
    lesson = lessons.own_trajectory(simple(), student, objective=total, jit_compile=jit_compile)
    return student, lesson, meta_optimizer


def test_two_unrolls_of_five_steps_give_the_known_cost():
    """The same numbers on paper: the first unroll does not move, and Adam's first step is -0.01 for w and b alike, so
    in the second unroll `x <- 0.98 x - 0.01`, five times."""
    student, lesson, meta_optimizer = meta_training()
    carry = lesson.start(make_seed(0), tf.constant(0))
    for window in range(2):
        carry, outcome = lesson.window(carry, fold(make_seed(0), window), 5)
        meta_optimizer.apply(outcome.gradients, student.trainable_variables)
    x = 1.0
    for _ in range(5):
        x = 0.98 * x - 0.01
    assert outcome.losses[-1].numpy() == pytest.approx(0.7325327, abs=ROUND_OFF)
    assert carry.state.params["x"].numpy() == pytest.approx(0.8559, abs=1e-4)
    assert carry.state.params["x"].numpy() == pytest.approx(x, abs=ROUND_OFF)


def test_a_compiled_meta_epoch_gives_the_same_cost():
    student, lesson, meta_optimizer = meta_training()
    meta_epoch = compile_meta_epoch(lesson, student.trainable_variables, meta_optimizer)
    report = meta_epoch(make_seed(0), tf.constant(0), tf.constant([5, 5]))
    assert report.final_loss.numpy() == pytest.approx(0.7325327, abs=ROUND_OFF)


def test_simple_is_solved():
    """500 runs of five unrolls of 20 steps: a cost below 1e-5."""
    student, lesson, meta_optimizer = meta_training(jit_compile=True)
    meta_epoch = compile_meta_epoch(lesson, student.trainable_variables, meta_optimizer, 20)
    for epoch in range(500):
        report = meta_epoch(make_seed(epoch), tf.constant(epoch), tf.fill([5], 20))
    assert report.final_loss < 1e-5
    assert np.isfinite(report.gradient_norm)
    assert meta_epoch.experimental_get_tracing_count() == 1
