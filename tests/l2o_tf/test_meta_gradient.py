"""The meta-gradient: against hand-written backpropagation, plain autodiff, and finite differences.

All in float64 unless said otherwise, on a student small enough to be differentiated numerically, which takes large
steps: there the gradients of the optimizee really depend on the meta-parameters.
"""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.analytic import sgd
from l2o_tf.optimizers.base import Step
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.meta_gradients import Estimate, FirstOrder, MetaGradient, WholeRun, Window, ZeroNonfinite
from l2o_tf.unrolling.objectives import OBJECTIVES, total
from problems.base import make_seed
from problems.transforms.side_by_side import split
from tests.l2o_tf import lessons, tiny
from tests.l2o_tf import numpy_reference as reference

SEED = make_seed(5)
STEPS = 8
SCALE = 0.3
H = 1e-5  # step of the finite differences


class Run:
    """A student of random weights at the start of a run on the tiny problem."""

    def __init__(self, layers=(4, 3), dtype="float64", steps=STEPS, scale=SCALE):
        self.student, self.weights = tiny.random_student(1, layers, spread=3.0, scale=scale, dtype=dtype)
        problem = tiny.perceptron(4, tf.as_dtype(dtype))
        params, self.constants = problem.init(SEED)
        self.state = unroll.initial_state(self.student, params, SEED)
        self.batches = problem.sample(SEED, 2 * steps + 1)
        self.loss_fn = lambda params, batch: problem.loss(params, self.constants, batch)

    def window(self, state, batches, objective=total, **options):
        return lessons.meta_gradient(
            self.loss_fn, self.student, state, batches, lambda t: objective(t.losses), **options
        )

    def compiled(self, jit_compile=False, **options):
        return tf.function(
            lambda state, batches: self.window(state, batches, **options), jit_compile=jit_compile, autograph=False
        )

    def numpy(self, theta, state, batches, weights=None):
        """The same run by `numpy_reference`, by default with the student's weights."""
        loss = tiny.numpy_loss(self.constants, batches)
        return reference.unroll(loss, weights or self.weights, theta, state, len(batches) - 1, scale=SCALE)

    def named(self, gradients):
        return dict(zip(self.student.named_variables, gradients, strict=True))


