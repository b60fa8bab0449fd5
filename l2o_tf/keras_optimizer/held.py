"""How a Keras optimizer holds its state from step to step: as the unroll does, in the layout of the rule's loop.

A large model's state is in blocks (`l2o_tf.optimizers.blocks`). Files, and whatever tells coordinates apart, have it in
rows, `[N, ...]`, as `Optimizer.initial_state` makes it.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.common.nest import Params
from l2o_tf.keras_optimizer import bits, state_rows
from l2o_tf.optimizers import CELLS, Optimizer, Step
from l2o_tf.optimizers.base import Loop, State
from l2o_tf.optimizers.blocks import Blocked, in_blocks_if_large
from problems.base import Seed, make_seed

DTYPES = ("float32", "bfloat16")


class Held(NamedTuple):
    """A rule whose state is held.

    Attributes:
        initial: makes the state before the first step, as it is held.
        loop: takes steps with it; it enters from rows, and leaves to rows.
    """

    initial: Callable[[], State]
    loop: Loop


def held(rule: Optimizer, params: Params, seed: Seed) -> Held:
    """The rule for a model of tensors of these shapes."""
    found = in_blocks_if_large(rule, params)
    if isinstance(found, Blocked):
        return Held(lambda: found.initial_state(params, seed), found.rows(nest.size(params)))
    loop = rule.loop()
    return Held(lambda: loop.enter(rule.initial_state(params, seed)), loop)


class Rounded(Optimizer):
    """The same rule, whose loop keeps a part of the state in bfloat16, as `bits`. It computes as before.

    That part are the tensors with several numbers for each coordinate: the units h and c, and L2O-Scale's averages
    over several time scales. What has one number for each coordinate keeps its precision: RNNprop's moments and its
    counter, L2O-Scale's rates and decays.

    Args:
        optimizer: one of the architectures that ship.

    Raises:
        ValueError: if it is another rule, of whose state nobody knows what may be rounded.
    """

    def __init__(self, optimizer: Optimizer):
        if optimizer.kind not in CELLS:
            raise ValueError(
                f"Received state_dtype='bfloat16' for the rule {optimizer.kind}, which may count in its state, "
                f"expected one of {', '.join(CELLS)}. Keep float32."
            )
        self.name, self.kind, self.architecture = optimizer.name, optimizer.kind, optimizer.architecture
        self.coordinatewise, self._optimizer = optimizer.coordinatewise, optimizer
        with tf.init_scope():
            state = self.initial_state({"0": tf.zeros([2])}, make_seed(0))
        kinds = state_rows.kinds(lambda params: self.initial_state(params, make_seed(0)))
        pairs = zip(tf.nest.flatten(kinds), tf.nest.flatten(state), strict=True)
        self._is_rounded = [kind is state_rows.Kind.COORDINATES and x.shape[1] > 1 for kind, x in pairs]

    def initial_state(self, params: Params, seed: Seed) -> State:
        return self._optimizer.initial_state(params, seed)

    def update(self, step: Step, state: State) -> tuple[Params, State]:
        return self._optimizer.update(step, state)

    def loop(self) -> Loop:
        loop = self._optimizer.loop()

        def update(rule, step, state):
            updates, state = rule(step, self._each(bits.unpacked, state))
            return updates, self._each(bits.packed, state)

        return Loop(
            lambda state: self._each(bits.packed, loop.enter(state)),
            functools.partial(update, loop.update),
            lambda state: loop.leave(self._each(bits.unpacked, state)),
            loop.blocks and loop.blocks._replace(update=functools.partial(update, loop.blocks.update)),
        )

    def _each(self, function: Callable, state: State) -> State:
        """The state with the function of every part that is rounded."""
        pairs = zip(tf.nest.flatten(state), self._is_rounded, strict=True)
        return tf.nest.pack_sequence_as(state, [function(x) if is_rounded else x for x, is_rounded in pairs])
