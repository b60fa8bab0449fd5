"""Real MNIST, where it is prepared."""

import numpy as np
import pytest

from problems import DataOptions
from problems.data import datasets
from problems.data.datasets import load
from problems.images.perceptrons import mnist

FINGERPRINTS = {"train[5000:]": "f353b0cf2990f477", "test": "45a60edfded3b2bb"}


@pytest.fixture
def options(tfds_dir):
    return DataOptions("tfds", str(tfds_dir))


def test_the_original_split_in_the_order_of_the_official_files(options):
    for mode, size, split in (("train", 55_000, "train[5000:]"), ("test", 10_000, "test")):
        images, labels, info = load("mnist", mode, options)
        assert info == datasets.DataInfo("mnist", split, size, FINGERPRINTS[split])
        assert images.shape == [size, 28, 28, 1]
        assert np.bincount(labels.numpy()).min() > 0.08 * size
    # The first labels of the official test file.
    assert load("mnist", "test", options).labels.numpy()[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_the_whole_training_split(options):
    images, labels, info = load("mnist", "test", options._replace(split="train"))
    assert info.size == 60_000 and info.split == "train"
    assert labels.numpy()[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert abs(images.numpy().mean() / 255 - 0.1307) < 1e-4  # the mean that is quoted everywhere
    np.testing.assert_array_equal(images[5_000:], load("mnist", "train", options).images)
    held_out, _, info = load("mnist", "test", options._replace(split="held_out"))
    assert info == datasets.DataInfo("mnist", "train[:5000]", 5_000, "61efb04d8743ce0c")
    np.testing.assert_array_equal(images[:5_000], held_out)


def test_keras_cache_and_tfds_give_the_same_data(options, tmp_path, monkeypatch):
    arrays = {}
    for part in ("train", "test"):
        images, labels, _ = load("mnist", options=options._replace(split=part))
        arrays |= {f"x_{part}": images.numpy()[..., 0], f"y_{part}": labels.numpy().astype(np.uint8)}
    file = tmp_path / "keras" / "datasets" / "mnist.npz"
    file.parent.mkdir(parents=True)
    np.savez(file, **arrays)
    assert load("mnist", "test", DataOptions("auto", str(tmp_path))).info == load("mnist", "test", options).info


def test_row_numbers_mean_what_they_meant_in_the_original_program(options, recordings):
    """Losses recorded from the original program on its own minibatches, which are row numbers of the test file."""
    golden = recordings("l2o_scale_eval_golden")
    keys = ("layer_0/w", "layer_0/b", "layer_1/w", "layer_1/b")
    params = {key: golden[f"mlp/x0/{i}"] for i, key in enumerate(keys)}
    end = {key: golden[f"mlp/final/{i}"] for i, key in enumerate(keys)}
    batches, losses = golden["mlp/batches"].astype(np.int32), golden["mlp/losses"]
    problem = mnist(mode="test", data_options=options)
    assert abs(problem.loss(params, (), batches[0]).numpy() - losses[0]) < 1e-6
    # After the last recorded loss there was one more update, so this one agrees closely but not exactly ...
    assert abs(problem.loss(end, (), batches[-1]).numpy() - losses[-1]) < 2e-3
    # ... and, on other images, not even closely.
    assert abs(problem.loss(end, (), (batches[-1] + 1) % 10_000).numpy() - losses[-1]) > 5e-3
