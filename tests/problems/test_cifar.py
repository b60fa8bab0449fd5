"""CIFAR-10: the real images where they are prepared, and what takes their place."""

import numpy as np
import pytest

from problems import DataOptions
from problems.data import sources
from problems.data.datasets import load


@pytest.fixture
def options(tfds_dir):
    if not (tfds_dir / "cifar10").is_dir():
        pytest.skip("real CIFAR-10 is not prepared: set TFDS_DATA_DIR")
    return DataOptions("tfds", str(tfds_dir))


def test_both_splits(options):
    for mode, size in (("train", 50_000), ("test", 10_000)):
        images, labels, info = load("cifar10", mode, options)
        assert images.shape == [size, 32, 32, 3]
        assert (info.name, info.size, info.split.split()[0]) == ("cifar10", size, mode)
        assert np.bincount(labels.numpy()).tolist() == [size // 10] * 10
        # The means of the channels that are quoted everywhere.
        means = images[::10].numpy().mean(axis=(0, 1, 2)) / 255
        np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=0.02)
        assert len(set(labels.numpy()[:128].tolist())) == 10  # not sorted by class


def test_embedded_digits_take_their_place():
    images, labels, info = load("cifar10", options=DataOptions("embedded"))
    small = load("mnist", options=DataOptions("embedded"))
    assert info.name == "digits-32x32"
    np.testing.assert_array_equal(labels, small.labels)
    for channel in range(3):
        np.testing.assert_array_equal(images[:, 2:30, 2:30, channel], small.images[..., 0])


@pytest.mark.parametrize("ids", [True, False])
def test_the_order_of_the_official_file_comes_back(monkeypatch, ids):
    official = sources.OFFICIAL["cifar10"]._replace(shape=(1, 1, 1), sizes={"test": 30})
    monkeypatch.setitem(sources.OFFICIAL, "cifar10", official)
    labels = np.array([3, 8, 8, 0, 6, 6, 1, 6, 3, 1, *range(10), *range(10)], np.uint8)
    images = np.arange(30, dtype=np.uint8).reshape(30, 1, 1, 1)
    stored = np.random.default_rng(0).permutation(30)
    names = np.array([f"test_{row:05d}".encode() for row in stored])
    found = sources._official_order("cifar10", "test", images[stored], labels[stored], names if ids else None)
    assert (found.note == "") == ids
    np.testing.assert_array_equal(found.images, images if ids else images[stored])


def test_nothing_is_looked_for_in_the_cache_of_keras(no_tfds):
    with pytest.raises(ValueError, match="CIFAR-10 cannot be had") as caught:
        load("cifar10", options=DataOptions("tfds"))
    assert "no answer from https://www.cs.toronto.edu" in str(caught.value)
