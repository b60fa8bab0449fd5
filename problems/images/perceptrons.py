"""Small classifiers as optimizees: the networks of the paper on MNIST, and one on the embedded digits.

All of them are `classification` around a pure function `network(params, images) -> logits`. The loss is the mean sparse
softmax cross-entropy (natural logarithm) over a minibatch whose indices are drawn uniformly with replacement, pixels
are in [0, 1]. Images and labels stay on the device and are captured by the loss, so that they are inputs of a compiled
graph and never constants in it.

Names, keyword arguments and defaults are those of DeepMind's learning-to-learn program and its successor, the program
of *Training Stronger Baselines for Learning to Optimize*; `data_options` is ours.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from problems.base import Params, Problem, Seed, for_many, mean_of_rows, measured_by, require_positive
from problems.data.datasets import DataOptions, Dataset, load
from problems.data.sampling import Sample, with_replacement
from problems.images.layers import Network, Start, flat, perceptron, starts

NUM_CLASSES = 10


def mnist(
    layers: Sequence[int] = (20,),
    activation: str = "sigmoid",
    batch_size: int = 128,
    mode: str = "train",
    data_options: DataOptions | None = None,
) -> Problem:
    """A multilayer perceptron on MNIST: 784-20-10 with sigmoid by default (the paper's MLP-orig, 15,910 coordinates).

    Weights and biases ~ N(0, 0.01²), so that the loss starts near ln 10 = 2.3026.

    Args:
        layers: hidden units of each hidden layer; default (20,).
        activation: `"sigmoid"` (default), `"relu"`, `"tanh"` or `"elu"`, after each hidden layer.
        batch_size: examples per minibatch; default 128.
        mode: `"train"` (default) for meta-training, `"test"` for evaluation; see `DataOptions.split`.
        data_options: where the images come from; default `DataOptions()`.

    Raises:
        ValueError: on an unknown activation or sizes that are not positive.
        DataError: if the data cannot be had.
    """
    return _perceptron("mnist", load("mnist", mode, data_options), layers, activation, batch_size)


def mnist_relu(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """784-20-10 with ReLU on MNIST (the paper's MLP-ReLU, 15,910 coordinates); arguments as in `mnist`."""
    return _perceptron("mnist_relu", load("mnist", mode, data_options), (20,), "relu", batch_size)


def mnist_deeper(batch_size: int = 128, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
    """784-20-20-10 with sigmoid on MNIST (the paper's MLP-deeper, 16,330 coordinates); arguments as in `mnist`."""
    return _perceptron("mnist_deeper", load("mnist", mode, data_options), (20, 20), "sigmoid", batch_size)


def digits(
    layers: Sequence[int] = (20,),
    activation: str = "sigmoid",
    batch_size: int = 128,
    mode: str = "train",
    data_options: DataOptions | None = None,
) -> Problem:
    """64-20-10 with sigmoid on the embedded 8x8 digits (1,510 coordinates): needs no download, for trying things out.

    Arguments as in `mnist`. Of `data_options` only the split counts.
    """
    return _perceptron("digits", load("digits", mode, data_options), layers, activation, batch_size)


def classification(
    name: str,
    dataset: Dataset,
    init: Callable[[Seed], Params],
    network: Network,
    batch_size: int = 128,
    sampling: Callable[[int, int], Sample] = with_replacement,
    convolves: bool = False,
) -> Problem:
    """Any classifier on any data set as a `Problem`.

    Args:
        name: of the problem.
        dataset: uint8 images and int32 labels on the device.
        init: `seed -> params`.
        network: gets images in [0, 1]; computes in the floating-point type of the parameters.
        batch_size: examples per minibatch.
        sampling: how minibatches are drawn, `(number of examples, batch_size) -> sample`; default: uniformly with
            replacement.
        convolves: whether the network convolves. Then it is faster without XLA (`Problem.xla`). Its activations are
            large, so all data are measured one minibatch after the other, and so is batch normalisation.

    Raises:
        ValueError: if `batch_size` is not positive.
    """
    require_positive("batch_size", batch_size)
    images, labels, info = dataset

    def logits(params, pixels):
        dtype = next(iter(params.values())).dtype
        return network(params, tf.cast(pixels, dtype) / 255)

    def examples(batch):
        return tf.gather(images, batch), tf.gather(labels, batch)

    def loss(params, constants, batch):
        pixels, answers = examples(batch)
        return _cross_entropy(logits(params, pixels), answers)

    def measure(params, pixels, answers):
        scores = logits(params, pixels)
        correct = tf.argmax(scores, axis=-1, output_type=tf.int32) == answers
        return {"loss": _cross_entropy(scores, answers), "accuracy": tf.reduce_mean(tf.cast(correct, scores.dtype))}

    def whole(params, constants):
        if not convolves:
            return measure(params, images, labels)
        signature = dict.fromkeys(("loss", "accuracy"), tf.TensorSpec([], next(iter(params.values())).dtype))
        return mean_of_rows(lambda batch: measure(params, *examples(batch)), info.size, batch_size, signature)

    sample, measured = sampling(info.size, batch_size), measured_by(loss, whole)
    return Problem(name, lambda seed: (init(seed), ()), sample, loss, info, measured, xla=not convolves)


def _cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), axis=-1)


def _perceptron(name: str, dataset: Dataset, layers: Sequence[int], activation: str, batch_size: int) -> Problem:
    shapes, network = perceptron(dataset.images.shape[1:].num_elements(), layers, NUM_CLASSES, activation)
    init = starts({key: Start(shape) for key, shape in shapes.items()})
    problem = classification(name, dataset, init, lambda params, images: network(params, flat(images)), batch_size)
    return problem._replace(loss=for_many(problem.loss))
