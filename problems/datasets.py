"""Data sets as device-resident tensors, and which images are used for what.

A data set is loaded once per process and stays on the device as uint8; minibatches travel as int32 indices and are
gathered inside the loss, so that no input pipeline runs beside the compiled unroll.

`load("mnist")` looks for MNIST in this order, and says which of them it used through `DataInfo`:

1. prepared by TensorFlow Datasets in `data_dir`, else `TFDS_DATA_DIR`, else `~/tensorflow_datasets`;
2. the cache of Keras, `mnist.npz` under `KERAS_HOME`, else `~/.keras` (`data="auto"` only);
3. downloaded by TensorFlow Datasets, if its server answers within a few seconds;
4. the embedded 8x8 digits, enlarged to 28x28 (`data="auto"`, with a warning; `data="embedded"`, as asked for).

TFDS stores its examples in a shuffled order. The order of the official files comes back by sorting as TFDS did (MD5 of
split name and row number), and is checked against the checksum of the official labels. So the 5,000 held-out images,
the indices of a minibatch and the fingerprint mean the same whether MNIST came through TFDS or through Keras.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import re
import textwrap
import threading
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from problems.base import DataInfo

SOURCES = ("auto", "tfds", "embedded")
SPLITS = ("original", "train", "test")
MODES = ("train", "test")

HELD_OUT = 5_000
"""Leading training images of MNIST that the original program's loader set aside and never used."""

