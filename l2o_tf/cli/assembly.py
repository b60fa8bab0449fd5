"""Flags -> the objects of a meta-training, and nothing else."""

from collections.abc import Sequence
from typing import Any

from l2o_tf.cli import architecture
from l2o_tf.cli.config import GONE, IRRELEVANT, Config
from l2o_tf.common import names
from l2o_tf.common.workers import ALONE, Workers
from l2o_tf.optimizers import ANALYTIC, CELLS, FROZEN, Optimizer, from_file, make_optimizer
from l2o_tf.saving import loading
from l2o_tf.training.arguments import check_lengths
from l2o_tf.training.curriculum import Curriculum, single_stage
from l2o_tf.training.lessons.imitation import Imitation
from l2o_tf.training.lessons.kept_states import KeptStates, States
from l2o_tf.training.lessons.lesson import Technique
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.lessons.self_improving import SelfImproving
from l2o_tf.training.meta_optimizers import META_OPTIMIZERS, RunningAverage, StageDecay
from l2o_tf.training.meta_training import MetaTrainer
from l2o_tf.training.run_folder import Description
from l2o_tf.training.validation import Validation
from l2o_tf.training.windows import LongTail, Windows
from l2o_tf.unrolling.meta_gradients import FirstOrder, Sampled, WholeRun, ZeroNonfinite
from problems import PROBLEM_SETS, DataOptions, make_problem
from problems.base import Problem
from problems.common.python_files import is_file
from problems.sets import MadeOnce
from problems.transforms.convex_term import convex_term
from problems.transforms.coordinates import measured_on_minibatches, normal_start, random_scaling


def make_trainer(config: Config, workers: Workers = ALONE) -> MetaTrainer:
    """The meta-training that a configuration describes. What needs no data is checked before data are loaded."""
    arguments = make_arguments(config)
    check_lengths(arguments["curriculum"], arguments["windows"], arguments["validation"])
    student = make_student(config)
    for_training, for_validation = make_problems(config)
    return MetaTrainer(student, for_training, validation_problems=for_validation, workers=workers, **arguments)


def make_arguments(config: Config) -> dict[str, Any]:
    """The arguments of `MetaTrainer` besides student and problems."""
    clipping = {"global_clipnorm": config.clip_norm or None, "clipvalue": config.clip_value or None}
    meta_gradients = {"first_order": FirstOrder(), "sampled": Sampled(config.sampled_share), "whole_run": WholeRun()}
    meta_gradient = meta_gradients[config.meta_gradient]
    curriculum = single_stage(config.num_steps)
    if config.curriculum:
        horizons = tuple(map(int, config.curriculum_steps.split(",")))
        curriculum = Curriculum(horizons, min_periods=config.min_periods, patience=config.patience)
    count, steps = map(_long_tail, (config.long_tail_windows, config.long_tail_steps))
    shortest = steps.least if steps else config.unroll_length
    if config.objective == "penultimate" and shortest < 2:
        raise ValueError(
            f"Received --objective=penultimate with windows of {shortest} step, where no update comes before that "
            "loss. Use longer windows (--unroll_length, --long_tail_steps), or --objective=final."
        )
    return {
        "lessons": make_lessons(config),
        "curriculum": curriculum,
        "windows": Windows(config.unroll_length, count=count, steps=steps),
        "meta_gradient": ZeroNonfinite(meta_gradient) if config.zero_nonfinite else meta_gradient,
        "meta_optimizer": META_OPTIMIZERS[config.meta_optimizer](config.learning_rate, **clipping),
        "schedule": [StageDecay(config.stage_decay)] if config.stage_decay != 1 else [],
        "validation": Validation(
            period=config.evaluation_period,
            num_runs=config.num_runs_validation,
            window=config.validation_window,
            fresh_seeds=config.validation_seeds == "fresh",
        ),
        "average": RunningAverage(config.ema_momentum) if config.ema_momentum else None,
        "meta_batch_size": config.meta_batch_size,
        "jit_compile": config.jit_compile,
        "seed": config.seed,
        "beats_its_start": bool(config.initial_weights),
    }


def describe(config: Config) -> Description:
    """What the folder of a run says of it."""
    return Description(
        {**config.to_dict(), "architecture": architecture.normal(config.kinds, config.architecture)},
        defaults={**GONE, **Config().to_dict()},
        irrelevant=IRRELEVANT,
        files=[config.problem, *config.kinds],
    )


def _long_tail(text: str) -> LongTail | None:
    """`"20,10,30"` -> `LongTail(20.0, 10, 30)`."""
    if not text:
        return None
    mean, *bounds = text.split(",")
    try:
        return LongTail(float(mean), *map(int, bounds))
    except (TypeError, ValueError):
        raise ValueError(
            f"Received a long tail of {text}, expected mean,least or mean,least,most with whole numbers for least and "
            "most, the last the largest."
        ) from None


