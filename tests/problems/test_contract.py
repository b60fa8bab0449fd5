"""What breaks the contract of a problem is refused in one sentence, before anything is compiled."""

import dataclasses
import inspect
import random

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers import make_optimizer
from problems import Problem
from problems.base import make_seed, no_batches
from problems.contract import check


def problem(**parts) -> Problem:
    """A good one, but for the parts that are given; `params` are what its `init` returns."""
    params = parts.pop("params", {"w": tf.ones([3])})
    return Problem("mine", **{"init": lambda seed: (params, ()), "sample": no_batches, "loss": squares, **parts})


def squares(params, constants, batch):
    return tf.add_n([tf.reduce_sum(tf.cast(value, tf.float32) ** 2) for value in params.values()])


def times(factor):
    """A loss with a factor that is drawn by `factor`."""
    return lambda params, constants, batch: squares(params, (), ()) * factor()


def raises(*arguments):
    raise KeyError("nothing")


def as_array(params, constants, batch):
    return tf.reduce_sum(params["w"] * params["w"].numpy())


LINE = inspect.getsourcelines(raises)[1] + 1
RAISED = rf"`{{}}` raised KeyError: 'nothing' \(.*test_contract.py, line {LINE}\)\. See docs"
TRACED = inspect.getsourcelines(as_array)[1] + 1


@pytest.mark.parametrize("dtype", [tf.float64, tf.float16, tf.int32, tf.complex64])
def test_parameters_are_float32(dtype):
    message = f"problem 'mine', whose `init` returns the parameter 'v' as a tensor of {dtype.name} .*expected a float32"
    with pytest.raises(ValueError, match=message):
        check(problem(params={"w": tf.ones([3]), "v": tf.ones([2], dtype)}))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "no parameters, expected at least one"),
        ({"w": tf.ones([0, 2])}, r"'w' as a tensor of float32 and shape \(0, 2\), expected at least one element"),
        ({"w": 1.0}, "'w' as a float, expected a float32 tensor"),
        ({"w": np.ones(3)}, "'w' as a NumPy array of float64 and shape"),
        ({"w": {"a": tf.ones([3])}}, r"'w' as a dict with \['a'\], expected a float32 tensor"),
        ({0: tf.ones([3])}, "the parameter 0 as .*, expected a name"),
        ([tf.ones([3])], "returns a tuple of 2: a list of 1, a tuple of 0; expected a tuple of a dict"),
    ],
)
def test_parameters_are_named_tensors_with_elements(params, message):
    with pytest.raises(ValueError, match=message):
        check(problem(params=params))


FLOAT64 = {"loss": lambda *given: tf.cast(squares(*given), tf.float64)}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"init": raises}, RAISED.format("init")),
        ({"sample": raises}, RAISED.format("sample")),
        ({"loss": raises}, RAISED.format("loss")),
        ({"loss": as_array}, rf"`loss` raised AttributeError: .*, line {TRACED}\), when it is traced"),
        ({"loss": None}, "`loss` is None, expected a function"),
        ({"init": lambda seed: {"w": tf.ones([3])}}, r"`init` returns a dict with \['w'\]; expected a tuple"),
        ({"init": lambda seed: ({"w": tf.ones([3])}, None)}, r"constants with None, .* \(\) stands for none"),
        ({"init": lambda seed: ({"w": tf.ones(1 + seed[:1])}, ())}, "a shape that does not depend on the seed"),
        ({"sample": lambda seed, steps: tf.zeros([steps + 1])}, r"shapes \[\[12\]\], expected a leading axis of 11"),
        ({"sample": lambda seed, steps: tf.zeros([])}, r"shapes \[\[\]\], expected a leading axis"),
        ({"sample": lambda seed, steps: ()}, r"shapes \[\], expected a leading axis"),
        ({"loss": lambda params, *_: params["w"]}, r"returns a tensor of float32 and shape \(3,\), expected a float32"),
        (FLOAT64, "returns a tensor of float64"),
        ({"loss": lambda *_: 3.0}, "`loss` returns a float, expected a float32 scalar"),
        ({"loss": lambda *_: tf.ones([])}, "`loss` has no gradient in any parameter"),
        ({"loss": lambda *given: tf.round(squares(*given))}, "`loss` has no gradient in any parameter"),
        (
            {"measure": lambda *_: {"loss": tf.ones([])}},
            r"`measure` returns a dict with \['loss'\], expected scalars",
        ),
        (
            {"measure": lambda *_: {"loss": [tf.ones([])], "accuracy": 0.5}},
            "`measure` returns 'loss' as a list of 1, expected a scalar",
        ),
        ({"measure": lambda *_: {"loss": None, "accuracy": 0.5}}, "`measure` returns 'loss' as None"),
    ],
)
def test_functions_return_what_they_should(parts, message):
    with pytest.raises(ValueError, match=message) as caught:
        check(problem(**parts))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("part", "function"),
    [
        ("init", lambda seed: ({"w": tf.constant(1e-6 * np.random.normal(size=3), tf.float32)}, ())),
        ("sample", lambda seed, steps: tf.random.uniform([steps])),
        *[("loss", times(draw)) for draw in (random.random, np.random.rand, lambda: tf.random.uniform([]))],
    ],
)
def test_randomness_comes_from_the_seed(part, function):
    """Else all steps of a run have one number, and every optimizer has runs of its own."""
    with pytest.raises(ValueError, match=f"`{part}` gives other numbers when it is called again"):
        check(problem(**{part: function}))


