"""Round trips, damage of every kind, full disks, and weights of another architecture."""

import errno
import hashlib
import io
import json
import math
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from l2o_tf import saving
from l2o_tf.common.writing import write_atomically
from l2o_tf.optimizers import make_optimizer
from tests.l2o_tf.saving.samples import assert_equal, some_weights


@pytest.fixture
def saved(tmp_path):
    saving.save_weights(tmp_path / "dm", some_weights(), {"optimizer": "L2O-DM", "history": [2.5, math.nan]})
    return tmp_path / "dm"


def confirm(folder):
    """Writes the SHA-256 of the weights into the card, as who made them would."""
    card = json.loads((folder / "optimizer.json").read_text())
    card["weights"]["sha256"] = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
    (folder / "optimizer.json").write_text(json.dumps(card))


class TestFolder:
    def test_round_trip(self, saved):
        card, weights = saving.load_weights(saved)
        assert_equal(weights, some_weights())
        assert card["optimizer"] == "L2O-DM"
        assert card["history"] == [2.5, None]
        assert sorted(os.listdir(saved)) == ["optimizer.json", "weights.npz"]

    def test_same_weights_give_the_same_bytes(self, saved, tmp_path):
        card, weights = saving.load_weights(saved)
        saving.save_weights(tmp_path / "again", weights, card)
        for name in ("weights.npz", "optimizer.json"):
            assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()

    def test_card_holds_numpy_numbers(self, tmp_path):
        saving.save_weights(tmp_path, some_weights(), {"cost": np.float32(0.5), "steps": (np.int64(3), math.inf)})
        card, _ = saving.load_weights(tmp_path)
        assert card["cost"] == 0.5
        assert card["steps"] == [3, None]

    @pytest.mark.parametrize("name", ["weights.npz", "optimizer.json"])
    @pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
    def test_file_cut_short(self, saved, name, share):
        data = (saved / name).read_bytes()
        (saved / name).write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match=f"{name}.*(damaged|does not describe)"):
            saving.load_weights(saved)

    @pytest.mark.parametrize("name", ["weights.npz", "optimizer.json"])
    def test_file_missing(self, saved, name):
        (saved / name).unlink()
        with pytest.raises(ValueError, match=f"has no {name}, expected a folder"):
            saving.load_weights(saved)

    def test_one_changed_number_is_noticed(self, saved):
        weights = some_weights()
        weights["linear/b"][0] += 1e-6
        np.savez(saved / "weights.npz", **weights)
        with pytest.raises(ValueError, match="SHA-256 is not the one"):
            saving.load_weights(saved)

    def test_nan_in_the_file(self, saved):
        weights = some_weights()
        weights["linear/w"][1] = np.nan
        np.savez(saved / "weights.npz", **weights)
        confirm(saved)
        with pytest.raises(ValueError, match="1 of 2 values that are NaN or infinite as linear/w"):
            saving.load_weights(saved)

    @pytest.mark.parametrize(
        "text",
        [
            "[" * 100_000,
            f"[{500_000 * '{},'}0]",
            200 * "[" + 200 * "]",
            "[]",
            "{}",
            '{"weights": {"sha256": ""}}',
            "\xff",
        ],
    )
    def test_card_that_describes_nothing(self, saved, text):
        (saved / "optimizer.json").write_text(text, encoding="latin1")
        with pytest.raises(ValueError, match="optimizer.json, which (is damaged|does not describe)") as caught:
            saving.load_weights(saved)
        assert ("does not describe" in str(caught.value)) == (len(text) < 100 and text != "\xff")

    def test_card_of_another_format(self, saved):
        text = (saved / "optimizer.json").read_text().replace('"format": 1', '"format": 2')
        (saved / "optimizer.json").write_text(text)
        with pytest.raises(ValueError, match="format 2, expected 1"):
            saving.load_weights(saved)

    @pytest.mark.parametrize("bad", [np.array([np.inf]), np.array([1e300]), np.array([1]), np.array([None])])
    def test_unusable_weights_are_not_saved(self, tmp_path, bad):
        with pytest.raises(ValueError, match="Received .* as linear/b"):
            saving.save_weights(tmp_path, {"linear/b": bad}, {})
        assert not os.listdir(tmp_path)

    def test_card_that_json_cannot_hold(self, tmp_path):
        with pytest.raises(ValueError, match="card .* JSON cannot hold"):
            saving.save_weights(tmp_path, some_weights(), {"optimizer": object()})
        assert not os.listdir(tmp_path)


