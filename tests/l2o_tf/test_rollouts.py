"""The runs of an optimizer on a problem: paired, with curves that say what was recorded, compiled once."""

import itertools
import time

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import devices, nest
from l2o_tf.evaluating import rollouts
from l2o_tf.evaluating.rollouts import recorded_losses, run_seeds
from l2o_tf.optimizers.analytic import adam, sgd
from problems import contract
from problems.base import Problem, fold, make_seed
from problems.toys.deepmind import simple
from tests.l2o_tf import numpy_reference as reference
from tests.l2o_tf import tiny

SEED = make_seed(11)
WINDOW = 4
OPTIONS = {"num_runs": 2, "num_steps": 10, "window": WINDOW}


def weather() -> Problem:
    """Its loss is what the run and the minibatch make it, whatever an optimizer does."""

    def init(seed):
        start, offset = tf.unstack(tf.random.stateless_uniform([2], seed))
        return {"x": start}, offset

    def sample(seed, num_steps):
        return tf.random.stateless_uniform([num_steps], seed)

    return Problem(
        "weather", init, sample, lambda params, constants, batch: 0.0 * params["x"] + 10.0 * constants + batch
    )


def by_hand(problem, make_rule, run, num_steps):
    """Losses `[T+1]` of each window of one run in NumPy, and its last parameters and constants.

    The seeds are spelled out: to derive them otherwise would change every number that was ever published.
    """
    seed = fold(SEED, run)
    params, constants = problem.init(fold(seed, 0))
    theta, rule, windows = tiny.flat(params), make_rule(), []
    for w, first in enumerate(range(0, num_steps, WINDOW)):
        f, losses = tiny.numpy_loss(constants, problem.sample(fold(seed, 1, w), WINDOW + 1)), []
        for t in range(min(WINDOW, num_steps - first)):
            loss, g = f(theta, t)
            losses.append(loss)
            theta = theta + rule(g)
        windows.append([*losses, f(theta, len(losses))[0]])
    return windows, theta, constants


@pytest.mark.parametrize(
    ("optimizer", "make_rule"),
    [(sgd(0.5), lambda: lambda g: -0.5 * g), (adam(0.1), lambda: reference.Adam(0.1))],
    ids=["sgd", "adam"],
)
def test_equals_a_loop_by_hand(optimizer, make_rule):
    """After each update on a minibatch that had no part in it, where there is one; before it on its own."""
    problem = tiny.perceptron(4)
    found = {record: rollouts.run(problem, optimizer, SEED, record=record, **OPTIONS) for record in ("after", "before")}
    for run in range(2):
        windows, _, _ = by_hand(problem, make_rule, run, 10)
        for record, part in (("after", slice(1, None)), ("before", slice(-1))):
            expected = np.concatenate([losses[part] for losses in windows])
            np.testing.assert_allclose(found[record].losses[run], expected, rtol=1e-5)


def test_a_learned_optimizer_keeps_its_state_over_windows():
    student, weights = tiny.random_student(1, layers=(4, 3), spread=3.0, scale=0.1)
    problem = tiny.perceptron()
    found = rollouts.run(problem, student, SEED, **OPTIONS)
    params, constants = problem.init(fold(SEED, 1, 0))
    weights, loss = tiny.in_float64(weights), tiny.numpy_loss(constants, np.zeros(11))
    run = reference.unroll(loss, weights, tiny.flat(params), reference.zero_state(weights, tiny.SIZE), 10, scale=0.1)
    np.testing.assert_allclose(found.losses[1], run["losses"][1:], rtol=1e-5)


def test_runs_are_paired():
    """The same starts and minibatches for every optimizer, and for any number of runs, steps, or calls."""
    student, _ = tiny.random_student(2, layers=(3,))
    expected = rollouts.run(weather(), sgd(), SEED, **OPTIONS).losses
    np.testing.assert_array_equal(rollouts.run(weather(), student, SEED, **OPTIONS).losses, expected)
    longer = rollouts.run(weather(), adam(), SEED, num_runs=3, num_steps=30, window=WINDOW).losses
    np.testing.assert_array_equal(longer[:2, :10], expected)
    assert len(np.unique(longer)) == longer.size, "two steps had the same minibatch"
    assert len(np.unique(np.round(longer.mean(axis=1)))) > 1, "two runs had the same constants"
    assert not np.array_equal(rollouts.run(weather(), sgd(), make_seed(12), **OPTIONS).losses, expected)


