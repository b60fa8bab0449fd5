"""Where the official splits of a data set come from: TFDS, the cache of Keras, a download, or the embedded digits.

`find` tries what `data` allows in this order, and the `Source` says which of them it was:

1. prepared by TensorFlow Datasets in a folder;
2. the cache of Keras, if it is an `.npz` file (`data="auto"` only; that of CIFAR-10 is a pickle and is not read);
3. downloaded by TensorFlow Datasets, if its server answers within a few seconds;
4. the embedded 8x8 digits, brought to the data set's shape (`data="auto"`, with a warning; `data="embedded"`, without).

TFDS stores its examples in a shuffled order. The order of the official files comes back by the examples' `id` where
there is one, else by sorting as TFDS did (MD5 of split name and row number), and is checked against the first official
labels. So the held-out images, the indices of a minibatch and the fingerprint mean the same whatever the source.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import textwrap
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from problems.common.user_errors import describe


class Official(NamedTuple):
    """What is known of a data set whatever its source.

    Attributes:
        title: as people write it.
        shape: of an image: height, width, channels.
        sizes: examples per split.
        first_labels: of each split's official file, by which its order is recognised.
        held_out: leading training images that the original program's loader set aside and never used.
        server: of TFDS's download; asked whether it answers before TFDS, which retries for minutes.
        keras_file: name of the cache of Keras, empty where that is none that can be read without unpickling.
    """

    title: str
    shape: tuple[int, int, int]
    sizes: Mapping[str, int]
    first_labels: Mapping[str, tuple[int, ...]]
    held_out: int
    server: str
    keras_file: str = ""


OFFICIAL: dict[str, Official] = {
    "mnist": Official(
        title="MNIST",
        shape=(28, 28, 1),
        sizes={"train": 60_000, "test": 10_000},
        first_labels={"train": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5), "test": (7, 2, 1, 0, 4, 1, 4, 9, 5, 9, 0, 6)},
        held_out=5_000,
        server="https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz",
        keras_file="mnist.npz",
    ),
    "cifar10": Official(
        title="CIFAR-10",
        shape=(32, 32, 3),
        sizes={"train": 50_000, "test": 10_000},
        first_labels={"train": (6, 9, 9, 4, 1, 1, 2, 7, 8, 3), "test": (3, 8, 8, 0, 6, 6, 1, 6, 3, 1)},
        held_out=0,
        server="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    ),
}
"""The data sets that are not embedded."""


class DataError(ValueError):
    """Data that cannot be had; the message says what was tried and what to do."""


class Arrays(NamedTuple):
    """One official split on the host. `note` says what is unusual about it."""

    images: np.ndarray
    labels: np.ndarray
    note: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Where data were found: the name that `DataInfo` gives, and the official splits."""

    name: str
    splits: dict[str, Arrays]


@functools.cache
def find(name: str, data: str, folder: str, keras_folder: str) -> Source:
    """Tries what `data` allows, in the order of the module's docstring; a DataError if that is nothing in the end."""
    official = OFFICIAL[name]
    prepared = (f"prepared by TFDS in {folder}", lambda: read_tfds(name, folder))
    keras_file = os.path.join(keras_folder, official.keras_file)
    cached = [(f"cached by Keras in {keras_file}", lambda: read_keras(name, keras_file))] if official.keras_file else []
    download = ("download by TFDS", lambda: _download_tfds(name, folder))
    attempts = {"tfds": [prepared, download], "auto": [prepared, *cached, download], "embedded": []}[data]
    tried = []
    for description, attempt in attempts:
        try:
            return attempt()
        except DataError as error:
            tried.append(f"{description}: {error}")
    advice = f"Set --data_dir or TFDS_DATA_DIR to a folder with {official.title}, or see docs/data.md for other ways."
    if data == "tfds":
        reasons = "".join(f"\n  - {reason}" for reason in tried)
        raise DataError(f"Received data='tfds', but {official.title} cannot be had. Tried:{reasons}\n{advice}")
    stand_in = _enlarged_digits(official.shape)
    if data == "auto":
        size = "x".join(map(str, official.shape[:2]))
        headline = f"NOT {official.title}: this run uses the embedded 8x8 digits, enlarged to {size} ({stand_in.name})."
        looked = [f"{official.title} was looked for:", *(f"- {reason}" for reason in tried)]
        texts = (headline, *looked, advice)
        lines = [line for text in texts for line in textwrap.wrap(text, width=100, subsequent_indent="  ")]
        logging.warning("%s", "\n".join(["", "#" * 104, *(f"# {line:100} #" for line in lines), "#" * 104]))
    return stand_in


