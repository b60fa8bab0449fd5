"""What Keras promises of every optimizer, for one of each architecture that ships, beside Keras's Adam.

Written from Keras's documentation. Where Adam keeps a promise in another way, or does not, the test says so.
"""

import functools
import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import l2o_tf
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer

ADAM = "Adam"
OPTIMIZERS = {name: l2o_tf.load(name) for name in l2o_tf.list_pretrained()}
NAMES = [ADAM, *{optimizer.kind: name for name, optimizer in OPTIMIZERS.items()}.values()]
START = [np.array(value, np.float32) for value in ([1.0, -2.0, 0.5], [[0.3], [-0.4]])]
GRADS = ([0.5, -1.0, 3.0], [[0.2], [4.0]])

each = pytest.mark.parametrize("name", NAMES)


def make(name, /, **options):
    """A new optimizer; its files are read once."""
    if name == ADAM:
        return keras.optimizers.Adam(**{"learning_rate": 0.01, **options})
    return LearnedOptimizer(OPTIMIZERS[name], **options)


def variables():
    return [keras.Variable(value, name=name) for value, name in zip(START, "ab", strict=True)]


def values(where):
    return [v.numpy() for v in where]


def step(optimizer, where, grads=GRADS):
    optimizer.apply([None if g is None else tf.constant(g, v.dtype) for g, v in zip(grads, where, strict=True)], where)


def after(optimizer, *grads, where=None):
    """Values after these steps."""
    where = where or variables()
    for each in grads or (GRADS,):
        step(optimizer, where, each)
    return values(where)


@functools.cache
def plain(name):
    """Values after one step of the optimizer as it is."""
    return after(make(name))


def assert_close(ours, theirs, **tolerances):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 1e-5, "atol": 1e-6, **tolerances})


def scaled(factor):
    return [(np.array(g) * factor).tolist() for g in GRADS]


@each
def test_steps_are_counted_and_everything_moves(name):
    optimizer, where = make(name), variables()
    assert int(optimizer.iterations) == 0
    assert optimizer.apply([], where) is None  # no gradients, no step
    returned = optimizer.apply_gradients(zip([tf.constant(g) for g in GRADS], where, strict=True))
    assert int(returned) == int(optimizer.iterations) == 1
    assert all(np.all(v.numpy() != start) for v, start in zip(where, START, strict=True))


@each
def test_learning_rates(name):
    """A factor of the update; a number that may be set, a schedule of the step, or a function."""
    whole, half, later = make(name, learning_rate=1.0), make(name, learning_rate=0.5), make(name)
    later.learning_rate = 0.5
    assert float(half.learning_rate) == float(later.learning_rate) == 0.5
    expected = after(half)
    moved = [[v - s for v, s in zip(found, START, strict=True)] for found in (after(whole), expected)]
    assert_close(moved[1], [v / 2 for v in moved[0]])
    schedule = make(name, learning_rate=keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.0]))
    for values_after in (after(later), after(make(name, learning_rate=lambda: 0.5)), after(schedule, GRADS, GRADS)):
        assert_close(values_after, expected)
    with pytest.raises(TypeError, match="not settable"):
        schedule.learning_rate = 0.1


@each
def test_clipping(name):
    """What it sees are the clipped gradients; sparse ones, too."""
    norms = [np.linalg.norm(g) for g in GRADS]
    total = np.linalg.norm(norms)
    by_norm = [(np.array(g) / max(norm, 1.0)).tolist() for g, norm in zip(GRADS, norms, strict=True)]
    assert_close(after(make(name, clipnorm=1.0)), after(make(name), by_norm), atol=1e-5)
    assert_close(after(make(name, global_clipnorm=1.0)), after(make(name), scaled(1 / total)), atol=1e-5)
    clipped = [np.clip(g, -0.3, 0.3).tolist() for g in GRADS]
    assert_close(after(make(name, clipvalue=0.3)), after(make(name), clipped), atol=1e-5)
    with pytest.raises(ValueError, match="Only one of"):
        make(name, clipnorm=1.0, clipvalue=1.0)


@each
def test_accumulated_gradients(name):
    """A step in every second call, with the mean."""
    optimizer, where = make(name, gradient_accumulation_steps=2), variables()
    first = after(optimizer, scaled(0.5), where=where)
    assert_close(first, START)
    assert int(optimizer.iterations) == 0
    assert_close(after(optimizer, scaled(1.5), where=where), plain(name))
    assert int(optimizer.iterations) == 1


