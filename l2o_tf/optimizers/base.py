"""What every optimizer is: student, teacher and baseline share one interface::

    state = optimizer.initial_state(params, seed)
    updates, state = optimizer.update(Step(grads, params), state)
    params = nest.add(params, updates)                        # the sign is in the update

`Analytic` is a pair of pure functions. `CoordinatewiseOptimizer` is a Keras RNN cell whose batch axis is the
optimizee's coordinates; the cell's weights are the meta-parameters φ, and everything that the update rule remembers
lives in the cell's states. `HierarchicalOptimizer` is the same for cells that also tell the optimizee's tensors apart.
Any other rule is a subclass of `Optimizer`.
"""

import abc
import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers import contract
from problems.base import Params, Seed

State = Any


class Step(NamedTuple):
    """Everything that a rule may look at in one step; most read `grads` only.

    Attributes:
        grads: `∇f(θ_t)`; same names and shapes as `params`.
        params: `θ_t`.
        loss: `f(θ_t)` on the minibatch of the gradients, a scalar. Of K optimizees side by side it is `[K]`, and every
            tensor has a leading axis of K. (A block of n coordinates is `[n]`, with n losses or with one for all.)
            `losses` fits it to the tensors in every case. NaN if unknown. It counts as a constant in
            first-order meta-gradients, like `grads`.
        index: t, int32 scalar: steps done in this run. Default 0.
        horizon: steps of this run, int32 scalar; 0 (default) if unknown.

    Example:
        >>> import l2o_tf as l2o
        >>> import tensorflow as tf
        >>> rule, params = l2o.load("Adam:0.1"), {"x": tf.constant([1.0, 2.0])}
        >>> updates, state = rule.update(l2o.Step(params, params), rule.initial_state(params, seed=None))
        >>> updates["x"].numpy().round(3)
        array([-0.1, -0.1], dtype=float32)
    """

    grads: Params
    params: Params
    loss: tf.Tensor | float = math.nan
    index: tf.Tensor | int = 0
    horizon: tf.Tensor | int = 0

    @property
    def losses(self) -> Params:
        """Name -> `loss` in a shape that broadcasts against the tensor of that name: `[]`, or `[K, 1, ..., 1]`."""
        loss = tf.convert_to_tensor(self.loss, next(iter(self.params.values())).dtype)
        if not loss.shape.rank:
            return dict.fromkeys(self.params, loss)
        return {name: tf.reshape(loss, [-1] + [1] * (x.shape.rank - 1)) for name, x in self.params.items()}

    def flat(self) -> "Step":
        """The same step with all N coordinates in one tensor, `{"block": [N]}`."""
        loss = tf.convert_to_tensor(self.loss, next(iter(self.params.values())).dtype)
        loss = nest.per_coordinate(loss[None], self.params)[0] if loss.shape.rank else loss
        grads, params = ({"block": nest.flatten(each)} for each in (self.grads, self.params))
        return self._replace(grads=grads, params=params, loss=loss)

    def block(self, first: tf.Tensor, size: int) -> "Step":
        """Coordinates `first ... first + size - 1` of a step that is `flat`."""
        grads, params = ({"block": tf.slice(each["block"], [first], [size])} for each in (self.grads, self.params))
        loss = tf.slice(self.loss, [first], [size]) if self.loss.shape.rank else self.loss
        return self._replace(grads=grads, params=params, loss=loss)


Update = Callable[[Step, State], tuple[Params, State]]
"""What `Optimizer.update` is."""


class Blocks(NamedTuple):
    """How a loop runs a rule on some of the coordinates, which it treats one by one.

    Attributes:
        cut: `(state, first, n) -> state` of the coordinates `first ... first + n - 1`, in the loop's layout.
        update: `Optimizer.update` for what `cut` returns; parameters are `{"block": [n]}`.
        size: n, if it is not free: then `first` is the beginning of a block.
        cached: a good n for a processor, at which what a step computes stays in the cache; None where more is better.
    """

    cut: Callable[[State, tf.Tensor, int], State]
    update: Update
    size: int | None = None
    cached: int | None = None


class Sampling(NamedTuple):
    """How a rule runs on a sample of the coordinates, which it treats one by one.

    Attributes:
        pick: `(state, where [n], params) -> state` of the coordinates `where`, of a state in the loop's layout.
        loop: `() -> Loop`, which runs the rule on what `pick` returns; parameters are `{"block": [n]}`.
    """

    pick: Callable[[State, tf.Tensor, Params], State]
    loop: Callable[[], Any]


class Loop(NamedTuple):
    """An optimizer as a loop holds it: the same rule, its state perhaps in another layout.

    Attributes:
        enter, leave: `state -> state`, into the loop's layout before the first step, and back after the last.
        update: `Optimizer.update` for states in that layout.
        blocks: the rule on some contiguous coordinates; None where they depend on each other.
        sampling: the rule on any of the coordinates; None where they depend on each other.
    """

    enter: Callable[[State], State]
    update: Update
    leave: Callable[[State], State]
    blocks: Blocks | None = None
    sampling: Sampling | None = None


