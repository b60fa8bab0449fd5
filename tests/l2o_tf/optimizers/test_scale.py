"""The L2O-Scale cell: against NumPy, against the original program's recorded steps, and as a citizen of Keras."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers import make_optimizer
from l2o_tf.optimizers.base import HierarchicalOptimizer, Step
from l2o_tf.optimizers.scale.cell import ScaleCell
from l2o_tf.optimizers.scale.equations import decays, initial_log_learning_rates, straight_through_clip
from l2o_tf.optimizers.scale.step import ScaleState
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.meta_gradients import WholeRun
from problems.base import make_seed
from tests.l2o_tf import lessons
from tests.l2o_tf import numpy_scale as reference

SEED = make_seed(3)
SIZES = (6, 1, 4)
SMALL = {"levels": (4, 3, 5)}
KEYS = ("parameter", "layer", "global_state", "inp_decay", "scl_decay", "log_learning_rate")


def student(weights, **options) -> HierarchicalOptimizer:
    optimizer = HierarchicalOptimizer(ScaleCell(**options))
    assert list(optimizer.named_variables) == list(weights)
    for name, variable in optimizer.named_variables.items():
        variable.assign(weights[name])
    return optimizer


def gradients(steps, seed=0, dtype=np.float64):
    """Per step one `[n, 1]` for each tensor: of very different sizes, some zero."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(steps):
        step = [scale * rng.normal(size=[n, 1]) for n, scale in zip(SIZES, (1e-4, 30.0, 0.1), strict=True)]
        step[0][2] = 0.0
        found.append([g.astype(dtype) for g in step])
    return found


def play(cell, state, inputs, sizes=SIZES):
    """Updates `[T, N, 1]` and the last state."""
    updates = []
    for step in inputs:
        update, state = cell(tf.constant(np.vstack(step)), state, sizes=sizes)
        updates.append(update)
    return np.stack(updates), state


def play_reference(weights, log_rates, inputs, **options):
    states, z = reference.initial_state(weights, log_rates, **options)
    updates = []
    for step in inputs:
        update, states, z = reference.step(weights, step, states, z, **options)
        updates.append(np.vstack(update))
    return np.stack(updates), reference.stacked(states, z)


def both(steps=4, seed=1, **options):
    """Updates and states of the cell in float64, and of NumPy."""
    weights = reference.random_weights(np.random.default_rng(seed), **options)
    cell = student(weights, dtype="float64", **options).cell
    state, inputs = cell.get_initial_state(sizes=SIZES, seed=SEED), gradients(steps)
    rates = np.split(state.log_learning_rate.numpy(), np.cumsum(SIZES)[:-1])
    return play(cell, state, inputs), play_reference(weights, rates, inputs, **options)


