"""The RNNprop cell: against NumPy, against the original program's recorded steps, and its meta-gradient."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers.base import CoordinatewiseOptimizer
from l2o_tf.optimizers.lstm.rnnprop import RNNpropCell
from l2o_tf.saving.loading import load_optimizer
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.meta_gradients import WholeRun
from l2o_tf.unrolling.objectives import total
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny
from tests.l2o_tf import numpy_reference as reference
from tests.l2o_tf.optimizers.playing import assert_gates, assert_truncated_normal, gradients, run

PROGRAM_2017 = {"feature_order": "gm", "scale": 0.1, "projection_stddev": 0.1}


def expect(weights, inputs, **options):
    """What NumPy makes of `inputs [T, N]`, in float64."""
    weights = tiny.in_float64(weights)
    state = reference.zero_state(weights, inputs.shape[1])
    return reference.play(weights, np.float64(inputs), state, reference.RNNPROP, **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-7), ("float64", 1e-14)])
def test_follows_the_equations(dtype, tolerance):
    student, weights = tiny.random_rnnprop(1, spread=2.0, dtype=dtype)
    inputs = gradients().astype(dtype)
    deltas, state = run(student.cell, inputs)
    expected, expected_state, _ = expect(weights, inputs)
    assert deltas.dtype == dtype
    assert np.ptp(expected) > 0.005, "the updates are too much alike to tell"
    np.testing.assert_allclose(deltas, expected, rtol=0, atol=tolerance)
    largest = np.abs(inputs).max(axis=0)[:, None]
    for ours, theirs, size in zip(state[:3], expected_state[:3], (largest, largest**2, 1.0), strict=True):
        assert np.all(np.abs(ours - theirs) <= 10 * tolerance * size)
    for ours, theirs in zip(state[3:], expected_state[3:], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1000 * tolerance)


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"feature_order": "gm", "scale": 0.1}, {"order": "gm", "scale": 0.1}),
        ({"beta_1": 0.5, "beta_2": 0.99, "epsilon": 1e-3}, {"beta_1": 0.5, "beta_2": 0.99, "epsilon": 1e-3}),
        ({"beta_1": 0.0, "beta_2": 0.0, "layers": (4, 3, 2), "projection": 5}, {"beta_1": 0.0, "beta_2": 0.0}),
        ({"layers": ()}, {}),
    ],
    ids=["2017", "decays", "sizes", "no layers"],
)
def test_other_members_of_the_family(options, theirs):
    options = {"layers": (3,), "projection": 4} | options
    student, weights = tiny.random_rnnprop(2, dtype="float64", **options)
    inputs = np.float64(gradients(6))
    expected, _, _ = expect(weights, inputs, **theirs)
    np.testing.assert_allclose(run(student.cell, inputs)[0], expected, rtol=1e-9, atol=1e-15)


def test_original_program(recordings, shared_dir):
    """50 steps of the untouched original on 320 coordinates, with the released file loaded as it is."""
    golden = recordings("rnnprop_golden")
    (name,) = golden["names"]
    student, card = load_optimizer(str(shared_dir / "weights" / f"{name}.npz"))
    assert card["optimizer"] == student.kind == "RNNprop"
    deltas, state = run(student.cell, golden["grads"])
    np.testing.assert_allclose(deltas, golden[f"{name}/deltas"], rtol=0, atol=1e-7)
    for key, value in zip("mv", state, strict=False):
        np.testing.assert_allclose(value[:, 0], golden[f"{name}/final_{key}"], rtol=1e-5, err_msg=key)
    assert np.all(state[2] == 50)
    for key, value in zip(("h1", "c1", "h2", "c2"), state[3:], strict=True):
        np.testing.assert_allclose(value, golden[f"{name}/final_{key}"], rtol=0, atol=2e-5, err_msg=key)


def test_the_numpy_reference_follows_the_original_program(recordings):
    golden = recordings("rnnprop_golden")
    (name,) = golden["names"]
    deltas, _, _ = expect(recordings(f"weights/{name}"), golden["grads"])
    np.testing.assert_allclose(deltas, golden[f"{name}/deltas"], rtol=0, atol=1e-8)


def by_hand(w_in=((1.0,), (0.0,)), **options):
    """No LSTM and no bias: `Δθ = 0.01 tanh(ELU([m~, g~] w_in))`, so m~ alone by default."""
    weights = {"input_projection/w": w_in, "input_projection/b": [0.0], "linear/w": [[1.0]], "linear/b": [0.0]}
    return tiny.student(weights, RNNpropCell, layers=(), projection=1, dtype="float64", **options).cell


def inner(deltas):
    """`ELU(x)` back to x."""
    output = np.arctanh(deltas / 0.01)
    return np.where(output > 0, output, np.log1p(output))


def test_two_steps_on_paper():
    """The gradients 3 and -1 at β = 0.5, whose corrections are 1/2 and 3/4."""
    options = {"beta_1": 0.5, "beta_2": 0.5, "epsilon": 1e-12}
    inputs = np.array([[3.0], [-1.0]])
    m, v = (0.5 * 1.5 - 0.5) / 0.75, (0.5 * 4.5 + 0.5) / 0.75
    np.testing.assert_allclose(inner(run(by_hand(**options), inputs)[0])[:, 0], [1.0, m / np.sqrt(v)], rtol=1e-9)
    gradient = run(by_hand(((0.0,), (1.0,)), **options), inputs)[0]
    np.testing.assert_allclose(inner(gradient)[:, 0], [1.0, -1.0 / np.sqrt(v)], rtol=1e-9)


def test_a_constant_gradient_looks_like_its_sign_at_every_step():
    """That is what the bias corrections are for, and what epsilon spoils where the gradient is as small as it."""
    inputs = np.tile([1e3, -1.0, 1e-4, 1e-8], [40, 1])
    np.testing.assert_allclose(inner(run(by_hand(), inputs)[0]), np.tile([1, -1, 1, 0.5], [40, 1]), rtol=1e-3)


def test_the_size_of_gradients_does_not_matter_and_updates_are_bounded():
    student, _ = tiny.random_rnnprop(3, spread=5.0, scale=0.25)
    inputs = np.random.default_rng(0).normal(size=[10, 30]).astype(np.float32)
    deltas, _ = run(student.cell, inputs)
    np.testing.assert_allclose(run(student.cell, 1000 * inputs)[0], deltas, rtol=0, atol=1e-5)
    assert 0.1 < np.abs(deltas).max() <= 0.25


def test_zero_and_huge_gradients():
    """A coordinate that never had a gradient has features 0; one whose square overflows counts as a large one."""
    deltas, _ = run(by_hand(), np.array([[0.0, 1e30, -1e300]] * 3))
    np.testing.assert_allclose(inner(deltas), np.tile([0.0, 1.0, -1.0], [3, 1]), rtol=1e-6, atol=1e-12)
    cell = tiny.random_rnnprop(4)[0].cell
    assert all(np.isfinite(value).all() for value in run(cell, np.float32([[3e38, -3e38, 1e-38, 0.0]] * 3))[1])


def test_gates_can_be_looked_at():
    student, weights = tiny.random_rnnprop(3)
    inputs, states = gradients(1)[0], [value + 0.1 for value in reference.zero_state(weights, 48)]
    _, _, (_, caches, *_) = reference.rnnprop_step(weights, inputs, states)
    assert_gates(student.cell, inputs, states, caches)


def test_every_argument_survives_json():
    changed = RNNpropCell((3,), 7, 0.5, 0.25, 1e-4, "gm", 0.1, 0.2, seed=3, name="changed")
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(changed))))
    assert again.get_config() == changed.get_config()
    assert RNNpropCell.from_config(changed.get_config()).get_config() == changed.get_config()


class TestWeights:
    def test_names_shapes_and_number_are_those_of_the_released_files(self):
        weights = CoordinatewiseOptimizer(RNNpropCell()).named_variables
        names = ["input_projection", "lstm_1", "lstm_2", "linear"]
        assert list(weights) == [f"{name}/{kind}" for name in names for kind in kinds(name)]
        shapes = [tuple(variable.shape) for variable in weights.values()]
        assert shapes == [(2, 20), (20,), (40, 80), (80,), (40, 80), (80,), (20, 1), (1,)]
        assert sum(np.prod(shape) for shape in shapes) == 6_641
        assert all(variable.trainable for variable in weights.values())

    @pytest.mark.parametrize(
        ("options", "projection", "output"), [({}, 2**-0.5, 20**-0.5), (PROGRAM_2017, 0.1, 0.1)], ids=["sonnet", "2017"]
    )
    def test_initial_distribution(self, options, projection, output):
        drawn = [CoordinatewiseOptimizer(RNNpropCell(seed=seed, **options)).named_variables for seed in range(12)]
        stddevs = {"input_projection/w": projection, "linear/w": output, "input_projection/b": 0, "linear/b": 0}
        assert_truncated_normal(drawn, dict.fromkeys(drawn[0], 40**-0.5) | stddevs)

    def test_a_run_begins_with_empty_moments_at_step_0(self):
        student = CoordinatewiseOptimizer(RNNpropCell(layers=(4,), dtype="float64"))
        state = student.initial_state({"a": tf.ones([2, 3]), "b": tf.ones([])}, make_seed(0))
        assert [value.shape.as_list() for value in state] == [[7, 1], [7, 1], [7, 1], [7, 4], [7, 4]]
        assert not any(value.numpy().any() or value.dtype != tf.float64 for value in state)


def kinds(name):
    return ("w_gates", "b_gates") if name.startswith("lstm") else ("w", "b")


class TestMetaGradient:
    """In float64, on a student that takes large steps, so that the optimizee's gradients depend on φ."""

    STEPS = 6
    SEED = make_seed(5)

    def begin(self, batch_size=4):
        student, weights = tiny.random_rnnprop(1, (4, 3), spread=2.0, projection=5, dtype="float64", scale=0.3)
        problem = tiny.perceptron(batch_size, tf.float64)
        params, constants = problem.init(self.SEED)
        batches = problem.sample(self.SEED, 2 * self.STEPS + 1)

        @tf.function(autograph=False)
        def window(state, batches, second_derivatives):
            return lessons.meta_gradient(
                lambda params, batch: problem.loss(params, constants, batch),
                student,
                state,
                batches,
                lambda trajectory: total(trajectory.losses),
                method=WholeRun() if second_derivatives else None,
            )

        return weights, window, unroll.initial_state(student, params, self.SEED), batches, constants

    def test_follows_hand_written_backpropagation_in_both_windows(self):
        """The second window starts from moments and a step counter that are not zero."""
        weights, window, ours, batches, constants = self.begin()
        theta, state = tiny.flat(ours.params), reference.zero_state(weights, tiny.SIZE)
        for first in (0, self.STEPS):
            rows = batches[first : first + self.STEPS + 1]
            loss = tiny.numpy_loss(constants, rows)
            options = {"rule": reference.RNNPROP, "scale": 0.3}
            expected = reference.unroll(loss, weights, theta, state, self.STEPS, **options)
            _, gradients, ours, trajectory = window(ours, rows, False)
            np.testing.assert_allclose(trajectory.losses, expected["losses"], rtol=1e-9)
            theirs = reference.meta_gradient(weights, expected, state, rule=reference.RNNPROP)
            tiny.assert_gradients(gradients, theirs, rtol=1e-8)
            theta, state = expected["thetas"][-1], expected["state"]
            for value, other in zip(ours.optimizer, state, strict=True):
                np.testing.assert_allclose(value, other, rtol=1e-8, atol=1e-12)

    def test_second_derivatives_are_the_slope_of_the_whole_run(self):
        """Finite differences of the true losses: the moments move with φ, too."""
        weights, window, state, batches, constants = self.begin()
        rows, rng = batches[: self.STEPS + 1], np.random.default_rng(0)
        loss, theta = tiny.numpy_loss(constants, rows), tiny.flat(state.params)
        _, gradients, _, _ = window(state, rows, True)
        _, first_order, _, _ = window(state, rows, False)

        def judged(weights):
            start = reference.zero_state(weights, tiny.SIZE)
            run = reference.unroll(loss, weights, theta, start, self.STEPS, rule=reference.RNNPROP, scale=0.3)
            return run["losses"].sum()

        for name, gradient, other in zip(weights, gradients, first_order, strict=True):
            direction = rng.normal(size=weights[name].shape)
            ends = [judged(weights | {name: weights[name] + h * direction}) for h in (1e-6, -1e-6)]
            slope = np.sum(gradient.numpy() * direction)
            np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-4, err_msg=name)
            assert not np.allclose(np.sum(other.numpy() * direction), slope, rtol=1e-3), "first order would do, too"

    @pytest.mark.parametrize("second_derivatives", [False, True])
    def test_coordinates_without_a_gradient_do_no_harm(self, second_derivatives):
        """Such as weights of pixels that are always black: √v has an infinite slope at 0, and XLA lets 0 · ∞ be NaN."""
        student, _ = tiny.random_rnnprop(1, (3,), projection=4)
        state = unroll.initial_state(student, {"x": tf.constant([1.0, 2.0])}, self.SEED)

        @tf.function(jit_compile=True, autograph=False)
        def gradients_of(state):
            return lessons.meta_gradient(
                lambda params, _: params["x"][0] ** 2 + 0.0 * params["x"][1] ** 2,
                student,
                state,
                tf.zeros([4]),
                lambda trajectory: total(trajectory.losses),
                method=WholeRun() if second_derivatives else None,
            )[1]

        gradients = gradients_of(state)
        assert all(np.isfinite(gradient).all() and np.any(gradient) for gradient in gradients)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_order": "mm"}, "Received feature_order='mm', expected 'mg' or 'gm'"),
        ({"beta_1": 1.0}, r"Received beta_1=1.0, expected a number in \[0, 1\)"),
        ({"beta_2": -0.1}, r"Received beta_2=-0.1, expected a number in \[0, 1\)"),
        ({"epsilon": 0.0}, "Received epsilon=0.0, expected a positive number"),
        ({"projection": 0}, "Received projection=0, expected a positive number"),
        ({"scale": float("inf")}, "Received scale=inf, expected a positive number"),
        ({"projection_stddev": 0.0}, "Received projection_stddev=0.0, expected a positive number"),
        ({"layers": (20, 0)}, r"Received layers=\(20, 0\), expected positive hidden sizes"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        RNNpropCell(**options)
