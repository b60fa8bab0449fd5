"""Data sets as device-resident tensors, and which images are used for what.

A data set is loaded once per process and stays on the device as uint8; minibatches travel as int32 indices and are
gathered inside the loss, so that no input pipeline runs beside the compiled unroll. problems/data/sources.py says where
the data come from.
"""

import functools
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from problems.base import DataInfo, fingerprint
from problems.data import sources
from problems.data.sources import OFFICIAL, DataError

__all__ = ["DataError", "DataOptions", "Dataset", "load", "official_rows"]

SOURCES = ("auto", "tfds", "embedded")
SPLITS = ("original", "train", "test", "held_out")
MODES = ("train", "test")


class DataOptions(NamedTuple):
    """Where data come from, and which part is used for what: the flags `--data`, `--data_dir` and `--split`.

    Attributes:
        data: `"auto"` (default: the data set if it can be had, else the embedded digits), `"tfds"` (the data
            set through TFDS or an error) or `"embedded"`.
        data_dir: folder of TFDS; None means `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        split: `"original"` (default) does as the original program: mode `"train"` (meta-training and its validation)
            uses the training images without the first 5,000, mode `"test"` (evaluation) optimizes on the 10,000 test
            images. `"train"` and `"test"` are the whole official splits, whatever the mode. `"held_out"` are those
            5,000 training images, on which trained optimizers can be compared before one is chosen to be evaluated.
            Only MNIST has images held out.
    """

    data: str = "auto"
    data_dir: str | None = None
    split: str = "original"

    def part(self, mode: str) -> str:
        """The official part of data that no original program has cut: that of the mode, unless `split` is another."""
        return mode if self.split == "original" else self.split


class Dataset(NamedTuple):
    """A data set on the device: uint8 `images [n, height, width, channels]`, int32 `labels [n]`, and what it is."""

    images: tf.Tensor
    labels: tf.Tensor
    info: DataInfo


def load(name: str, mode: str = "train", options: DataOptions | None = None) -> Dataset:
    """Loads a data set, once per process and arguments.

    Args:
        name: `"mnist"` (28x28), `"cifar10"` (32x32, 3 channels) or `"digits"` (8x8, embedded).
        mode: `"train"` or `"test"`; decides where the split is `"original"`.
        options: default `DataOptions()`.

    Raises:
        DataError: if `data="tfds"` and the data can neither be read nor downloaded.
        ValueError: on an unknown value, a missing folder, or if images are asked for that are held out where none are.
    """
    options = options or DataOptions()
    _require("data set", name, (*OFFICIAL, "digits"))
    _require("mode", mode, MODES)
    _require("data", options.data, SOURCES)
    _require("split", options.split, SPLITS)
    if name == "digits":
        source = sources.digits()
    else:
        if options.data_dir and options.data != "embedded" and not os.path.isdir(os.path.expanduser(options.data_dir)):
            raise ValueError(
                f"Received data_dir={os.fspath(options.data_dir)!r}, which is no folder, expected the folder of TFDS. "
                "If data are to be downloaded into it, make it first."
            )
        folder = os.fspath(options.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
        keras_folder = os.path.join(os.environ.get("KERAS_HOME") or "~/.keras", "datasets")
        source = sources.find(name, options.data, os.path.expanduser(folder), os.path.expanduser(keras_folder))
    return _on_device(source, *official_rows(source.name, options.split, mode))


def official_rows(name: str, split: str, mode: str) -> tuple[str, int, int | None]:
    """Which official split is used, from which row on, and up to which (None: the last).

    >>> official_rows("mnist", "original", "train")
    ('train', 5000, None)
    """
    held_out = OFFICIAL[name].held_out if name in OFFICIAL else 0
    if split == "held_out":
        if not held_out:
            raise ValueError(f"Received split='held_out' with the data set {name!r}, of which no images are held out.")
        return "train", 0, held_out
    if split != "original":
        return split, 0, None
    return mode, held_out if mode == "train" else 0, None


def _require(what: str, value: str, expected: tuple[str, ...]) -> None:
    if value not in expected:
        raise ValueError(f"Received {what}={value!r}, expected one of {', '.join(expected)}.")


@functools.cache
def _on_device(source: sources.Source, part: str, start: int, stop: int | None) -> Dataset:
    images, labels, note = source.splits[part]
    images, labels = images[start:stop], labels[start:stop].astype(np.int32)
    rule = f"{part}[{start or ''}:{stop or ''}]" if start or stop else part
    info = DataInfo(source.name, rule + note, len(labels), fingerprint(images, labels))
    with tf.init_scope():  # a data set belongs to the process, not to the graph that asks for it first
        return Dataset(tf.constant(images), tf.constant(labels), info)