def test_who_evaluates_is_told_at_once():
    with pytest.raises(ValueError, match="expected a problems.Problem"):
        rollouts.run(None, make_optimizer("adam"), make_seed(0))
    with pytest.raises(ValueError, match="'w' as a tensor of float16"):
        rollouts.run(problem(params={"w": tf.ones([3], tf.float16)}), make_optimizer("adam"), make_seed(0))


def test_what_is_good_passes_and_is_not_looked_at_again():
    calls = []

    def sample(seed, steps):
        calls.append(steps)
        return {"x": tf.random.stateless_normal([steps, 2], seed), "name": tf.fill([steps], "text")}

    good = problem(sample=sample, init=lambda seed: ({"w": tf.ones([3])}, [tf.constant(np.nan), "text", 3]))
    for _ in range(2):
        check(good._replace(name="other"))
    assert calls == [11, 11]  # in a graph, and outside
    with pytest.raises(ValueError, match="`init` raised KeyError"):
        check(good._replace(init=raises))


@dataclasses.dataclass
class Unhashable:
    """A loss that is equal to others of the same factor, and has no hash."""

    factor: float = 2.0

    def __call__(self, *given):
        return self.factor * squares(*given)


class WithoutWeakReferences:
    __slots__ = ()

    def __call__(self, *given):
        return squares(*given)


@pytest.mark.parametrize("loss", [Unhashable(), WithoutWeakReferences()])
def test_functions_may_be_objects_of_any_kind(loss):
    rollouts.run(problem(loss=loss), make_optimizer("adam"), make_seed(0), num_runs=1, num_steps=1)


def test_a_problem_is_known_by_identity():
    good = problem(loss=Unhashable())
    check(good)
    with pytest.raises(ValueError, match="`init` returns no parameters"):
        check(good._replace(init=problem(params={}).init))
    bad = problem(loss=Unhashable(), params={})
    with pytest.raises(ValueError, match="`init` returns no parameters"):
        check(bad)


@pytest.mark.parametrize("side_by_side", [1, 2])
def test_a_regression_has_no_accuracy(side_by_side):
    def measure(params, constants, part=None):
        return {"loss": squares(params, (), ()), "accuracy": None}

    regression = problem(measure=measure)
    options = {"num_runs": 2, "num_steps": 2, "window": 2, "full_period": 2, "side_by_side": side_by_side}
    found = rollouts.run(regression, make_optimizer("adam"), make_seed(0), **options).full
    assert np.isfinite(found["loss"]).all() and np.isnan(found["accuracy"]).all()


def test_ragged_batches():
    def sample(seed, steps):
        return tf.RaggedTensor.from_row_lengths(tf.ones([2 * steps]), tf.fill([steps], 2))

    ragged = problem(sample=sample, loss=lambda params, _, batch: squares(params, (), ()) * tf.reduce_sum(batch))
    with pytest.raises(ValueError, match="batches with a RaggedTensor of float32 .*, expected dense tensors"):
        check(ragged)
    rollouts.run(ragged._replace(xla=False), make_optimizer("adam"), make_seed(0), num_runs=1, num_steps=2)
