"""Self-improving: student and analytic optimizers take turns on one trajectory (paper, section 4.2).

At every step, one optimizer of the pool `{O_0 = student, O_1, ..., O_k}` is drawn, and its update is applied. At the
start of meta-training, all are equally likely. Then the probabilities of the teachers fall linearly to 0::

    p_i(e) = p_i(0) max(0, 1 - e / E),   i = 1 ... k          p_i(0) = 1 / (k + 1)
    p_0(e) = 1 - Σ_i p_i(e)

with meta-epoch e, and E = 100 in the paper. The meta-loss is that of `OwnTrajectory`. Every optimizer of the pool sees
every gradient, so its state is up to date at its turn. The meta-gradient flows through the student's turns only.

The paper gives 1/(k + 1) in its text and 0.33 for k = 3 in its experiment; `initial_probability` takes either.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.common.workers import Share
from l2o_tf.optimizers.base import Loop, Optimizer, Sampling
from l2o_tf.training.lessons.imitation import optimizers
from l2o_tf.training.lessons.lesson import Lesson, NumSteps, Run, Setting, in_turn
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from problems.base import Seed, fold, require_positive

_TURNS = 1  # the purpose of a seed


class MixtureState(NamedTuple):
    """The states of the pool, the turns `[T]` of a window (0: the student), and the step t in the window.

    After the last turn, and if there are none (`[0]`, between windows), it is the student's turn.
    """

    pool: list[Any]
    turns: tf.Tensor
    step: tf.Tensor


class Mixture(Optimizer):
    """A pool of optimizers of which one acts at every step, as `MixtureState.turns` says."""

    def __init__(self, student: Optimizer, auxiliaries: Sequence[Optimizer]):
        self.name = f"mixture({student.name})"
        self.pool = [student, *auxiliaries]

    def initial_state(self, params, seed):
        states = [optimizer.initial_state(params, seed) for optimizer in self.pool]
        return with_turns(MixtureState(states, None, None), tf.zeros([0], tf.int32))

    def update(self, step, state):
        return self._take_turns([optimizer.update for optimizer in self.pool], step, state)

    def loop(self):
        return self._loop([optimizer.loop() for optimizer in self.pool])

    def _loop(self, loops: Sequence[Loop]) -> Loop:
        def each(functions, state, *arguments):
            parts = zip(functions, state.pool, strict=True)
            return state._replace(pool=[function(part, *arguments) for function, part in parts])

        parts = [loop.sampling for loop in loops]
        return Loop(
            lambda state: each([loop.enter for loop in loops], state),
            lambda step, state: self._take_turns([loop.update for loop in loops], step, state),
            lambda state: each([loop.leave for loop in loops], state),
            sampling=Sampling(
                lambda state, where, params: each([part.pick for part in parts], state, where, params),
                lambda: self._loop([part.loop() for part in parts]),
            )
            if all(parts)
            else None,
        )

    def _take_turns(self, rules, step, state):
        steps = [rule(step, part) for rule, part in zip(rules, state.pool, strict=True)]
        turn = tf.concat([state.turns, [0]], axis=0)[tf.minimum(state.step, tf.size(state.turns))]
        updates = {name: tf.stack([proposed[name] for proposed, _ in steps])[turn] for name in step.params}
        return updates, MixtureState([after for _, after in steps], state.turns, state.step + 1)

    @property
    def named_variables(self):
        return self.pool[0].named_variables


def with_turns(state: MixtureState, turns: tf.Tensor) -> MixtureState:
    """The same pool at the start of a window with these turns."""
    return state._replace(turns=turns, step=tf.zeros([], tf.int32))


def probabilities(meta_epoch, num_auxiliaries: int, decay_epochs: int, initial_probability: float | None) -> tf.Tensor:
    """`[p_0, p_1, ..., p_k]` at a meta-epoch, as in the module's docstring."""
    start = 1.0 / (num_auxiliaries + 1) if initial_probability is None else initial_probability
    left = tf.maximum(0.0, 1.0 - tf.cast(meta_epoch, tf.float32) / decay_epochs)
    auxiliaries = tf.fill([num_auxiliaries], start * left)
    return tf.concat([[1.0 - tf.reduce_sum(auxiliaries)], auxiliaries], axis=0)


def draw_turns(chances: tf.Tensor, seed: Seed, num_steps: NumSteps) -> tf.Tensor:
    """`[T]`: the index of the optimizer that acts at each step of a window."""
    return tf.random.stateless_categorical(tf.math.log(chances)[None], num_steps, fold(seed, _TURNS), tf.int32)[0]


@dataclasses.dataclass(frozen=True)
class SelfImproving(OwnTrajectory):
    """The student shares its trajectory with other optimizers.

    Args:
        teachers: `O_1 ... O_k`, as in `Imitation`. Default: Adam, SGD and Adagrad, from the paper.
        decay_epochs: E, meta-epochs after which only the student acts. Default 100, from the paper.
        initial_probability: `p_i(0)` of each teacher, at most 1/k. Default (None): `1/(k + 1)`.
        objective, judge, max_growth, ratio: as in `OwnTrajectory`.

    Raises:
        ValueError: if `initial_probability` is not in `[0, 1/k]`, or another argument is out of range.

    Example:
        >>> import l2o_tf as l2o
        >>> l2o.SelfImproving(("adam", "sgd"), decay_epochs=50, objective="log_ratio").decay_epochs
        50
    """

    teachers: tuple[str | Optimizer, ...] = ("adam", "sgd", "adagrad")
    decay_epochs: int = 100
    initial_probability: float | None = None

    def __post_init__(self):
        super().__post_init__()
        count = len(optimizers(self.teachers))
        require_positive("decay_epochs", self.decay_epochs)
        if self.initial_probability is not None and not 0 <= self.initial_probability * count <= 1:
            raise ValueError(
                f"Received initial_probability={self.initial_probability}, expected one in [0, 1/{count}]."
            )

    def lessons(self, setting: Setting) -> list[Lesson]:
        teachers, calls = optimizers(self.teachers), setting.share.part(setting.meta_batch_size)
        mixture = Mixture(setting.student, teachers)
        (alone,) = super().lessons(setting._replace(student=mixture, meta_batch_size=1, share=Share()))

        def start(seed, meta_epoch, horizon=0):
            chances = probabilities(meta_epoch, len(teachers), self.decay_epochs, self.initial_probability)
            return alone.start(seed, meta_epoch, horizon)._replace(technique=chances)

        def window(run, seed, num_steps):
            run, outcome = alone.window(_with_turns(run, draw_turns(run.technique, seed, num_steps)), seed, num_steps)
            return _with_turns(run, tf.zeros([0], tf.int32)), outcome

        return [in_turn(Lesson("train", start, window), calls)]


def _with_turns(run: Run, turns: tf.Tensor) -> Run:
    return run._replace(state=run.state._replace(optimizer=with_turns(run.state.optimizer, turns)))
