"""A configuration -> the objects of a meta-training."""

from collections.abc import Sequence

import keras

from l2o_tf.cli.config import Config
from l2o_tf.common import descriptions, devices, names
from l2o_tf.optimizers import ANALYTIC, CELLS, FROZEN, Optimizer, from_file, make_optimizer
from l2o_tf.saving import loading
from l2o_tf.training import curriculum as cl
from l2o_tf.training.lessons.imitation import DISTANCES, imitation
from l2o_tf.training.lessons.lesson import Judge, Lesson, mean_of, own_trajectory
from l2o_tf.training.lessons.self_improving import self_improving
from l2o_tf.training.meta_optimizers import META_OPTIMIZERS
from l2o_tf.unrolling.objectives import OBJECTIVES
from problems import PROBLEM_SETS, DataOptions, make_problem
from problems.base import Problem, objective_of
from problems.convex_term import convex_term
from problems.python_files import is_file
from problems.sets import MadeOnce
from problems.transforms import normal_start, random_scaling, sampled_objective


def make_optimizees(config: Config) -> Sequence[Problem]:
    """The problems to be trained and validated on: one, or the members of a set.

    Raises:
        ValueError: for an unknown problem, or data that cannot be had.
    """

    def judged(problem: Problem) -> Problem:
        return sampled_objective(problem, config.judge_minibatches) if config.judge == "sample" else problem

    def begun(problem: Problem) -> Problem:
        return normal_start(problem, config.problem_stddev) if config.problem_stddev else problem

    if config.problem in PROBLEM_SETS:
        options = DataOptions(config.data, config.data_dir or None, config.split)
        return MadeOnce(PROBLEM_SETS[config.problem], begun, data_options=options, inside=judged)
    options = {"data": config.data, "data_dir": config.data_dir or None, "split": config.split}
    return [begun(judged(make_problem(config.problem, **options)))]


def make_student(config: Config) -> Optimizer:
    """The optimizer that is to be trained, with random weights or those of `initial_weights`.

    Raises:
        ValueError: for an unknown optimizer, if there is nothing to learn, or if the weights are not of such a one.
    """
    assignments = [
        [pattern, kind, _architecture(config, kind, config.seed + index)]
        for index, (pattern, kind) in enumerate(config.assignments)
    ]
    if assignments:
        student = make_optimizer("assigned", {"assignments": assignments})
    else:
        _require_architecture(config.optimizer)
        student = make_optimizer(config.optimizer, _architecture(config, config.optimizer, config.seed))
    if not student.trainable_variables:
        received = f"net_assignments={config.net_assignments}" if assignments else f"optimizer={config.optimizer}"
        raise ValueError(f"Received --{received}, where nothing can be trained; expected one of {list(CELLS)}.")
    if config.initial_weights:
        loading.begin_with(student, config.initial_weights)
    return student


def _require_architecture(name: str) -> None:
    """Raises a ValueError for the name of an optimizer that is none which could be trained."""
    if name in CELLS or is_file(name):
        return
    if name in names.pretrained_names():
        kind = loading.load(name).kind
        told = f"trained weights of {kind}. To train them further: --initial_weights={name}"
    elif loading.is_analytic(name):
        told = f"where nothing can be trained; expected one of {list(CELLS)} or path/to/file.py:Cell"
    else:
        told = f"expected one of {list(CELLS)} or path/to/file.py:Cell"
    raise ValueError(f"Received --optimizer={name}, {told}.{names.hint(name, CELLS)}")


def _architecture(config: Config, kind: str, seed: int = 0) -> dict:
    """Arguments of an optimizer of this kind; analytic ones get the teachers' learning rate, `frozen` has none."""
    if kind == FROZEN.kind:
        return {}
    if is_file(kind):
        return from_file.initial_architecture(kind, seed)
    if kind not in CELLS:
        return {"learning_rate": config.teacher_learning_rate}
    return {**descriptions.arguments(kind, config.to_dict()), "seed": seed}


def make_curriculum(config: Config) -> cl.Curriculum:
    """The configured curriculum; without one, a single stage that never ends of itself (N_valid = N_train)."""
    if config.curriculum:
        return cl.Curriculum(config.stages, min_periods=config.min_periods, patience=config.patience)
    return cl.Curriculum((config.num_steps,), (config.num_steps,), min_periods=config.num_epochs + 1)


def make_meta_optimizer(config: Config) -> keras.optimizers.Optimizer:
    """Adam or RMSProp as TensorFlow 1 had them; Adam is Keras's, with epsilon 1e-8."""
    clipping = {"global_clipnorm": config.clip_norm or None, "clipvalue": config.clip_value or None}
    return META_OPTIMIZERS[config.meta_optimizer](config.learning_rate, **clipping)


def make_teacher(name: str, learning_rate: float) -> Optimizer:
    """An analytic optimizer to imitate; its name in any case.

    Raises:
        ValueError: for a name that is none.
    """
    if name.lower() not in ANALYTIC:
        raise ValueError(f"Received teacher {name!r}, expected one of {list(ANALYTIC)}.{names.hint(name, ANALYTIC)}")
    return make_optimizer(name.lower(), {"learning_rate": learning_rate})


def make_lessons(config: Config, problem: Problem, student: Optimizer) -> list[Lesson]:
    """The configured lessons; the first is the ordinary one, the others imitate a teacher each."""
    if config.random_scaling:
        problem = random_scaling(problem, config.random_scaling_bound)
    if config.convex_term:
        problem = convex_term(problem)
    teachers = [make_teacher(name, config.teacher_learning_rate) for name in config.teachers.split(",")]
    calls = _calls(config, student)
    common = {"jit_compile": config.jit_compile, "meta_batch_size": config.meta_batch_size // calls}
    options = {
        "objective": OBJECTIVES[config.objective],
        "judge": _judge(config, problem),
        "second_derivatives": config.second_derivatives,
        "max_growth": config.max_growth,
        **common,
    }
    if config.self_improving:
        decay = config.self_improving_epochs
        lessons = [self_improving(problem, student, teachers, decay_epochs=decay, **options)]
    else:
        lessons = [own_trajectory(problem, student, **options)]
    if config.imitation:
        distance = DISTANCES[config.imitation_distance]
        options = {"teacher_steps": config.teacher_steps, "distance": distance, **common}
        lessons += [imitation(problem, student, teacher, **options) for teacher in teachers]
    return [mean_of(lesson, calls) for lesson in lessons]


def _calls(config: Config, student: Optimizer) -> int:
    """In how many calls a window takes its K optimizees: `K / calls` of them side by side in each.

    In K where they cannot be side by side, since coordinates depend on each other or several optimizers share a
    trajectory; in one on a GPU, which they fill together; on a processor in as many as 16, which its cores share.
    """
    size = config.meta_batch_size
    if config.self_improving or not student.coordinatewise:
        return size
    return 1 if devices.has_gpu() else max(calls for calls in range(1, 17) if size % calls == 0)


def _judge(config: Config, problem: Problem) -> Judge | None:
    """Whose losses the objective gets; None: the steps' own."""
    return None if config.judge == "steps" else objective_of(problem)
