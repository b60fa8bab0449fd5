import hashlib
import json
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from problems.base import fingerprint
from problems.data import datasets, sources
from problems.data.datasets import DataError, DataOptions, load, official_rows

DIGITS_TRAIN, DIGITS_TEST, ENLARGED_TRAIN = "ab726b145f10d7be", "2bcfb5a5acf69ae0", "93502f8e30cbaee6"


@pytest.fixture
def warnings_given(monkeypatch):
    given = []
    monkeypatch.setattr(sources.logging, "warning", lambda form, *values: given.append(form % values))
    return given


def keras_cache(tmp_path, **arrays):
    """A file as Keras leaves it, of MNIST's size and without its contents."""
    file = tmp_path / "keras" / "datasets" / "mnist.npz"
    file.parent.mkdir(parents=True)
    full = {
        "x_train": np.full([60_000, 28, 28], 7, np.uint8),
        "y_train": (np.arange(60_000) % 10).astype(np.uint8),
        "x_test": np.full([10_000, 28, 28], 9, np.uint8),
        "y_test": (np.arange(10_000) % 7).astype(np.uint8),
    }
    np.savez_compressed(file, **(full | arrays))
    return file


def prepared(folder, info="{}", **files):
    """A folder as TFDS leaves it when it is interrupted, or when a file is cut or lost afterwards."""
    version = folder / "mnist" / "3.0.1"
    version.mkdir(parents=True)
    (version / "dataset_info.json").write_text(info)
    for name, content in files.items():
        (version / f"mnist-{name}.tfrecord-00000-of-00001").write_bytes(content)


def info_of_mnist():
    splits = [
        {
            "name": part,
            "numBytes": "100",
            "shardLengths": [str(size)],
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        }
        for part, size in (("train", 60_000), ("test", 10_000))
    ]
    return json.dumps({"name": "mnist", "version": "3.0.1", "fileFormat": "tfrecord", "splits": splits})


# The embedded digits


def test_digits_are_the_ones_we_ship():
    for mode, size, first, print_ in (("train", 1_437, [0, 1, 2, 3], DIGITS_TRAIN), ("test", 360, None, DIGITS_TEST)):
        images, labels, info = load("digits", mode)
        assert images.dtype == tf.uint8 and images.shape == [size, 8, 8, 1]
        assert labels.dtype == tf.int32 and labels.shape == [size]
        assert np.bincount(labels.numpy()).min() > size / 13
        assert images.numpy().min() == 0 and images.numpy().max() == 255
        assert first is None or labels.numpy()[:4].tolist() == first
        assert info == datasets.DataInfo("digits", mode, size, print_)
    assert str(info) == f"digits/test (360 examples, {DIGITS_TEST})"


def test_the_fingerprint_is_the_hash_of_images_and_labels_and_sees_each_of_them():
    images, labels, info = load("digits")
    images, labels = images.numpy(), labels.numpy()
    expected = hashlib.sha256(images.tobytes() + labels.astype("<i4").tobytes()).hexdigest()[:16]
    assert info.fingerprint == expected == fingerprint(images, labels)
    changed = images.copy()
    changed[5, 3, 3] ^= 1
    assert fingerprint(changed, labels) != expected != fingerprint(images, np.roll(labels, 1))


def test_enlarged_digits_keep_their_ink_and_lie_as_mnist_does():
    small = load("digits").images.numpy().astype(float)
    images, labels, info = load("mnist", options=DataOptions("embedded"))
    large = images.numpy().astype(float)
    assert large.shape == (1_437, 28, 28, 1) and info.name == "digits-28x28" and info.fingerprint == ENLARGED_TRAIN
    np.testing.assert_array_equal(labels, load("digits").labels)
    border = np.ones([28, 28], bool)
    border[4:24, 4:24] = False
    assert large[:, border].max() == 0 and large.max() == 255
    np.testing.assert_allclose(large.sum((1, 2, 3)), small.sum((1, 2, 3)) * (20 / 8) ** 2, rtol=0.01)
    np.testing.assert_array_equal(large[:, 4, 4], small[:, 0, 0])  # corners and middles of old pixels keep their value
    np.testing.assert_array_equal(large[:, 4 + 6, 4 + 11], small[:, 2, 4])
    np.testing.assert_array_equal(large[:, 4 + 2, 4 + 3], np.floor((small[:, 0, 1] + small[:, 1, 1]) / 2 + 0.5))


