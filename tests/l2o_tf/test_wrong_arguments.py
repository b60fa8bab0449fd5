"""What is given by mistake in Python is refused by a ValueError that says what was received and expected."""

import re

import keras
import numpy as np
import pytest

import l2o_tf
from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers import Assigned, HierarchicalOptimizer, make_optimizer
from l2o_tf.saving.loading import load_optimizer
from problems import ensemble, from_keras, make_problem
from problems.base import make_seed
from problems.transforms.coordinates import random_scaling

SIMPLE, ADAM = make_problem("simple"), make_optimizer("adam")


def evaluated(problem=SIMPLE, optimizer=ADAM, seed=(0, 0), **options):
    return lambda: rollouts.run(problem, optimizer, seed, **{"num_runs": 2, "num_steps": 10, **options})


def made(*given):
    return lambda: make_optimizer(*given)


def of_keras(loss="mse", **options):
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
    return lambda: from_keras(model, loss, (np.ones([5, 2]), np.ones([5])), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_problem(3), "Received a int as problem, expected a name"),
        (lambda: make_problem(["mnist"]), "Received a list as problem"),
        (
            lambda: make_problem("mnist", data_dir=3),
            "'mnist' with an option of another type: TypeError: expected",
        ),
        (lambda: ensemble(["simple"]), "Received 'simple' in an ensemble, expected a dict of 'name'"),
        (lambda: ensemble([{"name": "simple"}], ["a"]), "Received weights ['a'], expected numbers"),
        (lambda: random_scaling(SIMPLE, "3"), "Received bound='3', expected a finite number"),
        (lambda: random_scaling(SIMPLE, 1e3), "Received bound=1000.0, expected at most 80"),
        (lambda: make_seed("3"), "Received seed='3', expected an integer of 32 bits"),
        (lambda: make_seed(1.5), "Received seed=1.5, expected an integer of 32 bits"),
        (of_keras(keras.metrics.MeanSquaredError()), "expected the name of a Keras loss"),
        (of_keras(name=3), "Received name=3, expected a text"),
        (of_keras(xla="no"), "Received xla='no', expected True, False or None"),
        (made(None), "Received a NoneType as optimizer, expected a name"),
        (made("adam", 0.1), "Received 0.1 as architecture of adam, expected a dict of arguments"),
        (made("adam", {"lr": 1}), "unexpected keyword argument 'lr', expected ['learning_rate', 'beta_1', "),
        (made("adam", {"learning_rate": "1"}), "Received learning_rate='1', expected a positive number"),
        (made("adam", {"beta_1": None}), "Received beta_1=None, expected a number in [0, 1)"),
        (
            made("L2O-DM", {"layers": 3}),
            "'L2O-DM' with {'layers': 3}: TypeError: object of type 'int' has no len(), exp",
        ),
        (made("L2O-DM", {"seed": 1.5}), "Received seed=1.5, expected an integer of 32 bits"),
        (lambda: l2o_tf.Curriculum(50), "Received num_steps_train=50, expected a horizon for each stage"),
        (lambda: l2o_tf.Curriculum((50, 100), reset_slots="no"), "Received reset_slots='no', expected True or False"),
        (lambda: l2o_tf.Curriculum((50, 100), patience=True), "Received patience=True, expected positive integers"),
        (lambda: l2o_tf.Validation(fresh_seeds="no"), "Received fresh_seeds='no', expected True or False"),
        (lambda: l2o_tf.measured_on(3, SIMPLE), "Received a int as problem, expected a problems.Problem"),
        (lambda: l2o_tf.objective_of("simple"), "Received a str as problem, expected a problems.Problem"),
        (made("L2O-DM", {"scale": "1"}), "Received scale='1', expected a positive number"),
        (made("assigned"), "'assigned' with {}, expected {'assignments': [[pattern, kind, architecture], ...]}"),
        (made("assigned", {"assignments": [3]}), "TypeError: cannot unpack non-iterable int object, expected {'assig"),
        (lambda: Assigned([("*", "adam")]), "Received assignments [('*', 'adam')], expected pairs"),
        (lambda: HierarchicalOptimizer(None), "Received a NoneType as cell, expected a keras.layers.Layer"),
        (lambda: load_optimizer(None), "Received a NoneType as optimizer, expected a name"),
        (lambda: load_optimizer("Adam", "0.1"), "Received learning_rate='0.1', expected a positive number"),
        (lambda: l2o_tf.load("L2O-DM", allow_code="no"), "Received allow_code='no', expected True or False"),
        (lambda: l2o_tf.evaluate(ADAM, SIMPLE, folder=""), "Received the folder '', expected the path of a folder"),
        (lambda: l2o_tf.save(l2o_tf.load("L2O-DM"), ""), "Received the folder '', expected the path of a folder"),
        (lambda: l2o_tf.Results.read(3), "Received the folder 3, expected the path of a folder"),
        (lambda: l2o_tf.Results({}, []).plot(x_scale="x"), "Received x_scale='x', expected 'linear' or 'log'"),
        (lambda: l2o_tf.Results({}, []).plot(3), "Received path=3, expected the name of a file or None"),
        (
            lambda: l2o_tf.evaluate(ADAM, SIMPLE._replace(name="a\nb")),
            "Received one of the problems called 'a\\nb', expected a name",
        ),
        (evaluated(optimizer="Adam"), "Received a str as optimizer, expected what"),
        (evaluated(seed=0), "Received seed=0, expected one of shape [2]; problems.base.make_seed(0) is one"),
        (
            evaluated(num_steps=10**9),
            "Received num_runs=2 and num_steps=1000000000, expected at most 1,000,000,000 losses",
        ),
        (evaluated(full_period=None), "Received full_period=None, expected a positive integer"),
        (evaluated(full_period=-100), "Received full_period=-100, expected a positive integer"),
        *(
            (evaluated(**{name: value}), f"Received {name}={value!r}, expected a positive integer")
            for name in ("num_runs", "num_steps", "window", "side_by_side")
            for value in ("2", -1, 0, 2.0)
        ),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call()
    assert "\n" not in str(caught.value)
