"""L2O-Scale as the untouched original program ran it: whole optimizee runs, and windows of meta-training.

The recorded windows: u0 starts a run; u1 goes on with parameters and states of u0; u2 has new parameters and keeps the
states. Gradients come from minibatches, the objective from all 40 points, in the original's form. The same windows are
recorded in imitation, where the parameters follow a teacher.
"""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers import make_optimizer
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.meta_gradients import WholeRun
from l2o_tf.unrolling.objectives import mean_log_ratio_original
from problems import make_problem
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny
from tests.l2o_tf import numpy_scale as reference

SEED = make_seed(3)
TENSORS = ("w1", "b1", "w2", "b2")
STEPS = 5
STATES = ("parameter", "layer", "global_state", "inp_decay", "scl_decay", "log_learning_rate")


def student(weights):
    optimizer = make_optimizer("L2O-Scale")
    for name, variable in optimizer.named_variables.items():
        variable.assign(weights(name))
    return optimizer


def begin(optimizer, params, log_rates):
    """The start of a run with given first learning rates."""
    state = unroll.initial_state(optimizer, params, SEED)
    rates = tf.constant(np.concatenate(log_rates))
    return state._replace(optimizer=state.optimizer._replace(log_learning_rate=rates))


CLOSED_LOOPS = {"mlp": ("mnist", 150), "relu": ("mnist_relu", 100), "conv": ("scale_mnist_conv", 25)}
"""Name in the recording -> problem, and steps; after 27 of `conv`, round-off has grown to what can be seen."""


@pytest.mark.parametrize("name", CLOSED_LOOPS)
def test_evaluation(recordings, tfds_dir, name):
    """The released checkpoint optimizes a network on MNIST; the original's losses, minibatch by minibatch."""
    golden, checkpoint = (recordings(f"l2o_scale_{file}") for file in ("eval_golden", "ckpt"))
    optimizer = student(lambda key: checkpoint[f"LOL/{key}".replace("/", "__")])
    problem_name, steps = CLOSED_LOOPS[name]
    problem = make_problem(problem_name, mode="test", data="tfds")
    start, constants = problem.init(SEED)
    params = {key: tf.constant(golden[f"{name}/x0/{i}"]) for i, key in enumerate(start)}
    state = begin(optimizer, params, [golden[f"{name}/loglr0/{i}"] for i in range(len(params))])
    batches, losses = golden[f"{name}/batches"][:steps].astype(np.int32), golden[f"{name}/losses"]

    @tf.function(autograph=False)
    def run(state, batches):
        return unroll.unroll(lambda p, batch: problem.loss(p, constants, batch), optimizer, state, batches)

    state, trajectory = run(state, tf.constant(np.concatenate([batches, batches[:1]])))
    np.testing.assert_allclose(trajectory.losses[:-1], losses[:steps], rtol=0, atol=1e-6)
    assert np.ptp(losses[:steps]) > 1e-3
    if steps == len(losses):
        for i, value in enumerate(state.params.values()):
            np.testing.assert_allclose(value, golden[f"{name}/final/{i}"], rtol=0, atol=1e-5)


