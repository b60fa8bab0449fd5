import numpy as np
import pytest
import tensorflow as tf

from problems import make_problem
from problems.base import DataInfo, make_seed
from problems.data.datasets import Dataset
from problems.images.convolutions import SCALE, UPSTREAM, convolutional
from tests.problems.gradients import loss_and_gradients

SEED = make_seed(8)
RECORDED = {"ConvMNIST": SCALE, "ConvCIFAR": SCALE._replace(stride=2), "ConvOrigMNIST": UPSTREAM}


def dataset(images, labels) -> Dataset:
    """Images in 0..1 as a data set."""
    info = DataInfo("recorded", "train", len(labels), "")
    return Dataset(tf.constant(255 * images), tf.constant(labels.ravel().astype(np.int32)), info)


@pytest.mark.parametrize("name", RECORDED)
def test_the_original_program_agrees(name, recordings):
    golden = recordings("l2o_scale_problems_golden")
    record = {key.removeprefix(f"{name}/"): value for key, value in golden.items() if key.startswith(f"{name}/")}
    problem = convolutional(name, RECORDED[name], dataset(record["data"], record["labels"]), 4)
    template, constants = problem.init(SEED)
    assert [list(value.shape) for value in template.values()] == [
        list(record[f"pt0/x/{i}"].shape) for i in range(len(template))
    ]
    params = {key: tf.constant(record[f"pt0/x/{i}"]) for i, key in enumerate(template)}
    loss, grads = loss_and_gradients(problem, params, constants, tf.range(len(record["labels"])))
    np.testing.assert_allclose(loss, record["pt0/f"], rtol=5e-6)
    for i, grad in enumerate(grads.values()):
        expected = record[f"pt0/grad/{i}"]
        np.testing.assert_allclose(grad, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_block_by_loops():
    image = np.random.default_rng(0).random([1, 8, 8, 1]).astype(np.float32)
    problem = convolutional("one", SCALE._replace(kernels=((3, 2),)), dataset(image, np.array([3])), 1)
    params, constants = problem.init(SEED)
    params = {key: 30 * value for key, value in params.items()}
    kernel, bias, w, b = (value.numpy().astype(np.float64) for value in params.values())
    blocks = np.zeros([3, 3, 2])
    for row, column, k in np.ndindex(6, 6, 2):
        value = (image[0, row : row + 3, column : column + 3, 0] * kernel[:, :, 0, k]).sum() + bias[k]
        blocks[row // 2, column // 2, k] = max(blocks[row // 2, column // 2, k], value / np.sqrt(1.001))
    logits = np.maximum(blocks.ravel() @ w + b, 0)
    expected = np.log(np.exp(logits).sum()) - logits[3]
    np.testing.assert_allclose(problem.loss(params, constants, tf.constant([0])), expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("scale_mnist_conv", 18_122), ("scale_mnist_conv_orig", 64_402)])
def test_sizes(name, size):
    params = make_problem(name, data="embedded").init(SEED)[0]
    assert sum(value.shape.num_elements() for value in params.values()) == size
    assert all(0.005 < np.std(value) < 0.015 for value in params.values())
