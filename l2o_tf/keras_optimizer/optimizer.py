"""A trained optimizer as `keras.optimizers.Optimizer`, for `model.compile` and `model.fit`.

    import l2o_tf
    model.compile(optimizer="L2O-DM-CL-IL", loss=...)                              # by name
    model.compile(optimizer=LearnedOptimizer("runs/mine", learning_rate=0.5), loss=...)

The cell is the one that was meta-trained, called as the unroll calls it: once per step, on the coordinates of all
trainable variables in their order. `s` is its state, `g` the gradient::

    Δ, s <- cell(g, s),    θ <- θ + learning_rate · Δ

With `guard=True` Adam takes over where that fails (`l2o_tf.keras_optimizer.guard`).
"""

import base64
import io
import math
import os
import sys
import warnings
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from keras.src.saving import serialization_lib

from l2o_tf.common import descriptions, nest
from l2o_tf.common.names import pretrained_names
from l2o_tf.common.quoting import few, short
from l2o_tf.common.reading import read_npz
from l2o_tf.keras_optimizer import guard, variable_memory
from l2o_tf.optimizers import Optimizer, Step
from l2o_tf.saving import loading
from problems.base import make_seed

_maybe_merge_call = tf.__internal__.distribute.interim.maybe_merge_call  # as Keras's own optimizers do

RESTS = ("sparse", "rows", "none")
"""What may rest where a gradient is zero; see `LearnedOptimizer`."""


