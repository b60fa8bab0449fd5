"""Meta-trainings small enough for tests: a few coordinates, windows of four steps, a student of two units."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

import l2o_tf as l2o
from l2o_tf.optimizers import Optimizer, make_optimizer
from l2o_tf.training.lessons.imitation import Imitation
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.reporting import Reporter
from l2o_tf.training.run_folder import Description
from l2o_tf.training.state import TrainingState, ValidationResult
from problems import make_problem
from problems.base import Problem, fold


def student(kind: str = "L2O-DM", **architecture) -> Optimizer:
    sizes = {} if kind == "L2O-Scale" else {"layers": [2]}
    return make_optimizer(kind, {**sizes, "seed": 3, **architecture})


def adam(learning_rate: float = 0.01, **options) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(learning_rate, epsilon=1e-8, **options)


def imitation(*teachers: str, **options) -> tuple:
    """The student's own trajectory, and imitation of these teachers beside it."""
    return (OwnTrajectory(), Imitation(teachers, **options))


def staged(period: int = 2, **options) -> dict:
    """A curriculum of three stages with imitation of two teachers in turn."""
    curriculum = {"min_periods": 1, **options.pop("curriculum", {})}
    return {
        "curriculum": l2o.Curriculum((4, 8, 12, 16), **curriculum),
        "lessons": imitation("adam", "sgd", choice="cycle", **{"ratio": 0.5, **options}),
        "validation": l2o.Validation(period, 2),
    }


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


class Trainer(l2o.MetaTrainer):
    """A trainer that knows how many meta-epochs it will do, as `run` does."""

    num_epochs = 6

    @property
    def finished(self) -> bool:
        return self._is_finished(self.num_epochs)

    def advance(self, *, last: bool | None = None):
        return super().advance(last=self.state.epoch + 1 == self.num_epochs if last is None else last)

    def reporter(self, folder):
        folder.mkdir(exist_ok=True)
        description = Description(self.description())
        return Reporter(folder, self, description, first=self.state.epoch, epochs=self.num_epochs)

    def export(self, folder):
        self._export(folder, Description(self.description()))


def trainer(problem=None, learner=None, num_epochs: int = 6, **arguments) -> Trainer:
    given = {
        "curriculum": 8,
        "windows": 4,
        "meta_optimizer": adam(),
        "validation": l2o.Validation(2, 2),
        "seed": 3,
        "jit_compile": False,
        **arguments,
    }
    made = Trainer(learner or student(), problem or quadratic(), **given)
    made.num_epochs = num_epochs
    return made


def weights(trained: l2o.MetaTrainer) -> dict:
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

    def told() -> ValidationResult:
        validation = validate()
        stages.append((validation.stage, validation.horizon_train, validation.losses.shape))
        return validation._replace(cost=next(costs))

    trained._validate = told
    return stages


class Stub:
    """What `Checkpoints` knows of a trainer."""

    def __init__(self):
        self.state = TrainingState()
        self.phi = tf.Variable(tf.zeros([3]))

    def checkpointables(self):
        return {"phi": [self.phi], "slots": {"train": [tf.Variable(7)]}, "standing": self.state}

    def at(self, epoch):
        self.state.epoch = epoch
        self.phi.assign(tf.fill([3], float(epoch)))
        return self
