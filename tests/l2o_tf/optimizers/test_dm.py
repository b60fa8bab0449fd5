"""The L2O-DM cell: against NumPy, against the original program's recorded steps, and as a citizen of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers.base import CoordinatewiseOptimizer
from l2o_tf.optimizers.lstm.dm import DMCell
from problems.base import make_seed
from tests.l2o_tf import numpy_reference as reference
from tests.l2o_tf import tiny
from tests.l2o_tf.optimizers.playing import assert_gates, assert_truncated_normal, gradients, run

RELEASED = ("dm", "dm_aug", "dm_cl", "dm_cl_il")
STATES = ("h1", "c1", "h2", "c2")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-13)])
def test_follows_the_equations(dtype, tolerance):
    student, weights = tiny.random_student(1, spread=2.0, dtype=dtype)
    inputs = gradients().astype(dtype)
    deltas, state = run(student.cell, inputs)
    expected, expected_state, _ = reference.play(
        tiny.in_float64(weights), np.float64(inputs), reference.zero_state(tiny.in_float64(weights), inputs.shape[1])
    )
    assert deltas.dtype == dtype
    assert np.abs(expected).max() > 0.01, "the updates are too small to tell"
    np.testing.assert_allclose(deltas, expected, rtol=0, atol=tolerance)
    for ours, theirs in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=100 * tolerance)


@pytest.mark.parametrize(
    ("options", "features", "preprocess", "scale"),
    [
        ({"preprocess": "identity", "scale": 1.0, "layers": (3,)}, 1, reference.identity, 1.0),
        ({"preprocess": "Clamp", "layers": (4, 3, 2)}, 1, reference.clamp, 0.01),
        ({"k": 10.0, "layers": (3, 5)}, 2, lambda g: reference.log_and_sign(g, 10.0), 0.01),
        ({"preprocess": "identity", "layers": ()}, 1, reference.identity, 0.01),
    ],
    ids=["identity", "clamp", "k=10", "no layers"],
)
def test_other_members_of_the_family(options, features, preprocess, scale):
    weights = reference.random_weights(np.random.default_rng(2), options.get("layers"), features, dtype=np.float64)
    inputs = np.float64(gradients(4))
    deltas, _ = run(tiny.student(weights, dtype="float64", **options).cell, inputs)
    state = reference.zero_state(weights, inputs.shape[1])
    expected, _, _ = reference.play(weights, inputs, state, scale=scale, preprocess=preprocess)
    np.testing.assert_allclose(deltas, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", RELEASED)
def test_original_program(recordings, name):
    """50 steps of the untouched original on 320 coordinates, with each released file that is there."""
    golden, weights = recordings("dm_golden"), recordings(f"weights/{name}")
    assert tuple(golden["names"]) == RELEASED
    order = reference.random_weights(np.random.default_rng(0))
    student = tiny.student({key: weights[key] for key in order})
    deltas, state = run(student.cell, golden["grads"])
    np.testing.assert_allclose(deltas, golden[f"{name}/deltas"], rtol=0, atol=1e-5)
    for key, value in zip(STATES, state, strict=True):
        np.testing.assert_allclose(value, golden[f"{name}/final_{key}"], rtol=0, atol=2e-4, err_msg=key)


def test_the_numpy_reference_follows_the_original_program(recordings):
    golden, weights = recordings("dm_golden"), recordings("weights/dm")
    weights = tiny.in_float64(weights)
    deltas, _, _ = reference.play(weights, np.float64(golden["grads"]), reference.zero_state(weights, 320))
    np.testing.assert_allclose(deltas, golden["dm/deltas"], rtol=0, atol=5e-6)


def test_first_update_for_a_zero_gradient_by_hand():
    """With zero weights but for `b_gates = 0.5` and `linear/w = 1`, every number can be worked out on paper."""
    cell = tiny.student(
        {
            "lstm_1/w_gates": np.zeros([3, 4]),
            "lstm_1/b_gates": np.full([4], 0.5),
            "linear/w": [[1.0]],
            "linear/b": [2.0],
        },
        layers=(1,),
    ).cell
    delta, state = cell(tf.zeros([1, 1]), cell.get_initial_state(batch_size=1))
    c = 1 / (1 + np.exp(-0.5)) * np.tanh(0.5)
    np.testing.assert_allclose(state[1], [[c]], rtol=1e-6)
    np.testing.assert_allclose(delta, [[0.01 * (1 / (1 + np.exp(-0.5)) * np.tanh(c) + 2.0)]], rtol=1e-6)


def test_gates_can_be_looked_at():
    student, weights = tiny.random_student(3)
    inputs, states = gradients(1)[0], reference.zero_state(weights, 48)
    states = [value + 0.1 for value in states]
    _, _, (_, caches, _) = reference.dm_step(weights, inputs, states)
    assert_gates(student.cell, inputs, states, caches)


class TestKeras:
    def test_config_round_trip(self):
        options = {"layers": (3, 2), "k": 7.0, "scale": 0.5, "initializer": "zeros", "seed": 8}
        cell = DMCell(**options, name="mine", dtype="float64")
        config = cell.get_config()
        assert options.items() <= config.items()
        again = DMCell.from_config(config)
        assert again.get_config() == config
        assert (again.name, again.compute_dtype, again.state_size) == ("mine", "float64", [3, 3, 2, 2])

    def test_a_model_with_the_cell_is_saved_and_loaded(self, tmp_path):
        model = keras.Sequential([keras.Input([None, 1]), keras.layers.RNN(DMCell(layers=(3,)), return_sequences=True)])
        inputs = gradients(4)[:, :8].T[:, :, None]
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(again(inputs), model(inputs))


class TestWeights:
    def test_names_shapes_and_number_are_those_of_the_released_files(self):
        weights = CoordinatewiseOptimizer(DMCell()).named_variables
        expected = {key: value.shape for key, value in reference.random_weights(np.random.default_rng(0)).items()}
        assert {name: tuple(variable.shape) for name, variable in weights.items()} == expected
        assert list(weights) == list(expected)
        assert sum(np.prod(variable.shape) for variable in weights.values()) == 5_141
        assert all(variable.trainable for variable in weights.values())

    def test_initial_distribution(self):
        """Truncated normal of 1/sqrt(fan_in) for matrices and gate biases, zero for the last bias."""
        drawn = [CoordinatewiseOptimizer(DMCell(seed=seed)).named_variables for seed in range(25)]
        fan_in = {"lstm_1": 22, "lstm_2": 40, "linear": 20}
        stddevs = {name: 0 if name == "linear/b" else fan_in[name.split("/")[0]] ** -0.5 for name in drawn[0]}
        assert_truncated_normal(drawn, stddevs)

    @pytest.mark.parametrize("seed", [0, 2**31 - 1])
    def test_any_seed_that_a_flag_can_give(self, seed):
        weights = CoordinatewiseOptimizer(DMCell(layers=(2,), seed=seed)).named_variables
        assert np.isfinite(weights["linear/w"].numpy()).all()

    def test_zeros(self):
        weights = CoordinatewiseOptimizer(DMCell(initializer="zeros")).named_variables
        assert not any(variable.numpy().any() for variable in weights.values())

    def test_initial_state_is_zero_for_every_coordinate(self):
        student = CoordinatewiseOptimizer(DMCell(dtype="float64"))
        state = student.initial_state({"a": tf.ones([2, 3]), "b": tf.ones([])}, make_seed(0))
        assert [(value.shape, value.dtype) for value in state] == 4 * [((7, 20), tf.float64)]
        assert not any(value.numpy().any() for value in state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocess": "Clamp", "k": 10.0}, "Received k=10.0, which does nothing without preprocess='LogAndSign'"),
        ({"preprocess": "log"}, r"Received preprocess='log', expected one of \['identity', 'Clamp', 'LogAndSign'\]"),
        ({"initializer": "ones"}, "Received initializer='ones', expected 'default' or 'zeros'"),
        ({"scale": float("nan")}, "Received scale=nan, expected a positive number"),
        ({"k": 0}, "Received k=0, expected a positive number"),
        ({"k": 1e308}, r"Received k=1e\+308, expected a positive number, at most 1,000,000"),
        ({"layers": (20, 0)}, r"Received layers=\(20, 0\), expected positive hidden sizes"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        DMCell(**options)