@keras.saving.register_keras_serializable(package="l2o_tf")
class LearnedOptimizer(keras.optimizers.Optimizer):
    """A learned optimizer with the interface of Keras's own.

    Its state is in `optimizer.variables`, its meta-parameters φ in its configuration. So a saved model continues
    exactly, and needs no other file but that of a user's own cell; `import l2o_tf` before it is loaded. φ is not
    trained any more. Sparse gradients are made dense. A variable without a gradient in a step stays as it is; for the
    optimizer's state its gradient is zero.

    A file of weights names the variables to which the state belongs. It may be loaded with other layers frozen: each
    variable gets the state of the same variable in the file (`variable_memory` says which that is). One warning
    lists the state that is left out, and the variables that begin anew.

    Under `tf.distribute` each replica computes the same update from the summed gradients.

    Args:
        source: a shipped name (`l2o_tf.list_pretrained()`), the folder of a run, a weight file of the original program;
            or the dictionary that `get_config` makes of these.
        learning_rate: factor of the update; a number or a Keras schedule. Default 1.0: as it was measured.
        seed: decides what the optimizer draws for itself: L2O-Scale its first learning rates. Default 0.
        guard: whether Adam takes over where the learned update is not finite or the loss gets stuck; default False. A
            dictionary sets what it differs in from `guard.Guard()`: `{"learning_rate": 0.01, "patience": 3}`. It needs
            the loss, which `model.fit` hands to `scale_loss`. `guard_report()` and a warning at the end of `fit` say
            when it has acted.
        rest: what does not move in a step in which its gradient is exactly zero. `"sparse"` (default): each variable as
            a whole; if its gradients are sparse (`tf.IndexedSlices`: the table of an embedding), each of its rows along
            axis 0. `"rows"`: each row of every variable. `"none"`: nothing, as in meta-training. The state of a row
            that rests does not change; that of a whole variable does, with a gradient of zero. Weight decay acts
            everywhere, and so does Adam after a guard has handed over to it.
        allow_code: whether Python code that was kept in the folder may run; default False.
        **options: those of every Keras optimizer: `name`, `weight_decay` (per step, times `learning_rate`), `clipnorm`,
            `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`.

    Raises:
        ValueError: if there is no such optimizer, it is analytic, its weights are damaged, or the guard's settings are
            wrong; in a step, if the guard has not been told the loss.
    """

    def __init__(
        self,
        source: str | os.PathLike | Mapping[str, Any],
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        seed: int = 0,
        guard: bool | Mapping[str, Any] = False,
        rest: str = "sparse",
        allow_code: bool = False,
        **options,
    ):
        if rest not in RESTS:
            raise ValueError(f"Received rest={rest!r}, expected one of {RESTS}.")
        options.setdefault("name", "learned_optimizer")
        super().__init__(learning_rate=learning_rate, **options)
        self.seed = seed
        self.rest = rest
        self._tables = _Hidden(set())
        learned = _found(source, allow_code)
        said = source["name"] if isinstance(source, Mapping) else source
        if not learned.named_variables:
            raise ValueError(
                f"Received source={said!r}, which is not a learned optimizer, expected one of {pretrained_names()} "
                "or a folder; for analytic ones take keras.optimizers."
            )
        patterns = [pattern for pattern, *_ in learned.architecture.get("assignments", []) if pattern != "*"]
        if patterns:
            raise ValueError(
                f"Received source={said!r}, which assigns optimizers to the parameters {patterns} (--net_assignments). "
                "Expected one optimizer for all. To keep a layer as it is, set layer.trainable = False."
            )
        self._learned = _Hidden(learned)
        self._guard = _Hidden(_make_guard(guard))
        self._knows_loss = False
        if self._guard.value:
            self._loss = self.add_variable((), dtype="float32", aggregation="sum", name="loss")

    @property
    def learned(self) -> Optimizer:
        """The optimizer as the unroll knows it."""
        return self._learned.value

    def build(self, variables: Sequence[keras.Variable | tf.Variable]) -> None:
        """Makes the state for these variables.

        Raises:
            ValueError: if a variable is not a floating-point one.
        """
        if self.built:
            return
        wrong = [_path(v) for v in variables if not _value(v).dtype.is_floating]
        if wrong:
            raise ValueError(f"Received trainable variables {wrong} that are no floating-point numbers; freeze them.")
        super().build(variables)
        self._make_state(self._initial_state(variables))

    def _initial_state(self, variables: Sequence[keras.Variable | tf.Variable]) -> tuple:
        with tf.init_scope():
            params = {str(i): tf.zeros(v.shape) for i, v in enumerate(variables)}
            learned = self.learned.initial_state(params, make_seed(self.seed))
            return tf.nest.map_structure(np.array, (learned, self._initial_watch(params)))

    def _initial_watch(self, params: nest.Params) -> guard.GuardState | tuple:
        return guard.initial_state(self._guard.value, params) if self._guard.value else ()

    def _make_state(self, state: tuple) -> None:
        self._structure = _Hidden(tf.nest.map_structure(lambda _: 0, state))
        with keras.name_scope(self.name, caller=self):
            made = [
                _StateVariable(
                    initializer=lambda shape, dtype, v=value: tf.constant(v),
                    shape=value.shape,
                    dtype=value.dtype.name,
                    trainable=False,
                    name=f"state_{i}",
                )
                for i, value in enumerate(tf.nest.flatten(state))
            ]
        for variable in made:
            self._track_variable(variable)
        self._state = made

    def _check_variables_are_known(self, variables: Sequence[keras.Variable | tf.Variable]) -> None:
        """Adds variables that are new: layers may thaw or join. (Keras's own optimizers refuse new variables.)"""
        unknown = [v for v in variables if self._var_key(v) not in self._trainable_variables_indices]
        if unknown and len(unknown) == len(variables) and self._trainable_variables:
            raise ValueError(
                f"Received the variables {few([*map(_path, unknown)], ', ')}, none of which this optimizer has trained "
                "so far, expected those of one model. Make an optimizer for each model: "
                "optimizer.from_config(optimizer.get_config())."
            )
        if unknown:
            _maybe_merge_call(self._grow_on_all_devices, self._distribution_strategy, list(variables))

    def _grow_on_all_devices(
        self, distribution: tf.distribute.Strategy, variables: list[keras.Variable | tf.Variable]
    ) -> None:
        with tf.init_scope(), distribution.scope():
            self._grow(variables)

    def _grow(self, variables: list[keras.Variable | tf.Variable]) -> None:
        """Makes the state anew, for these and all earlier variables, and copies what was known of the earlier ones."""
        before, old = list(self._trainable_variables), self._memory()
        places = {self._var_key(variable): i for i, variable in enumerate(before)}
        now = variables + [v for v in before if self._var_key(v) not in set(map(self._var_key, variables))]
        for variable in self._remembering():
            self._untrack_variable(variable)
        self.built = False
        self.build(now)
        self._remember(old, [places.get(self._var_key(variable)) for variable in now])

    def _averages(self) -> dict[int, keras.Variable]:
        found = self._model_variables_moving_average if self.use_ema else []
        return {i: variable for i, variable in enumerate(found) if variable is not None}

    def _accumulators(self) -> dict[int, keras.Variable]:
        return dict(enumerate(self._accumulated_gradients if self.gradient_accumulation_steps else []))

    def _remembering(self) -> list[keras.Variable]:
        """The variables of `_memory`, in its order."""
        return [*self._averages().values(), *self._accumulators().values(), *self._state]

    def _memory(self) -> variable_memory.Memory:
        """What is known of the variables now."""
        averages, accumulated = (
            {i: variable.numpy() for i, variable in each.items()} for each in (self._averages(), self._accumulators())
        )
        learned, watch = tf.nest.pack_sequence_as(self._structure.value, [v.numpy() for v in self._state])
        sizes = tuple(math.prod(v.shape) for v in self._trainable_variables)
        return variable_memory.Memory(sizes, averages, accumulated, tf.nest.flatten(learned), watch)

    def _remember(self, old: variable_memory.Memory, kept: Sequence[int | None]) -> None:
        """Copies what was known. `kept`: for every variable its number in `old`, or None, where it begins anew."""
        values = {str(i): _value(variable).numpy() for i, variable in enumerate(self._trainable_variables)}
        learned, _ = self._initial_state(self._trainable_variables)
        new = variable_memory.Memory(
            nest.sizes(values),
            {i: values[str(i)] for i in self._averages()},
            {i: np.zeros(variable.shape) for i, variable in self._accumulators().items()},
            tf.nest.flatten(learned),
            tf.nest.map_structure(np.array, self._initial_watch(values)),
        )
        found = variable_memory.carried(old, new, kept)
        arrays = [*found.averages.values(), *found.accumulated.values(), *found.learned, *tf.nest.flatten(found.watch)]
        for variable, value in zip(self._remembering(), arrays, strict=True):
            variable.assign(value)

    def _own_variables(self) -> dict[str, keras.Variable]:
        """The variables that belong to no variable of the model, by name: iteration, learning rate, loss."""
        others = set(map(id, self._remembering()))
        return {variable.name: variable for variable in self.variables if id(variable) not in others}

    def _identities(self) -> list[variable_memory.Identity]:
        return [variable_memory.identity(_path(v), _value(v).numpy()) for v in self._trainable_variables]

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Keras's hook: stores everything by name, and the identities of the model's variables."""
        if not self.built:
            return super().save_own_variables(store)
        own = {name: variable.numpy() for name, variable in self._own_variables().items()}
        for name, value in (own | variable_memory.to_arrays(self._identities(), self._memory())).items():
            store[name] = value

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Keras's hook: gives each variable the state of the same variable in the file (`variable_memory`).

        A warning says what is left out, and what begins anew. Files of earlier versions do not name variables; they
        are loaded if all shapes agree.
        """
        keys = set(store.keys())
        if not self.built or variable_memory.VARIABLES not in keys:
            return self._load_by_number(store)
        try:
            before, old = variable_memory.from_arrays(store, self._memory(), self._watch_of)
            own = [
                (v, variable_memory.Stored(store, name)) for name, v in self._own_variables().items() if name in keys
            ]
            if any(found.shape != tuple(variable.shape) for variable, found in own):
                raise ValueError("is damaged")
        except ValueError as error:
            return self._warn(f"begins anew, since the file {error} ({self.learned.name} is expected)")
        for variable, found in own:
            variable.assign(np.array(found))
        now = self._identities()
        kept = variable_memory.same(before, now)
        self._remember(old, kept)
        lost = [variable.path for i, variable in enumerate(before) if i not in kept]
        fresh = [variable.path for i, variable in zip(kept, now, strict=True) if i is None]
        told = [
            *([f"left out for {few(lost, ', ')} (not trained here)"] if lost else []),
            *([f"begins anew for {few(fresh, ', ')}"] if fresh else []),
        ]
        if told:
            self._warn("; ".join(told))

    def _watch_of(self, number: int) -> Any:
        """Any value with the structure of the guard's state for so many variables."""
        return self._initial_watch({str(i): tf.zeros([]) for i in range(number)})

    def _load_by_number(self, store: Mapping[str, Any]) -> None:
        """For files without names: loads as Keras does, if all shapes agree."""
        if len(store.keys()) == len(self.variables):
            found = [variable_memory.Stored(store, str(i)).shape for i in range(len(self.variables))]
            if found != [tuple(variable.shape) for variable in self.variables]:
                return self._warn("left out, since the file does not name its variables")
        super().load_own_variables(store)

    def _warn(self, what: str) -> None:
        warnings.warn(f"State of the optimizer {self.name!r}: {what}.", stacklevel=3)

    def apply(self, grads: Sequence, trainable_variables: Sequence[keras.Variable | tf.Variable] | None = None) -> None:
        """One step, as with every Keras optimizer; the gradients of a variable that is given twice are added.

        Raises:
            ValueError: if there is not one gradient for each variable, of its shape; if none of the variables is known;
                if all gradients are None.
        """
        if trainable_variables is None and len(grads) == len(self._trainable_variables):
            trainable_variables = self._trainable_variables
        if len(grads) and trainable_variables is not None:
            grads, trainable_variables = self._each_once(list(grads), list(trainable_variables))
        super().apply(grads, trainable_variables)

    def _each_once(self, grads: list, variables: list[keras.Variable | tf.Variable]) -> tuple[list, list]:
        if len(grads) != len(variables):
            raise ValueError(f"Received {len(grads)} gradients for {len(variables)} variables, expected one for each.")
        found = {self._var_key(variable): (variable, []) for variable in variables}
        for grad, variable in zip(grads, variables, strict=True):
            if grad is None:
                continue
            if not tf.TensorShape(variable.shape).is_compatible_with(grad.shape):
                raise ValueError(
                    f"Received a gradient of shape {tuple(grad.shape)} for {_path(variable)}, expected its shape "
                    f"{tuple(variable.shape)}."
                )
            found[self._var_key(variable)][1].append(grad)
            if isinstance(grad, tf.IndexedSlices):
                self._tables.value.add(self._var_key(variable))
        return [_sum(parts) for _, parts in found.values()], [variable for variable, _ in found.values()]

    def _backend_update_step(self, grads, trainable_variables, learning_rate) -> None:
        """One call of the cell for all variables; Keras's own hook for steps that are not variable by variable."""
        indices = [str(self._get_variable_index(variable)) for variable in trainable_variables]
        dense = [tf.convert_to_tensor(grad) for grad in grads]
        with_grad = [_value(variable) for variable in trainable_variables]
        reduced = [grad for grad, _ in self._all_reduce_sum_gradients(list(zip(dense, with_grad, strict=True)))]
        variables = [_value(variable) for variable in self._trainable_variables]
        state = [variable.value for variable in self._state]
        loss = self._loss.value if self._guard.value else None

        def on_all_devices(distribution, reduced, variables, state, loss):
            def step(_, *local):
                self._step(indices, *local)

            arguments = (reduced, variables, state, loss, learning_rate)
            distribution.extended.update(variables[0], step, args=arguments, group=False)

        _maybe_merge_call(on_all_devices, self._distribution_strategy, reduced, variables, state, loss)

    def _step(self, indices, grads, variables, state, loss, learning_rate) -> None:
        """The equation of the module's docstring, on one device. `indices`: of the variables that have gradients."""
        params = {str(i): tf.cast(variable, tf.float32) for i, variable in enumerate(variables)}
        given = {i: tf.cast(grad, tf.float32) for i, grad in zip(indices, grads, strict=True)}
        grads = {i: given.get(i, tf.zeros(tensor.shape)) for i, tensor in params.items()}
        learned, watch = tf.nest.pack_sequence_as(self._structure.value, [tf.convert_to_tensor(s) for s in state])

        rows = {i: nest.moving_rows(grad) for i, grad in given.items() if self._rests_by_row(variables[int(i)])}

        def propose():
            updates, after = self.learned.update(Step(grads, params, index=tf.cast(self.iterations, tf.int32)), learned)
            updates = {i: tf.cast(learning_rate, tf.float32) * update for i, update in updates.items()}
            if self.rest == "none":
                return updates, after
            moving = {i: rows[i] if i in rows else tf.reduce_any(grad != 0.0) for i, grad in grads.items()}
            updates = {i: tf.where(moving[i], update, 0.0) for i, update in updates.items()}
            return updates, nest.moved(learned, after, rows, params) if rows else after

        if self._guard.value:
            self._check_loss_is_known()
            updates, back, there, *after = guard.step(self._guard.value, propose, learned, watch, loss, grads, params)
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

    def _rests_by_row(self, variable: tf.Variable) -> bool:
        return self.rest == "rows" or (self.rest == "sparse" and self._var_key(variable) in self._tables.value)

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        """Keras's hook between loss and gradients: here the guard is told the loss. `model.fit` calls it."""
        if self._guard.value:
            self._knows_loss = True
            self._loss.assign(tf.cast(loss, tf.float32))
        return super().scale_loss(loss)

    def guard_report(self) -> dict[str, int | str | None]:
        """What the guard has done so far.

        Returns:
            `"fallback"`: the step in which the learned optimizer was given up, or None; `"adam_from"`: None, or where
            Adam began that is at work now: `"start"` or `"best"`; `"rescues"`: how many updates of single tensors were
            Adam's before that, since the learned ones were not finite.

        Raises:
            ValueError: if there is no guard, or nothing has been trained yet.
        """
        if not self._guard.value or not self.built:
            raise ValueError("Received an optimizer without a guard, or before its first step; pass guard=True, train.")
        watch = tf.nest.pack_sequence_as(self._structure.value, self._state)[1]
        fallback, rescues, phase = (int(v.numpy()) for v in (watch.fallback, watch.rescues, watch.phase))
        adam_from = {guard.LEARNED: None, guard.FROM_BEST: "best"}.get(phase, "start")
        return {"fallback": None if fallback == guard.NEVER else fallback, "adam_from": adam_from, "rescues": rescues}

    def finalize_variable_values(self, var_list) -> None:
        """Keras's hook at the end of `fit`: says whether the guard has acted."""
        super().finalize_variable_values(var_list)
        if self._guard.value and any(self.guard_report().values()):
            logging.warning("The guard of %s has acted: %s.", self.learned.name, self.guard_report())

    def _check_loss_is_known(self) -> None:
        if not self._knows_loss:
            raise ValueError(
                "Received guard=True, but no loss. In a training step of your own, call optimizer.scale_loss(loss) "
                "before the gradients are taken. A LossScaleOptimizer keeps the loss to itself: in its place, take "
                "model.compile(..., auto_scale_loss=False) and loss_scale_factor=... here."
            )

    def get_config(self) -> dict[str, Any]:
        """Arguments that make it again; φ is part of them."""
        own = {"source": _packed(self.learned), "seed": self.seed, "rest": self.rest}
        settings = self._guard.value
        return {**super().get_config(), **own, "guard": settings._asdict() if settings else False}

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