def _origin(cls: type) -> str:
    """`path/to/file.py:Class` of a class in a file; of any other, e.g. in a notebook, its name."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    return f"{file}:{cls.__name__}" if file.endswith(".py") and cls.__qualname__ == cls.__name__ else cls.__name__


class Optimizer(abc.ABC):
    """An update rule whose state goes in and comes out.

    A rule of your own needs `initial_state` and `update`; if it learns, also `named_variables`, whose values are
    `keras.Variable`s; if its constructor takes arguments, also `architecture`.

    Attributes:
        name: name in records, tables and plots. Default: the name of the class.
        kind: under which name `l2o_tf.optimizers.make_optimizer` makes it, e.g. `"adam"`, `"L2O-DM"`, or
            `"path/to/file.py:Class"`. Default: the file and the name of the class.
        architecture: arguments of its constructor, as JSON types. Default: none.
        coordinatewise: whether it treats every coordinate alike and by itself, so that it can run several optimizees
            side by side, or on a sample of the coordinates. Its state is made of dictionaries with the names of the
            parameters, of tensors with a row for each coordinate, and of what all coordinates share. Default False.

    Example:
        >>> import l2o_tf as l2o
        >>> import tensorflow as tf
        >>> class SignDescent(l2o.Optimizer):
        ...     coordinatewise = True
        ...     def initial_state(self, params, seed):
        ...         return ()
        ...     def update(self, step, state):
        ...         return {name: -0.01 * tf.sign(grad) for name, grad in step.grads.items()}, state
        >>> SignDescent().name
        'SignDescent'
    """

    name: str
    kind: str
    architecture: dict[str, Any]
    coordinatewise: bool = False

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        for name, value in {"name": cls.__name__, "kind": _origin(cls), "architecture": {}}.items():
            if name not in vars(cls):
                setattr(cls, name, value)

    @abc.abstractmethod
    def initial_state(self, params: Params, seed: Seed) -> State:
        """The state before the first step, at `θ_0`: a nest of tensors.

        The seed, int32 `[2]`, decides what an optimizer draws for a run, e.g. L2O-Scale its first learning rates.
        """

    @abc.abstractmethod
    def update(self, step: Step, state: State) -> tuple[Params, State]:
        """One step: `(Δθ_t, state)` with `θ_{t+1} = θ_t + Δθ_t`, in the order of the parameters."""

    def at(self, phi: Sequence[tf.Tensor]) -> "Optimizer":
        """The same rule with other values for `trainable_variables`, to which gradients flow; nothing is assigned.

        Raises:
            ValueError: if their number or a shape is wrong.
        """
        return WithParameters(self, phi)

    def loop(self) -> Loop:
        """How a loop of many steps should run it; by default as it is."""
        sampling = Sampling(_pick, self.loop) if self.coordinatewise else None
        return Loop(lambda state: state, self.update, lambda state: state, sampling=sampling)

    def diagnose(self, grads: Params, state: State) -> dict[str, tf.Tensor]:
        """Inner quantities worth a histogram, e.g. gate activations; none by default."""
        return {}

    @property
    def named_variables(self) -> dict[str, keras.Variable]:
        """Meta-parameters φ by name; empty for analytic optimizers."""
        return {}

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Meta-parameters φ in a fixed order."""
        return list(self.named_variables.values())


class WithParameters(Optimizer):
    """What `Optimizer.at` returns: a rule that reads the given tensors where it has variables."""

    def __init__(self, optimizer: Optimizer, phi: Sequence[tf.Tensor]):
        self.name, self.kind, self.architecture = optimizer.name, optimizer.kind, optimizer.architecture
        self.coordinatewise = optimizer.coordinatewise
        variables, phi = optimizer.trainable_variables, list(phi)
        found, expected = ([tuple(x.shape) for x in each] for each in (phi, variables))
        if found != expected:
            raise ValueError(f"Received meta-parameters of shapes {found}, expected {expected}.")
        self._optimizer, self._mapping = optimizer, list(zip(variables, phi, strict=True))

    def _applied(self, function: Callable) -> Callable:
        """The same function, in which the variables have these values."""

        def applied(*arguments):
            with keras.StatelessScope(self._mapping):
                return function(*arguments)

        return applied

    def initial_state(self, params: Params, seed: Seed) -> State:
        return self._applied(self._optimizer.initial_state)(params, seed)

    def update(self, step: Step, state: State) -> tuple[Params, State]:
        return self._applied(self._optimizer.update)(step, state)

    def loop(self) -> Loop:
        return self._with_parameters(self._optimizer.loop())

    def _with_parameters(self, loop: Loop) -> Loop:
        blocks, sampling = loop.blocks, loop.sampling
        return loop._replace(
            update=self._applied(loop.update),
            blocks=blocks and blocks._replace(update=self._applied(blocks.update)),
            sampling=sampling and sampling._replace(loop=lambda: self._with_parameters(sampling.loop())),
        )


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
        self._init, self._update = init, update

    def initial_state(self, params: Params, seed: Seed) -> State:
        return self._init(params)

    def update(self, step: Step, state: State) -> tuple[Params, State]:
        return self._update(step.grads, state, step.params)


