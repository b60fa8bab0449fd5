"""What every optimizer is: `initial_state(params, seed)` and `update(grads, state, params)`.

Student, teacher and baseline share this one interface, which is why there is one unroll, one trainer and one
evaluator::

    state = optimizer.initial_state(params, seed)
    updates, state = optimizer.update(grads, state, params)
    params = nest.add(params, updates)                        # the sign is in the update

Three final classes implement it. `Analytic` is a pair of pure functions. `LearnedOptimizer` is a Keras RNN cell whose
batch axis is the optimizee's coordinates; the cell's weights are the meta-parameters φ, and everything that the update
rule remembers lives in the cell's states. `HierarchicalOptimizer` is the same for cells that also tell the optimizee's
tensors apart.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers import contract
from problems.base import Seed

Params = dict[str, tf.Tensor]
State = Any


class Blocks(NamedTuple):
    """How a loop runs a rule on some of the coordinates, which it treats one by one.

    Attributes:
        cut: `(state, first, n) -> state` of the coordinates `first ... first + n - 1`, in the loop's layout.
        update: `Optimizer.update` for what `cut` returns.
        size: n, if it is not free: then `first` is the beginning of a block.
        cached: a good n for a processor, at which what a step computes stays in the cache; None where more is better.
    """

    cut: Callable[[State, tf.Tensor, int], State]
    update: Callable[[Params, State, Params], tuple[Params, State]]
    size: int | None = None
    cached: int | None = None


class Loop(NamedTuple):
    """An optimizer as a loop holds it: the same rule, its state perhaps in another layout.

    Attributes:
        enter: `state -> state`, into the loop's layout, before the first step.
        update: `Optimizer.update` for states in that layout.
        leave: `state -> state`, back again, after the last step.
        blocks: the rule on some of the coordinates; None where they depend on each other.
    """

    enter: Callable[[State], State]
    update: Callable[[Params, State, Params], tuple[Params, State]]
    leave: Callable[[State], State]
    blocks: Blocks | None = None


class Optimizer(abc.ABC):
    """An update rule whose state goes in and comes out.

    Attributes:
        name: name in records, tables and plots.
        kind: under which name `l2o_tf.optimizers.make_optimizer` makes it, e.g. `"adam"` or `"L2O-DM"`.
        architecture: what it is made of besides its meta-parameters, as JSON types.
        coordinatewise: whether it treats every coordinate alike and by itself, so that it can run several optimizees
            side by side.
    """

    name: str
    kind: str
    architecture: dict[str, Any]
    coordinatewise: bool = False

    @abc.abstractmethod
    def initial_state(self, params: Params, seed: Seed) -> State:
        """The state before the first step: a nest of tensors.

        Args:
            params: `θ_0`.
            seed: int32 `[2]`; decides what an optimizer draws for a run, e.g. L2O-Scale its first learning rates. Most
                draw nothing.
        """

    @abc.abstractmethod
    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        """One step.

        Args:
            grads: `∇f(θ_t)`; same names and shapes as `params`.
            state: what `initial_state` or the last `update` returned.
            params: `θ_t`.

        Returns:
            `(Δθ_t, state)` with `θ_{t+1} = θ_t + Δθ_t`.
        """

    def loop(self) -> Loop:
        """How a loop of many steps should run it; by default as it is."""
        return Loop(lambda state: state, self.update, lambda state: state)

    def diagnose(self, grads: Params, state: State) -> dict[str, tf.Tensor]:
        """Inner quantities worth a histogram, e.g. gate activations; none by default."""
        del grads, state
        return {}

    @property
    def named_variables(self) -> dict[str, keras.Variable]:
        """Meta-parameters φ by name; empty for analytic optimizers."""
        return {}

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Meta-parameters φ in a fixed order."""
        return list(self.named_variables.values())


class Analytic(Optimizer):
    """A hand-designed rule as two pure functions.

    Args:
        name: e.g. `"adam"`; the name of the teacher in records.
        init: `params -> state`.
        update: `(grads, state, params) -> (updates, state)`.
    """

    coordinatewise = True

    def __init__(
        self,
        name: str,
        init: Callable[[Params], State],
        update: Callable[[Params, State, Params], tuple[Params, State]],
    ):
        self.name = self.kind = name
        self.architecture = {}
        self._init = init
        self._update = update

    def initial_state(self, params: Params, seed: Seed) -> State:
        del seed
        return self._init(params)

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        return self._update(grads, state, params)