@each
def test_moving_averages(name):
    options = {"use_ema": True, "ema_momentum": 0.75}
    optimizer, where = make(name, **options), variables()
    found = [after(optimizer, where=where) for _ in range(2)]
    expected = [0.75 * first + 0.25 * second for first, second in zip(*found, strict=True)]
    optimizer.finalize_variable_values(where)
    assert_close(values(where), expected)
    overwriting = make(name, ema_overwrite_frequency=2, **options)
    assert_close(after(overwriting, GRADS, GRADS), expected)
    assert_close(after(make(name), GRADS, GRADS), found[1])  # averages change nothing before


@each
def test_weight_decay(name):
    """`learning_rate` · `weight_decay` · θ is subtracted, except where it is excluded."""
    options = {"learning_rate": 0.5, "weight_decay": 0.1}
    without = after(make(name, learning_rate=0.5))
    decayed = [value - 0.5 * 0.1 * start for value, start in zip(without, START, strict=True)]
    assert_close(after(make(name, **options)), decayed)
    by_name, by_variable, where = make(name, **options), make(name, **options), variables()
    by_name.exclude_from_weight_decay(var_names=["a"])
    assert_close(after(by_name), [without[0], decayed[1]])
    by_variable.exclude_from_weight_decay(var_list=where[1:])
    assert_close(after(by_variable, where=where), [decayed[0], without[1]])


@each
def test_state_goes_on_from_a_file_and_from_variables(name, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "tanh"), keras.layers.Dense(1)])
    model.compile(make(name), "mse", run_eagerly=True)
    x, y = np.ones([4, 2], np.float32), np.zeros([4, 1], np.float32)
    model.train_on_batch(x, y)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    again = keras.models.load_model(tmp_path / "m.keras")
    weights = keras.models.clone_model(model)
    weights.compile(make(name), "mse", run_eagerly=True)
    weights.optimizer.build(weights.trainable_variables)
    weights.load_weights(tmp_path / "m.weights.h5")
    by_hand = keras.models.clone_model(model)
    by_hand.set_weights(model.get_weights())
    by_hand.compile(make(name), "mse", run_eagerly=True)
    by_hand.optimizer.build(by_hand.trainable_variables)
    by_hand.optimizer.set_weights([v.numpy() for v in model.optimizer.variables])
    again.compile(again.optimizer, "mse", run_eagerly=True)
    for each in (model, again, weights, by_hand):
        each.train_on_batch(x, y)
        assert int(each.optimizer.iterations) == 2
        assert_close(each.get_weights(), model.get_weights(), rtol=1e-6, atol=1e-7)


@each
def test_configurations(name):
    options = {"clipnorm": 2.0, "weight_decay": 0.1, "use_ema": True, "ema_momentum": 0.5, "name": "mine"}
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = make(name, learning_rate=schedule, **options)
    config = optimizer.get_config()
    text = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    expected = after(optimizer)
    for again in (type(optimizer).from_config(dict(config)), keras.optimizers.deserialize(text)):
        assert again.get_config() == config
        assert_close(after(again), expected)
    with pytest.raises(ValueError, match="not recognized"):
        make(name, colour=1)


@each
def test_names(name):
    optimizer = make(name, name="mine")
    after(optimizer)
    paths = [v.path for v in optimizer.variables]
    assert optimizer.name == "mine"
    assert len(set(paths)) == len(paths)
    assert all(path.startswith("mine/") for path in paths)
    assert {"mine/iteration", "mine/learning_rate"} <= set(paths)


@each
def test_unknown_variables(name):
    optimizer, (a, b) = make(name), variables()
    with pytest.raises(ValueError, match="built"):
        optimizer.apply([tf.constant(GRADS[0])])
    optimizer.apply([tf.constant(GRADS[0])], [a])
    optimizer.apply([tf.constant(GRADS[0])])  # those that it was built with
    with pytest.raises(ValueError, match="Unknown variable|none of which"):
        optimizer.apply([tf.constant(GRADS[1])], [b])
    if name == ADAM:  # has no way to let layers thaw
        with pytest.raises(ValueError, match="Unknown variable"):
            step(optimizer, [a, b])
    else:
        step(optimizer, [a, b])
        assert np.all(b.numpy() != START[1])


