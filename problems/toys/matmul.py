"""The problem of finding a fast algorithm for matrix multiplication, as least squares over two factor matrices.

Source: the ensemble of Wichrowska et al., *Learned Optimizers that Scale and Generalize*, 2017
(https://arxiv.org/abs/1703.04813), and its program.
"""

import itertools
import math

import numpy as np
import tensorflow as tf

from problems.base import Problem, fold, no_batches


def matmul_algorithm(size: int = 2, rank: int = 7) -> Problem:
    """Learns to multiply n×n matrices with k products: `f = ‖p Θ_c − c‖²` for the best linear read-out Θ_c.

    For all pairs of matrices with a single one, a and b are `[n⁴, n²]` and c holds their products, flattened;
    `p = (a Θ_a) ∘ (b Θ_b)` and `Θ_c = (pᵀp)⁻¹ pᵀ c`; where pᵀp has no inverse, f is not finite or very inexact. The
    parameters `theta_a` and `theta_b [n², k]` start from N(0, 1) with columns normalised. At n = 2, k = 7 Strassen's
    algorithm is a minimum.

    Args:
        size: n, at least 2; default 2.
        rank: k, from n² to n³; default 7.
    """
    if size < 2 or not size**2 <= rank <= size**3:
        raise ValueError(f"Received size={size} and rank={rank}, expected size >= 2 and size² <= rank <= size³.")
    units = np.eye(size**2, dtype=np.float32).reshape(-1, size, size)
    triples = [(a, b, a @ b) for a, b in itertools.product(units, units)]
    left, right, products = (np.stack([matrix.ravel() for matrix in column]) for column in zip(*triples, strict=True))

    def init(seed):
        thetas = [tf.random.stateless_normal([size**2, rank], fold(seed, k)) for k in range(2)]
        return {name: x / tf.norm(x, axis=0) for name, x in zip(("theta_a", "theta_b"), thetas, strict=True)}, ()

    def loss(params, constants, batch):
        p = (left @ params["theta_a"]) * (right @ params["theta_b"])
        readout = _inverse(tf.matmul(p, p, transpose_a=True)) @ tf.matmul(p, products, transpose_a=True)
        return tf.reduce_sum(tf.square(p @ readout - products))

    return Problem("matmul_algorithm", init, no_batches, loss)


@tf.custom_gradient
def _inverse(matrix: tf.Tensor) -> tf.Tensor:
    """`A⁻¹` of `A = pᵀp`, not finite where there is none: `tf.linalg.inv` would end the program.

    By the eigenvectors of the cosines between the columns of p: `A = D C D`, `C⁻¹ = V Λ⁻¹ Vᵀ`.
    """
    lengths = tf.sqrt(tf.linalg.diag_part(matrix))
    cosines = matrix / lengths[:, None] / lengths
    finite = tf.reduce_all(tf.math.is_finite(cosines))
    values, vectors = tf.linalg.eigh(tf.where(finite, cosines, tf.eye(matrix.shape[0], dtype=matrix.dtype)))
    inverse = tf.matmul(vectors / values, vectors, transpose_b=True) / lengths[:, None] / lengths

    def gradient(inverse_bar):
        again = _inverse(matrix)  # not the tensor above, behind which is the gradient of an eigenvector
        return -again @ inverse_bar @ again

    return tf.where(finite, inverse, tf.constant(math.nan, matrix.dtype)), gradient