# Which images for what


@pytest.mark.parametrize(
    ("name", "split", "mode", "expected"),
    [
        ("mnist", "original", "train", ("train", 5_000, None)),
        ("mnist", "original", "test", ("test", 0, None)),
        ("mnist", "train", "test", ("train", 0, None)),
        ("mnist", "test", "train", ("test", 0, None)),
        ("mnist", "held_out", "test", ("train", 0, 5_000)),
        ("digits-28x28", "original", "train", ("train", 0, None)),
        ("digits", "original", "test", ("test", 0, None)),
    ],
)
def test_official_rows(name, split, mode, expected):
    assert official_rows(name, split, mode) == expected


def test_data_are_loaded_once():
    assert load("digits").images is load("digits", options=DataOptions("tfds")).images
    embedded = DataOptions("embedded")
    assert load("mnist", "test", embedded).images is load("mnist", "train", embedded._replace(split="test")).images


def test_data_can_be_asked_for_inside_a_graph_first():
    datasets._on_device.cache_clear()
    tf.function(lambda: load("digits").images[0] + 0)()
    assert load("digits").images.numpy().shape == (1_437, 8, 8, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("svhn",), "Received data set='svhn', expected one of mnist, cifar10, digits"),
        (("mnist", "eval"), "Received mode='eval', expected one of train, test"),
        (("mnist", "train", DataOptions("web")), "Received data='web', expected one of auto, tfds, embedded"),
        (("mnist", "train", DataOptions(split="all")), "Received split='all', expected one of original, train, test"),
        (("digits", "test", DataOptions(split="held_out")), "'digits', of which no images are held out"),
    ],
)
def test_unknown_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(*arguments)


# Where MNIST is looked for


def test_auto_falls_back_loudly(no_tfds, tmp_path, warnings_given):
    assert load("mnist").info.name == "digits-28x28"
    (warning,) = warnings_given
    assert "NOT MNIST" in warning and "docs/data.md" in warning
    for place in (str(no_tfds), "mnist.npz", "no answer from https://"):
        assert place in warning.replace("\n#   ", "").replace(" ", "") or place in warning
    assert len({len(line) for line in warning.splitlines()[1:]}) == 1  # a box


def test_embedded_is_silent(warnings_given):
    assert load("mnist", options=DataOptions("embedded")).info.name == "digits-28x28"
    assert not warnings_given


def test_tfds_is_strict_and_says_what_was_tried(no_tfds, tmp_path):
    keras_cache(tmp_path)  # no matter: TFDS was asked for
    with pytest.raises(DataError) as caught:
        load("mnist", options=DataOptions("tfds"))
    message = str(caught.value)
    assert f"prepared by TFDS in {no_tfds}: not there" in message
    assert "download by TFDS: no answer from https://storage" in message
    assert "--data_dir or TFDS_DATA_DIR" in message and "docs/data.md" in message
    assert isinstance(caught.value, ValueError) and caught.value.__suppress_context__ is False
    assert not no_tfds.exists()  # nothing was begun


def test_data_dir_goes_before_the_environment_and_the_environment_before_home(no_tfds, tmp_path, monkeypatch):
    for source in ("tfds", "auto"):
        with pytest.raises(ValueError, match="mine', which is no folder, .* make it first"):
            load("mnist", options=DataOptions(source, str(tmp_path / "mine")))
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match=f"prepared by TFDS in {tmp_path / 'mine'}: not there"):
        load("mnist", options=DataOptions("tfds", str(tmp_path / "mine")))
    monkeypatch.delenv("TFDS_DATA_DIR")
    with pytest.raises(DataError, match=f"prepared by TFDS in {tmp_path}/home/tensorflow_datasets: not there"):
        load("mnist", options=DataOptions("tfds"))