@each
def test_variables_of_every_kind(name):
    """`tf.Variable`, that within a Keras variable, and what a `tf.Module` has; a variable without an element."""
    expected = plain(name)
    assert_close(after(make(name), where=[tf.Variable(v.value) for v in variables()]), expected)
    assert_close(after(make(name), where=[v.value for v in variables()]), expected)
    module = tf.Module()
    module.a, module.b = (tf.Variable(v.value, name="same") for v in variables())
    assert_close(after(make(name), where=list(module.trainable_variables)), expected)
    empty = keras.Variable(np.zeros([0], np.float32))
    *others, nothing = after(make(name), [*GRADS, []], where=[*variables(), empty])
    assert nothing.shape == (0,)
    if "Scale" not in name:  # of which the last tensor tells the whole optimizee what to do
        assert_close(others, expected)
    assert np.all(np.isfinite(np.concatenate([v.ravel() for v in others])))


@each
def test_a_variable_that_is_given_twice(name):
    """Its gradients are added. Adam makes a step for each, but with one pair of moments."""
    where = variables()
    a, b = where
    optimizer = make(name)
    optimizer.apply([tf.constant(GRADS[0]), tf.constant(GRADS[1]), tf.constant(GRADS[0])], [a, b, a])
    twice = values(where)
    once = after(make(name), [(2 * np.array(GRADS[0])).tolist(), GRADS[1]])
    if name == ADAM:
        assert np.all(np.abs(twice[0] - START[0]) > np.abs(once[0] - START[0]))
    else:
        assert_close(twice, once)


@each
def test_variables_that_are_overwritten_by_their_gradients(name):
    """At the end of `fit`, averages of the others are an internal error of Keras's, with Adam and with ours."""
    where = variables()
    where[0].overwrite_with_gradient = True
    optimizer = make(name, use_ema=True, weight_decay=0.1, clipnorm=0.1)
    found = after(optimizer, where=where)
    assert_close(found[:1], GRADS[:1])
    assert np.all(found[1] != START[1])
    with pytest.raises(ValueError, match="None"):
        optimizer.finalize_variable_values(where)


@each
def test_gradients_that_are_not_there(name):
    optimizer, where = make(name), variables()
    with pytest.raises(ValueError, match="No gradients provided"):
        step(optimizer, where, [None, None])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = after(optimizer, [GRADS[0], None], where=where)
    assert any("Gradients do not exist for variables ['b']" in str(warning.message) for warning in told)
    assert_close(found[1:], START[1:], rtol=0, atol=0)
    assert np.all(found[0] != START[0])


@each
def test_gradients_that_do_not_fit(name):
    """Adam says nothing, and takes as many as there are of both."""
    where = variables()
    one, other = (tf.constant(grad) for grad in GRADS)
    if name == ADAM:
        make(name).apply([one], where)
        make(name).apply([one, other, one], where)
        return
    with pytest.raises(ValueError, match="Received 1 gradients for 2 variables"):
        make(name).apply([one], where)
    with pytest.raises(ValueError, match="Received 3 gradients for 2 variables"):
        make(name).apply([one, other, one], where)
    with pytest.raises(ValueError, match=r"Received a gradient of shape \(3,\) for b, expected its shape \(2, 1\)"):
        make(name).apply([one, one], where)
    assert_close(values(where), START, rtol=0, atol=0)


@each
def test_steps_without_a_state_are_not_for_tensorflow(name):
    optimizer, where = make(name), variables()
    optimizer.build(where)
    with pytest.raises(ValueError, match="not supported with the TensorFlow backend"):
        optimizer.stateless_apply(optimizer.variables, list(GRADS), where)


@each
def test_loss_scaling(name):
    """The gradients of a scaled loss make the same step; those that are not finite, none."""
    expected = plain(name)
    optimizer = make(name, loss_scale_factor=8.0)
    assert float(optimizer.scale_loss(tf.constant(2.0))) == 16.0
    assert_close(after(optimizer, scaled(8.0)), expected, atol=1e-5)
    wrapped, where = keras.optimizers.LossScaleOptimizer(make(name), initial_scale=8.0), variables()
    assert_close(after(wrapped, [[np.inf] * 3, GRADS[1]], where=where), START, rtol=0, atol=0)
    assert int(wrapped.iterations) == 0
    assert_close(after(wrapped, scaled(4.0), where=where), expected, atol=1e-5)


@each
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_precisions(name, dtype):
    """A variable keeps its own."""
    where = [keras.Variable(v.numpy(), dtype=dtype) for v in variables()]
    found = after(make(name), where=where)
    assert all(v.dtype == dtype for v in where)
    assert_close([v.astype("float32") for v in found], plain(name), rtol=2e-2, atol=2e-2)


@each
def test_constraints(name):
    where = variables()
    for variable in where:
        variable.constraint = keras.constraints.NonNeg()
    assert_close(after(make(name), where=where), [np.maximum(v, 0.0) for v in after(make(name))])