NO_RATES = {"dynamic_learning_rates": False, "relative_learning_rate": "none"}
OPTIONS = [
    {},
    {"levels": (4, 3)},
    {"levels": (4,)},
    {"time_scales": 1},
    {"time_scales": 2, "scale_decay_per_time_scale": True},
    {"max_log_learning_rate": -6.0},
    NO_RATES,
    {"learn_input_decay": False},
    {"learn_scale_decay": False},
    {"learn_initial_vectors": False},
    {"gradient_products": False},
    {"log_mean_squares": False},
    {"relative_learning_rate": "tensor"},
    {"relative_learning_rate": "none"},
    {"extreme_learning_rate": True},
    {"learning_rate_shortcut": True},
    {"gradient_shortcut": False},
    {"global_input": "mean"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(map(str, options)) or "defaults")
def test_follows_the_equations(options):
    (updates, state), (expected, expected_state) = both(**SMALL | options)
    assert updates.dtype == np.float64
    np.testing.assert_allclose(updates, expected, rtol=1e-9, atol=1e-15)
    for name, ours, theirs in zip(ScaleState._fields[:-1], state[:-1], expected_state, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-14, err_msg=name)
    assert state.step == len(expected)


@pytest.mark.parametrize("second_derivatives", [False, True])
def test_the_meta_gradient_survives_a_bad_gradient_entry(second_derivatives):
    """Of what the optimizer is fed; it is judged by a loss that is finite."""
    optimizer, params = HierarchicalOptimizer(ScaleCell(**SMALL, seed=0)), {"x": tf.ones([2]), "y": tf.ones([1])}
    fed = np.ones([4, 3], np.float32)
    fed[0, 0], fed[1, 1], fed[2, 2] = np.nan, np.inf, 1e20
    _, gradients, *_ = lessons.meta_gradient(
        unroll.replayed,
        optimizer,
        unroll.initial_state(optimizer, params, SEED),
        tf.constant(fed),
        lambda trajectory: tf.reduce_sum(trajectory.losses),
        method=WholeRun() if second_derivatives else None,
        judge=lambda params, batch: tf.reduce_sum(tf.square(nest.flatten(params))),
    )
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert any(np.any(gradient) for gradient in gradients)


def test_options_differ_from_the_default():
    """Those that have the weights of the default change what it does with them."""
    (default, _), _ = both(**SMALL)
    for options in (
        {"max_log_learning_rate": -6.0},
        {"scale_decay_per_time_scale": True},
        {"relative_learning_rate": "tensor"},
        {"global_input": "mean"},
    ):
        (updates, _), _ = both(**SMALL | options)
        assert np.abs(updates / default - 1).max() > 1e-3, options


def recorded(golden, key, step):
    """A state of the recording after `step` steps, as in `ScaleState`."""
    if key == "global_state":
        return golden["A/traj/global_state"][step]
    return np.concatenate([golden[f"A/traj/{key}/{i}"][step] for i in range(4)])


def test_original_program(recordings):
    """20 steps of the untouched original on four tensors: parameters and every state after every step."""
    golden = recordings("l2o_scale_golden")
    optimizer = student({name: golden[f"A/weights/LOL/{name}"] for name in reference.shapes()})
    params = {str(i): tf.constant(golden[f"params0/{i}"]) for i in range(4)}
    state = optimizer.initial_state(params, SEED)
    state = state._replace(log_learning_rate=tf.constant(recorded(golden, "log_learning_rate", 0)))
    update = tf.function(optimizer.update, autograph=False)
    for t in range(int(golden["T"])):
        grads = {str(i): tf.constant(golden[f"grads/{i}"][t]) for i in range(4)}
        updates, state = update(Step(grads, params), state)
        params = nest.add(params, updates)
        for name, value in params.items():
            np.testing.assert_allclose(value, golden[f"A/traj/param/{name}"][t + 1], rtol=0, atol=2e-8)
        for key, value in zip(KEYS, state, strict=False):
            assert_close(value, recorded(golden, key, t + 1))
        for j in range(4):
            assert_close(state.averages[:, j : j + 1], recorded(golden, f"grad_accum{j + 1}", t + 1))
            assert_close(state.mean_squares[:, j : j + 1], recorded(golden, f"ms{j + 1}", t + 1))


def assert_close(value, expected):
    """1e-5, and 5e-6 of the largest."""
    np.testing.assert_allclose(value, expected, rtol=0, atol=min(1e-5, 5e-6 * max(1e-3, np.abs(expected).max())))


def test_the_numpy_reference_follows_the_original_program(recordings):
    golden = recordings("l2o_scale_golden")
    weights = {name: np.float64(golden[f"A/weights/LOL/{name}"]) for name in reference.shapes()}
    states, z = reference.initial_state(weights, [np.float64(golden[f"A/loglr0/{i}"]) for i in range(4)])
    params = [np.float64(golden[f"params0/{i}"]) for i in range(4)]
    for t in range(int(golden["T"])):
        grads = [np.float64(golden[f"grads/{i}"][t]).reshape(-1, 1) for i in range(4)]
        updates, states, z = reference.step(weights, grads, states, z)
        params = [x + u.reshape(x.shape) for x, u in zip(params, updates, strict=True)]
    for i, x in enumerate(params):
        np.testing.assert_allclose(x, golden[f"A/traj/param/{i}"][-1], rtol=0, atol=2e-8)
    h, c, z, d_i, d_s, lam, a, _ = reference.stacked(states, z)
    for key, ours in zip(KEYS, (h, c, z, d_i, d_s, lam), strict=True):
        assert_close(ours, recorded(golden, key, -1))
    assert_close(a[:, 3:], recorded(golden, "grad_accum4", -1))


def test_no_memory_at_all_has_a_slope():
    """Far below 0 the sigmoid of a decay is 0 in float32, where a root's slope has no bound."""
    slowest = tf.constant([[0.0, 0.25]])
    with tf.GradientTape() as tape:
        tape.watch(slowest)
        found = decays(slowest, 3)
    np.testing.assert_allclose(found, slowest.numpy() ** [[1], [0.5], [0.25]], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(found, slowest), [[1, 1 + 1 + 0.25**0.25]], rtol=1e-6)


class TestLearningRates:
    def test_clip_is_straight_through(self):
        values = tf.constant([-40.0, 1.0, 40.0])
        with tf.GradientTape() as tape:
            tape.watch(values)
            clipped = straight_through_clip(values, -33.0, 33.0)
        np.testing.assert_array_equal(clipped, [-33.0, 1.0, 33.0])
        np.testing.assert_array_equal(tape.gradient(clipped, values), [1.0, 1.0, 1.0])

    def test_a_clipped_learning_rate_still_learns(self):
        """The bias b_l gets the gradient that it would have without the clip's end, `dΔθ/db_l = Δθ`."""
        weights = reference.random_weights(np.random.default_rng(0), **SMALL)
        cell = student(weights, dtype="float64", max_log_learning_rate=-20.0, **SMALL).cell
        state = cell.get_initial_state(sizes=SIZES, seed=SEED)
        with tf.GradientTape() as tape:
            update, _ = cell(tf.constant(np.vstack(gradients(1)[0])), state, sizes=SIZES)
            total = tf.reduce_sum(update)
        gradient = tape.gradient(total, cell.named_weights["learning_rate_bias"].value)
        np.testing.assert_allclose(gradient[0], total, rtol=1e-12)
        assert np.abs(total) > 0

    def test_first_ones(self):
        """In the range, alike within a tensor, and spread as the sum of two uniform draws."""
        rates = initial_log_learning_rates((2000, 2000), SEED, 1e-6, 1e-2, tf.float32).numpy()[0]
        low, high = np.log(1e-6), np.log(1e-2)
        assert low <= rates.min() < rates.max() <= high
        for tensor in (rates[:2000], rates[2000:]):
            np.testing.assert_allclose(np.ptp(tensor), (high - low) / 2, rtol=0.02)
        assert abs(rates[:2000].min() - rates[2000:].min()) > 1e-3
        other = initial_log_learning_rates((2000, 2000), make_seed(4), 1e-6, 1e-2, tf.float32).numpy()[0]
        assert not np.array_equal(rates, other)

    def test_equal_ends_mean_that_rate(self):
        cell = ScaleCell(initial_learning_rates=(0.01, 0.01), **SMALL)
        cell.build((None, 1))
        np.testing.assert_allclose(cell.get_initial_state(batch_size=3).log_learning_rate, np.log([[0.01]] * 3))

    def test_runs_of_a_seed_are_paired_and_others_differ(self):
        params, draws = {"w": tf.zeros([3, 2])}, []
        for optimizer, seed in ((make_optimizer("L2O-Scale"), 1), (make_optimizer("L2O-Scale"), 1), (None, 2)):
            optimizer = optimizer or make_optimizer("L2O-Scale")
            draws.append(unroll.initial_state(optimizer, params, make_seed(seed)).optimizer.log_learning_rate.numpy())
        np.testing.assert_array_equal(draws[0], draws[1])
        assert not np.array_equal(draws[0], draws[2])


class TestKeras:
    def test_one_tensor_in_a_keras_rnn(self):
        cell = ScaleCell(**SMALL, seed=1)
        inputs = np.random.default_rng(0).normal(size=[5, 3, 1]).astype(np.float32)
        outputs = keras.layers.RNN(cell, return_sequences=True)(inputs)
        state = cell.get_initial_state(batch_size=5)
        expected, _ = play(cell, state, [[inputs[:, t]] for t in range(3)], sizes=(5,))
        np.testing.assert_allclose(outputs, expected.transpose(1, 0, 2), rtol=1e-5)

    def test_serialization_through_json(self):
        """Every argument, each other than its default."""
        changed = {
            **{"levels": [3, 2, 4], "time_scales": 3, "initial_learning_rates": [1e-5, 1e-3]},
            **{"max_log_learning_rate": 1.0, "learn_input_decay": False},
            **{"learn_scale_decay": False, "learn_initial_vectors": False, "scale_decay_per_time_scale": True},
            **{"gradient_products": False, "log_mean_squares": False, "relative_learning_rate": "none"},
            **{"extreme_learning_rate": False, "learning_rate_shortcut": False, "gradient_shortcut": False},
            **{"global_input": "mean", "zero_learning_rate_weights": False, "seed": 8},
        }
        for options in (changed, NO_RATES, {"extreme_learning_rate": True, "learning_rate_shortcut": True}):
            cell = ScaleCell(**options)
            text = json.dumps(keras.saving.serialize_keras_object(cell))
            again = keras.saving.deserialize_keras_object(json.loads(text))
            assert again.get_config() == cell.get_config()
            assert {key: json.loads(json.dumps(again.get_config()[key])) for key in options} == options
        assert changed.keys() | NO_RATES.keys() == set(ScaleCell().get_config()) - {"name", "trainable", "dtype"}

    def test_coordinates_of_a_tensor_may_come_in_any_order(self):
        cell = ScaleCell(**SMALL, initial_learning_rates=(0.01, 0.01), seed=1)
        cell.build((None, 1))
        inputs = [np.vstack(step).astype(np.float32) for step in gradients(3)]
        order = np.concatenate([[3, 1, 0, 5, 4, 2], [6], [8, 7, 10, 9]])
        state = cell.get_initial_state(sizes=SIZES)
        straight, _ = play(cell, state, [[g] for g in inputs])
        shuffled, _ = play(cell, state, [[g[order]] for g in inputs])
        np.testing.assert_allclose(shuffled, straight[:, order], rtol=1e-5)


class TestWeights:
    def test_names_shapes_and_number_are_those_of_the_checkpoint(self):
        weights = make_optimizer("L2O-Scale").named_variables
        assert {name: tuple(variable.shape) for name, variable in weights.items()} == reference.shapes()
        assert len(weights) == 31
        assert sum(np.prod(shape) for shape in reference.shapes().values()) == 8_349

    def test_initial_distribution(self):
        cell = ScaleCell(seed=0, zero_learning_rate_weights=False)
        cell.build((None, 1))
        for name, variable in cell.named_weights.items():
            value = variable.numpy()
            constant = {"scl_decay_bias": 3.2, "inp_decay_bias": 2.2, "PerTensor/param_stepsize_offset": -1.0}
            constant["PerTensor/learning_rate_momentum_logit"] = 3.2
            if name in constant or name.endswith(("Bias", "bias")):
                expected = constant.get(name, 2.2 if "gates" in name else 0.0)
                np.testing.assert_allclose(value, np.full(value.shape, expected, np.float32), err_msg=name)
            elif name.endswith("init_vector"):
                assert 0.5 < np.abs(value).max() <= 1, name
            elif value.size >= 200:
                np.testing.assert_allclose(value.std(), 0.5 / len(value) ** 0.5, rtol=3 / value.size**0.5, err_msg=name)
        np.testing.assert_allclose(cell.named_weights["PerTensor/GradsToDelta/Matrix"], 0.25, atol=0.25)
        assert cell.named_weights["learning_rate_weights"].numpy().any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ()}, r"Received levels=\(\), expected one to three numbers of units"),
        ({"levels": (5, 0)}, "levels"),
        ({"time_scales": 0}, "Received time_scales=0, expected at least 1"),
        ({"initial_learning_rates": (1e-2, 1e-6)}, "expected two positive numbers, the lower one first"),
        ({"max_log_learning_rate": -40.0}, "expected more than -33"),
        ({"relative_learning_rate": "mean"}, r"expected one of \['problem', 'tensor', 'none'\]"),
        ({"global_input": "first"}, r"expected one of \['last', 'mean'\]"),
        ({"levels": (5, 5), "global_input": "mean"}, "global_input='mean', which does nothing without three levels"),
        ({"time_scales": 1, "gradient_products": False}, "gradient_products=False, .* without several time scales"),
        ({**NO_RATES, "max_log_learning_rate": 2.0}, "max_log_learning_rate=2.0, .* without dynamic_learning_rates"),
        ({"dynamic_learning_rates": False}, "Received dynamic_learning_rates=False, expected True, or no features"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ScaleCell(**options)
