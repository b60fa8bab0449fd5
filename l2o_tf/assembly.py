"""A configuration -> the objects of a meta-training."""

import keras

from l2o_tf import architectures, names
from l2o_tf.config import Config
from l2o_tf.objectives import OBJECTIVES
from l2o_tf.optimizers import ANALYTIC, CELLS, Optimizer, make_optimizer
from l2o_tf.techniques import curriculum as cl
from l2o_tf.techniques.imitation import DISTANCES, imitation
from l2o_tf.techniques.lesson import Lesson, own_trajectory
from l2o_tf.techniques.self_improving import self_improving
from problems import make_problem
from problems.base import Problem
from problems.convex_term import convex_term
from problems.transforms import normal_start, random_scaling


def make_optimizee(config: Config) -> Problem:
    """The problem to be trained and validated on.

    Raises:
        ValueError: for an unknown problem, or data that cannot be had.
    """
    problem = make_problem(config.problem, data=config.data, data_dir=config.data_dir or None, split=config.split)
    return normal_start(problem, config.problem_stddev) if config.problem_stddev else problem


def make_student(config: Config) -> Optimizer:
    """The optimizer that is to be trained, with initial weights.

    Raises:
        ValueError: for an unknown optimizer, or if there is nothing to learn.
    """
    assignments = [
        [pattern, kind, _architecture(config, kind, config.seed + index)]
        for index, (pattern, kind) in enumerate(config.assignments)
    ]
    if assignments:
        student = make_optimizer("assigned", {"assignments": assignments})
    else:
        student = make_optimizer(config.optimizer, _architecture(config, config.optimizer, config.seed))
    if not student.trainable_variables:
        received = f"net_assignments={config.net_assignments}" if assignments else f"optimizer={config.optimizer}"
        raise ValueError(f"Received --{received}, where nothing can be trained; expected one of {list(CELLS)}.")
    return student


def _architecture(config: Config, kind: str, seed: int = 0) -> dict:
    """Arguments of an optimizer of this kind; the analytic ones get the teachers' learning rate."""
    if kind not in CELLS:
        return {"learning_rate": config.teacher_learning_rate}
    return {**architectures.arguments(kind, config.to_dict()), "seed": seed}


def make_curriculum(config: Config) -> cl.Curriculum:
    """The configured curriculum; without one, a single stage that never ends of itself (N_valid = N_train)."""
    if config.curriculum:
        return cl.Curriculum(config.stages, min_periods=config.min_periods, patience=config.patience)
    return cl.Curriculum((config.num_steps,), (config.num_steps,), min_periods=config.num_epochs + 1)


def make_meta_optimizer(config: Config) -> keras.optimizers.Optimizer:
    """Adam as TensorFlow 1 had it: Keras's, with epsilon 1e-8."""
    return keras.optimizers.Adam(config.learning_rate, epsilon=1e-8, global_clipnorm=config.clip_norm or None)


def make_teacher(name: str, learning_rate: float) -> Optimizer:
    """An analytic optimizer to imitate.

    Raises:
        ValueError: for a name that is none.
    """
    if name not in ANALYTIC:
        raise ValueError(f"Received teacher {name!r}, expected one of {list(ANALYTIC)}.{names.hint(name, ANALYTIC)}")
    return make_optimizer(name, {"learning_rate": learning_rate})


def make_lessons(config: Config, problem: Problem, student: Optimizer) -> list[Lesson]:
    """The configured lessons; the first is the ordinary one, the others imitate a teacher each."""
    if config.random_scaling:
        problem = random_scaling(problem, config.random_scaling_bound)
    if config.convex_term:
        problem = convex_term(problem)
    teachers = [make_teacher(name, config.teacher_learning_rate) for name in config.teachers.split(",")]
    options = {
        "unroll_length": config.unroll_length,
        "objective": OBJECTIVES[config.objective],
        "second_derivatives": config.second_derivatives,
    }
    if config.self_improving:
        decay = config.self_improving_epochs
        lessons = [self_improving(problem, student, teachers, decay_epochs=decay, **options)]
    else:
        lessons = [own_trajectory(problem, student, **options)]
    if config.imitation:
        distance = DISTANCES[config.imitation_distance]
        shape = {"unroll_length": config.unroll_length, "teacher_steps": config.teacher_steps, "distance": distance}
        lessons += [imitation(problem, student, teacher, **shape) for teacher in teachers]
    return lessons
