"""Points of light in a confocal microscope: where are they, how bright, how blurred?

Source: the program of *Training Stronger Baselines for Learning to Optimize*, `confocal_microscopy_3d`.
"""

import math

import tensorflow as tf

from problems.base import Params, Problem, fold, no_batches, require_positive

_RANGES = {"i": (0.5, 2.0), "x": (0.5, 27.0), "y": (0.5, 27.0), "z": (0.5, 27.0), "sxy": (2.0, 4.0), "sz": (2.0, 4.0)}
"""Physical range of each variable of a point, to which [0, 1] is mapped."""

_AXES = {"x": "sxy", "y": "sxy", "z": "sz"}


def confocal_microscopy_3d(batch_size: int = 32, num_points: int = 5, size: int = 28) -> Problem:
    """Fits Gaussian points to volumes of voxels: `f = mean_b Σ_voxels (prediction − target)²` (992 coordinates).

    A point has intensity I, place (x, y, z) and widths σ_xy, σ_z, each a tensor `[B, 1]` that [0, 1] maps to a physical
    range (and beyond outside of it); a background is added. In the voxel at v it contributes::

        I/8 · Π_a [erf((v_a − a + ½)/(√2 σ_a)) − erf((v_a − a − ½)/(√2 σ_a))],    a = x, y, z

    The target is the same model with variables ~ U[0, 1), divided by its norm over the voxels; the prediction is not
    divided. The start is U[0, 1), the background's N(0, 0.01²). XLA on a CPU adds the voxels one by one in float32,
    which costs a relative error of the loss of 3e-4 at the default size; TensorFlow's own sum does not.

    Args:
        batch_size: number B of independent volumes; default 32.
        num_points: points in each; default 5.
        size: voxels along each axis; default 28.
    """
    for name, value in (("batch_size", batch_size), ("num_points", num_points), ("size", size)):
        require_positive(name, value)
    names = [f"point_{k}/{variable}" for k in range(num_points) for variable in _RANGES]

    def uniform(seed, keys):
        draws = (tf.random.stateless_uniform([batch_size, 1], fold(seed, k)) for k in range(len(keys)))
        return dict(zip(keys, draws, strict=True))

    def init(seed):
        dark = 0.01 * tf.random.stateless_normal([batch_size, 1], fold(seed, 1))
        target = _volume(uniform(fold(seed, 2), [*names, "background"]), num_points, size)
        norm = tf.sqrt(tf.reduce_sum(tf.square(target), axis=(1, 2, 3), keepdims=True))
        return uniform(fold(seed, 0), names) | {"background": dark}, target / norm

    def loss(params, constants, batch):
        difference = _volume(params, num_points, size) - tf.cast(constants, params["background"].dtype)
        return tf.reduce_mean(tf.reduce_sum(tf.square(difference), axis=(1, 2, 3)))

    return Problem("confocal_microscopy_3d", init, no_batches, loss)


def _volume(params: Params, num_points: int, size: int) -> tf.Tensor:
    """`[B, size, size, size]`: all points and the background."""
    total = params["background"][:, :, None, None]
    for k in range(num_points):
        point = {v: low + (high - low) * params[f"point_{k}/{v}"] for v, (low, high) in _RANGES.items()}
        x, y, z = (_profile(point[axis], point[width], size) for axis, width in _AXES.items())
        intensity = point["i"][:, :, None, None] / 8
        total += intensity * x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]
    return total


def _profile(place: tf.Tensor, width: tf.Tensor, size: int) -> tf.Tensor:
    """`[B, size]`: the light along one axis."""
    distance = tf.range(size, dtype=place.dtype) - place
    scale = math.sqrt(2) * width
    return tf.math.erf((distance + 0.5) / scale) - tf.math.erf((distance - 0.5) / scale)
