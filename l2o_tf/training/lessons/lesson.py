"""The two interfaces of teaching a student: `Technique` and `Lesson`.

Every training technique of the paper changes *which trajectory* the student sees, or *what it is judged by*, and
nothing else. Users make a `Technique` from a few numbers and functions. A technique makes lessons for a problem. A
`Lesson` is a pair of pure functions. The trainer runs every lesson in the same way::

    lessons = technique.lessons(Setting(problem, student, FirstOrder()))
    run = lesson.start(seed, meta_epoch, horizon)              # draw an optimizee, clear all states
    run, outcome = lesson.window(run, seed, num_steps)         # one truncation window: loss, and its gradient in φ
"""

import abc
import dataclasses
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf

from l2o_tf.common.workers import Part, Share
from l2o_tf.optimizers.base import Optimizer
from l2o_tf.unrolling import batch, unroll
from l2o_tf.unrolling.batch import Optimizees
from l2o_tf.unrolling.meta_gradients import Estimate, MetaGradient, Window
from problems.base import Problem, Seed, fold

META_GRADIENT = 0x3E7A
"""`fold`ed into the seed of a window's meta-gradient. Techniques and problems use small numbers."""

NumSteps = int | tf.Tensor
"""T of a window: a Python int if shapes should be static, as XLA prefers; else an int32 scalar."""


class Run(NamedTuple):
    """What one window of a run passes to the next.

    Attributes:
        state: `θ_t`, the student's state, t and the horizon.
        constants: the optimizee's constants.
        first: `f(θ_0)` of the run, the loss that the objective gets; NaN before the first window. With K optimizees
            side by side, it is `[K]`, and everything else has a leading axis of K, too.
        memory: what the meta-gradient remembers.
        technique: what the technique remembers, e.g. a teacher's state; `()` if nothing.
    """

    state: unroll.UnrollState
    constants: Any
    first: tf.Tensor
    memory: Any = ()
    technique: Any = ()


class Outcome(NamedTuple):
    """What one window teaches.

    Attributes:
        meta_loss: scalar.
        gradients: of `meta_loss` in φ, in the order of the student's `trainable_variables`.
        losses: `[T+1]`, the optimizee's losses along the window's trajectory.
        exploded: bool scalar; whether the run must end here although all numbers are finite.
    """

    meta_loss: tf.Tensor
    gradients: list[tf.Tensor]
    losses: tf.Tensor
    exploded: tf.Tensor


class Lesson(NamedTuple):
    """Two pure functions that the trainer runs: `start` begins a run, `window` computes what a window teaches.

    Attributes:
        name: name in records, e.g. `"train"` or `"imitation/adam"`.
        start: `(seed, meta_epoch, horizon=0) -> run`; int32 scalars. `meta_epoch` is for techniques that change with
            time, `horizon` for rules that use the number of steps of a run.
        window: `(run, seed, num_steps) -> (run, Outcome)`.
        variables: what the lesson keeps from run to run. A checkpoint stores them. Default: nothing.

    Example:
        >>> import l2o_tf as l2o
        >>> setting = l2o.Setting(l2o.make_problem("quadratic"), l2o.L2ODM(layers=(2,)), l2o.FirstOrder())
        >>> [lesson.name for lesson in l2o.Imitation(("adam", "sgd")).lessons(setting)]
        ['imitation/adam', 'imitation/sgd']
    """

    name: str
    start: Callable[..., Any]
    window: Callable[[Any, Seed, NumSteps], tuple[Any, Outcome]]
    variables: tuple[tf.Variable, ...] = ()