_MNIST_SIZES = {"train": 60_000, "test": 10_000}
_MNIST_LABELS = {  # SHA-256 of the labels as bytes, in the order of the official files
    "train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
_MNIST_SERVER = "https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz"  # TFDS's
_DIGITS_TRAIN = 1_437


class DataError(ValueError):
    """Data that cannot be had; the message says what was tried and what to do."""


class DataOptions(NamedTuple):
    """Where data come from, and which part is used for what: the flags `--data`, `--data_dir` and `--split`.

    Attributes:
        data: `"auto"` (default: MNIST if it can be had, else the embedded digits), `"tfds"` (MNIST through TFDS or an
            error) or `"embedded"`. Problems whose data are always embedded ignore it.
        data_dir: folder of TFDS; None means `TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        split: `"original"` (default) does as the original program: mode `"train"` (meta-training and its validation)
            uses the training images without the first 5,000, mode `"test"` (evaluation) optimizes on the 10,000 test
            images. `"train"` and `"test"` are the whole official splits, whatever the mode. Only MNIST has images
            held out.
    """

    data: str = "auto"
    data_dir: str | None = None
    split: str = "original"


class Dataset(NamedTuple):
    """A data set on the device: uint8 `images [n, height, width, channels]`, int32 `labels [n]`, and what it is."""

    images: tf.Tensor
    labels: tf.Tensor
    info: DataInfo


class _Arrays(NamedTuple):
    """One official split on the host. `note` says what is unusual about it."""

    images: np.ndarray
    labels: np.ndarray
    note: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    """Where data were found: the name that `DataInfo` gives, and the official splits."""

    name: str
    splits: dict[str, _Arrays]


def load(name: str, mode: str = "train", options: DataOptions | None = None) -> Dataset:
    """Loads a data set, once per process and arguments.

    Args:
        name: `"mnist"` (28x28) or `"digits"` (8x8, embedded).
        mode: `"train"` or `"test"`; decides where the split is `"original"`.
        options: source, folder and split; default `DataOptions()`.

    Raises:
        DataError: if `data="tfds"` and MNIST can neither be read nor downloaded.
        ValueError: on an unknown name, mode, source or split.
    """
    options = options or DataOptions()
    _require("data set", name, ("mnist", "digits"))
    _require("mode", mode, MODES)
    _require("data", options.data, SOURCES)
    _require("split", options.split, SPLITS)
    if name == "digits":
        source = _digits()
    else:
        folder = os.fspath(options.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
        keras_file = os.path.join(os.environ.get("KERAS_HOME") or "~/.keras", "datasets", "mnist.npz")
        source = _mnist(options.data, os.path.expanduser(folder), os.path.expanduser(keras_file))
    return _on_device(source, *official_rows(source.name, options.split, mode))


def official_rows(name: str, split: str, mode: str) -> tuple[str, int]:
    """Which official split is used, and from which row on.

    >>> official_rows("mnist", "original", "train")
    ('train', 5000)
    """
    if split != "original":
        return split, 0
    return mode, HELD_OUT if mode == "train" and name == "mnist" else 0


def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """First 16 hex digits of the SHA-256 over the uint8 images (row-major) and the labels as little-endian int32."""
    digest = hashlib.sha256(np.ascontiguousarray(images, np.uint8).tobytes())
    digest.update(np.ascontiguousarray(labels, "<i4").tobytes())
    return digest.hexdigest()[:16]


def _require(what: str, value: str, expected: tuple[str, ...]) -> None:
    if value not in expected:
        raise ValueError(f"Received {what}={value!r}, expected one of {', '.join(expected)}.")


@functools.cache
def _on_device(source: _Source, part: str, start: int) -> Dataset:
    images, labels, note = source.splits[part]
    images, labels = images[start:], labels[start:].astype(np.int32)
    rule = f"{part}[{start}:]" if start else part
    info = DataInfo(source.name, rule + note, len(labels), fingerprint(images, labels))
    with tf.init_scope():  # a data set belongs to the process, not to the graph that asks for it first
        return Dataset(tf.constant(images), tf.constant(labels), info)


@functools.cache
def _mnist(data: str, folder: str, keras_file: str) -> _Source:
    """Tries what `data` allows, in the order of the module's docstring."""
    prepared = (f"prepared by TFDS in {folder}", lambda: _read_tfds(folder))
    cached = (f"cached by Keras in {keras_file}", lambda: _read_keras(keras_file))
    download = ("download by TFDS", lambda: _download_tfds(folder))
    attempts = {"tfds": (prepared, download), "auto": (prepared, cached, download), "embedded": ()}[data]
    tried = []
    for description, attempt in attempts:
        try:
            return attempt()
        except DataError as error:
            tried.append(f"{description}: {error}")
    advice = "Set --data_dir or TFDS_DATA_DIR to a folder with MNIST, or see docs/data.md for other ways."
    if data == "tfds":
        reasons = "".join(f"\n  - {reason}" for reason in tried)
        raise DataError(f"Received data='tfds', but MNIST cannot be had. Tried:{reasons}\n{advice}")
    if data == "auto":
        headline = "NOT MNIST: this run uses the embedded 8x8 digits, enlarged to 28x28 (digits-28x28)."
        logging.warning("%s", _boxed([headline, "MNIST was looked for:", *(f"- {reason}" for reason in tried), advice]))
    return _Source("digits-28x28", {part: _as_mnist(arrays) for part, arrays in _digits().splits.items()})


def _boxed(lines: list[str], width: int = 100) -> str:
    """A message that cannot be missed among others."""
    wrapped = [piece for line in lines for piece in textwrap.wrap(line, width, subsequent_indent="  ")]
    rule = "#" * (width + 4)
    return "\n".join(["", rule, *(f"# {line.ljust(width)} #" for line in wrapped), rule])


@contextlib.contextmanager
def _explained(what: str, advice: str = "") -> Iterator[None]:
    """Turns whatever a library raises about data into a `DataError` of one line."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # half a data set, the network, the disk: each library has its own exceptions
        reason = (re.sub(r"\{\{.*?\}\} *", "", str(error)).strip().splitlines() or ["no message"])[
            0
        ]  # without graph nodes
        raise DataError(f"{what} ({type(error).__name__}: {reason[:200]}){advice}") from None


def _tfds_builder(folder: str) -> Any:
    with _explained("TensorFlow Datasets cannot be imported"):
        import tensorflow_datasets as tfds
    with _explained("cannot be read", f"; remove {folder}/mnist to have it prepared anew"):
        return tfds.builder("mnist", data_dir=folder)


@functools.cache
def _read_tfds(folder: str) -> _Source:
    """Reads what TFDS prepared, in the order of the official files."""
    if not tf.io.gfile.isdir(os.path.join(folder, "mnist")):
        raise DataError("not there")
    builder = _tfds_builder(folder)
    if not builder.data_path.exists():
        raise DataError("begun, but never finished")
    splits = {}
    with _explained("cannot be read", f"; remove {folder}/mnist to have it prepared anew"):
        for part in _MNIST_SIZES:  # one shard each, so the rows come in the order in which they are stored
            stored = builder.as_dataset(split=part, batch_size=-1, as_supervised=True)
            splits[part] = _official_order(part, *(tensor.numpy() for tensor in stored))
    return _Source("mnist", splits)


def _download_tfds(folder: str) -> _Source:
    """Downloads and prepares MNIST in `folder`, unless the server does not answer: TFDS itself retries for minutes."""
    builder = _tfds_builder(folder)
    if builder.data_path.exists():
        raise DataError("not tried, because TFDS would take what is there")
    if not _answers(_MNIST_SERVER):
        raise DataError(f"no answer from {_MNIST_SERVER}")
    with _explained("failed"):
        builder.download_and_prepare()
    return _read_tfds(folder)


def _answers(url: str, seconds: float = 5.0) -> bool:
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
def _read_keras(path: str) -> _Source:
    """Reads the file that `keras.datasets.mnist` leaves behind, if it is there and whole."""
    if not os.path.isfile(path):
        raise DataError("not there")
    with _explained("cannot be read", "; remove it"), open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        rows = {part: _official_order(part, file[f"x_{part}"], file[f"y_{part}"]) for part in _MNIST_SIZES}
    return _Source("mnist", rows)


def _official_order(part: str, images: np.ndarray, labels: np.ndarray) -> _Arrays:
    """Puts rows into the official order (TFDS sorts by the MD5 of split and row). Other rows get a note."""
    size = _MNIST_SIZES[part]
    if images.shape[:3] != (size, 28, 28) or labels.shape != (size,) or images.dtype != np.uint8:
        raise DataError(
            f"{part} has images {images.dtype} {list(images.shape)} and labels {list(labels.shape)}, "
            f"expected uint8 [{size}, 28, 28] and [{size}]"
        )
    images, labels = images.reshape(size, 28, 28, 1), labels.astype(np.uint8)
    keys = [hashlib.md5(f"{part}{row}".encode(), usedforsecurity=False).digest() for row in range(size)]
    as_stored = np.argsort(sorted(range(size), key=keys.__getitem__))
    for order in (slice(None), as_stored):
        if hashlib.sha256(labels[order].tobytes()).hexdigest() == _MNIST_LABELS[part]:
            return _Arrays(images[order], labels[order])
    return _Arrays(images, labels, " (not the rows of the official files)")


@functools.cache
def _digits() -> _Source:
    """The 8x8 digits that ship with the package; the last 360 of 1,797 are the test split."""
    with np.load(Path(__file__).with_name("data") / "digits.npz", allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    cut = _DIGITS_TRAIN
    return _Source(
        "digits", {"train": _Arrays(images[:cut], labels[:cut]), "test": _Arrays(images[cut:], labels[cut:])}
    )


def _as_mnist(digits: _Arrays) -> _Arrays:
    """Enlarges 8x8 to 20x20 by area and centres it in 28x28, which is how MNIST's digits lie in their images."""
    fivefold = digits.images.repeat(5, axis=1).repeat(5, axis=2)
    sums = fivefold.reshape(-1, 20, 2, 20, 2, 1).sum(axis=(2, 4), dtype=np.int64)
    images = ((sums + 2) // 4).astype(np.uint8)
    return digits._replace(images=np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0))))
