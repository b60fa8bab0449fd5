"""Meta-trainings small enough for tests: a few coordinates, windows of four steps, a student of two units."""

import contextlib

import numpy as np
import tensorflow as tf

from l2o_tf.cli.assembly import make_student
from l2o_tf.cli.config import Config, resolve
from l2o_tf.training.standing import Standing
from l2o_tf.training.trainer import MetaTrainer, Validation
from problems import make_problem
from problems.base import Problem, fold

TINY = {
    "problem": "quadratic",
    "layers": "2",
    "unroll_length": 4,
    "num_epochs": 6,
    "evaluation_period": 2,
    "num_runs_validation": 2,
    "learning_rate": 0.01,
    "seed": 3,
    "jit_compile": False,
}
TECHNIQUES = {
    "curriculum": True,
    "curriculum_steps": "4,8,12,16",
    "min_periods": 1,
    "imitation": True,
    "imitation_ratios": "0.5",
    "teachers": "adam,sgd",
    "teacher_choice": "cycle",
}


def config(**options) -> Config:
    horizon = {} if options.get("curriculum") else {"num_steps": 8}
    return resolve({**TINY, **horizon, **options})


def quadratic() -> Problem:
    return make_problem("quadratic", batch_size=2, num_dims=2, stddev=1.0)


def sometimes_nan(share: float) -> Problem:
    """The same, but the loss of that share of the runs is NaN."""
    problem = quadratic()

    def init(seed):
        params, constants = problem.init(seed)
        chance = tf.random.stateless_uniform([], fold(seed, 9))
        return params, {**constants, "nan": tf.where(chance < share, float("nan"), 0.0)}

    def loss(params, constants, batch):
        return problem.loss(params, constants, batch) + constants["nan"]

    return problem._replace(init=init, loss=loss)


@contextlib.contextmanager
def eagerly():
    """Without compilation, which takes longer than a meta-epoch of this size."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def trainer(problem: Problem | None = None, **options) -> MetaTrainer:
    chosen = config(**options)
    return MetaTrainer(chosen, [problem or quadratic()], make_student(chosen))


def weights(trained: MetaTrainer) -> dict:
    """The weights as they are; `best_weights` are the result."""
    return {name: variable.numpy() for name, variable in trained.student.named_variables.items()}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def differ(ours, theirs) -> bool:
    return any(np.any(value != theirs[name]) for name, value in ours.items())


def scripted(trained, costs):
    """Lets the validations of a trainer cost what the list says; they are still run."""
    validate, costs, stages = trained._validate, iter(costs), []

    def told() -> Validation:
        validation = validate()
        stages.append((validation.stage, validation.horizon_train, validation.losses.shape))
        return validation._replace(cost=next(costs))

    trained._validate = told
    return stages


class Stub:
    """What `Checkpoints` knows of a trainer."""

    def __init__(self):
        self.standing = Standing()
        self.phi = tf.Variable(tf.zeros([3]))

    def checkpointables(self):
        return {"phi": [self.phi], "slots": {"train": [tf.Variable(7)]}}

    def at(self, epoch):
        self.standing.epoch = epoch
        self.phi.assign(tf.fill([3], float(epoch)))
        return self
