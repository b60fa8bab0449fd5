"""The guard against hand-worked traces, and in Keras against Adam alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.keras_optimizer import guard
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer
from l2o_tf.optimizers import Step, analytic
from tests.l2o_tf import test_keras_optimizer as fit

SETTINGS = guard.Guard(learning_rate=0.1, period=2, patience=2)
TWO = {"a": tf.constant([1.0, 2.0]), "b": tf.constant([3.0])}


def run(losses, settings=SETTINGS, update=lambda t: {"a": tf.constant([1.0, 1.0]), "b": tf.constant([1.0])}):
    """θ, learned state and guard state after each step. The learned update is `update(step)`, its state counts."""
    params, learned, state = TWO, tf.constant(0.0), guard.initial_state(settings, TWO)
    trace = []
    for t, loss in enumerate(losses):
        grads = {name: tf.ones_like(tensor) for name, tensor in params.items()}

        def propose(t=t, learned=learned):
            return update(t), learned + 1.0

        *moves, learned, state = guard.step(settings, propose, learned, state, tf.constant(loss), grads, params)
        params = {name: guard.moved(name, tensor, *moves) for name, tensor in params.items()}
        trace.append((params, float(learned), state))
    return trace


def first(trace):
    return [float(params["b"][0]) for params, _, _ in trace]


def test_a_run_that_improves_is_left_alone():
    trace = run([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0])
    assert first(trace) == [4, 5, 6, 7, 8, 9, 10, 11]
    assert int(trace[-1][2].fallback) == guard.NEVER


# Periods of two: means 9, 4 (the best: begun at θ = 5, ended after 4 steps), 6, 4. The last ends in step 7.
STUCK = [9.0, 9.0, 4.0, 4.0, 6.0, 6.0, 4.0, 4.0]


def adam_from(params, steps):
    """θ after each step of Adam from fresh moments; the gradient is one."""
    adam = analytic.adam(SETTINGS.learning_rate, epsilon=1e-7)
    state, trace = adam.initial_state(params, tf.constant(0)), []
    for _ in range(steps):
        updates, state = adam.update(Step({name: tf.ones_like(value) for name, value in params.items()}, params), state)
        params = {name: params[name] + updates[name] for name in params}
        trace.append(params)
    return trace


def test_a_race_that_adam_wins():
    """Two periods no better: back to θ_0 = 3. The first period of the race, 5, is no better; the second, 3, is."""
    trace = run([*STUCK, 5.0, 5.0, 3.0, 3.0, 9.0, 9.0])
    assert first(trace)[:8] == [4, 5, 6, 7, 8, 9, 10, 3]
    assert [int(state.fallback) for _, _, state in trace] == [-1] * 7 + [7] * 7
    assert [int(state.phase) for _, _, state in trace[6:]] == [guard.LEARNED] + [guard.RACE] * 4 + [
        guard.FROM_START
    ] * 3
    for (moved, learned, _), expected in zip(trace[8:], adam_from(TWO, 6), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, moved, expected)
        assert learned == 7  # the cell is not run any more


def test_a_race_that_adam_loses():
    """In the four steps that the learned optimizer took to the end of its best period Adam is no better: back to 5."""
    trace = run([*STUCK, 5.0, 5.0, 4.0, 4.0, 1.0, 1.0])
    assert first(trace)[11] == 5
    assert [int(state.phase) for _, _, state in trace[7:]] == [guard.RACE] * 4 + [guard.FROM_BEST] * 3
    best = {"a": tf.constant([3.0, 4.0]), "b": tf.constant([5.0])}
    for (moved, _, _), expected in zip(trace[12:], adam_from(best, 2), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, moved, expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_race_that_diverges_is_lost(bad):
    trace = run([*STUCK, 5.0, bad, 1.0])
    assert first(trace)[9] == 5
    assert int(trace[-1][2].phase) == guard.FROM_BEST


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_goes_back_at_once(bad):
    trace = run([9.0, 8.0, 7.0, bad, 1.0])
    assert first(trace)[:4] == [4, 5, 6, 3]
    assert int(trace[-1][2].fallback) == 3


def test_it_comes_back_from_where_adding_an_update_would_lose_everything():
    trace = run([9.0, 9.0, float("inf")], update=lambda t: {"a": tf.fill([2], 1e30), "b": tf.fill([1], 1e30)})
    tf.nest.map_structure(np.testing.assert_array_equal, trace[-1][0], TWO)


def test_a_tensor_whose_update_is_not_finite_takes_adams_for_that_step():
    def update(t):
        return {"a": tf.constant([1.0, np.nan if t == 1 else 1.0]), "b": tf.constant([1.0])}

    trace = run([9.0, 8.0, 7.0], update=update)
    np.testing.assert_allclose(trace[1][0]["a"], [2.0 - 0.1, 3.0 - 0.1], rtol=1e-5)
    assert first(trace) == [4, 5, 6]
    assert [int(state.rescues) for _, _, state in trace] == [0, 1, 1]


def test_a_state_that_is_not_finite_is_not_kept():
    state = guard.initial_state(SETTINGS, TWO)
    old = tf.constant([1.0, 2.0])

    def propose():
        return {name: tf.zeros_like(value) for name, value in TWO.items()}, tf.constant([5.0, np.nan])

    assert guard.step(SETTINGS, propose, old, state, tf.constant(1.0), TWO, TWO)[-2].numpy().tolist() == [5.0, 2.0]


def test_a_tensor_that_an_update_would_overflow_takes_adams():
    trace = run([9.0, 8.0, 7.0], update=lambda t: {"a": tf.ones([2]), "b": tf.fill([1], 3e38)})
    np.testing.assert_allclose(first(trace), np.float32([3e38] * 3))
    assert int(trace[-1][2].rescues) == 2


@pytest.mark.parametrize("bad", [1e20, -3e38, np.inf, np.nan])
def test_gradients_without_a_finite_square_do_not_spoil_adam(bad):
    """Whether the loss that they come from is finite or not, step after step; all updates are Adam's."""
    grads, useless = {"a": tf.constant([bad, 1.0]), "b": tf.constant([bad])}, {k: v * np.nan for k, v in TWO.items()}
    for loss in (1.0, np.inf):
        params, state = TWO, guard.initial_state(SETTINGS, TWO)
        for _ in range(4):
            *moves, _, state = guard.step(SETTINGS, lambda: (useless, ()), (), state, tf.constant(loss), grads, params)
            params = {name: guard.moved(name, tensor, *moves) for name, tensor in params.items()}
        assert all(np.isfinite(value).all() for value in tf.nest.flatten([params, state.adam]))
        assert params["a"][1] < TWO["a"][1] - 0.15


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"patience": 0}, "patience=0 for the guard, expected a positive integer"),
        ({"period": 1.5}, "period=1.5 for the guard, expected a positive integer"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0 for the guard, expected a positive number"),
        ("yes", "guard='yes', expected True, False, a Guard or a dictionary"),
        ({"rate": 1.0}, r"guard={'rate': 1.0}, expected True, False, a Guard or a dictionary of some of"),
    ],
)
def test_bad_settings(given, message):
    with pytest.raises(ValueError, match=message):
        LearnedOptimizer("L2O-DM", guard=given)