@pytest.mark.parametrize(("num_steps", "window"), [(10, 4), (8, 4), (3, 4), (1, 1), (41, 2)])
def test_any_number_of_steps(num_steps, window):
    """Also one that is no multiple of the window, shorter than it, or of more than one call."""
    rate = 0.01
    found = rollouts.run(simple(), sgd(rate), SEED, num_runs=1, num_steps=num_steps, window=window)
    np.testing.assert_allclose(found.losses, [(1 - 2 * rate) ** (2 * np.arange(1, num_steps + 1))], rtol=1e-4)


def test_recorded_losses():
    losses = np.array([[[1, 2, 3], [30, 4, 5]]])
    np.testing.assert_array_equal(recorded_losses(losses), [[2, 3, 4, 5]])
    np.testing.assert_array_equal(recorded_losses(losses, "before"), [[1, 2, 30, 4]])


class TestWholeDataSet:
    def test_is_measured_every_so_many_steps(self):
        problem = tiny.perceptron(4)
        found = rollouts.run(problem, sgd(0.5), SEED, num_runs=2, num_steps=20, window=WINDOW, full_period=8).full
        np.testing.assert_array_equal(found["step"], [8, 16, 20])
        assert found["loss"].shape == found["accuracy"].shape == (2, 3)
        for run in range(2):
            for column, num_steps in enumerate((8, 16, 20)):
                _, theta, constants = by_hand(problem, lambda: lambda g: -0.5 * g, run, num_steps)
                loss, _ = tiny.numpy_loss(constants, np.zeros(1))(theta, 0)
                np.testing.assert_allclose(found["loss"][run, column], loss, rtol=1e-5)
                params = nest.unflatten(tf.constant(theta, tf.float32), like=problem.init(SEED)[0])
                assert found["accuracy"][run, column] == problem.measure(params, constants)["accuracy"]

    def test_the_step_is_that_of_the_parameters_measured(self):
        """10 steps are two windows of four and half of one."""
        problem = tiny.perceptron(4)
        found = rollouts.run(problem, sgd(0.5), SEED, num_runs=1, num_steps=10, window=WINDOW, full_period=4).full
        np.testing.assert_array_equal(found["step"], [4, 8, 10])
        _, theta, constants = by_hand(problem, lambda: lambda g: -0.5 * g, 0, 10)
        np.testing.assert_allclose(
            found["loss"][0, -1], tiny.numpy_loss(constants, np.zeros(1))(theta, 0)[0], rtol=1e-5
        )

    def test_is_not_measured_unless_asked_for(self):
        assert rollouts.run(tiny.perceptron(), sgd(), SEED, **OPTIONS).full is None

    def test_the_period_must_fit(self):
        with pytest.raises(ValueError, match="Received full_period=6, expected a multiple of 4"):
            rollouts.run(tiny.perceptron(), sgd(), SEED, full_period=6, **OPTIONS)

    def test_a_problem_without_data_has_none(self):
        with pytest.raises(ValueError, match="Received full_period=4, expected 0: simple does not say how"):
            rollouts.run(simple(), sgd(), SEED, full_period=4, **OPTIONS)


def test_divergence_is_kept():
    """A run that leaves the numbers stays in the result as it is; `x` grows five-fold a step."""
    losses = rollouts.run(simple(), sgd(3.0), SEED, num_runs=1, num_steps=60, window=20).losses[0]
    finite = np.isfinite(losses)
    np.testing.assert_allclose(losses[:5], 25.0 ** np.arange(1, 6))
    assert finite[:20].all()
    assert not finite[40:].any()
    assert np.isnan(losses[-1])


def test_one_trace_serves_every_call():
    compiled = rollouts.rollouts(tiny.perceptron(4), adam(), window=WINDOW)
    seeds = run_seeds(SEED, 2)
    carry = compiled.start(seeds)
    whole = compiled.advance(carry, seeds, tf.constant(0), tf.constant(4 * WINDOW))[1]
    pieces = []
    for first, count in ((0, 1), (1, 3)):
        carry, losses = compiled.advance(carry, seeds, tf.constant(first), tf.constant(count * WINDOW))
        pieces.append(losses)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    compiled.measure(carry)
    compiled.measure(carry)
    counts = [function.experimental_get_tracing_count() for function in (compiled.advance, compiled.measure)]
    assert counts == [1, 1]


