"""Any Keras model as an optimizee: `from_keras(model, loss, dataset) -> Problem`.

The model is called through Keras 3's stateless API and never changed. A run sees of it:

- trainable weights as the parameters, named by their Keras paths (without the model's own name), in the model's order;
- other weights as `constants` by name, as they are when the problem is made. They are the same in every run and step:
  frozen layers, moving statistics of batch normalisation, whatever else a layer keeps;
- `SeedGenerator`s as seeds in the minibatch: dropout differs from step to step, and not from optimizer to optimizer.

`loss(params, constants, batch)` is a pure function with one result, so nothing is carried from one step to the next.
Batch normalisation normalises by the minibatch, as in every Keras training, and does not average. So `measure` on all
data needs other statistics. It takes those to which Keras's averages would converge at these parameters, the means over
all minibatches of the data, and then calls the model with `training=False`. (A `BatchNormalization` is called once per
call of the model.)

Randomness inside the model is drawn inside the compiled step; there XLA's numbers differ from TensorFlow's.
"""

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from problems import contract
from problems.base import Constants, Params, Problem, fold, mean_of_rows, measured_by, normal_like, require_positive
from problems.keras import data as keras_data
from problems.keras import loss as keras_loss
from problems.keras.start import redraw
from problems.keras.stateless import Stateless, stateless, values

_SEEDS = 0x5EED5  # the purpose of the seeds of dropout


class Minibatch(NamedTuple):
    """Indices of the examples `[B]`, int32, and a seed for each of K `SeedGenerator`s `[K, 2]`, int32."""

    indices: tf.Tensor
    seeds: tf.Tensor


def from_keras(
    model: keras.Model,
    loss: Any,
    dataset: Any,
    *,
    name: str | None = None,
    batch_size: int = 128,
    initial: str | float = "layers",
    accuracy: keras_loss.Accuracy | None = None,
    split: str = "train",
    data_dir: str | None = None,
    xla: bool | None = None,
) -> Problem:
    """Makes an optimizee of a Keras model and data.

    The loss of a step is that of a minibatch, which is drawn uniformly with replacement, plus the model's
    regularisation losses. The model is called with `training=True` where its `call` has that argument, as in Keras.

    >>> import keras, numpy as np
    >>> from problems import from_keras
    >>> model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3, name="dense")])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> x, y = np.eye(4, dtype="float32"), np.array([0, 1, 2, 2])
    >>> problem = from_keras(model, loss, (x, y), name="mine", batch_size=2)
    >>> str(problem.data)
    'mine/all (4 examples, ...)'
    >>> params, constants = problem.init([0, 0])
    >>> list(params)
    ['dense/kernel', 'dense/bias']

    Args:
        model: a built model with float32 weights: functional, sequential or of your own class.
        loss: name of a Keras loss, a `keras.losses.Loss`, or a function `(labels, outputs) -> [B, ...]` or scalar.
            Values that are not reduced are averaged.
        dataset: arrays `(x, y)`, a finite `tf.data.Dataset` of such pairs (examples or batches), or the name of a data
            set that TFDS has prepared. x may be a tuple or a dict of arrays for a model of several inputs. The model
            gets them as they are: images of TFDS are 0..255, so it should begin with a `Rescaling`.
        name: of the problem; default: the model's.
        batch_size: B, examples per minibatch; default 128.
        initial: where runs start. `"layers"` (default): each run draws from the layers' own initialisers, whatever
            seeds they have. A number σ: from N(0, σ²). `"model"`: from the values that the model has.
        accuracy: `(labels, outputs) -> [B]` of 0 and 1, a function; default: that of a cross-entropy, or none.
        split, data_dir: of TFDS; defaults `"train"`, and `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        xla: whether XLA may compile the model into the loop. Default: if it has no convolutions. False for a model with
            operations that XLA does not have, such as random rotations of images.

    Raises:
        ValueError: if the model was never built, or the data are empty, endless or not finite; if the model cannot take
            the data, the loss its outputs, or the labels are out of range; if a start cannot be drawn; if the model
            draws random numbers from elsewhere than its own `SeedGenerator`s; and as `problems.contract.check` does.
        DataError: a ValueError; if TFDS does not have the data.
    """
    require_positive("batch_size", batch_size)
    if not isinstance(name, str | None):
        raise ValueError(f"Received name={name!r}, expected a text.")
    if xla not in (None, True, False):
        raise ValueError(f"Received xla={xla!r}, expected True, False or None.")
    pure, loss = stateless(model), keras_loss.resolve(loss)
    accuracy = keras_loss.accuracy_of(loss, accuracy)
    data = keras_data.read(dataset, model, name=name, split=split, data_dir=data_dir)
    start, constants, size = _start(pure, initial), values(pure.frozen), data.info.size

    def init(seed):
        return start(seed), constants

    def sample(seed, num_steps):
        indices = tf.random.stateless_uniform([num_steps, batch_size], seed, 0, size, tf.int32)
        shape = [num_steps, pure.num_seeds, 2]
        seeds = tf.random.stateless_uniform(shape, fold(seed, _SEEDS), 0, tf.int32.max, tf.int32)
        return Minibatch(indices, seeds)

    def minibatch_loss(params, constants, batch):
        inputs, labels = keras_data.rows(data, batch.indices)
        outputs, _, penalties = pure.call(params, constants, batch.seeds, inputs, training=True)
        return tf.add_n([keras_loss.mean(loss, labels, outputs), *penalties])

    measure = measured_by(minibatch_loss, _whole(pure, data, loss, accuracy, batch_size))
    xla = not pure.convolves if xla is None else xla
    problem = Problem(name or model.name, init, sample, minibatch_loss, data.info, measure, xla)
    contract.check(problem)
    _check_values(pure, constants, loss, data)
    return problem


