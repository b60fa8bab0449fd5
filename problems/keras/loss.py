"""The loss of `from_keras`: a Keras name, a `keras.losses.Loss` or a function -> one `Loss`.

A function is treated as by `model.compile(loss=function)`. Labels arrive as float32. If only labels or only outputs
have a last axis of length one, it is added to the other or taken away. The values are averaged.
"""

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Accuracy = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""`(labels, outputs) -> [B]` of 0 and 1, or a scalar."""

_CROSS_ENTROPIES = {
    keras.losses.sparse_categorical_crossentropy: keras.losses.SparseCategoricalCrossentropy,
    keras.losses.categorical_crossentropy: keras.losses.CategoricalCrossentropy,
    keras.losses.categorical_focal_crossentropy: keras.losses.CategoricalFocalCrossentropy,
    keras.losses.binary_crossentropy: keras.losses.BinaryCrossentropy,
    keras.losses.binary_focal_crossentropy: keras.losses.BinaryFocalCrossentropy,
}
_OF_CLASSES = (keras.losses.CategoricalCrossentropy, keras.losses.CategoricalFocalCrossentropy)
_OF_BITS = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
_EXPECTED = "expected the name of a Keras loss, a keras.losses.Loss or a function (labels, outputs) -> [B] or scalar"


class FunctionLoss(keras.losses.Loss):
    """A function `(labels, outputs) -> values` as a Keras loss: the mean of its values."""

    def __init__(self, function: Callable[[tf.Tensor, Any], tf.Tensor]):
        super().__init__(name=re.sub(r"\W", "", getattr(function, "__name__", "")) or None)  # Keras opens a scope of it
        self.function = function

    def call(self, y_true, y_pred):
        return tf.convert_to_tensor(self.function(*_same_rank(y_true, y_pred)))


def resolve(loss: Any) -> keras.losses.Loss:
    """The loss that a name, an object or a function stands for; a ValueError if it is none of these."""
    if isinstance(loss, str):
        try:
            found = keras.losses.get(loss)
        except ValueError:
            raise ValueError(f"Received loss={loss!r}, {_EXPECTED}.") from None
    else:
        found = loss() if isinstance(loss, type) and issubclass(loss, keras.losses.Loss) else loss
    if isinstance(found, keras.losses.Loss):
        return found
    if not callable(found) or isinstance(found, keras.metrics.Metric):
        raise ValueError(f"Received loss={loss!r}, {_EXPECTED}.")
    return _CROSS_ENTROPIES[found]() if found in _CROSS_ENTROPIES else FunctionLoss(found)


def mean(loss: keras.losses.Loss, labels: tf.Tensor, outputs: Any) -> tf.Tensor:
    """The loss of a minibatch, float32; values that the loss itself does not reduce are averaged."""
    return tf.cast(tf.reduce_mean(tf.convert_to_tensor(loss(labels, outputs))), tf.float32)


def answers(accuracy: Accuracy, labels: tf.Tensor, outputs: Any) -> dict[str, tf.Tensor]:
    """The mean of `right` and of `counted` answers. Masked ones do not count, as in Keras's metrics."""
    right = tf.cast(accuracy(labels, outputs), tf.float32)
    mask = getattr(outputs, "_keras_mask", None)
    if mask is None or mask.shape.rank != right.shape.rank:
        return {"right": tf.reduce_mean(right), "counted": tf.ones([])}
    counted = tf.cast(mask, tf.float32)
    return {"right": tf.reduce_mean(right * counted), "counted": tf.reduce_mean(counted)}


def check_labels(loss: keras.losses.Loss, labels: np.ndarray, outputs: Any) -> None:
    """Refuses labels that a cross-entropy has no output for: class numbers too large, probabilities outside of 0..1."""
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        classes, ignored = outputs.shape[-1], loss.get_config().get("ignore_class")
        wrong = labels[((labels < 0) | (labels >= classes) | (labels != labels // 1)) & (labels != ignored)]
        expected = f"class numbers from 0 to {classes - 1}, for the {classes} outputs of the model"
    elif isinstance(loss, (*_OF_CLASSES, *_OF_BITS)):
        wrong = labels[~((labels >= 0) & (labels <= 1))]
        expected = "values from 0 to 1"
        if isinstance(loss, _OF_CLASSES):
            expected += "; for class numbers use a sparse cross-entropy"
    else:
        return
    if wrong.size:
        raise ValueError(f"Received labels out of range, {wrong.flat[0]} for one, expected {expected}.")


def accuracy_of(loss: keras.losses.Loss, accuracy: Any = None) -> Accuracy | None:
    """The accuracy of a user; else that of a cross-entropy of the last axis; None for other losses.

    A metric, which adds up what it is called with, is a ValueError.
    """
    if isinstance(accuracy, keras.metrics.Metric) or not (accuracy is None or callable(accuracy)):
        raise ValueError(
            f"Received accuracy={accuracy!r}, expected a function (labels, outputs) -> [B] of 0 and 1, such as "
            "`keras.metrics.sparse_categorical_accuracy`."
        )
    if accuracy is not None:
        return accuracy
    if loss.get_config().get("axis", -1) != -1:
        return None
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return keras.metrics.sparse_categorical_accuracy
    if isinstance(loss, _OF_CLASSES):
        return keras.metrics.categorical_accuracy
    if isinstance(loss, _OF_BITS):
        threshold = 0.0 if loss.get_config()["from_logits"] else 0.5
        return lambda labels, outputs: keras.metrics.binary_accuracy(*_same_rank(labels, outputs), threshold)
    return None


def _same_rank(labels: tf.Tensor, outputs: Any) -> tuple[tf.Tensor, Any]:
    """As Keras: an axis of length 1 that one has more is given to the other, if that is `[B]`, or else taken away."""
    if not tf.is_tensor(outputs):
        return labels, outputs
    if labels.shape.rank == outputs.shape.rank + 1:
        return _same_rank(outputs, labels)[::-1]
    if outputs.shape.rank == labels.shape.rank + 1 and outputs.shape[-1] == 1:
        return (labels[:, None], outputs) if labels.shape.rank == 1 else (labels, outputs[..., 0])
    return labels, outputs