def test_xla_agrees():
    student, _ = tiny.random_student(3, layers=(3,))
    seeds, results = run_seeds(SEED, 2), []
    for jit_compile in (False, True):
        compiled = rollouts.rollouts(tiny.perceptron(4), student, window=WINDOW, jit_compile=jit_compile)
        results.append(compiled.advance(compiled.start(seeds), seeds, tf.constant(0), tf.constant(3 * WINDOW))[1])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5)


@pytest.mark.parametrize(("num_runs", "side_by_side", "cores"), [(5, 1, 3), (4, 2, 16)])
def test_runs_do_not_depend_on_how_many_take_place_at_the_same_time(num_runs, side_by_side, cores, monkeypatch):
    """One after the other, or five runs on three cores (one and twice two), or two pairs, on more cores than pairs."""
    student, _ = tiny.random_student(3, layers=(3,))
    options = {"num_runs": num_runs, "side_by_side": side_by_side}
    found = []
    for count in (1, cores):
        monkeypatch.setattr(devices, "cores", lambda count=count: count)
        found.append(
            rollouts.run(tiny.perceptron(), student, SEED, num_steps=8, window=WINDOW, full_period=WINDOW, **options)
        )
    one, other = found
    np.testing.assert_array_equal(other.losses, one.losses)
    np.testing.assert_array_equal(other.full["loss"], one.full["loss"])
    assert len(np.unique(one.losses[:, -1])) == num_runs


def test_progress_and_time():
    told = []
    found = rollouts.run(
        simple(), sgd(0.1), SEED, num_runs=2, num_steps=13, window=2, on_progress=lambda *entry: told.append(entry)
    )
    assert [steps for steps, _ in told] == [10, 13]
    np.testing.assert_allclose(told[0][1], found.losses[:, 9].mean(), rtol=1e-6)
    assert 0 < found.seconds < 60


def test_no_step_is_taken_that_was_not_asked_for(monkeypatch):
    """But one to compile: its loss before and after, then four of three steps; and only these are timed."""
    clock, calls = itertools.count(), []
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))

    def loss(params, constants, batch):
        told = tf.numpy_function(lambda x: calls.append(x) or x, [batch], tf.int32, stateful=True)
        return tf.square(params["x"]) + 0.0 * tf.cast(tf.reshape(told, []), tf.float32)

    problem = simple()._replace(loss=loss, xla=False)
    contract.check(problem)  # calls the loss, too
    calls.clear()
    found = rollouts.run(problem, sgd(0.1), SEED, num_runs=1, num_steps=3)
    assert (found.losses.shape, len(calls), found.seconds) == ((1, 3), 2 + 4, 1)


def test_the_same_problem_and_optimizer_are_compiled_once(monkeypatch):
    """With other numbers of runs and steps, too; weights are those of the moment."""
    made = []
    really = rollouts.rollouts
    monkeypatch.setattr(rollouts, "rollouts", lambda *args, **options: made.append(0) or really(*args, **options))
    problem, (student, _), (other, _) = tiny.perceptron(4), *(tiny.random_student(k, layers=(3,)) for k in (3, 4))
    first = rollouts.run(problem, student, SEED, **OPTIONS).losses
    for variable, value in zip(student.trainable_variables, other.trainable_variables, strict=True):
        variable.assign(value)
    second = rollouts.run(problem, student, SEED, **OPTIONS).losses
    rollouts.run(problem, student, make_seed(1), num_runs=1, num_steps=3, window=WINDOW)
    assert len(made) == 1
    np.testing.assert_array_equal(second, rollouts.run(problem, other, SEED, **OPTIONS).losses)
    assert np.abs(second / first - 1).max() > 1e-3


def test_many_runs_are_begun_by_a_small_program():
    compiled = rollouts.rollouts(tiny.perceptron(4), adam(), window=WINDOW)
    few, many = (compiled.start.get_concrete_function(tf.TensorSpec([n, 2], tf.int32)).graph for n in (2, 1000))
    assert len(many.get_operations()) == len(few.get_operations())


def test_seeds_of_runs_do_not_depend_on_their_number():
    np.testing.assert_array_equal(run_seeds(SEED, 5)[:3], run_seeds(SEED, 3))
    assert len(np.unique(run_seeds(SEED, 50), axis=0)) == 50