class CellOptimizer(Optimizer):
    """Runs a Keras cell on all coordinates of the optimizee."""

    def __init__(self, cell: keras.layers.Layer, kind: str | None):
        self.cell, self.architecture = cell, cell.get_config()
        self.name = self.kind = kind or type(cell).__name__
        if not cell.built:
            cell.build((None, 1))

    def _options(self, params: Params) -> dict[str, Any]:
        """What the cell is told besides gradients and states."""
        return {}

    def update(self, step: Step, state: State) -> tuple[Params, State]:
        outputs, after = self.cell(nest.flatten(step.grads)[:, None], state, **self._options(step.params))
        state = tf.nest.pack_sequence_as(state, tf.nest.flatten(after))  # which may have tuples for lists
        return nest.unflatten(outputs[:, 0], like=step.params), state

    def _update_columns(self, step: Step, state: State) -> tuple[Params, State]:
        outputs, state = self.cell.columns(nest.flatten(step.grads)[None, :], state, **self._options(step.params))
        return nest.unflatten(outputs[0], like=step.params), state

    def loop(self) -> Loop:
        if not hasattr(self.cell, "columns"):
            return super().loop()
        return Loop(nest.transposed, self._update_columns, nest.transposed)

    def diagnose(self, grads: Params, state: State) -> dict[str, tf.Tensor]:
        return self.cell.diagnose(nest.flatten(grads)[:, None], state) if hasattr(self.cell, "diagnose") else {}

    @property
    def named_variables(self) -> dict[str, keras.Variable]:
        """The cell's `named_weights`; without such, its trainable weights in their order: `0/kernel`, `1/bias`, ..."""
        if hasattr(self.cell, "named_weights"):
            return dict(self.cell.named_weights)
        return {f"{index}/{weight.name}": weight for index, weight in enumerate(self.cell.trainable_weights)}


class CoordinatewiseOptimizer(CellOptimizer):
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
        super().__init__(cell, kind)

    def initial_state(self, params: Params, seed: Seed) -> State:
        return self.cell.get_initial_state(batch_size=nest.size(params))

    def loop(self) -> Loop:
        loop, has_columns = super().loop(), hasattr(self.cell, "columns")
        axis = 1 if has_columns else 0
        blocks = Blocks(functools.partial(_cut, axis=axis), loop.update, cached=2**10 if has_columns else None)
        return loop._replace(blocks=blocks, sampling=Sampling(functools.partial(_gather, axis=axis), self.loop))


class HierarchicalOptimizer(CellOptimizer):
    """Runs a Keras cell on all coordinates of the optimizee, and tells it which of them form a tensor.

    Args:
        cell: as that of `CoordinatewiseOptimizer`, but its `get_initial_state`, `call` and `columns` also take
            `sizes=(n_1, ..., n_K)`, the static numbers of coordinates of the tensors, and `get_initial_state` a `seed`.
        kind: name of the architecture; default: the cell's class.

    Raises:
        ValueError: if it is no layer with initial states.
    """

    def __init__(self, cell: keras.layers.Layer, kind: str | None = None):
        contract.require_cell(cell, kind or type(cell).__name__)
        super().__init__(cell, kind)

    def initial_state(self, params: Params, seed: Seed) -> State:
        return self.cell.get_initial_state(seed=seed, **self._options(params))

    def _options(self, params: Params) -> dict[str, Any]:
        return {"sizes": nest.sizes(params)}


def _cut(state: State, first, size: int, *, axis: int) -> State:
    """`size` coordinates of every tensor `[N, H]` (axis 0) or `[H, N]` (axis 1)."""

    def cut(x):
        begin, sizes = [0] * x.shape.rank, x.shape.as_list()
        begin[axis], sizes[axis] = first, size
        return tf.slice(x, begin, sizes)

    return tf.nest.map_structure(cut, state)


def _gather(state: State, where: tf.Tensor, params: Params, *, axis: int) -> State:
    """The coordinates `where` of every tensor `[N, H]` (axis 0) or `[H, N]` (axis 1)."""
    del params
    return tf.nest.map_structure(lambda x: tf.gather(x, where, axis=axis), state)


def _pick(state: State, where: tf.Tensor, params: Params) -> State:
    """The coordinates `where` of the state of any rule that treats coordinates one by one, see `coordinatewise`."""
    if isinstance(state, Mapping):
        if state.keys() == params.keys():
            return {"block": tf.gather(nest.flatten({name: state[name] for name in params}), where)}
        return {name: _pick(part, where, params) for name, part in state.items()}
    if isinstance(state, tuple | list):
        parts = [_pick(part, where, params) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    if state.shape.rank and state.shape[0] == nest.size(params):
        return tf.gather(state, where)
    return state
