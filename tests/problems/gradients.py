import numpy as np
import tensorflow as tf


def loss_and_gradients(problem, params, constants, batch) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The loss of one step, and its gradients by name."""
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, constants, batch)
    return loss.numpy(), {key: tf.convert_to_tensor(g).numpy() for key, g in tape.gradient(loss, params).items()}