def test_in_keras_a_guard_that_does_not_act_changes_nothing():
    plain, guarded = (fit.compiled(LearnedOptimizer("RNNprop-CL-IL", guard=given)) for given in (False, True))
    np.testing.assert_allclose(fit.train(plain), fit.train(guarded), rtol=1e-5)
    for one, two in zip(plain.trainable_variables, guarded.trainable_variables, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    assert guarded.optimizer.guard_report() == {"fallback": None, "adam_from": None, "rescues": 0}


QUICK = {"learning_rate": 0.05, "period": 4, "patience": 1}


def climbing(jit_compile=False):
    """Goes uphill: the guard acts at the end of the second epoch, which is its second period."""
    return fit.compiled(LearnedOptimizer("RNNprop-CL-IL", -1.0, guard=QUICK), jit_compile=jit_compile)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_keras_adam_goes_on_from_the_start(jit_compile, caplog):
    guarded = climbing(jit_compile)
    begin = [v.numpy() for v in guarded.trainable_variables]
    with caplog.at_level("WARNING", "absl"):
        fit.train(guarded, epochs=2)
    assert "The guard of RNNprop-CL-IL has acted: {'fallback': 7, 'adam_from': 'start', 'rescues': 0}." in caplog.text
    for variable, value in zip(guarded.trainable_variables, begin, strict=True):
        np.testing.assert_array_equal(variable, value)
    adam = fit.compiled(keras.optimizers.Adam(0.05))
    np.testing.assert_allclose(fit.train(guarded, epochs=5), fit.train(adam, epochs=5), rtol=1e-4)


def test_a_guarded_model_goes_on_exactly_after_it_was_saved(tmp_path):
    whole, half = climbing(), climbing()
    fit.train(whole, epochs=4)
    fit.train(half, epochs=1)
    half.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    fit.train(loaded, epochs=3)
    assert loaded.optimizer.guard_report() == {"fallback": 7, "adam_from": "start", "rescues": 0}
    tf.nest.map_structure(np.testing.assert_array_equal, fit.values(loaded), fit.values(whole))


def test_without_the_loss_there_is_no_guard():
    variable = keras.Variable([1.0])
    optimizer = LearnedOptimizer("RNNprop-CL-IL", guard=True)
    with pytest.raises(ValueError, match="before its first step"):
        optimizer.guard_report()
    with pytest.raises(ValueError, match=r"no loss. In a training step of your own, call optimizer.scale_loss\(loss\)"):
        optimizer.apply([tf.constant([1.0])], [variable])
    with pytest.raises(ValueError, match="without a guard"):
        LearnedOptimizer("RNNprop-CL-IL").guard_report()


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_in_keras_all_variables_go_back():
    """Also one without a gradient in that step; not one that is frozen by now. Otherwise it stays as it is."""
    variables = [keras.Variable([value]) for value in (1.0, 2.0, 3.0)]
    optimizer = LearnedOptimizer("RNNprop-CL-IL", -1.0, guard=guard.Guard(period=1, patience=2))
    gradients = [tf.constant([1.0])] * 3
    for loss, given in ((1.0, gradients), (2.0, [*gradients[:1], None, None]), (3.0, [*gradients[:1], None, None])):
        before = [float(v.numpy()[0]) for v in variables]
        optimizer.scale_loss(tf.constant(loss))
        optimizer.apply(given, variables)
        variables[2].trainable = False
        if loss == 2.0:
            assert [float(v.numpy()[0]) for v in variables][1:] == before[1:]
    assert optimizer.guard_report()["adam_from"] == "start"
    assert [float(v.numpy()[0]) for v in variables] == [1.0, 2.0, before[2]]


def test_in_keras_a_guard_keeps_the_precision_of_variables():
    variable = keras.Variable(np.array([1.0, 1 / 3]), dtype="float64")
    optimizer = LearnedOptimizer("RNNprop-CL-IL", 0.0, guard=True)
    optimizer.scale_loss(tf.constant(1.0))
    optimizer.apply([tf.ones([2], tf.float64)], [variable])
    assert variable.numpy()[1] == 1 / 3