def make_lessons(config: Config) -> list[Technique]:
    """The techniques; the first one gets the meta-epochs that imitation leaves."""
    teachers = tuple(make_teacher(name, config.teacher_learning_rate) for name in config.teachers.split(","))
    judge = None if config.judge == "steps" else "problem"
    judged = {"objective": config.objective, "judge": judge, "max_growth": config.max_growth}
    lessons = [SelfImproving(teachers, **judged) if config.self_improving else OwnTrajectory(**judged)]
    if config.imitation:
        ratios = tuple(float(ratio) for ratio in config.imitation_ratios.split(","))
        lessons.append(
            Imitation(
                teachers,
                ratio=ratios if config.curriculum else config.imitation_ratio,
                distance=config.imitation_distance,
                teacher_steps=config.teacher_steps,
                choice=config.teacher_choice,
            )
        )
    states = States()
    return [KeptStates(lesson, states) for lesson in lessons] if config.keep_states else lessons


def make_teacher(name: str, learning_rate: float) -> Optimizer:
    """An analytic optimizer to imitate; its name in any case."""
    if name.lower() not in ANALYTIC:
        raise ValueError(f"Received teacher {name!r}, expected one of {list(ANALYTIC)}.{names.hint(name, ANALYTIC)}")
    return make_optimizer(name.lower(), {"learning_rate": learning_rate})


def make_problems(config: Config) -> tuple[Sequence[Problem], Sequence[Problem]]:
    """The problems to train on, and those to validate on, which have neither random scaling nor a convex term."""

    def begun(problem: Problem) -> Problem:
        problem = measured_on_minibatches(problem, config.judge_minibatches) if config.judge == "sample" else problem
        return normal_start(problem, config.problem_stddev) if config.problem_stddev else problem

    def harder(problem: Problem) -> Problem:
        name = problem.name
        if config.random_scaling:
            problem = random_scaling(problem, config.random_scaling_bound)
        if config.convex_term:
            problem = convex_term(problem)
        return problem._replace(name=name)

    data = DataOptions(config.data, config.data_dir or None, config.split)
    is_harder = config.random_scaling or config.convex_term
    if config.problem in PROBLEM_SETS:
        members = PROBLEM_SETS[config.problem]
        plain = MadeOnce(members, begun, data_options=data)
        return MadeOnce(members, lambda each: harder(begun(each)), data_options=data) if is_harder else plain, plain
    problem = begun(make_problem(config.problem, **data._asdict()))
    return [harder(problem) if is_harder else problem], [problem]


def make_student(config: Config) -> Optimizer:
    """The optimizer that is to be trained, with random weights or those of `initial_weights`."""
    learned = [kind for kind in config.kinds if kind in CELLS or is_file(kind)]
    if not (learned or config.assignments):
        raise ValueError(_no_architecture(config.optimizer))
    given = architecture.arguments(learned, config.architecture) if learned else {}
    if config.assignments:
        assignments = [
            [pattern, kind, _architecture(config, kind, config.seed + index, given)]
            for index, (pattern, kind) in enumerate(config.assignments)
        ]
        student = make_optimizer("assigned", {"assignments": assignments})
    else:
        student = make_optimizer(config.optimizer, _architecture(config, config.optimizer, config.seed, given))
    if not student.trainable_variables:
        what = (
            f"--net_assignments={config.net_assignments}" if config.assignments else f"--optimizer={config.optimizer}"
        )
        raise ValueError(f"Received {what}, where nothing can be trained; expected one of {list(CELLS)}.")
    if config.initial_weights:
        loading.begin_with(student, config.initial_weights)
    return student


def _no_architecture(name: str) -> str:
    """The error for the name of an optimizer that is none which could be trained."""
    expected = f"expected one of {list(CELLS)} or path/to/file.py:Class"
    if name in names.pretrained_names():
        kind = loading.load(name).kind
        expected = f"trained weights of {kind}. To train them further: --initial_weights={name}"
    elif loading.is_analytic(name):
        expected = f"where nothing can be trained; {expected}"
    return f"Received --optimizer={name}, {expected}.{names.hint(name, CELLS)}"


def _architecture(config: Config, kind: str, seed: int, given: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Arguments of an optimizer of this kind; analytic ones get the teachers' learning rate, `frozen` has none."""
    if is_file(kind):
        return from_file.initial_architecture(kind, seed, given[kind])
    if kind in CELLS:
        return {**given[kind], "seed": seed}
    return {} if kind == FROZEN.kind else {"learning_rate": config.teacher_learning_rate}