class Setting(NamedTuple):
    """What all lessons of a training on one problem have in common.

    Attributes:
        problem: what is optimized.
        student: the optimizer that learns.
        meta_gradient: how windows are differentiated.
        meta_batch_size: K, optimizees at the same time; the meta-gradient is the mean over them. Default 1.
        share: which share of the K is this process's. The mean over all processes is then taken. Default: all.
        jit_compile: whether XLA compiles the window, or only the optimizer's part if `Problem.xla` is False. Default
            True.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.Setting(l2o.make_problem("quadratic"), l2o.L2ODM(layers=(2,)), l2o.WholeRun()).meta_batch_size
        1
    """

    problem: Problem
    student: Optimizer
    meta_gradient: MetaGradient
    meta_batch_size: int = 1
    jit_compile: bool = True
    share: Share = Share()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Technique(abc.ABC):
    """A way to teach a student. To write your own, subclass it; `OwnTrajectory` is an example.

    Args:
        ratio: share of the meta-epochs, in [0, 1]; or one share for each stage of a curriculum. The last share is used
            for all later stages. Default 0.3, from the paper. The first technique of a trainer gets the rest.

    Raises:
        ValueError: for a share that is not in [0, 1].

    Example:
        >>> import l2o_tf as l2o
        >>> class Renamed(l2o.Technique):
        ...     def lessons(self, setting):
        ...         return [lesson._replace(name="mine") for lesson in l2o.OwnTrajectory().lessons(setting)]
        >>> Renamed(ratio=(0.5, 0.25)).share(stage=3)
        0.25
    """

    ratio: float | tuple[float, ...] = 0.3

    def __post_init__(self):
        shares = self._shares
        if not shares or not all(isinstance(share, numbers.Real) and 0 <= share <= 1 for share in shares):
            raise ValueError(f"Received ratio={self.ratio!r}, expected a number in [0, 1], or one for each stage.")

    @abc.abstractmethod
    def lessons(self, setting: Setting) -> list[Lesson]:
        """Makes the lessons for one problem; their names do not depend on the problem."""

    def choose(self, rng: np.random.Generator, count_so_far: int) -> int:
        """The index of the next lesson, after `count_so_far` of this technique in this training. Default: 0."""
        del rng, count_so_far
        return 0

    def share(self, stage: int) -> float:
        """`ratio` in a stage of the curriculum, from 0."""
        return float(self._shares[min(stage, len(self._shares) - 1)])

    @property
    def _shares(self) -> Sequence[float]:
        return self.ratio if isinstance(self.ratio, tuple | list) else [self.ratio]


def named(name: str, value: Any, known: dict[str, Callable]) -> Callable:
    """The function that an argument is, or names; raises a ValueError if it does neither."""
    found = known.get(value) if isinstance(value, str) else value
    if not callable(found):
        raise ValueError(f"Received {name}={value!r}, expected a function or one of {list(known)}.")
    return found


class Group(NamedTuple):
    """Optimizees that take their steps together, and the student on them; see `Group.of`."""

    setting: Setting
    optimizees: Optimizees
    student: Optimizer

    @classmethod
    def of(cls, setting: Setting, optimizees: Optimizees) -> Self:
        """The student works in blocks of coordinates if the optimizees are large."""
        return cls(setting, optimizees, optimizees.in_blocks_if_large(setting.student))

    def first_run(self, seed: Seed, horizon: Any) -> Run:
        """A run before its first window."""
        params, constants = self.optimizees.problem.init(self.optimizees.seeds(seed))
        unknown = tf.fill(self.optimizees.shape, tf.constant(math.nan, next(iter(params.values())).dtype))
        state = unroll.initial_state(self.student, params, seed, horizon)
        memory = self.setting.meta_gradient.start(self.student, state, fold(seed, META_GRADIENT), self.optimizees.shape)
        return Run(state, constants, unknown, memory)

    def batches(self, seed: Seed, count: Any) -> unroll.Batches:
        """`count` minibatches of each optimizee."""
        return self.optimizees.problem.sample(self.optimizees.seeds(seed), count)

    @property
    def xla(self) -> unroll.XlaPart:
        """What XLA compiles."""
        return unroll.xla_part(self.optimizees.problem, self.setting.jit_compile)

    def estimate(
        self, run: Run, path: unroll.Path, batches: Any, objective: Callable, seed: Seed, *, record: bool = False
    ) -> Estimate:
        """The meta-gradient of a window of the student."""
        options = {"record": record, "xla": self.xla, "shape": self.optimizees.shape, "memory": run.memory}
        window = Window(path, self.student, run.state, batches, objective, seed=fold(seed, META_GRADIENT), **options)
        return self.setting.meta_gradient.window(window)


def in_turn(lesson: Lesson, calls: Part) -> Lesson:
    """Several runs of a lesson. Each window calls it once per run and returns the mean of the outcomes."""
    if calls.total == 1:
        return lesson

    def start(seed, meta_epoch, horizon=0):
        return batch.in_turn(lambda own: lesson.start(own, meta_epoch, horizon), calls)(seed)

    def window(runs, seed, num_steps):
        runs, outcomes = batch.in_turn(lambda run, own: lesson.window(run, own, num_steps), calls)(runs, seed)
        exploded = tf.reduce_any(outcomes.exploded)
        outcomes = outcomes._replace(exploded=tf.zeros([calls.count]))
        return runs, tf.nest.map_structure(lambda x: tf.reduce_mean(x, axis=0), outcomes)._replace(exploded=exploded)

    return lesson._replace(start=start, window=window)
