"""A trained optimizer as `keras.optimizers.Optimizer`, for `model.compile` and `model.fit`.

    import l2o_tf.keras_optimizer
    model.compile(optimizer="L2O-DM-CL-IL", loss=...)                              # by name, once this is imported
    model.compile(optimizer=LearnedOptimizer("runs/mine", learning_rate=0.5), loss=...)

The cell is the one that was meta-trained, called as the unroll calls it: once per step, on the coordinates of all
trainable variables in their order. `s` is its state, `g` the gradient::

    Δ, s <- cell(g, s),    θ <- θ + learning_rate · Δ
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from l2o_tf import checkpoint
from l2o_tf.optimizers import Optimizer, make_optimizer
from l2o_tf.trained import load_optimizer, pretrained_names
from problems.base import make_seed

_maybe_merge_call = tf.__internal__.distribute.interim.maybe_merge_call  # as Keras's own optimizers do


@keras.saving.register_keras_serializable(package="l2o_tf")
class LearnedOptimizer(keras.optimizers.Optimizer):
    """A learned optimizer with the interface of Keras's own.

    Its state is in `optimizer.variables`, and its meta-parameters φ in its configuration, so that a saved model goes on
    exactly and needs no other file. φ is not trained any more. A variable that gets no gradient in a step stays as it
    is; for the optimizer's state its gradient is zero. Sparse gradients are made dense.

    Under `tf.distribute` each replica computes the same update from the summed gradients.

    Args:
        source: a shipped name (`l2o_tf.list_pretrained()`), the folder of a run, a weight file of the original program;
            or the dictionary that `get_config` makes of these.
        learning_rate: factor of the update; a number or a Keras schedule. Default 1.0: as it was trained.
        seed: decides what the optimizer draws for itself: L2O-Scale its first learning rates. Default 0.
        **options: those of every Keras optimizer: `name`, `weight_decay` (per step, times `learning_rate`), `clipnorm`,
            `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`.

    Raises:
        ValueError: if there is no such optimizer, it is analytic, or its weights are damaged.
    """

    def __init__(
        self,
        source: str | Mapping[str, Any],
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1.0,
        seed: int = 0,
        **options,
    ):
        options.setdefault("name", "learned_optimizer")
        super().__init__(learning_rate=learning_rate, **options)
        self.seed = seed
        learned = load_optimizer(source)[0] if isinstance(source, str) else _unpacked(source)
        if not learned.named_variables:
            raise ValueError(
                f"Received source={source!r}, which is not a learned optimizer, expected one of {pretrained_names()} "
                "or a folder; for analytic ones take keras.optimizers."
            )
        self._learned = _Hidden(learned)

    @property
    def learned(self) -> Optimizer:
        """The optimizer as the unroll knows it."""
        return self._learned.value

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the state for these variables.

        Raises:
            ValueError: if a variable is not a floating-point one.
        """
        if self.built:
            return
        wrong = [v.path for v in variables if not keras.backend.is_float_dtype(v.dtype)]
        if wrong:
            raise ValueError(f"Received trainable variables {wrong} that are no floating-point numbers; freeze them.")
        super().build(variables)
        with tf.init_scope():
            params = {str(i): tf.zeros(v.shape) for i, v in enumerate(variables)}
            state = self.learned.initial_state(params, make_seed(self.seed))
            values = [np.array(tensor) for tensor in tf.nest.flatten(state)]
        self._structure = _Hidden(tf.nest.map_structure(lambda _: 0, state))
        self._state = [
            self.add_variable(
                value.shape,
                initializer=lambda shape, dtype, v=value: tf.constant(v),
                dtype=value.dtype.name,
                name=f"state_{i}",
            )
            for i, value in enumerate(values)
        ]

    def _backend_update_step(self, grads, trainable_variables, learning_rate) -> None:
        """One call of the cell for all variables; Keras's own hook for steps that are not variable by variable."""
        indices = [self._get_variable_index(variable) for variable in trainable_variables]
        dense = [tf.convert_to_tensor(grad) for grad in grads]
        variables = [variable.value for variable in trainable_variables]
        reduced = [grad for grad, _ in self._all_reduce_sum_gradients(list(zip(dense, variables, strict=True)))]
        state = [variable.value for variable in self._state]

        def on_all_devices(distribution, reduced, variables, state):
            def step(_, *local):
                self._step(indices, *local)

            arguments = (reduced, variables, state, learning_rate)
            distribution.extended.update(variables[0], step, args=arguments, group=False)

        _maybe_merge_call(on_all_devices, self._distribution_strategy, reduced, variables, state)

    def _step(self, indices, grads, variables, state, learning_rate) -> None:
        """The equation of the module's docstring, on one device."""
        shapes = [variable.shape for variable in self._trainable_variables]
        full = {str(i): tf.zeros(shape) for i, shape in enumerate(shapes)}
        given = {str(i): tf.cast(grad, tf.float32) for i, grad in zip(indices, grads, strict=True)}
        params = full | {str(i): tf.cast(v, tf.float32) for i, v in zip(indices, variables, strict=True)}
        before = tf.nest.pack_sequence_as(self._structure.value, [tf.convert_to_tensor(tensor) for tensor in state])
        updates, after = self.learned.update(full | given, before, params)
        for i, variable in zip(indices, variables, strict=True):
            variable.assign_add(tf.cast(tf.cast(learning_rate, tf.float32) * updates[str(i)], variable.dtype))
        for variable, value in zip(state, tf.nest.flatten(after), strict=True):
            variable.assign(value)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make it again; φ is part of them."""
        return {**super().get_config(), "source": _packed(self.learned), "seed": self.seed}


class _Hidden:
    """Keeps what is inside out of Keras's tracking of variables: φ belongs to the configuration."""

    def __init__(self, value: Any):
        self.value = value


def _packed(learned: Optimizer) -> dict[str, Any]:
    """Architecture and φ as JSON types."""
    file = io.BytesIO()
    np.savez_compressed(file, **{name: variable.numpy() for name, variable in learned.named_variables.items()})
    weights = base64.b64encode(file.getvalue()).decode()
    return {"name": learned.name, "optimizer": learned.kind, "architecture": learned.architecture, "weights": weights}


def _unpacked(packed: Mapping[str, Any]) -> Optimizer:
    learned = make_optimizer(packed["optimizer"], dict(packed["architecture"]))
    learned.name = packed["name"]
    with np.load(io.BytesIO(base64.b64decode(packed["weights"])), allow_pickle=False) as weights:
        checkpoint.assign_weights(learned, dict(weights))
    return learned


class _Shipped:
    """What Keras finds under a shipped name: `from_config` makes the optimizer."""

    def __init__(self, name: str):
        self._name = name

    def from_config(self, config: dict[str, Any]) -> LearnedOptimizer:
        return LearnedOptimizer(self._name, **config)


for _name in pretrained_names():
    keras.saving.get_custom_objects()[_name] = _Shipped(_name)
