"""What everything of one kind must keep, whoever wrote it: RNN cells, optimizers, problems.

A new architecture, rule or problem is checked by these as soon as it is registered; see `test_contracts.py`. Each check
raises an AssertionError that says what was expected.
"""

import json
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.base import Optimizer, Step
from l2o_tf.unrolling import unroll
from problems.base import Problem, make_seed
from problems.transforms.side_by_side import each, side_by_side, split

SEED = make_seed(21)
GRADIENTS = np.float32([0, 1e-30, -1e-12, 1e-6, -1e-3, 0.1, -1, 30, -1e3, 1e30])


def check_cell(make: Callable[..., keras.layers.Layer]) -> None:
    """A learned optimizer's architecture: a Keras RNN cell whose batch axis is the coordinates."""
    cell = make()
    cell.build((None, 1))
    _check_states(cell)
    _check_rows_are_apart(cell)
    _check_in_keras_rnn(cell)
    _check_configuration(cell)
    _check_seeds(make)


def _play(cell, gradients, steps=4):
    """Updates `[steps, N]` for gradients that fade, in a plain loop."""
    states, updates = cell.get_initial_state(batch_size=len(gradients)), []
    for t in range(steps):
        update, states = cell(tf.constant(gradients[:, None]) / (t + 1.0), states)
        updates.append(update[:, 0])
    return np.stack(updates), states


