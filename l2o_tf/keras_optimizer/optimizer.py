"""A trained optimizer as `keras.optimizers.Optimizer`, for `model.compile` and `model.fit`.

The rule is the one that was meta-trained, called as the unroll calls it: once per step, on all trainable variables in
their order. `s` is its state, `g` the gradient, t the number of steps so far::

    Δ, s <- rule(g, θ, loss, t, horizon; s),    θ <- θ + learning_rate · Δ

The state is held as the unroll holds it (`l2o_tf.keras_optimizer.held`), and so a step costs what the unroll's does.

With `guard=True` Adam takes over where that fails (`l2o_tf.keras_optimizer.guard`).
"""

import dataclasses
import functools
import math
import numbers
import warnings
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from keras.src.saving import serialization_lib

from l2o_tf.common import nest
from l2o_tf.common.nest import Params
from l2o_tf.common.quoting import few
from l2o_tf.keras_optimizer import bits, guard, memory, state_rows
from l2o_tf.keras_optimizer.guard import Guard
from l2o_tf.keras_optimizer.held import DTYPES, Rounded, held
from l2o_tf.keras_optimizer.memory import path_of, value_of
from l2o_tf.keras_optimizer.source import Source, learned_from, packed
from l2o_tf.optimizers import CELLS, Optimizer, Step, blocks
from problems.base import make_seed

_maybe_merge_call = tf.__internal__.distribute.interim.maybe_merge_call  # as Keras's own optimizers do

RESTS = ("sparse", "rows", "none")