def _start(pure: Stateless, initial: str | float) -> Callable[[tf.Tensor], Params]:
    """`seed -> params`."""
    if initial == "layers":
        return redraw(pure.model, pure.trainable)
    given = values(pure.trainable)
    if initial == "model":
        return lambda seed: {name: tf.identity(value) for name, value in given.items()}
    if isinstance(initial, bool) or not isinstance(initial, numbers.Real) or not 0 <= initial < math.inf:
        raise ValueError(f"Received initial={initial!r}, expected 'layers', 'model' or a standard deviation.")
    return lambda seed: normal_like(given, [], seed, initial)


def _whole(
    pure: Stateless, data: keras_data.Data, loss: keras.losses.Loss, accuracy: Callable | None, batch_size: int
) -> Callable[[Params, Constants], dict]:
    """Measures all data, minibatch after minibatch."""
    seeds, moving = tf.zeros([pure.num_seeds, 2], tf.int32), pure.moving()
    kept = {name: tf.TensorSpec(pure.frozen[name].shape, pure.frozen[name].dtype) for name in moving}

    def settled(params, constants):
        """The constants with the statistics of the data. One update of zeros is `(1 - momentum)` of them."""
        zeros = {name: tf.zeros_like(constants[name]) for name in moving}

        def statistics(indices):
            inputs, _ = keras_data.rows(data, indices)
            _, after, _ = pure.call(params, constants | zeros, seeds, inputs, training=True)
            updated = {name: after[name] / (1 - momentum) for name, momentum in moving.items()}
            # what the model calls with training=False keeps the statistics that it has
            return {name: constants[name] if after[name] is zeros[name] else updated[name] for name in moving}

        return constants | mean_of_rows(statistics, data.info.size, batch_size, kept) if moving else constants

    def whole(params, constants):
        constants = settled(params, constants)

        def parts(indices):
            inputs, labels = keras_data.rows(data, indices)
            outputs, _, penalties = pure.call(params, constants, seeds, inputs, training=False)
            value = keras_loss.mean(loss, labels, outputs)
            if loss.reduction == "sum":  # of as many rows as those of a minibatch
                value *= tf.cast(batch_size / tf.shape(indices)[0], value.dtype)
            found = {"loss": tf.add_n([value, *penalties])}
            return found | (keras_loss.answers(accuracy, labels, outputs) if accuracy else {})

        names = ("loss", *(("right", "counted") if accuracy else ()))
        found = mean_of_rows(parts, data.info.size, batch_size, {name: tf.TensorSpec([]) for name in names})
        return {"loss": found["loss"], "accuracy": found["right"] / found["counted"] if accuracy else None}

    return whole


def _check_values(pure: Stateless, constants: Constants, loss: keras.losses.Loss, data: keras_data.Data) -> None:
    """Looks at what XLA and GPUs take without an error: labels, and indices of embeddings, that are out of range."""
    seeds, params = tf.zeros([pure.num_seeds, 2], tf.int32), values(pure.trainable)

    @tf.function(autograph=False)
    def outputs_of(indices):
        return pure.call(params, constants, seeds, keras_data.rows(data, indices)[0], training=False)[0]

    looks_up = any(isinstance(layer, keras.layers.Embedding) for layer in pure.model._flatten_layers())
    size = data.info.size if looks_up else 1
    try:
        with tf.device("CPU:0"):
            for first in range(0, size, 1024):
                outputs = outputs_of(tf.range(first, min(first + 1024, size)))
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            f"Received x with indices that the model {pure.model.name!r} cannot look up, expected them to be "
            "from 0 to below the `input_dim` of its embeddings, or, as Keras has it, from the end and negative."
        ) from error
    keras_loss.check_labels(loss, data.labels.numpy(), outputs)
