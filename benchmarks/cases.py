"""From a case to a call that does the work of one repetition.

`prepare` loads the data and makes the optimizer, but compiles nothing: the first repetition does, so that it can be
timed. A repetition is `num_steps` optimizee steps from a fresh start. It returns once the result is there.
"""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from benchmarks import Case, Settings, floor, kernels, plain
from l2o_tf.common import nest
from l2o_tf.evaluating import rollouts
from l2o_tf.optimizers import CELLS, Optimizer, make_optimizer
from l2o_tf.training.lessons.lesson import Lesson, Setting
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.meta_epoch import compile_meta_epoch
from l2o_tf.unrolling.meta_gradients import FirstOrder, Sampled, WholeRun
from problems import make_problem
from problems.base import Problem, make_seed, no_batches

Repetition = Callable[[], float]
"""Does the work once. Returns the mean meta-loss of meta-training, or the last loss of an evaluation."""

BOWL = "bowl:"


def prepare(case: Case, settings: Settings) -> tuple[Repetition, dict]:
    """The repetition, and facts for the record: `data`, `coordinates`, `device`, of a floor a `note`."""
    mode = {"training": "train", "evaluation": "test"}[case.phase]
    if case.problem.startswith(BOWL):
        problem = bowl(int(case.problem.removeprefix(BOWL)))
    else:
        problem = make_problem(case.problem, mode=mode, data=settings.data)
    if case.optimizer not in CELLS:
        raise ValueError(f"Received --optimizer={case.optimizer}, expected some of {', '.join(CELLS)}.")
    keras.utils.set_random_seed(0)
    learned = make_optimizer(case.optimizer)
    params, _ = problem.init(make_seed(0))
    facts = {"data": str(problem.data) if problem.data else None, "coordinates": nest.size(params), "device": _device()}
    name, _, xla = case.method.partition("-")
    if name == "floor":
        found = _floor(case, problem, params, settings)
        return found.repetition, facts | {"device": "cpu", "note": found.note}
    if case.phase == "training":
        return _training(LESSONS[name](problem, learned, jit_compile=bool(xla)), learned, settings), facts
    return EVALUATIONS[name](problem, learned, settings.num_steps, jit_compile=bool(xla)), facts


def bowl(size: int) -> Problem:
    """An optimizee of any size that costs next to nothing: `f(x) = 1/2 mean_i (x_i - 1)²`, from `x ~ N(0, 1)`."""

    def init(seed):
        return {"x": tf.random.stateless_normal([size], seed)}, ()

    def loss(params, constants, batch):
        return 0.5 * tf.reduce_mean(tf.square(params["x"] - 1.0))

    return Problem(f"{BOWL}{size}", init, no_batches, loss)


def _device() -> str:
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "cpu"


def _floor(case: Case, problem: Problem, params: dict, settings: Settings) -> kernels.Floor:
    shapes = {name: tuple(tensor.shape) for name, tensor in params.items()}
    batch = tf.nest.flatten(problem.sample(make_seed(0), 1))[0]
    threads = floor.threads()
    work = floor.step(case.optimizer, case.phase, shapes, batch.shape[-1] if batch.shape.rank > 1 else 1, threads)
    return kernels.prepare(work, settings.num_steps, threads)


def _training(lesson, student: Optimizer, settings: Settings) -> Repetition:
    """One meta-epoch, as the trainer compiles it. It updates φ, so that repetitions differ."""
    length = settings.unroll_length
    meta_epoch = compile_meta_epoch(lesson, student.trainable_variables, keras.optimizers.Adam(1e-3), length)
    seed, epoch = make_seed(0), tf.constant(0)
    lengths = tf.fill([settings.num_steps // length], length)

    def repetition() -> float:
        report = meta_epoch(seed, epoch, lengths)
        if report.diverged.numpy():
            raise ValueError(f"Received a problem on which {lesson.name} diverged: nothing to measure.")
        return float(report.meta_loss)

    return repetition


def _rollout(problem: Problem, optimizer: Optimizer, num_steps: int, jit_compile: bool) -> Repetition:
    """One run of one window, by the compiled calls of evaluate.py."""
    compiled = rollouts.rollouts(problem, optimizer, window=num_steps, jit_compile=jit_compile)
    seeds = rollouts.run_seeds(make_seed(0), 1)
    first, steps = tf.constant(0), tf.constant(num_steps)
    return lambda: float(compiled.advance(compiled.start(seeds), seeds, first, steps)[1].numpy()[0, 0, -1])


def _plain_rollout(problem: Problem, optimizer: Optimizer, num_steps: int, jit_compile: bool) -> Repetition:
    evaluate = plain.evaluation(problem, optimizer, num_steps=num_steps, jit_compile=jit_compile)
    seed = make_seed(0)
    return lambda: float(evaluate(seed).numpy()[-1])


def _adam(problem: Problem, learned: Optimizer, num_steps: int, jit_compile: bool) -> Repetition:
    return _rollout(problem, make_optimizer("adam"), num_steps, jit_compile)


def _ours(problem: Problem, student: Optimizer, *, meta_gradient=None, jit_compile: bool = False) -> Lesson:
    return OwnTrajectory().lessons(Setting(problem, student, meta_gradient or FirstOrder(), jit_compile=jit_compile))[0]


LESSONS = {
    "plain": plain.own_trajectory,
    "ours": _ours,
    "second": functools.partial(_ours, meta_gradient=WholeRun()),
    "sampled4": functools.partial(_ours, meta_gradient=Sampled(1 / 4)),
    "sampled8": functools.partial(_ours, meta_gradient=Sampled(1 / 8)),
}
"""Method of meta-training -> `(problem, student, jit_compile=) -> Lesson`."""

EVALUATIONS = {"plain": _plain_rollout, "ours": _rollout, "adam": _adam}
"""Method of evaluation -> `(problem, learned optimizer, num_steps, jit_compile=) -> Repetition`."""