class LearnedOptimizer(Optimizer):
    """Runs a Keras RNN cell on every coordinate of the optimizee.

    Args:
        cell: a layer that obeys the RNN-cell contract: inputs `[N, 1]` (the gradient) and states in, outputs `[N, 1]`
            (the update) and states out. It may have `named_weights`, a dictionary, `diagnose(inputs, states)`, and
            `columns(inputs, states)`: `call` with everything transposed, which loops then use.
        kind: name of an architecture, whose cells are not checked. Default: the cell's class; the cell is checked.

    Raises:
        ValueError: if a cell that is checked breaks the contract, see `l2o_tf.optimizers.contract`.
    """

    coordinatewise = True

    def __init__(self, cell: keras.layers.Layer, kind: str | None = None):
        if kind is None:
            is_double = getattr(cell, "compute_dtype", None) == "float64"
            contract.check(cell, type(cell).__name__, "float64" if is_double else "float32")
        self.cell = cell
        self.name = self.kind = kind or type(cell).__name__
        self.architecture = cell.get_config()
        if not cell.built:
            cell.build((None, 1))

    def initial_state(self, params: Params, seed: Seed) -> State:
        del seed
        return self.cell.get_initial_state(batch_size=nest.size(params))

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        outputs, after = self.cell(nest.flatten(grads)[:, None], state)
        state = tf.nest.pack_sequence_as(state, tf.nest.flatten(after))  # which may have tuples for lists
        return nest.unflatten(outputs[:, 0], like=params), state

    def _update_columns(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        outputs, state = self.cell.columns(nest.flatten(grads)[None, :], state)
        return nest.unflatten(outputs[0], like=params), state

    def loop(self) -> Loop:
        if hasattr(self.cell, "columns"):
            blocks = Blocks(functools.partial(_cut, axis=1), self._update_columns, cached=2**10)
            return Loop(nest.transposed, self._update_columns, nest.transposed, blocks)
        return super().loop()._replace(blocks=Blocks(functools.partial(_cut, axis=0), self.update))

    def diagnose(self, grads: Params, state: State) -> dict[str, tf.Tensor]:
        return self.cell.diagnose(nest.flatten(grads)[:, None], state) if hasattr(self.cell, "diagnose") else {}

    @property
    def named_variables(self) -> dict[str, keras.Variable]:
        """The cell's `named_weights`; without such, its trainable weights in their order: `0/kernel`, `1/bias`, ..."""
        if hasattr(self.cell, "named_weights"):
            return dict(self.cell.named_weights)
        return {f"{index}/{weight.name}": weight for index, weight in enumerate(self.cell.trainable_weights)}


class HierarchicalOptimizer(Optimizer):
    """Runs a Keras cell on all coordinates of the optimizee, and tells it which of them form a tensor.

    Args:
        cell: a layer whose `get_initial_state(sizes=..., seed=...)` makes a state, and that returns updates `[N, 1]`
            and a state when called as `cell(gradients [N, 1], state, sizes=...)`; `sizes` are the static numbers of
            coordinates of the tensors, `(n_1, ..., n_K)`. It may have `columns(gradients [1, N], state, sizes=...)`,
            with matrices transposed, which loops then use.
        kind: name of the architecture; default: the cell's class.

    Raises:
        ValueError: if it is no layer with initial states.
    """

    def __init__(self, cell: keras.layers.Layer, kind: str | None = None):
        contract.require_cell(cell, kind or type(cell).__name__)
        self.cell = cell
        self.name = self.kind = kind or type(cell).__name__
        self.architecture = cell.get_config()
        if not cell.built:
            cell.build((None, 1))

    def initial_state(self, params: Params, seed: Seed) -> State:
        return self.cell.get_initial_state(sizes=nest.sizes(params), seed=seed)

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        outputs, state = self.cell(nest.flatten(grads)[:, None], state, sizes=nest.sizes(params))
        return nest.unflatten(outputs[:, 0], like=params), state

    def _update_columns(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        outputs, state = self.cell.columns(nest.flatten(grads)[None, :], state, sizes=nest.sizes(params))
        return nest.unflatten(outputs[0], like=params), state

    def loop(self) -> Loop:
        return (
            Loop(nest.transposed, self._update_columns, nest.transposed)
            if hasattr(self.cell, "columns")
            else super().loop()
        )

    def diagnose(self, grads: Params, state: State) -> dict[str, tf.Tensor]:
        return self.cell.diagnose(nest.flatten(grads)[:, None], state)

    @property
    def named_variables(self) -> dict[str, keras.Variable]:
        return dict(self.cell.named_weights)


def _cut(state: State, first, size: int, *, axis: int) -> State:
    """`size` coordinates of every tensor `[N, H]` (axis 0) or `[H, N]` (axis 1)."""

    def cut(x):
        begin, sizes = [0] * x.shape.rank, x.shape.as_list()
        begin[axis], sizes[axis] = first, size
        return tf.slice(x, begin, sizes)

    return tf.nest.map_structure(cut, state)