class Recording:
    """The recorded set-up: a 6-5-3 sigmoid network on 40 points, and weights that are far from their start."""

    def __init__(self, recordings):
        self.golden = recordings("l2o_scale_meta_golden")
        self.student = student(lambda name: self.golden[f"weights/LOL/{name}"])
        self.x, self.y = tf.constant(self.golden["cfg/data"]), tf.constant(self.golden["cfg/labels"].ravel(), tf.int32)
        self.start = {name: tf.constant(self.golden[f"cfg/x0/{i}"]) for i, name in enumerate(TENSORS)}
        self.batches = self.golden["cfg/batches"].astype(np.int32)

    def loss(self, params, rows):
        x, y = tf.gather(self.x, rows), tf.gather(self.y, rows)
        logits = tf.sigmoid(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))

    def judge(self, params, batch):
        del batch
        return self.loss(params, tf.range(40))

    def window(self, second_derivatives):
        @tf.function(autograph=False)
        def window(state, batches, initial):
            return lessons.meta_gradient(
                self.loss,
                self.student,
                state,
                tf.concat([batches, batches[:1]], axis=0),
                lambda trajectory: mean_log_ratio_original(trajectory.losses, initial),
                method=WholeRun() if second_derivatives else None,
                judge=self.judge,
            )

        return window

    def lecture(self):
        """Imitation of the recorded teacher, whose parameters are followed; labels are what it subtracts."""
        labels = np.concatenate([self.golden[f"cfg/teacher/{i}"].reshape(STEPS, -1) for i in range(4)], axis=1)
        slope = tf.function(unroll.value_and_grad(self.loss), autograph=False)

        @tf.function(autograph=False)
        def window(state, grads):
            return lessons.meta_gradient(
                unroll.replayed,
                self.student,
                state,
                tf.concat([grads, grads[:1]], axis=0),
                lambda trajectory: tiny.half_mean(-labels, trajectory.updates) / STEPS,
                record=True,
            )

        def run(state, batches):
            theta, grads = nest.flatten(state.params), []
            for rows, label in zip(batches, labels, strict=True):
                grads.append(nest.flatten(slope(nest.unflatten(theta, like=self.start), tf.constant(rows))[1]))
                theta = theta - label
            loss, gradients, after, _ = window(state, tf.stack(grads))
            return loss, gradients, after.optimizer, theta

        return run

    def expected(self, window, state, params):
        """Compares states and parameters with those recorded at the end of a window."""
        for key, ours in zip(STATES, state, strict=False):
            theirs = [self.golden[f"{window}/out/global_state"]]
            if key != "global_state":
                theirs = [self.golden[f"{window}/out/{key}/{i}"] for i in range(4)]
            np.testing.assert_allclose(ours, np.concatenate(theirs), rtol=0, atol=1e-5, err_msg=key)
        for key, ours in (("grad_accum", state.averages), ("ms", state.mean_squares)):
            for j in range(4):
                theirs = np.concatenate([self.golden[f"{window}/out/{key}{j + 1}/{i}"] for i in range(4)])
                np.testing.assert_allclose(ours[:, j : j + 1], theirs, rtol=1e-4, atol=1e-6, err_msg=key)
        theirs = np.concatenate([self.golden[f"{window}/out/param/{i}"].ravel() for i in range(4)])
        np.testing.assert_allclose(params, theirs, rtol=0, atol=1e-5)

    def compare(self, window, gradients):
        """1e-4 of each tensor's largest entry, plus round-off of the largest of all; zeros are zeros."""
        theirs = [self.golden[f"{window}/grad/LOL/{name}"] for name in self.student.named_variables]
        largest = max(np.abs(gradient).max() for gradient in theirs)
        for name, ours, expected in zip(self.student.named_variables, gradients, theirs, strict=True):
            tolerance = 1e-4 * np.abs(expected).max() + 1e-7 * largest
            np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance, err_msg=f"{window} {name}")
        vectors = [i for i, name in enumerate(self.student.named_variables) if name.endswith("init_vector")]
        assert len(vectors) == 3
        for i in vectors:
            assert np.any(gradients[i]) == np.any(theirs[i]) == window.split("/")[1].startswith("u0")


@pytest.mark.parametrize("case", ["second", "first"])
def test_windows_of_meta_training(recordings, case):
    """Meta-loss, objectives, states and all 31 meta-gradients, with and without second derivatives.

    Imitation, which has no use for second derivatives, starts every window where this does.
    """
    recording = Recording(recordings)
    golden, window, lecture = recording.golden, recording.window(case == "second"), recording.lecture()
    state = begin(recording.student, recording.start, [golden[f"cfg/loglr0/{i}"] for i in range(4)])
    for u in range(3):
        name, batches = f"{case}/u{u}", recording.batches[STEPS * u : STEPS * (u + 1)]
        if u == 2:
            state = state._replace(params=recording.start)
        if u != 1:
            initial = recording.judge(state.params, None)
        if case == "first":
            loss, gradients, optimizer, theta = lecture(state, batches)
            np.testing.assert_allclose(loss, golden[f"{name}/mt/metaobj"], rtol=1e-5)
            recording.compare(f"{name}/mt", gradients)
            recording.expected(f"{name}/mt", optimizer, theta)
        meta_loss, gradients, state, trajectory = window(state, tf.constant(batches), initial)
        np.testing.assert_allclose(meta_loss, golden[f"{name}/metaobj"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(trajectory.losses[:-1], golden[f"{name}/objectives"][1:], rtol=2e-6)
        recording.compare(name, gradients)
        recording.expected(name, state.optimizer, nest.flatten(state.params))


def test_first_and_second_order_are_told_apart(recordings):
    golden = recordings("l2o_scale_meta_golden")
    for name in reference.shapes():
        first, second = (golden[f"{case}/u0/grad/LOL/{name}"] for case in ("first", "second"))
        assert np.abs(first - second).max() > 1e-3 * np.abs(second).max(), name
