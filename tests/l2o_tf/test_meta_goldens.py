"""Five windows of meta-training, M M I I M, as the untouched original programs ran them (M: main task, I: imitation).

What is compared: losses, iterates and states, the meta-gradients, and the weights after each Adam step. The original
differentiates its first step of every window with a wrong cell state (a race between update and backward pass); the
gradients here are those that it computes when the two do not run at once.
"""

from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers import make_optimizer
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.objectives import total
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny

TENSORS = ("w1", "b1", "w2", "b2")
STEPS = 20


class Tolerance(NamedTuple):
    """Absolute, but for gradients: relative to the largest entry of each tensor."""

    losses: float
    params: float
    states: float
    gradients: float
    weights: float


class Recording(NamedTuple):
    """What was recorded of an architecture; of imitation windows there are no states."""

    file: str
    optimizer: str
    states: tuple[str, ...]
    tolerance: Tolerance


LSTMS = ("h1", "c1", "h2", "c2")

# Cells of L2O-DM grow to 44, and its dynamics amplify round-off: 3e-4 has been seen in a state.
DM = Recording("meta_golden_dm", "L2O-DM", LSTMS, Tolerance(2e-6, 5e-5, 1e-3, 5e-5, 2e-5))
RNNPROP = Recording(
    "meta_golden_rnnprop", "RNNprop", ("mt", "vt", "t", *LSTMS), Tolerance(5e-7, 1e-6, 2e-5, 3e-5, 5e-7)
)


def load(recordings, recording, suffix=""):
    """The recorded arrays, the student with the weights they were made with, and the loss."""
    golden = recordings(f"{recording.file}{suffix}")
    weights = recordings(f"weights/{golden['weights']}")
    student = make_optimizer(recording.optimizer)
    tiny.assign(student, {key: weights[key] for key in student.named_variables})
    x, y = tf.constant(golden["X"]), tf.constant(golden["Y"])
    scale = {name: golden.get(f"scale/{name}", 1.0) for name in TENSORS}

    def loss(params, batch):
        del batch
        params = {name: params[name] * scale[name] for name in TENSORS}
        logits = tf.sigmoid(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))

    params = {name: tf.constant(golden[f"x0/{name}"] / scale[name]) for name in TENSORS}
    return golden, student, loss, unroll.initial_state(student, params, make_seed(0))


def main_window(loss, student):
    @tf.function(autograph=False)
    def window(state):
        batches = tf.zeros([STEPS + 1], tf.int32)
        return lessons.meta_gradient(loss, student, state, batches, lambda trajectory: total(trajectory.losses))

    return window


def imitation_window(student):
    @tf.function(autograph=False)
    def window(state, inputs, labels):
        played = tf.concat([inputs, inputs[:1]], axis=0)
        return lessons.meta_gradient(
            unroll.replayed,
            student,
            state,
            played,
            lambda trajectory: tiny.half_mean(labels, trajectory.updates),
            record=True,
        )

    return window


def assert_params(golden, run, params, tolerance, rtol=0.0):
    for name in TENSORS:
        np.testing.assert_allclose(params[name], golden[f"{run}/x/{name}"], rtol=rtol, atol=tolerance, err_msg=name)


def assert_states(golden, run, states, names, tolerance, steps):
    """Recorded states, and the step counter, which is not recorded, under the name t."""
    for name, value in zip(names, states, strict=True):
        expected = np.full([53], steps) if name == "t" else golden[f"{run}/state/{name}"]
        value = np.reshape(value, expected.shape)
        np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance, err_msg=name)


def assert_gradients(golden, run, student, gradients, tolerance):
    expected = {name: golden[f"{run}/grad/{name}"] for name in student.named_variables}
    tiny.assert_gradients(gradients, expected, rtol=tolerance)


def assert_weights(golden, run, student, tolerance):
    for name, variable in student.named_variables.items():
        np.testing.assert_allclose(variable, golden[f"{run}/phi_after/{name}"], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("recording", [DM, RNNPROP], ids=lambda recording: recording.optimizer)
def test_five_windows_of_meta_training(recordings, recording):
    golden, student, loss, state = load(recordings, recording)
    tolerance, variables, steps = recording.tolerance, student.trainable_variables, 0
    meta_optimizers = {kind: keras.optimizers.Adam(1e-3, epsilon=1e-8) for kind in "MI"}
    main, imitate = main_window(loss, student), imitation_window(student)
    imitating = unroll.initial_state(student, state.params, make_seed(0))
    for index, kind in enumerate("MMIIM"):
        run = f"run{index}"
        if kind == "M":
            steps += STEPS
            meta_loss, gradients, state, trajectory = main(state)
            np.testing.assert_allclose(trajectory.losses, golden[f"{run}/fx"], rtol=0, atol=tolerance.losses)
            np.testing.assert_allclose(meta_loss, np.sum(trajectory.losses), rtol=1e-5)
            assert_params(golden, run, state.params, tolerance.params)
            assert_states(golden, run, state.optimizer, recording.states, tolerance.states, steps)
        else:
            inputs, labels = golden[f"imit_input{index - 2}"], golden[f"imit_label{index - 2}"]
            imitation_loss, gradients, imitating, _ = imitate(imitating, inputs, labels)
            np.testing.assert_allclose(imitation_loss, golden[f"{run}/imit_loss"].sum(), rtol=1e-5)
        assert_gradients(golden, run, student, gradients, tolerance.gradients)
        meta_optimizers[kind].apply(gradients, variables)
        assert_weights(golden, run, student, tolerance.weights)


def test_a_window_with_scaled_coordinates(recordings):
    golden, student, loss, state = load(recordings, DM, "_scaled")
    _, gradients, state, trajectory = main_window(loss, student)(state)
    np.testing.assert_allclose(trajectory.losses, golden["run0/fx"], rtol=5e-5)
    assert_params(golden, "run0", state.params, DM.tolerance.params, rtol=5e-5)
    assert_states(golden, "run0", state.optimizer, DM.states, DM.tolerance.states, STEPS)
    assert_gradients(golden, "run0", student, gradients, DM.tolerance.gradients)


@pytest.mark.parametrize("window", ["run0", "run1"])
@pytest.mark.parametrize("recording", [DM, RNNPROP], ids=lambda recording: recording.optimizer)
def test_the_tolerance_tells_the_raced_gradient_apart(recordings, recording, window):
    golden = recordings(recording.file)
    for name in [name for name in golden["keys"] if name.startswith("lstm_1")]:
        clean, raced = golden[f"{window}/grad/{name}"], golden[f"{window}/grad_raced/{name}"]
        assert np.abs(clean - raced).max() > 1e-3 * np.abs(clean).max()