@contextlib.contextmanager
def _explained(what: str, advice: str = "") -> Iterator[None]:
    """Turns whatever a library raises about data into a `DataError` of one line."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # half a data set, the network, the disk: each library has its own exceptions
        raise DataError(f"{what} ({describe(error)}){advice}") from None


def _tfds_builder(name: str, folder: str) -> Any:
    with _explained("TensorFlow Datasets cannot be imported"):
        import tensorflow_datasets as tfds
    with _explained("cannot be read", f"; remove {folder}/{name} to have it prepared anew"):
        return tfds.builder(name, data_dir=folder)


@functools.cache
def read_tfds(name: str, folder: str) -> Source:
    """Reads what TFDS prepared, in the order of the official files."""
    if not tf.io.gfile.isdir(os.path.join(folder, name)):
        raise DataError("not there")
    builder = _tfds_builder(name, folder)
    if not builder.data_path.exists():
        raise DataError("begun, but never finished")
    splits = {}
    with _explained("cannot be read", f"; remove {folder}/{name} to have it prepared anew"):
        for part in OFFICIAL[name].sizes:  # one shard each, so the rows come in the order in which they are stored
            stored = {key: value.numpy() for key, value in builder.as_dataset(split=part, batch_size=-1).items()}
            splits[part] = _official_order(name, part, stored["image"], stored["label"], stored.get("id"))
    return Source(name, splits)


def _download_tfds(name: str, folder: str) -> Source:
    """Downloads and prepares in `folder`, unless the server does not answer: TFDS itself retries for minutes."""
    builder = _tfds_builder(name, folder)
    if builder.data_path.exists():
        raise DataError("not tried, because TFDS would take what is there")
    if not answers(OFFICIAL[name].server):
        raise DataError(f"no answer from {OFFICIAL[name].server}")
    with _explained("failed"):
        builder.download_and_prepare()
    return read_tfds(name, folder)


def answers(url: str, seconds: float = 5.0) -> bool:
    """Whether a server answers in time. In a thread, because looking up a name obeys no timeout."""
    answered = threading.Event()

    def ask():
        with contextlib.suppress(OSError, HTTPException, ValueError):
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


@functools.cache
def read_keras(name: str, path: str) -> Source:
    """Reads the file that `keras.datasets` leaves behind, if it is there and whole."""
    if not os.path.isfile(path):
        raise DataError("not there")
    parts = OFFICIAL[name].sizes
    with _explained("cannot be read", "; remove it"), open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        rows = {part: _official_order(name, part, file[f"x_{part}"], file[f"y_{part}"]) for part in parts}
    return Source(name, rows)


def _official_order(name: str, part: str, images: np.ndarray, labels: np.ndarray, ids=None) -> Arrays:
    """Puts rows into the official order: as they are, by their ids, or as TFDS sorts. Other rows get a note."""
    _, shape, sizes, first_labels, *_ = OFFICIAL[name]
    size, first = sizes[part], first_labels[part]
    pixels = shape if shape[2] > 1 or images.ndim == 4 else shape[:2]
    if images.shape != (size, *pixels) or labels.shape != (size,) or images.dtype != np.uint8:
        raise DataError(
            f"{part} has images {images.dtype} {list(images.shape)} and labels {list(labels.shape)}, "
            f"expected uint8 {[size, *pixels]} and [{size}]"
        )
    images, labels = images.reshape(size, *shape), labels.astype(np.uint8)
    keys = [hashlib.md5(f"{part}{row}".encode(), usedforsecurity=False).digest() for row in range(size)]
    as_sorted = np.argsort(sorted(range(size), key=keys.__getitem__) if ids is None else ids)
    for order in (slice(None), as_sorted):
        if tuple(labels[order][: len(first)]) == first:
            return Arrays(images[order], labels[order])
    return Arrays(images, labels, " (not the rows of the official files)")


@functools.cache
def digits() -> Source:
    """The 8x8 digits that ship with the package; the last 360 of 1,797 are the test split."""
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    parts = {"train": slice(-360), "test": slice(-360, None)}
    return Source("digits", {part: Arrays(images[rows], labels[rows]) for part, rows in parts.items()})


def _enlarged_digits(shape: tuple[int, int, int]) -> Source:
    """The digits by area from 8x8 to 20x20, centred in the shape (as MNIST's lie in theirs), alike in all channels."""
    height, width, channels = shape
    margins = [(0, 0), ((height - 20) // 2,) * 2, ((width - 20) // 2,) * 2, (0, 0)]

    def enlarged(small):
        fivefold = small.images.repeat(5, axis=1).repeat(5, axis=2)
        sums = fivefold.reshape(-1, 20, 2, 20, 2, 1).sum(axis=(2, 4), dtype=np.int64)
        images = np.pad(((sums + 2) // 4).astype(np.uint8), margins)
        return small._replace(images=images.repeat(channels, axis=3))

    return Source(f"digits-{height}x{width}", {part: enlarged(small) for part, small in digits().splits.items()})