def _value(variable: keras.Variable | tf.Variable) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable


def _path(variable: keras.Variable | tf.Variable) -> str:
    return getattr(variable, "path", variable.name)


def _sum(grads: list) -> tf.Tensor | tf.IndexedSlices | None:
    return tf.add_n(grads) if len(grads) > 1 else next(iter(grads), None)


class _StateVariable(keras.Variable):
    """State of the learned optimizer.

    Keras's LossScaleOptimizer first loads a second copy of it, by number. Values of other shapes are ignored then,
    and only if that class is the caller; `LearnedOptimizer.load_own_variables` is called after that.
    """

    def assign(self, value: Any) -> Any:
        if tuple(np.shape(value)) != tuple(self.shape):
            caller = sys._getframe(1).f_locals.get("self")
            if isinstance(caller, keras.optimizers.LossScaleOptimizer):
                return self
        return super().assign(value)


class _Hidden:
    """Hides a value from Keras, which would track the variables in it: φ belongs to the configuration."""

    def __init__(self, value: Any):
        self.value = value


def _make_guard(given: bool | Mapping[str, Any]) -> guard.Guard | None:
    if given is False:
        return None
    if given is not True and not isinstance(given, Mapping):
        raise ValueError(f"Received guard={given!r}, expected True, False or a dictionary of {guard.Guard._fields}.")
    settings = {} if given is True else dict(given)
    unknown = set(settings) - set(guard.Guard._fields)
    if unknown:
        raise ValueError(f"Received guard settings {sorted(unknown)}, expected some of {guard.Guard._fields}.")
    return guard.check(guard.Guard(**settings))