def _check_states(cell):
    sizes = tf.nest.flatten(cell.state_size)
    states = cell.get_initial_state(batch_size=len(GRADIENTS))
    assert [state.shape.as_list() for state in tf.nest.flatten(states)] == [[len(GRADIENTS), size] for size in sizes]
    updates, after = _play(cell, GRADIENTS)
    tf.nest.assert_same_structure(states, after)
    for old, new in zip(tf.nest.flatten(states), tf.nest.flatten(after), strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
        assert np.isfinite(new).all(), "a state that is not finite, for gradients from 0 to 1e30"
    assert cell.output_size == 1
    assert updates.shape == (4, len(GRADIENTS))
    assert np.isfinite(updates).all(), "an update that is not finite, for gradients from 0 to 1e30"
    for name, value in cell.diagnose(tf.constant(GRADIENTS[:, None]), after).items():
        assert np.isfinite(value).all(), f"{name} is not finite"


def _check_rows_are_apart(cell):
    """Coordinates share the weights and nothing else: in another order they come out in that order."""
    order = np.random.default_rng(0).permutation(len(GRADIENTS))
    straight, shuffled = _play(cell, GRADIENTS)[0], _play(cell, GRADIENTS[order])[0]
    np.testing.assert_allclose(shuffled, straight[:, order], rtol=1e-5, atol=1e-7)
    assert np.ptp(straight[0]) > 0, "the update does not depend on the gradient"


def _check_in_keras_rnn(cell):
    sequence = np.stack([GRADIENTS / (t + 1.0) for t in range(4)], axis=1).astype(np.float32)
    outputs = keras.layers.RNN(cell, return_sequences=True)(sequence[:, :, None])
    np.testing.assert_allclose(outputs[:, :, 0], _play(cell, GRADIENTS)[0].T, rtol=1e-5, atol=1e-7)


def _check_configuration(cell):
    """Keras can save it and make it anew, through JSON; meta-parameters keep their names."""
    text = json.dumps(keras.saving.serialize_keras_object(cell))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert again.get_config() == cell.get_config()
    if not again.built:
        again.build((None, 1))
    names = list(cell.named_weights)
    assert names == list(again.named_weights)
    assert len(names) == len(cell.trainable_variables) == len(set(names))
    for name, variable in again.named_weights.items():
        variable.assign(cell.named_weights[name])
    np.testing.assert_array_equal(_play(again, GRADIENTS)[0], _play(cell, GRADIENTS)[0])


def _check_seeds(make):
    """The same seed, the same weights; another seed, others; each weight has numbers of its own."""

    def drawn(seed):
        cell = make(seed=seed)
        cell.build((None, 1))
        values = {name: weight.numpy().ravel() for name, weight in cell.named_weights.items()}
        return {name: value for name, value in values.items() if np.ptp(value)}

    first, same, other, none, nor_here = map(drawn, (1, 1, 2, None, None))
    for name in first:
        np.testing.assert_array_equal(first[name], same[name])
        assert not np.array_equal(first[name], other[name])
        assert not np.array_equal(none[name], nor_here[name])
    beginnings = [np.sign(value[:10]).tolist() for value in first.values() if value.size > 10]
    assert len(beginnings) == len(np.unique(beginnings, axis=0)), "two weights got the same numbers"


def check_hierarchical_cell(make: Callable[..., keras.layers.Layer]) -> None:
    """An architecture that is told which coordinates form a tensor; the default is one tensor, and a Keras RNN cell.

    Within a tensor, coordinates may come in any order.
    """
    cell, rows, sizes = make(), np.float32([0, 1e-6, -1e-3, 0.1, -1, 1e3]), (4, 2)
    cell.build((None, 1))
    inputs, state = tf.constant(rows[:, None]), cell.get_initial_state(sizes=sizes, seed=SEED)
    first, after = cell(inputs, state, sizes=sizes)
    second, after = cell(-inputs, after, sizes=sizes)
    tf.nest.assert_same_structure(state, after)
    for old, new in zip(tf.nest.flatten(state), tf.nest.flatten(after), strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
        assert np.isfinite(new).all()
    assert first.shape == second.shape == (6, 1)
    assert np.isfinite(first).all()
    assert np.isfinite(second).all()
    merged, _ = cell(inputs, cell.get_initial_state(batch_size=6, seed=SEED))
    assert np.ptp(merged / first) > 1e-3, "the sizes of the tensors make no difference"
    for name, value in cell.diagnose(inputs, after).items():
        assert np.isfinite(value).all(), f"{name} is not finite"
    _check_configuration(cell)
    _check_seeds(make)


def check_optimizer(optimizer: Optimizer, problem: Problem, steps: int = 6) -> None:
    """State and updates keep their structure; compiled with and without XLA it does the same, in one trace each."""
    params, constants = problem.init(SEED)
    loss_fn, batches = lambda p, b: problem.loss(p, constants, b), problem.sample(SEED, steps + 1)
    _check_update(optimizer, params, loss_fn, batches)
    state, results = unroll.initial_state(optimizer, params, SEED), []
    for jit_compile in (False, True):
        window = tf.function(
            lambda state, batches: unroll.unroll(loss_fn, optimizer, state, batches),
            jit_compile=jit_compile,
            autograph=False,
        )
        middle, first = window(state, batches)
        _, second = window(middle, batches)
        assert window.experimental_get_tracing_count() == 1, "the second window was traced again"
        results.append(np.concatenate([first.losses, second.losses]))
    assert np.isfinite(results).all()
    assert np.ptp(results[0]) > 0, "nothing has changed in two windows"
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, err_msg="XLA does otherwise")


def _check_update(optimizer, params, loss_fn, batches):
    batch = tf.nest.map_structure(lambda tensor: tensor[0], batches)
    _, grads = unroll.value_and_grad(loss_fn)(params, batch)
    state = optimizer.initial_state(params, SEED)
    before = [np.array(tensor) for tensor in tf.nest.flatten(state)]
    updates, after = optimizer.update(Step(grads, params), state)
    again, _ = optimizer.update(Step(grads, params), state)
    tf.nest.assert_same_structure(state, after)
    for old, new in zip(tf.nest.flatten(state), tf.nest.flatten(after), strict=True):
        assert (old.shape, old.dtype) == (new.shape, new.dtype)
    for old, now in zip(before, tf.nest.flatten(state), strict=True):
        np.testing.assert_array_equal(old, now, err_msg="`update` has changed the state that went in")
    assert list(updates) == list(params), "updates come in the order of the parameters"
    for name, param in params.items():
        assert (updates[name].shape, updates[name].dtype) == (param.shape, param.dtype)
        np.testing.assert_array_equal(updates[name], again[name], err_msg="the same step twice gives two updates")
    variables = optimizer.trainable_variables
    same, _ = optimizer.at([variable.value for variable in variables]).update(Step(grads, params), state)
    tf.nest.map_structure(np.testing.assert_array_equal, same, updates)
    assert [id(v) for v in variables] == [id(v) for v in optimizer.named_variables.values()]


BAD = (1e20, -3e38, np.inf, -np.inf, np.nan)


def check_one_bad_entry(optimizer: Optimizer) -> None:
    """A gradient of one coordinate that has no finite square, or is no number, costs that coordinate at most.

    Coordinates that see each other may notice: their means are over the bad one, too.
    """
    params, bad = {"a": tf.ones([2, 3]), "b": tf.ones([6])}, 1
    update = tf.function(optimizer.update, autograph=False)

    def others(entry):
        state, updates = optimizer.initial_state(params, SEED), []
        for t in range(5):
            grads = np.full(12, 0.5, np.float32)
            grads[bad] = entry if t == 2 else 0.5
            found, state = update(
                Step({"a": tf.constant(grads[:6], shape=[2, 3]), "b": tf.constant(grads[6:])}, params), state
            )
            updates.append(np.delete(nest.flatten(found), bad))
        return np.stack(updates)

    expected = others(0.5)
    tolerance = 0.0 if optimizer.coordinatewise else 0.3 * np.abs(expected).max()
    for entry in BAD:
        np.testing.assert_allclose(others(entry), expected, rtol=0, atol=tolerance, err_msg=f"one entry of {entry}")


def check_remake(optimizer: Optimizer, again: Optimizer, problem: Problem) -> None:
    """`again`, made from kind and architecture of `optimizer`, is like it once it has its meta-parameters."""
    assert (again.kind, again.architecture) == (optimizer.kind, optimizer.architecture)
    assert list(again.named_variables) == list(optimizer.named_variables)
    for name, variable in again.named_variables.items():
        variable.assign(optimizer.named_variables[name])
    params, constants = problem.init(SEED)
    batches = problem.sample(SEED, 4)
    loss_fn, losses = lambda p, b: problem.loss(p, constants, b), []
    for one in (optimizer, again):
        state = unroll.initial_state(one, params, SEED)
        losses.append(unroll.unroll(loss_fn, one, state, batches)[1].losses)
    np.testing.assert_array_equal(*losses)


def check_runs(optimizer: Optimizer, problem: Problem) -> None:
    """Two steps from the start of a run: finite losses, and every coordinate is moved, however little."""
    params, constants = problem.init(SEED)
    state, trajectory = unroll.unroll(
        lambda p, b: problem.loss(p, constants, b),
        optimizer,
        unroll.initial_state(optimizer, params, SEED),
        problem.sample(SEED, 3),
        record=True,
    )
    assert np.isfinite(trajectory.losses).all()
    for name, param in params.items():
        assert np.isfinite(state.params[name]).all()
        assert state.params[name].shape == param.shape
    assert np.all(np.any(trajectory.updates, axis=0)), "a coordinate that is never moved"


def check_descends(optimizer: Optimizer, problem: Problem, steps: int = 200) -> None:
    """The loss is lower in the end, on a problem without noise."""
    params, constants = problem.init(SEED)

    @tf.function(autograph=False)
    def run(state, batches):
        return unroll.unroll(lambda p, b: problem.loss(p, constants, b), optimizer, state, batches)[1].losses

    losses = run(unroll.initial_state(optimizer, params, SEED), problem.sample(SEED, steps + 1)).numpy()
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.9 * losses[0], f"from {losses[0]} to {losses[-1]} in {steps} steps"


def check_problem(problem: Problem) -> None:
    """Pure functions of a seed; a loss with finite gradients that compiles, with XLA too, once."""
    params, constants = problem.init(SEED)
    batches = problem.sample(SEED, 3)
    for function, expected in ((problem.init, (params, constants)), (lambda s: problem.sample(s, 3), batches)):
        again = function(SEED)
        tf.nest.assert_same_structure(again, expected)
        for ours, theirs in zip(tf.nest.flatten(again), tf.nest.flatten(expected), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg="the same seed, other numbers")
    assert params
    assert all(isinstance(name, str) and tensor.shape.is_fully_defined() for name, tensor in params.items())
    assert {tensor.shape[0] for tensor in tf.nest.flatten(batches)} == {3}
    _check_loss(problem, params, constants, batches)
    if side_by_side(problem, 3).loss is problem.loss:
        _check_for_many(problem)
    if problem.measure:
        measured = tf.function(problem.measure, autograph=False)(params, constants)
        assert measured.keys() == {"loss", "accuracy"}
        assert all(np.isfinite(value) for value in measured.values() if value is not None)


def _check_for_many(problem):
    """Losses of several optimizees at once are those of each."""
    many, seeds = side_by_side(problem, 3), split(SEED, 3)
    (params, constants), batches = many.init(seeds), many.sample(seeds, 1)
    batch = tf.nest.map_structure(lambda tensor: tensor[0], batches)
    np.testing.assert_allclose(many.loss(params, constants, batch), each(problem.loss)(params, constants, batch), 1e-6)


def _check_loss(problem, params, constants, batches):
    first, second = (tf.nest.map_structure(lambda tensor, i=i: tensor[i], batches) for i in (0, 1))
    value_and_grad = unroll.value_and_grad(lambda p, b: problem.loss(p, constants, b))
    plain = tf.function(value_and_grad, autograph=False)
    loss, grads = plain(params, first)
    assert (loss.shape, loss.dtype) == ((), next(iter(params.values())).dtype)
    assert np.isfinite(loss)
    assert any(np.any(g) for g in grads.values()), "a gradient of zero at the start"
    for name, param in params.items():
        assert (grads[name].shape, grads[name].dtype) == (param.shape, param.dtype)
        assert np.isfinite(grads[name]).all(), f"the gradient of {name} is not finite"
    plain(params, second)
    assert plain.experimental_get_tracing_count() == 1
    _check_xla(value_and_grad, params, (first, second), loss, grads)


def _check_xla(value_and_grad, params, batches, loss, grads):
    """The same numbers, also where `Problem.xla` says that it is slower so."""
    xla = tf.function(value_and_grad, jit_compile=True, autograph=False)
    xla_loss, xla_grads = xla(params, batches[0])
    np.testing.assert_allclose(xla_loss, loss, rtol=1e-5)
    largest = max(float(tf.reduce_max(abs(grad))) for grad in grads.values())
    for name in params:
        np.testing.assert_allclose(xla_grads[name], grads[name], rtol=1e-3, atol=max(1e-6, 1e-4 * largest))
    xla(params, batches[1])
    assert xla.experimental_get_tracing_count() == 1