def member(data, method=zipfile.ZIP_DEFLATED, **info):
    """An `.npz` file of one array `w`; attributes of its record say otherwise."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("w.npy", data)
        for name, value in info.items():
            setattr(archive.infolist()[0], name, value)
    return file.getvalue()


def array(shape, descr="<f4", content=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def claim(size):
    """One array of as many numbers, which are not there: as a bomb begins."""
    header = array((size,))
    return member(header, file_size=len(header) + 4 * size)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (claim(2**24 + 1), "more than 67,108,864 bytes"),
        (member(array((10**12,))), "not as long as it says"),
        (member(array((2, 2), content=bytes(16)) + b"more"), "not as long as it says"),
        (member(array((1,), "|O", b"N.")), "Python objects"),
        (member(b"no array"), "magic string"),
        (member(array((1,), content=bytes(4)), flag_bits=1), "encrypted"),
        (member(b"\x93NUMPY\x02\x00" + (2**24).to_bytes(4, "little") + bytes(2**24)), "EOF: reading array header"),
        (member(array((1,), content=bytes(4)), method=zipfile.ZIP_BZIP2), "another way than NumPy's"),
        (member(b"\x93NUMPY\x01\x00" + (2**13).to_bytes(2, "little") + b"(" * 2**13), "no .npz file"),
        (b"PK\x01\x02" * 2001, "more than 2,000 members"),
        (None, "of 134,217,729 bytes, expected at most"),
    ],
    ids=[
        "size",
        "claim",
        "more",
        "object",
        "text",
        "encrypted",
        "header",
        "bzip2",
        "nested",
        "members",
        "file",
    ],
)
def test_a_hostile_file_takes_little(saved, content, says):
    if content:
        (saved / "weights.npz").write_bytes(content)
        confirm(saved)
    else:
        os.truncate(saved / "weights.npz", 2**27 + 1)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"Received .*weights.npz.*{says}") as caught:
            saving.load_weights(saved)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1000


class TestAtomicity:
    @pytest.mark.parametrize("fails_at", [1, 2])
    def test_full_disk_leaves_the_old_files(self, saved, monkeypatch, fails_at):
        calls = []

        def fsync(descriptor):
            calls.append(descriptor)
            if len(calls) == fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space left on device. Nothing was written") as caught:
            saving.save_weights(saved, {"linear/b": np.zeros([1], np.float32)}, {})
        assert caught.value.errno == errno.ENOSPC
        assert sorted(os.listdir(saved)) == ["optimizer.json", "weights.npz"]
        assert_equal(saving.load_weights(saved)[1], some_weights())

    def test_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="Nothing was written"):
            saving.save_weights(tmp_path / "file" / "dm", some_weights(), {})

    def test_read_only_disk(self, tmp_path, monkeypatch):
        def mkdir(*args, **options):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr("pathlib.Path.mkdir", mkdir)
        with pytest.raises(OSError, match="Read-only file system. Nothing was written"):
            write_atomically(tmp_path / "config.json", b"{}")

    def test_one_file(self, tmp_path):
        path = tmp_path / "new" / "config.json"
        for data in (b"first", b"second"):
            write_atomically(path, data)
            assert path.read_bytes() == data


@pytest.fixture(scope="module")
def optimizer():
    return make_optimizer("L2O-DM")


class TestVariables:
    def test_round_trip(self, optimizer):
        weights = {name: value + 1.0 for name, value in saving.named_weights(optimizer).items()}
        assert weights["lstm_1/w_gates"].shape == (22, 80)
        saving.assign_weights(optimizer, weights)
        assert_equal(saving.named_weights(optimizer), weights)

    def test_names_and_shapes_of_another_architecture(self, optimizer):
        before = saving.named_weights(optimizer)
        weights = {**before, "lstm_1/w_gates": np.zeros([21, 80]), "input_projection/b": np.zeros([20])}
        del weights["linear/b"]
        with pytest.raises(ValueError, match="another architecture than L2O-DM") as caught:
            saving.assign_weights(optimizer, weights)
        for clause in (
            "lstm_1/w_gates: [22, 80] expected, [21, 80] received",
            "linear/b: [1] expected, nothing received",
            "input_projection/b: nothing expected, [20] received",
        ):
            assert clause in str(caught.value)
        assert "linear/w" not in str(caught.value)
        assert_equal(saving.named_weights(optimizer), before)

    def test_nan_is_not_assigned(self, optimizer):
        before = saving.named_weights(optimizer)
        with pytest.raises(ValueError, match="NaN or infinite as linear/b"):
            saving.assign_weights(optimizer, {**before, "linear/b": np.array([np.nan])})
        assert_equal(saving.named_weights(optimizer), before)