class _Weights(str):
    """Weights as text that was made in this process. Messages show its length only."""

    def __repr__(self) -> str:
        return f"<{len(self):,} characters>"


def _packed(learned: Optimizer) -> dict[str, Any]:
    """Architecture and φ as JSON types."""
    file = io.BytesIO()
    np.savez_compressed(file, **{name: variable.numpy() for name, variable in learned.named_variables.items()})
    weights = _Weights(base64.b64encode(file.getvalue()).decode())
    return {"name": learned.name, "optimizer": learned.kind, "architecture": learned.architecture, "weights": weights}


def _found(source: str | os.PathLike | Mapping[str, Any], allow_code: bool) -> Optimizer:
    if isinstance(source, Mapping):
        return _unpacked(source, allow_code)
    if isinstance(source, str | os.PathLike):
        return loading.make(loading.find(os.fspath(source)), allow_code=allow_code)
    raise ValueError(f"Received source={short(source)}, expected a name of {pretrained_names()} or the path of a run.")


def _unpacked(packed: Mapping[str, Any], allow_code: bool) -> Optimizer:
    """The inverse of `_packed`, for what may come from a stranger's file."""
    if missing := {"name", "optimizer", "architecture", "weights"} - set(packed):
        raise ValueError(f"Received source without {sorted(missing)}, expected what get_config() makes.")
    ours = isinstance(packed["weights"], _Weights)  # not from a file: what runs, runs already
    files = [] if ours or allow_code else descriptions.files(packed["optimizer"], packed["architecture"])
    if files and serialization_lib.in_safe_mode() is not False:
        raise ValueError(
            f"Received an optimizer that would run the Python code {few(files)}, expected one without. If you "
            "trust it, take load_model(..., safe_mode=False) or keras.config.enable_unsafe_deserialization()."
        )
    try:
        data = base64.b64decode(packed["weights"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"Received weights of a saved optimizer that are no text in base64 ({error}).") from error
    weights = read_npz(data, "the weights of a saved optimizer")
    return loading.make(loading.Found(packed, weights, packed["name"], packed["name"]), allow_code=True)
