"""A configuration -> the objects of a meta-training."""

from collections.abc import Sequence

from l2o_tf.cli.config import FIELDS, Config
from l2o_tf.common import descriptions, names
from l2o_tf.optimizers import ANALYTIC, CELLS, FROZEN, Optimizer, from_file, make_optimizer
from l2o_tf.saving import loading
from l2o_tf.training.averaging import RunningAverage
from l2o_tf.training.curriculum import Curriculum
from l2o_tf.training.lessons.imitation import Imitation
from l2o_tf.training.lessons.kept_states import KeptStates, States
from l2o_tf.training.lessons.lesson import Technique
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.lessons.self_improving import SelfImproving
from l2o_tf.training.meta_optimizers import META_OPTIMIZERS
from l2o_tf.training.run_folder import Description
from l2o_tf.training.schedules import CosinePeriods, StageDecay
from l2o_tf.training.trainer import MetaTrainer
from l2o_tf.training.validation import Validation
from l2o_tf.training.windows import LongTail, Windows
from l2o_tf.unrolling.meta_gradients import FirstOrder, WholeRun, ZeroNonfinite
from problems import PROBLEM_SETS, DataOptions, make_problem
from problems.base import Problem
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


def make_trainer(config: Config) -> MetaTrainer:
    """The configured meta-training."""
    optimizees = make_optimizees(config)
    student = make_student(config)
    return make_trainer_of(config, optimizees, student)


def make_trainer_of(config: Config, optimizees: Sequence[Problem], student: Optimizer) -> MetaTrainer:
    """The same for given problems and a given student."""
    return MetaTrainer(student, training_problems(config, optimizees), **options(config, optimizees))


def options(config: Config, optimizees: Sequence[Problem]) -> dict:
    """The arguments of `MetaTrainer` that are options."""
    clipping = {"global_clipnorm": config.clip_norm or None, "clipvalue": config.clip_value or None}
    tails = {
        "count": config.tail("long_tail_windows"),
        "steps": config.tail("long_tail_steps"),
    }
    schedule = [StageDecay(config.stage_decay)] if config.stage_decay < 1 else []
    schedule += [CosinePeriods(config.evaluation_period)] if config.anneal else []
    meta_gradient = WholeRun() if config.second_derivatives else FirstOrder()
    return {
        "lessons": make_lessons(config),
        "curriculum": Curriculum(
            config.stages, min_periods=config.min_periods, patience=config.patience, reset_slots=config.reset_slots
        )
        if config.curriculum
        else config.num_steps,
        "windows": Windows(
            config.unroll_length,
            **{name: LongTail(tail[0], *(int(bound) for bound in tail[1:])) for name, tail in tails.items() if tail},
        ),
        "meta_gradient": ZeroNonfinite(meta_gradient) if config.zero_nonfinite else meta_gradient,
        "meta_optimizer": META_OPTIMIZERS[config.meta_optimizer](config.learning_rate, **clipping),
        "schedule": schedule,
        "validation": Validation(
            config.evaluation_period,
            config.num_runs_validation,
            config.validation_window,
            config.validation_seeds == "fresh",
        ),
        "validation_problems": optimizees,
        "average": RunningAverage(config.ema_momentum) if config.ema_momentum else None,
        "meta_batch_size": config.meta_batch_size,
        "jit_compile": config.jit_compile,
        "seed": config.seed,
        "max_skips": config.max_skips,
        "beats_its_start": bool(config.initial_weights),
    }


class training_problems(Sequence):
    """The problems that are trained on, each made when it is first asked for."""

    def __init__(self, config: Config, optimizees: Sequence[Problem]):
        self._config, self._optimizees = config, optimizees

    def __len__(self):
        return len(self._optimizees)

    def __getitem__(self, index):
        problem, config = self._optimizees[index], self._config
        name = problem.name
        if config.random_scaling:
            problem = random_scaling(problem, config.random_scaling_bound)
        if config.convex_term:
            problem = convex_term(problem)
        return problem._replace(name=name)


def make_teacher(name: str, learning_rate: float) -> Optimizer:
    """An analytic optimizer to imitate; its name in any case.

    Raises:
        ValueError: for a name that is none.
    """
    if name.lower() not in ANALYTIC:
        raise ValueError(f"Received teacher {name!r}, expected one of {list(ANALYTIC)}.{names.hint(name, ANALYTIC)}")
    return make_optimizer(name.lower(), {"learning_rate": learning_rate})


def make_lessons(config: Config) -> list[Technique]:
    """The configured techniques; the first is the ordinary one."""
    teachers = tuple(make_teacher(name, config.teacher_learning_rate) for name in config.teachers.split(","))
    options = {
        "objective": config.objective,
        "judge": None if config.judge == "steps" else "problem",
        "max_growth": config.max_growth,
    }
    if config.self_improving:
        first = SelfImproving(teachers=teachers, decay_epochs=config.self_improving_epochs, **options)
    else:
        first = OwnTrajectory(**options)
    lessons = [first]
    if config.imitation:
        ratios = tuple(float(ratio) for ratio in config.imitation_ratios.split(","))
        lessons.append(
            Imitation(
                teachers=teachers,
                ratio=ratios if config.curriculum else config.imitation_ratio,
                distance=config.imitation_distance,
                teacher_steps=config.teacher_steps,
                choice=config.teacher_choice,
            )
        )
    states = States()
    return [KeptStates(lesson, states) for lesson in lessons] if config.keep_states else lessons


def describe(config: Config) -> Description:
    """What a folder says of a run."""
    defaults = {name: field.default for name, field in FIELDS.items()}
    return Description(
        config.to_dict(),
        defaults=defaults,
        irrelevant=("data_dir", "num_epochs"),
        files=[config.problem, *config.kinds],
    )