def test_a_cache_of_keras_is_used(no_tfds, tmp_path, warnings_given):
    keras_cache(tmp_path)
    images, labels, info = load("mnist")
    assert images.shape == [55_000, 28, 28, 1] and images.dtype == tf.uint8 and int(images[0, 0, 0, 0]) == 7
    np.testing.assert_array_equal(labels, np.arange(5_000, 60_000) % 10)
    assert (info.name, info.size) == ("mnist", 55_000)
    assert info.split == "train[5000:] (not the rows of the official files)"  # this is a fake, and we say so
    assert load("mnist", "test").info.size == 10_000
    assert load("mnist", options=DataOptions(split="train")).info.size == 60_000
    assert not warnings_given


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], r"cannot be read \(BadZipFile: .*\); remove it"),
        (lambda data: b"", "cannot be read"),
        (lambda data: data.replace(b"x_test", b"x_tost"), "cannot be read .*x_test"),
    ],
)
def test_a_damaged_cache_of_keras_is_reported(no_tfds, tmp_path, warnings_given, damage, reason):
    file = keras_cache(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert load("mnist").info.name == "digits-28x28"
    with pytest.raises(DataError, match=reason):
        sources.read_keras("mnist", str(file))
    assert "cannot be read" in warnings_given[0]


def test_a_cache_of_keras_with_objects_is_not_unpickled(tmp_path):
    file = keras_cache(tmp_path, x_train=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(DataError, match=r"cannot be read \(ValueError: Object arrays cannot be loaded"):
        sources.read_keras("mnist", str(file))


def test_a_cache_of_keras_of_other_shape_is_refused(tmp_path):
    file = keras_cache(tmp_path, x_train=np.zeros([100, 28, 28], np.uint8))
    with pytest.raises(DataError, match=r"train has images uint8 \[100, 28, 28\] .*expected uint8 \[60000, 28, 28\]"):
        sources.read_keras("mnist", str(file))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "mnist" / "incomplete.ABC_3.0.1").mkdir(parents=True), "begun, but never finished"),
        (lambda f: (f / "mnist" / "3.0.1").mkdir(parents=True), "cannot be read .*remove .*/mnist"),
        (lambda f: prepared(f, '{"name": "mni'), r"cannot be read \(ParseError: .*remove .*/mnist"),
        (lambda f: prepared(f, info_of_mnist()), "cannot be read .*remove .*/mnist"),
        (lambda f: prepared(f, info_of_mnist(), train=b"\x01\x02", test=b""), "cannot be read .*remove .*/mnist"),
    ],
    ids=["interrupted", "empty", "cut info", "lost records", "cut records"],
)
def test_a_half_prepared_folder_of_tfds_is_reported(tmp_path, warnings_given, damage, reason):
    folder = tmp_path / "half"
    damage(folder)
    with pytest.raises(DataError, match=reason) as caught:
        load("mnist", options=DataOptions("tfds", str(folder)))
    assert len(str(caught.value)) < 1_500 and "Traceback" not in str(caught.value)
    assert load("mnist", options=DataOptions("auto", str(folder))).info.name == "digits-28x28"
    assert len(warnings_given) == 1


@pytest.mark.parametrize("error", [ConnectionError("reset by peer"), OSError(28, "No space left on device")])
def test_an_interrupted_download_is_reported(no_tfds, monkeypatch, error):
    import tensorflow_datasets as tfds

    def fail(self):
        raise error

    monkeypatch.setattr(sources, "answers", lambda url: True)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(DataError, match=rf"download by TFDS: failed \({type(error).__name__}: .*(reset|No space)"):
        load("mnist", options=DataOptions("tfds"))


def test_a_server_that_never_answers_costs_a_moment():
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        assert not ANSWERS(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.5)
        assert time.monotonic() - start < 2
    assert not ANSWERS("http://127.0.0.1:1/", seconds=0.5)
    assert not ANSWERS("nonsense", seconds=0.5)


def test_a_server_that_answers_is_seen():
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *values):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert ANSWERS(f"http://127.0.0.1:{server.server_port}/", seconds=5)


ANSWERS = sources.answers  # before the fixture replaces it