@keras.saving.register_keras_serializable(package="l2o_tf")
class LearnedOptimizer(keras.optimizers.Optimizer):
    """A learned optimizer with the interface of Keras's own.

    Its state is in `optimizer.variables`, its meta-parameters φ in its configuration: a saved model continues exactly,
    and needs no other file but that of a user's own cell (`import l2o_tf` before it is loaded). Sparse gradients are
    made dense. A variable without a gradient in a step stays as it is; for the state its gradient is zero.

    A file of weights may be loaded with other layers frozen (`memory`). One warning lists the state that is left out,
    and the variables that begin anew.

    Under `tf.distribute` each replica computes the same update from the summed gradients.

    Args:
        source: a shipped name (`l2o_tf.list_pretrained()`), the folder of a run, a weight file of the original program;
            an optimizer in memory, of whose meta-parameters a copy is taken; or the dictionary that `get_config` makes
            of these.
        learning_rate: factor of the update; a number or a Keras schedule. Default 1.0: as it was measured.
        seed: decides what the optimizer draws for itself: L2O-Scale its first learning rates. Default 0.
        guard: whether Adam takes over where the learned update is not finite or the loss gets stuck; default False. A
            `Guard`, or a dictionary of what differs from `Guard()`, sets when: `{"patience": 3}`. It needs the loss,
            which `model.fit` hands to `scale_loss`. `guard_report()` and a warning at the end of `fit` say when it has
            acted.
        rest: what does not move in a step in which its gradient is exactly zero. `"sparse"` (default): each variable as
            a whole; if its gradients are sparse (`tf.IndexedSlices`: the table of an embedding), each of its rows along
            axis 0. `"rows"`: each row of every variable. `"none"`: nothing, as in meta-training. The state of a row
            that rests does not change; that of a whole variable does, with a gradient of zero. Weight decay acts
            everywhere, and so does Adam after a guard has handed over to it.
        allow_code: whether Python code that was kept in the folder may run; default False.
        horizon: how many steps there will be, for a rule that looks at it. Default 0: unknown.
        state_dtype: `"float32"` (default), or `"bfloat16"`, in which what a rule that ships remembers of its units
            takes half the memory (`l2o_tf.keras_optimizer.held.Rounded`). It computes in float32 in any case.
        **options: those of every Keras optimizer: `name`, `weight_decay` (per step, times `learning_rate`), `clipnorm`,
            `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`.

    Raises:
        ValueError: if there is no such optimizer, it has no meta-parameters, its weights are damaged, or the guard's
            settings are wrong; in a step, if the guard, or a rule that looks at the loss, has not been told the loss.
            In `get_config`, if another process could not make the rule: one of a class that is in no file.

    Example:
        >>> import keras, numpy as np, l2o_tf
        >>> model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
        >>> model.compile(optimizer=l2o_tf.LearnedOptimizer("RNNprop-CL-IL"), loss="mse")
        >>> history = model.fit(np.ones([8, 2]), np.ones([8]), epochs=2, verbose=0)
    """

    _is_wrapped = False

    def __init__(
        self,
        source: Source,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        seed: int = 0,
        guard: bool | Guard | Mapping[str, Any] = False,
        rest: str = "sparse",
        allow_code: bool = False,
        horizon: int = 0,
        state_dtype: str = "float32",
        **options,
    ):
        if rest not in RESTS:
            raise ValueError(f"Received rest={rest!r}, expected one of {RESTS}.")
        if state_dtype not in DTYPES:
            raise ValueError(f"Received state_dtype={state_dtype!r}, expected one of {DTYPES}.")
        if type(horizon) is not int or horizon < 0:
            raise ValueError(f"Received horizon={horizon!r}, expected a number of steps, or 0 if it is unknown.")
        if isinstance(learning_rate, numbers.Real) and not isinstance(learning_rate, bool):  # Keras takes floats only
            learning_rate = float(learning_rate)
            if not math.isfinite(learning_rate):
                raise ValueError(f"Received learning_rate={learning_rate}, expected a finite number or a schedule.")
        options.setdefault("name", "learned_optimizer")
        super().__init__(learning_rate=learning_rate, **options)
        self.seed, self.rest, self.horizon, self.state_dtype = seed, rest, horizon, state_dtype
        self.learned, weights = learned_from(source, allow_code)
        self._rule = Rounded(self.learned) if state_dtype == "bfloat16" else self.learned
        self._packed = functools.partial(packed, self.learned, weights)  # in a function: Keras tracks dictionaries
        self._guard = Guard.of(guard)
        self._tables: set[str] = set()
        self._knows_loss = False
        self._wants_loss = bool(self._guard) or _looks_at_loss(self.learned)
        if self._wants_loss:
            self._loss = self.add_variable((), dtype="float32", aggregation="sum", name="loss")

    @property
    def state(self) -> tuple[Any, Any]:
        """The variables of the learned optimizer's state, in the layout of `loop`, and of the guard's."""
        return self._as_state(self._state)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "loss_scale_factor":  # the constructor sets it, and then a LossScaleOptimizer that takes this over
            super().__setattr__("_is_wrapped", "loss_scale_factor" in vars(self) and value is None)
        super().__setattr__(name, value)

    def build(self, variables: Sequence[keras.Variable | tf.Variable]) -> None:
        """Makes the state for these variables; a ValueError if one is not a floating-point one."""
        if self.built:
            return
        wrong = [path_of(v) for v in variables if not value_of(v).dtype.is_floating]
        if wrong:
            raise ValueError(f"Received trainable variables {wrong} that are no floating-point numbers; freeze them.")
        super().build(variables)
        with tf.init_scope():
            params = {str(i): tf.zeros(v.shape) for i, v in enumerate(variables)}
            initial, self.loop = held(self._rule, params, make_seed(self.seed))
            self._is_large = nest.size(params) >= blocks.SIZE
            state = initial(), self._initial_watch(params)
            self._as_state = functools.partial(tf.nest.pack_sequence_as, tf.nest.map_structure(lambda _: 0, state))
            with keras.name_scope(self.name, caller=self):
                values = enumerate(tf.nest.flatten(state))
                made = [_StateVariable(self, value, name=f"state_{i}") for i, value in values]
        for variable in made:
            self._track_variable(variable)
        self._state = made  # after that: Keras tracks what is assigned and new

    def initial_state(self, params: Params) -> tuple[Any, Any]:
        """The state of the learned optimizer, in rows, and that of the guard before the first step."""
        return self.learned.initial_state(params, make_seed(self.seed)), self._initial_watch(params)

    def _initial_watch(self, params: Params) -> Any:
        return guard.initial_state(self._guard, params) if self._guard else ()

    def kinds_of_state(self) -> tuple[Any, Any]:
        """What the parts of both states stand for (`state_rows`)."""
        with tf.init_scope():
            return state_rows.kinds(self.initial_state)

    def _check_variables_are_known(self, variables: Sequence[keras.Variable | tf.Variable]) -> None:
        """Adds variables that are new: layers may thaw or join. (Keras's own optimizers refuse new variables.)"""
        unknown = [v for v in variables if self._var_key(v) not in self._trainable_variables_indices]
        if unknown and len(unknown) == len(variables) and self._trainable_variables:
            paths = few(list(map(path_of, unknown)), ", ")
            raise ValueError(
                f"Received the variables {paths}, none of which this optimizer has trained so far, "
                "expected those of one model. Make an optimizer for each model: "
                "optimizer.from_config(optimizer.get_config())."
            )
        if unknown:
            _maybe_merge_call(self._grow, self._distribution_strategy, list(variables))

    def _grow(self, distribution: tf.distribute.Strategy, variables: list[keras.Variable | tf.Variable]) -> None:
        """Makes the state anew, for these and all earlier variables, and copies what was known of the earlier ones."""
        with tf.init_scope(), distribution.scope():
            before, old = list(self._trainable_variables), memory.memory_of(self)
            places = {self._var_key(variable): i for i, variable in enumerate(before)}
            now = variables + [v for v in before if self._var_key(v) not in set(map(self._var_key, variables))]
            for variable in tf.nest.flatten(memory.variables_of(self)):
                self._untrack_variable(variable)
            self.built = False
            self.build(now)
            kept = [places.get(self._var_key(variable)) for variable in now]
            memory.remember(self, old, [variable.shape for variable in before], kept)

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Keras's hook: stores everything by name (`memory`)."""
        if self.built:
            memory.save(self, store)
        else:
            super().save_own_variables(store)

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Keras's hook: gives each variable the state of the same variable in the file; a warning says what is left.

        Files of earlier versions do not name variables; they are loaded if all shapes agree.
        """
        told, named = "", memory.VARIABLES in set(store.keys())
        if self.built and named:
            told = memory.load(self, store)
        elif not self.built or len(store.keys()) != len(self.variables):
            super().load_own_variables(store)  # of another number Keras says so itself
        elif not memory.load_numbered(self, store):
            told = "left out, since the file does not name its variables"
        if told:
            warnings.warn(f"State of the optimizer {self.name!r}: {told}.", stacklevel=2)

    def apply(self, grads: Sequence, trainable_variables: Sequence[keras.Variable | tf.Variable] | None = None) -> None:
        """One step, as with every Keras optimizer; the gradients of a variable that is given twice are added.

        Raises:
            ValueError: if there is not one gradient for each variable, of its shape; if none of the variables is known;
                if all gradients are None.
        """
        if trainable_variables is None and len(grads) == len(self._trainable_variables):
            trainable_variables = self._trainable_variables
        if not len(grads) or trainable_variables is None:
            return super().apply(grads, trainable_variables)
        grads, variables = list(grads), list(trainable_variables)
        if len(grads) != len(variables):
            raise ValueError(f"Received {len(grads)} gradients for {len(variables)} variables, expected one for each.")
        found = {self._var_key(variable): (variable, []) for variable in variables}
        for grad, variable in zip(grads, variables, strict=True):
            if grad is None:
                continue
            if not tf.TensorShape(variable.shape).is_compatible_with(grad.shape):
                raise ValueError(
                    f"Received a gradient of shape {tuple(grad.shape)} for {path_of(variable)}, expected its shape "
                    f"{tuple(variable.shape)}."
                )
            found[self._var_key(variable)][1].append(grad)
            if isinstance(grad, tf.IndexedSlices):
                self._tables.add(self._var_key(variable))
        variables, parts = zip(*found.values(), strict=True)
        sums = [tf.add_n(each) if len(each) > 1 else next(iter(each), None) for each in parts]
        return super().apply(sums, list(variables))

    def _backend_update_step(self, grads, trainable_variables, learning_rate) -> None:
        """One call of the cell for all variables; Keras's own hook for steps that are not variable by variable."""
        if self._wants_loss and not self._knows_loss:
            who = "guard=True" if self._guard else f"the rule {self.learned.name}, which looks at the loss"
            raise ValueError(
                f"Received {who}, but no loss. In a training step of your own, call optimizer.scale_loss(loss) "
                "before the gradients are taken. A LossScaleOptimizer keeps the loss to itself: in its place, take "
                "model.compile(..., auto_scale_loss=False) and loss_scale_factor=... here."
            )
        indices = [str(self._get_variable_index(variable)) for variable in trainable_variables]
        dense = [tf.convert_to_tensor(grad) for grad in grads]
        with_grad = [value_of(variable) for variable in trainable_variables]
        reduced = [grad for grad, _ in self._all_reduce_sum_gradients(list(zip(dense, with_grad, strict=True)))]
        variables = [value_of(variable) for variable in self._trainable_variables]
        state = [variable.value for variable in self._state]
        loss = self._loss.value if self._wants_loss else None

        by_row = tuple(i for i, v in zip(indices, trainable_variables, strict=True) if self._rests_by_row(v))

        def on_all_devices(distribution, reduced, variables, state, loss):
            def step(_, grads, variables, state, loss):
                clock = tf.cast(learning_rate, tf.float32), tf.cast(self.iterations, tf.int32)
                make = self._compiled_step if self._is_compiled(*variables, *state) else self._step
                make(indices, by_row, grads, variables, state, loss, *clock)

            arguments = (reduced, variables, state, loss)
            distribution.extended.update(variables[0], step, args=arguments, group=False)

        _maybe_merge_call(on_all_devices, self._distribution_strategy, reduced, variables, state, loss)

    def _is_compiled(self, *variables: tf.Variable) -> bool:
        """Whether XLA compiles the step even where it does not compile the program around it.

        That of a large model, by a rule that XLA is known to compile. XLA wants all variables on one device.
        """
        return self._is_large and self.learned.kind in CELLS and len({variable.device for variable in variables}) == 1

    def _step(self, indices, by_row, grads, variables, state, loss, learning_rate, index) -> None:
        """The equation of the module's docstring, on one device.

        `indices`: of the variables that have gradients; `by_row`: of those whose rows rest one by one.
        """
        params = {str(i): tf.cast(variable, tf.float32) for i, variable in enumerate(variables)}
        given = {i: tf.cast(grad, tf.float32) for i, grad in zip(indices, grads, strict=True)}
        grads = {i: given.get(i, tf.zeros(tensor.shape)) for i, tensor in params.items()}
        learned, watch = self._as_state([tf.convert_to_tensor(s) for s in state])
        rows = {i: state_rows.moving_rows(given[i]) for i in by_row}

        def propose():
            horizon, known = tf.constant(self.horizon, tf.int32), {} if loss is None else {"loss": tf.identity(loss)}
            updates, after = self.loop.update(Step(grads, params, index=index, horizon=horizon, **known), learned)
            updates = {i: learning_rate * update for i, update in updates.items()}
            if self.rest == "none":
                return updates, after
            moving = {i: rows[i] if i in rows else tf.reduce_any(grad != 0.0) for i, grad in grads.items()}
            updates = {i: tf.where(moving[i], update, 0.0) for i, update in updates.items()}
            return updates, self._rested(rows, params, learned, after) if rows else after

        if self._guard:
            is_finite = bits.is_finite if self.state_dtype == "bfloat16" else guard.is_finite
            arguments = self._guard, propose, learned, watch, loss, grads, params, is_finite
            updates, back, there, *after = guard.step(*arguments)
            for i, variable in enumerate(variables):
                moves = str(i) in indices
                if moves or self._trainable_variables[i].trainable:  # frozen ones do not go back
                    variable.assign(guard.moved(str(i), variable, updates if moves else None, back, there))
        else:
            updates, learned = propose()
            after = (learned, ())
            for i in indices:
                variables[int(i)].assign_add(tf.cast(updates[i], variables[int(i)].dtype))
        for variable, value in zip(state, tf.nest.flatten(after), strict=True):
            variable.assign(value)

    _compiled_step = tf.function(_step, jit_compile=True, autograph=False)

    def _rested(self, rows: Params, params: Params, before: Any, after: Any) -> Any:
        """The learned optimizer's state, as it is held, where only these rows of the variables have moved."""
        with tf.init_scope():
            shapes = state_rows.shapes(self.initial_state, [tensor.shape for tensor in params.values()])
        moving = self.loop.enter(state_rows.moving(self.kinds_of_state()[0], shapes[0], rows, params))
        which, *states = map(tf.nest.flatten, (moving, after, before))
        chosen = [tf.where(tf.cast(new, tf.bool), x, y) for new, x, y in zip(which, *states, strict=True)]
        return tf.nest.pack_sequence_as(after, chosen)

    def _rests_by_row(self, variable: tf.Variable) -> bool:
        return self.rest == "rows" or (self.rest == "sparse" and self._var_key(variable) in self._tables)

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        """Keras's hook between loss and gradients: here the optimizer is told the loss. `model.fit` calls it."""
        if self._wants_loss:
            self._knows_loss = True
            self._loss.assign(tf.cast(loss, tf.float32))
        return super().scale_loss(loss)

    def guard_report(self) -> dict[str, int | str | None]:
        """What the guard has done so far; a ValueError if there is none, or nothing has been trained yet.

        Returns:
            `"fallback"`: the step in which the learned optimizer was given up, or None; `"adam_from"`: None, or where
            Adam began that is at work now: `"start"` or `"best"`; `"rescues"`: how many updates of single tensors were
            Adam's before that, since the learned ones were not finite.
        """
        if not self._guard or not self.built:
            raise ValueError("Received an optimizer without a guard, or before its first step; pass guard=True, train.")
        watch = self.state[1]
        fallback, rescues, phase = (int(v.numpy()) for v in (watch.fallback, watch.rescues, watch.phase))
        adam_from = {guard.LEARNED: None, guard.FROM_BEST: "best"}.get(phase, "start")
        return {"fallback": None if fallback == guard.NEVER else fallback, "adam_from": adam_from, "rescues": rescues}

    def finalize_variable_values(self, var_list) -> None:
        """Keras's hook at the end of `fit`: says whether the guard has acted."""
        super().finalize_variable_values(var_list)
        if self._guard and any(self.guard_report().values()):
            logging.warning("The guard of %s has acted: %s.", self.learned.name, self.guard_report())

    def get_config(self) -> dict[str, Any]:
        """Arguments that make it again; φ is part of them."""
        settings = dataclasses.asdict(self._guard) if self._guard else False
        own = {"seed": self.seed, "guard": settings, "rest": self.rest, "horizon": self.horizon}
        return {**super().get_config(), "source": self._packed(), **own, "state_dtype": self.state_dtype}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """The inverse of `get_config`. An `allow_code` in it counts for nothing: Keras's safe mode decides.

        Raises:
            ValueError: as the constructor; if there is an argument that it does not have; if the configuration comes
                from a file and names Python code, unless Keras may run code (`load_model(..., safe_mode=False)`).
        """
        try:
            allow_code = serialization_lib.in_safe_mode() is False
            return super().from_config({**config, "allow_code": allow_code}, custom_objects)
        except (TypeError, KeyError) as error:  # to which Keras would add the whole configuration
            raise ValueError(
                f"Received a configuration of another version ({type(error).__name__}: {error}), with {sorted(config)}."
            ) from None


class _StateVariable(keras.Variable):
    """State of the learned optimizer.

    Keras's LossScaleOptimizer stores a second copy of what the optimizer has that it wraps, and loads it by number,
    before `load_own_variables` reads the first one. Where other layers are frozen, shapes differ. So values of other
    shapes are ignored as long as the optimizer is wrapped.
    """

    def __init__(self, optimizer: LearnedOptimizer, value: tf.Tensor, name: str):
        self._optimizer = optimizer
        super().__init__(lambda shape, dtype: value, value.shape, value.dtype.name, False, name=name)

    def assign(self, value: Any) -> Any:
        if self._optimizer._is_wrapped and tuple(np.shape(value)) != tuple(self.shape):
            return self
        return super().assign(value)


def _looks_at_loss(learned: Optimizer) -> bool:
    """Whether the rule asks for the loss, by a step on two small tensors. Those that ship do not."""
    if learned.kind in CELLS:
        return False
    asked = []

    class Watched(Step):
        @property
        def loss(self):
            asked.append(True)
            return tf.constant(0.0)

    with tf.init_scope():
        params = {"0": tf.zeros([2]), "1": tf.zeros([2, 2])}
        learned.update(Watched(params, params), learned.initial_state(params, make_seed(0)))
    return bool(asked)
