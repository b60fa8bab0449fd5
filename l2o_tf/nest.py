"""One vector for all coordinates, and back.

A learned optimizer treats every scalar of the optimizee alike, so the tensors of an optimizee are concatenated to one
`[N]` vector and the recurrent cell runs once per step, not once per tensor. The order is that of the dict, row-major
within a tensor: the order in which the original programs create their variables.
"""

import math

import tensorflow as tf

Params = dict[str, tf.Tensor]


def size(params: Params) -> int:
    """N, the number of coordinates."""
    return sum(math.prod(tensor.shape) for tensor in params.values())


def flatten(params: Params) -> tf.Tensor:
    """Concatenates all tensors to one `[N]` vector."""
    vectors = [tf.reshape(tensor, [-1]) for tensor in params.values()]
    return vectors[0] if len(vectors) == 1 else tf.concat(vectors, axis=0)


def unflatten(vector: tf.Tensor, like: Params) -> Params:
    """The inverse of `flatten`: cuts `[N]` into tensors with the names and static shapes of `like`."""
    pieces = [vector] if len(like) == 1 else tf.split(vector, [math.prod(tensor.shape) for tensor in like.values()])
    return {name: tf.reshape(piece, tensor.shape) for (name, tensor), piece in zip(like.items(), pieces, strict=True)}


def add(params: Params, updates: Params) -> Params:
    """`θ + Δθ`, tensor by tensor."""
    return {name: tensor + updates[name] for name, tensor in params.items()}