def directions(weights, seed=0):
    """One random direction within each tensor of φ."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=value.shape) for name, value in weights.items()}


def slopes(function, weights):
    """Central differences of `function(weights)` along each direction, and the size to compare them with."""
    found = {}
    for name, direction in directions(weights).items():
        ends = [function(weights | {name: weights[name] + sign * H * direction}) for sign in (1, -1)]
        found[name] = (ends[0] - ends[1]) / (2 * H)
    return found


def projections(gradients, weights):
    return {name: np.sum(gradients[name] * direction) for name, direction in directions(weights).items()}


def assert_slopes(gradients, function, weights):
    numeric, analytic = slopes(function, weights), projections(gradients, weights)
    for name in weights:
        assert abs(numeric[name]) > 1e-4, f"{name}: too flat to compare"
        np.testing.assert_allclose(analytic[name], numeric[name], rtol=1e-5, err_msg=name)


class TestFirstOrder:
    @pytest.mark.parametrize("layers", [(4, 3), (5,), ()])
    def test_follows_hand_written_backpropagation_in_both_windows(self, layers):
        """The second window starts from states that are not zero and count as constants."""
        run = Run(layers)
        window = run.compiled()
        theta, state = tiny.flat(run.state.params), reference.zero_state(run.weights, tiny.SIZE)
        ours = run.state
        for first in (0, STEPS):
            batches = run.batches[first : first + STEPS + 1]
            expected = run.numpy(theta, state, batches)
            meta_loss, gradients, ours, trajectory = window(ours, batches)
            np.testing.assert_allclose(trajectory.losses, expected["losses"], rtol=1e-10)
            np.testing.assert_allclose(meta_loss, expected["losses"].sum(), rtol=1e-10)
            tiny.assert_gradients(gradients, reference.meta_gradient(run.weights, expected, state), rtol=1e-9)
            theta, state = expected["thetas"][-1], expected["state"]

    def test_float32_at_full_size(self):
        run = Run(layers=(20, 20), dtype="float32", steps=20)
        batches, weights = run.batches[:21], tiny.in_float64(run.weights)
        _, gradients, _, _ = run.compiled()(run.state, batches)
        state = reference.zero_state(weights, tiny.SIZE)
        expected = run.numpy(tiny.flat(run.state.params), state, batches, weights)
        tiny.assert_gradients(gradients, reference.meta_gradient(weights, expected, state), rtol=1e-4)

    def test_is_the_slope_of_the_run_with_its_gradients_frozen(self):
        """Finite differences of `Σ_t ⟨θ_t(φ), g_t⟩`, with the recorded `g_t` played to the student."""
        run = Run()
        batches = run.batches[: STEPS + 1]
        _, gradients, after, trajectory = run.window(run.state, batches, record=True)
        _, last = unroll.value_and_grad(run.loss_fn)(after.params, batches[STEPS])
        played = np.concatenate([trajectory.grads, tiny.flat(last)[None]])
        state = reference.zero_state(run.weights, tiny.SIZE)

        def surrogate(weights):
            deltas, _, _ = reference.play(weights, played[:-1], state, scale=SCALE)
            return np.sum(np.cumsum(deltas, axis=0) * played[1:])

        assert_slopes({k: v.numpy() for k, v in run.named(gradients).items()}, surrogate, run.weights)

    def test_is_plain_autodiff_with_the_gradients_held_constant(self):
        """Pulled back through the optimizer alone, against a tape around everything; for every objective."""
        run = Run()
        batches = run.batches[: STEPS + 1]

        with tf.GradientTape(persistent=True) as tape:
            params, state, losses = run.state.params, run.state.optimizer, []
            for t in range(STEPS + 1):
                loss, grads = unroll.value_and_grad(run.loss_fn)(params, batches[t])
                losses.append(loss)
                grads = {name: tf.stop_gradient(g) for name, g in grads.items()}
                updates, state = run.student.update(Step(grads, params), state)
                params = nest.add(params, updates)
            judged = {name: objective(tf.stack(losses)) for name, objective in OBJECTIVES.items()}
        variables = [variable.value for variable in run.student.trainable_variables]
        for name, objective in OBJECTIVES.items():
            expected = run.named(tape.gradient(judged[name], variables))
            _, gradients, _, _ = run.window(run.state, batches, objective)
            tiny.assert_gradients(gradients, expected, rtol=1e-10)

    def test_of_imitation(self):
        """Recorded gradients played to the student, judged by its distance from given labels."""
        run = Run()
        rng = np.random.default_rng(8)
        inputs, labels = (0.1 * rng.normal(size=[STEPS, tiny.SIZE]) for _ in range(2))
        state = [0.1 * rng.normal(size=s.shape) for s in reference.zero_state(run.weights, tiny.SIZE)]
        expected_loss, expected, after = reference.imitation(run.weights, inputs, labels, state, scale=SCALE)
        loss, gradients, ours, _ = lessons.meta_gradient(
            unroll.replayed,
            run.student,
            unroll.UnrollState(run.state.params, [tf.constant(value) for value in state]),
            tf.constant(np.concatenate([inputs, inputs[:1]])),
            lambda trajectory: tiny.half_mean(tf.constant(labels), trajectory.updates),
            record=True,
        )
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-10)
        tiny.assert_gradients(gradients, expected, rtol=1e-9)
        for value, theirs in zip(ours.optimizer, after, strict=True):
            np.testing.assert_allclose(value, theirs, rtol=1e-9, atol=1e-12)


class TestSecondDerivatives:
    @pytest.mark.parametrize("objective", ["sum", "log_ratio"])
    def test_is_the_slope_of_the_whole_run(self, objective):
        """Finite differences of the true losses, in which everything moves with φ, the gradients too.

        The slopes of the other objectives are in `test_objectives.py`.
        """
        run = Run()
        batches = run.batches[: STEPS + 1]
        _, gradients, _, _ = run.compiled(objective=OBJECTIVES[objective], method=WholeRun())(run.state, batches)
        theta, state = tiny.flat(run.state.params), reference.zero_state(run.weights, tiny.SIZE)
        judges = {"sum": np.sum, "log_ratio": lambda losses: np.mean(np.log(losses / (losses[0] + 1e-6) + 1e-6))}

        def true(weights):
            return judges[objective](run.numpy(theta, state, batches, weights)["losses"])

        assert_slopes({k: v.numpy() for k, v in run.named(gradients).items()}, true, run.weights)


@pytest.mark.parametrize(
    ("layers", "dtype", "second_derivatives"), [((20, 20), "float32", False), ((3,), "float64", True)]
)
def test_xla_agrees(layers, dtype, second_derivatives):
    """In float32 with steps of the usual length, since long ones amplify round-off."""
    run = Run(layers=layers, dtype=dtype, steps=20, scale=0.01)
    batches, options = run.batches[:21], {"method": WholeRun() if second_derivatives else None}
    loss, gradients, state, trajectory = run.window(run.state, batches, **options)
    xla_loss, xla_gradients, xla_state, xla_trajectory = run.compiled(jit_compile=True, **options)(run.state, batches)
    np.testing.assert_allclose(xla_loss, loss, rtol=1e-5)
    np.testing.assert_allclose(xla_trajectory.losses, trajectory.losses, rtol=1e-5)
    tiny.assert_gradients(xla_gradients, run.named(gradients), rtol=1e-5)
    for ours, theirs in zip(tf.nest.flatten(xla_state), tf.nest.flatten(state), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_only_the_optimizer_may_be_compiled_with_xla():
    run = Run()
    batches = run.batches[: STEPS + 1]
    expected, found = run.window(run.state, batches), run.compiled(xla="update")(run.state, batches)
    np.testing.assert_allclose(found[3].losses, expected[3].losses, rtol=1e-12)
    tiny.assert_gradients(found[1], run.named(expected[1]), rtol=1e-10)


@pytest.mark.parametrize("xla", [None, "update"])
def test_one_trace_serves_all_windows_and_lengths(xla):
    run = Run(layers=(3,))
    signature = tf.nest.map_structure(tf.TensorSpec.from_tensor, run.state), tf.TensorSpec([None, 4], tf.int32)
    window = tf.function(lambda state, batches: run.window(state, batches, xla=xla), signature, autograph=False)
    for steps in (2, STEPS):
        batches = run.batches[: steps + 1]
        _, gradients, state, _ = window(run.state, batches)
        tiny.assert_gradients(gradients, run.named(run.window(run.state, batches)[1]), rtol=1e-12)
        window(state, batches)
    assert window.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("objective", [lambda losses: losses[0], lambda losses: tf.constant(1.0)])
def test_meta_parameters_that_play_no_part_have_a_zero_gradient(objective):
    run = Run(layers=(3,))
    meta_loss, gradients, _, _ = run.window(run.state, run.batches[:3], objective)
    assert np.isfinite(meta_loss)
    assert [g.shape for g in gradients] == [variable.shape for variable in run.student.trainable_variables]
    assert not any(np.any(g) for g in gradients)


def test_an_analytic_optimizer_has_no_meta_gradient():
    run, optimizer = Run(), sgd()
    state = unroll.initial_state(optimizer, run.state.params, SEED)
    meta_loss, gradients, _, _ = lessons.meta_gradient(
        run.loss_fn, optimizer, state, run.batches[:3], lambda trajectory: total(trajectory.losses)
    )
    assert gradients == []
    assert meta_loss > 0


class Evolution(MetaGradient):
    """An estimator that takes no gradient: the slope along one direction, times that direction."""

    def window(self, window):
        phi = [variable.value for variable in window.optimizer.trainable_variables]
        seeds = tf.unstack(split(window.seed, len(phi)))
        noise = [tf.random.stateless_normal(x.shape, s, dtype=x.dtype) for x, s in zip(phi, seeds, strict=True)]
        above, below = (window.run([x + d * e for x, e in zip(phi, noise, strict=True)])[0] for d in (H, -H))
        slope = (above - below) / (2 * H)
        return Estimate(*window.run()[:1], [slope * e for e in noise], *window.run()[1:])


def test_an_estimator_of_ones_own_runs_the_window_with_other_meta_parameters():
    run = Run()
    path = unroll.OwnPath(run.loss_fn)
    window = Window(path, run.student, run.state, run.batches[: STEPS + 1], lambda t: total(t.losses), seed=SEED)
    found, expected = Evolution().window(window), WholeRun().window(window)
    np.testing.assert_allclose(found.meta_loss, expected.meta_loss, rtol=1e-12)
    np.testing.assert_allclose(found.state.params["w1"], expected.state.params["w1"], rtol=1e-12)
    seeds = tf.unstack(split(SEED, len(found.gradients)))
    noise = tf.random.stateless_normal(found.gradients[0].shape, seeds[0], dtype=tf.float64)
    slope = found.gradients[0][0, 0] / noise[0, 0]
    along = sum(tf.reduce_sum(a * b) for a, b in zip(found.gradients, expected.gradients, strict=True)) / slope
    np.testing.assert_allclose(along, slope, rtol=1e-3)


def test_entries_that_are_not_finite_can_be_left_out():
    class Spoiled(FirstOrder):
        def window(self, window):
            found = super().window(window)
            first, *others = found.gradients
            return found._replace(gradients=[tf.tensor_scatter_nd_update(first, [[0, 0]], [np.inf]), *others])

    run = Run(layers=(2,))
    plain, found = (run.window(run.state, run.batches[:3], method=m)[1] for m in (None, ZeroNonfinite(Spoiled())))
    assert found[0][0, 0] == 0.0 and plain[0][0, 0] != 0.0
    np.testing.assert_array_equal(found[0][0, 1:], plain[0][0, 1:])
    assert ZeroNonfinite(WholeRun()).for_played_steps() == ZeroNonfinite(FirstOrder())
