"""One vector for all coordinates, and back; means over the tensors that it is made of.

The tensors of an optimizee are concatenated to one `[N]` vector, so that the recurrent cell runs once per step. The
order is that of the dict, row-major within a tensor, as the original programs create their variables.

Of few tensors, `segment_mean` and `spread` are products with a `[K, N]` matrix of zeros and ones, which reads all of it
once; beyond a million entries they cut and join. (`tf.math.segment_sum` and `tf.gather` are scatters in one of the two
directions, which XLA runs row by row on a CPU.)
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from problems.base import Params

_SMALL = 2**20
"""Entries that a matrix of tensors and coordinates may have."""


def size(params: Params) -> int:
    """N, the number of coordinates."""
    return sum(sizes(params))


def flatten(params: Params) -> tf.Tensor:
    """Concatenates all tensors to one `[N]` vector."""
    vectors = [tf.reshape(tensor, [-1]) for tensor in params.values()]
    return vectors[0] if len(vectors) == 1 else tf.concat(vectors, axis=0)


def unflatten(vector: tf.Tensor, like: Params) -> Params:
    """The inverse of `flatten`: cuts `[N]` into tensors with the names and static shapes of `like`."""
    pieces = [vector] if len(like) == 1 else tf.split(vector, sizes(like))
    return {name: tf.reshape(piece, tensor.shape) for (name, tensor), piece in zip(like.items(), pieces, strict=True)}


def per_coordinate(values: tf.Tensor, params: Params) -> tf.Tensor:
    """`[T, K] -> [T, N]`: the value of each of K optimizees for its coordinates; tensors have a leading axis of K."""
    count = values.shape[1]
    rows = tf.shape(values)[0] if values.shape[0] is None else values.shape[0]
    columns = [tf.reshape(tf.repeat(values[:, :, None], n // count, axis=2), [rows, n]) for n in sizes(params)]
    return tf.concat(columns, axis=1)


def sizes(params: Params) -> tuple[int, ...]:
    """`(n_1, ..., n_K)`: how many coordinates each tensor has."""
    return tuple(math.prod(tensor.shape) for tensor in params.values())


def segment_mean(columns: tf.Tensor, sizes: Sequence[int]) -> tf.Tensor:
    """`[F, N] -> [F, K]`: the mean column of each tensor; 0 of one without an element."""
    if _is_small(sizes):
        counts = tf.constant(np.maximum(sizes, 1), columns.dtype)
        return tf.matmul(columns, _members(sizes, columns.dtype), transpose_b=True) / counts
    return tf.concat([_mean(piece) for piece in _cut(columns, sizes)], axis=1)


def spread(columns: tf.Tensor, sizes: Sequence[int]) -> tf.Tensor:
    """`[F, K] -> [F, N]`: column k for every coordinate of tensor k."""
    if _is_small(sizes):
        return tf.matmul(columns, _members(sizes, columns.dtype))
    pieces = zip(_cut(columns, [1] * len(sizes)), sizes, strict=True)
    return tf.concat([repeated(column, size) for column, size in pieces], axis=1)


def _is_small(sizes: Sequence[int]) -> bool:
    return len(sizes) > 1 and len(sizes) * sum(sizes) <= _SMALL


def _members(sizes: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    """Which coordinates form a tensor: `[K, N]` of zeros and ones."""
    return tf.constant(np.repeat(np.eye(len(sizes)), sizes, axis=1), dtype)


def repeated(column: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """`[F, 1] -> [F, n]`; as a product, so that the gradient is one, which XLA runs faster than a sum over n."""
    return tf.matmul(column, tf.ones([1, size], column.dtype))


def _mean(columns: tf.Tensor) -> tf.Tensor:
    """Over the columns, `[F, n] -> [F, 1]`; as a product, see `repeated`."""
    size = tf.shape(columns)[1]
    return tf.matmul(columns, tf.ones([size, 1], columns.dtype)) / tf.cast(tf.maximum(size, 1), columns.dtype)


def _cut(columns: tf.Tensor, sizes: Sequence[int]) -> list[tf.Tensor]:
    return [columns] if len(sizes) == 1 else tf.split(columns, list(sizes), axis=1)


def transposed(state):
    """Every matrix of a nest transposed; numbers stay."""
    return tf.nest.map_structure(tf.transpose, state)


def rows_like(example: tf.Tensor, size: int | tf.Tensor) -> tf.TensorArray:
    """An array of so many tensors like this one, to be written row by row."""
    return tf.TensorArray(example.dtype, size, element_shape=example.shape)


def add(params: Params, updates: Params) -> Params:
    """`θ + Δθ`, tensor by tensor."""
    return {name: tensor + updates[name] for name, tensor in params.items()}
