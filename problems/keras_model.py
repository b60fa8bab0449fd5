"""Any Keras model as an optimizee: `from_keras(model, loss, dataset) -> Problem`.

    model = keras.Sequential([keras.Input([8, 8, 1]), keras.layers.Flatten(), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    problem = from_keras(model, loss, (images, labels))

The model is called through Keras 3's stateless API and never changed. A run sees of it:

- trainable weights as the parameters, named by their Keras paths (without the model's own name), in the model's order;
- other weights as `constants` by name, as they are when the problem is made, the same in every run and step: frozen
  layers, moving statistics of batch normalisation, whatever else a layer keeps;
- `SeedGenerator`s as seeds in the minibatch: dropout differs from step to step, and not from optimizer to optimizer.

`loss(params, constants, batch)` is the loss on a minibatch, drawn uniformly with replacement, plus the model's
regularisation losses; with `training=True` where the model's `call` has that argument, as in Keras. It is a pure
function with one result, so nothing is carried from one step to the next: batch normalisation normalises by the
minibatch, as in every Keras training, and does not average. Therefore `evaluate` takes the statistics to which Keras's
averages would converge at these parameters, the means over all minibatches of the data, and then calls the model with
`training=False`. (A `BatchNormalization` is called once per call of the model.)

Randomness inside the model is drawn inside the compiled step; there XLA's numbers differ from TensorFlow's.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from problems import keras_data, keras_loss
from problems.all_rows import mean_of_rows
from problems.base import (
    Batches,
    Constants,
    Params,
    Problem,
    Seed,
    fold,
    make_seed,
    normal_like,
    require_name,
    require_not_negative,
    require_positive,
)
from problems.keras_start import redraw
from problems.keras_stateless import Stateless, stateless, values
from problems.user_errors import describe

_SEEDS = 0x5EED5  # the purpose of the seeds of dropout
_UNUSUAL = 1009  # a number of examples that no other axis has


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
    """Makes an optimizee of a Keras model and data; see the module's docstring.

    Args:
        model: a built model with float32 weights and a free batch axis: functional, sequential or of your own class.
        loss: name of a Keras loss, a `keras.losses.Loss`, or a function `(labels, outputs) -> [B, ...]` or scalar.
            Values that are not reduced are averaged.
        dataset: arrays `(x, y)`, a finite `tf.data.Dataset` of such pairs (examples or batches), or the name of a data
            set that TFDS has prepared. x may be a tuple or a dict of arrays for a model of several inputs. The model
            gets them as they are: images of TFDS are 0..255, so it should begin with a `Rescaling`.
        name: of the problem; default: the model's.
        batch_size: B, examples per minibatch; default 128.
        initial: `"layers"` (default) draws every run's start from the layers' own initialisers, whatever seeds they
            have; a number σ from N(0, σ²); `"model"` begins every run with the values that the model has.
        accuracy: `(labels, outputs) -> [B]` of 0 and 1, a function; default: that of a cross-entropy. Without one the
            problem has an `objective` and no `evaluate`.
        split, data_dir: of TFDS; defaults `"train"`, and `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        xla: whether XLA may compile the model into the loop. Default: if it has no convolutions. False for a model with
            operations that XLA does not have, such as random rotations of images.

    Raises:
        ValueError: if the model was never built, has no or other than float32 trainable weights or a fixed batch axis;
            if the data are empty, endless or do not fit, or labels are out of range; if the loss is unknown or its
            values are neither a scalar nor one per example; if the start cannot be drawn; if the model draws random
            numbers from elsewhere than its own `SeedGenerator`s.
        DataError: a ValueError; if TFDS does not have the data.
    """
    _check_options(batch_size, name, xla)
    pure, loss = stateless(model), keras_loss.resolve(loss)
    expected = keras_data.expected_inputs(model)
    data = keras_data.read(dataset, expected, name=name, split=split, data_dir=data_dir)
    constants = values(pure.frozen)
    _check(pure, constants, loss, accuracy, data)
    start, size = _start(pure, initial), data.info.size

    def init(seed: Seed) -> tuple[Params, Constants]:
        return start(seed), constants

    def sample(seed: Seed, num_steps: int) -> Batches:
        indices = tf.random.stateless_uniform([num_steps, batch_size], seed, 0, size, tf.int32)
        shape = [num_steps, pure.num_seeds, 2]
        seeds = tf.random.stateless_uniform(shape, fold(seed, _SEEDS), 0, tf.int32.max, tf.int32)
        return Minibatch(indices, seeds)

    def minibatch_loss(params: Params, constants: Constants, batch: Minibatch) -> tf.Tensor:
        inputs, labels = keras_data.rows(data, batch.indices)
        outputs, _, penalties = pure.call(params, constants, batch.seeds, inputs, training=True)
        return tf.add_n([keras_loss.mean(loss, labels, outputs), *penalties])

    accuracy = accuracy or keras_loss.accuracy_of(loss)
    measure = _measure(pure, data, loss, accuracy, batch_size)
    problem = Problem(
        name or model.name,
        init,
        sample,
        minibatch_loss,
        data.info,
        examples=keras_data.examples_of(data),
        xla=not pure.convolves if xla is None else xla,
    )
    _check_repeats(problem, pure)
    if accuracy:
        return problem._replace(evaluate=measure)
    return problem._replace(objective=lambda params, constants: measure(params, constants)["loss"])


def _check_options(batch_size: int, name: str | None, xla: bool | None) -> None:
    require_positive("batch_size", batch_size)
    if name is not None:
        require_name("`name` of a problem", name)
    if xla not in (None, True, False):
        raise ValueError(f"Received xla={xla!r}, expected True, False or None.")


def _start(pure: Stateless, initial: str | float) -> Callable[[Seed], Params]:
    """`seed -> params`."""
    if initial == "layers":
        return redraw(pure.model, pure.trainable)
    given = values(pure.trainable)
    if initial == "model":
        return lambda seed: {name: tf.identity(value) for name, value in given.items()}
    if isinstance(initial, bool) or not isinstance(initial, int | float) or not math.isfinite(initial):
        raise ValueError(f"Received initial={initial!r}, expected 'layers', 'model' or a standard deviation.")
    require_not_negative("initial", initial)
    return lambda seed: normal_like(given, [], seed, initial)


def _measure(
    pure: Stateless,
    data: keras_data.Data,
    loss: keras.losses.Loss,
    accuracy: keras_loss.Accuracy | None,
    batch_size: int,
) -> Callable[[Params, Constants], dict[str, tf.Tensor]]:
    """`(params, constants) -> {"loss": scalar, "accuracy": scalar}` over all data, minibatch after minibatch."""
    seeds, moving = tf.zeros([pure.num_seeds, 2], tf.int32), pure.moving()
    kept = {name: tf.TensorSpec(pure.frozen[name].shape, pure.frozen[name].dtype) for name in moving}

    def settled(params: Params, constants: Constants) -> Constants:
        """The constants with the statistics of the data. One update of zeros is `(1 - momentum)` of them."""
        zeros = {name: tf.zeros_like(constants[name]) for name in moving}

        def statistics(indices):
            inputs, _ = keras_data.rows(data, indices)
            _, after, _ = pure.call(params, constants | zeros, seeds, inputs, training=True)
            updated = {name: after[name] / (1 - momentum) for name, momentum in moving.items()}
            # what the model calls with training=False keeps the statistics that it has
            return {name: constants[name] if after[name] is zeros[name] else updated[name] for name in moving}

        return constants | mean_of_rows(statistics, data.info.size, batch_size, kept) if moving else constants

    def measure(params: Params, constants: Constants) -> dict[str, tf.Tensor]:
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
        accuracies = {"accuracy": found["right"] / found["counted"]} if accuracy else {}
        return {"loss": found["loss"], **accuracies}

    return measure


def _check(
    pure: Stateless,
    constants: Constants,
    loss: keras.losses.Loss,
    accuracy: keras_loss.Accuracy | None,
    data: keras_data.Data,
) -> None:
    """Traces one call for a batch of unknown length, and one for a length that nothing else has; refuses what cannot
    become a scalar. What is not float32 comes to the loss as float32, as Keras has it.
    """
    params, seeds, found = values(pure.trainable), tf.zeros([pure.num_seeds, 2], tf.int32), {}

    def trace(inputs, labels):
        with _explained(f"x of {_shapes(inputs)}", f"the model {pure.model.name!r} cannot take"):
            outputs, _, _ = pure.call(params, constants, seeds, keras_data.for_model(inputs), training=True)
        with _explained(f"labels and outputs of {_shapes((labels, outputs))}", f"the loss {loss.name!r} cannot take"):
            cast = functools.partial(tf.cast, dtype=loss.dtype)
            found["values"] = loss.call(cast(labels), tf.nest.map_structure(cast, outputs))
        if accuracy:
            with _explained(f"labels and outputs of {_shapes((labels, outputs))}", "the `accuracy` cannot take"):
                keras_loss.answers(accuracy, labels, outputs)
        found["outputs"] = outputs

    keras_loss.check_accuracy(accuracy)
    for length in (_UNUSUAL, None):
        specs = tf.nest.map_structure(lambda x, n=length: tf.TensorSpec([n, *x.shape[1:]], x.dtype), data[:2])
        tf.function(trace, autograph=False).get_concrete_function(*specs)
    keras_loss.check_values(found["values"], loss)
    keras_loss.check_labels(loss, data.labels.numpy(), found["outputs"])
    _check_indices(pure, constants, data)


def _check_indices(pure: Stateless, constants: Constants, data: keras_data.Data, rows: int = 1024) -> None:
    """Looks at all examples once, if the model looks up any: XLA would not tell that there is no such entry."""
    if not any(isinstance(layer, keras.layers.Embedding) for layer in pure.model._flatten_layers()):
        return
    params, seeds = values(pure.trainable), tf.zeros([pure.num_seeds, 2], tf.int32)

    @tf.function(autograph=False)
    def look_up(indices):  # on a GPU, too, where a lookup gives zeros and no error
        outputs, _, _ = pure.call(params, constants, seeds, keras_data.rows(data, indices)[0], training=False)
        return outputs

    for start in range(0, data.info.size, rows):
        try:
            with tf.device("CPU:0"):
                look_up(tf.range(start, min(start + rows, data.info.size)))
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(
                f"Received x with indices that the model {pure.model.name!r} cannot look up, expected them to be "
                "from 0 to below the `input_dim` of its embeddings, or, as Keras has it, from the end and negative."
            ) from error


def _check_repeats(problem: Problem, pure: Stateless) -> None:
    """Runs a minibatch twice; refuses a model that does not give the same loss."""
    batch = tf.nest.map_structure(lambda tensor: tensor[0], problem.sample(make_seed(0), 1))
    params, constants = values(pure.trainable), values(pure.frozen)
    value, again = (float(problem.loss(params, constants, batch)) for _ in range(2))
    if abs(value - again) > 1e-4 * (1 + abs(value)):
        raise ValueError(
            f"Received model {pure.model.name!r}, whose loss at the same parameters, minibatch and seeds is first "
            f"{value:g}, then {again:g}, expected a pure function; draw by `keras.random`, with a `SeedGenerator` of "
            "the layer's own, and not by `tf.random`."
        )


@contextlib.contextmanager
def _explained(received: str, problem: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # from inside Keras, the model or the loss: anything
        raise ValueError(f"Received {received}, which {problem}: {describe(error)}.") from error


def _shapes(tensors: Any) -> str:
    return ", ".join(f"{each.dtype.name} {['B', *each.shape[1:]]}" for each in tf.nest.flatten(tensors))
