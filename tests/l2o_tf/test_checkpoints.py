"""The checkpoints of a run: what is damaged is passed over, what is complete is never written over."""

import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.training.run_folder import Checkpoints
from tests.l2o_tf import training


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of meta-epochs 1, 2 and 3, of which the last two are kept."""
    stub = training.Stub()
    checkpoints = Checkpoints(tmp_path, stub.checkpointables())
    for epoch in (1, 2, 3):
        stub.at(epoch)
        checkpoints.save()
    return tmp_path


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("ckpt*"))


def damage(path, how):
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": path.read_bytes()[: path.stat().st_size // 2], "empty": b""}[how])


PARTS = ("index", "data-00000-of-00001")


class TestCheckpoints:
    def test_the_newest_is_restored(self, saved):
        stub = training.Stub()
        Checkpoints(saved, stub.checkpointables())
        np.testing.assert_array_equal(stub.phi, [3, 3, 3])

    def test_the_last_two_are_kept(self, saved):
        assert names(saved) == [f"ckpt-{epoch}.{part}" for epoch in (2, 3) for part in sorted(PARTS)]

    @pytest.mark.parametrize("part", PARTS)
    @pytest.mark.parametrize("how", ["cut", "empty", "missing"])
    def test_a_damaged_one_is_passed_over(self, saved, part, how, caplog):
        damage(saved / "checkpoints" / f"ckpt-3.{part}", how)
        stub = training.Stub()
        checkpoints = Checkpoints(saved, stub.checkpointables())
        np.testing.assert_array_equal(stub.phi, [2, 2, 2])
        assert "Damaged checkpoint" in caplog.text and "ckpt-3" in caplog.text
        stub.at(3)
        checkpoints.save()
        again = training.Stub()
        Checkpoints(saved, again.checkpointables())
        np.testing.assert_array_equal(again.phi, [3, 3, 3])

    @pytest.mark.parametrize("how", ["cut", "empty", "missing"])
    def test_none_that_can_be_read(self, saved, how):
        for epoch in (2, 3):
            damage(saved / "checkpoints" / f"ckpt-{epoch}.index", how)
        with pytest.raises(ValueError, match=r"damaged checkpoints: .*ckpt-3.*ckpt-2.*in another folder") as caught:
            Checkpoints(saved, training.Stub().checkpointables())
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("how", ["cut", "empty", "missing"])
    def test_the_index_of_all(self, saved, how, caplog):
        """Lost or damaged, the files themselves say what there is: the newest is restored, and makes way in turn."""
        damage(saved / "checkpoints" / "checkpoint", how)
        stub = training.Stub()
        checkpoints = Checkpoints(saved, stub.checkpointables())
        np.testing.assert_array_equal(stub.phi, [3, 3, 3])
        assert "index" in caplog.text and "lost or damaged" in caplog.text
        stub.at(4)
        checkpoints.save()
        assert names(saved) == [f"ckpt-{epoch}.{part}" for epoch in (3, 4) for part in sorted(PARTS)]

    @pytest.mark.parametrize("name", ["[a-z]", "back\\slash", "a*b"])
    def test_a_folder_whose_name_looks_like_a_pattern(self, tmp_path, name):
        """It is that folder and no other: neither is it missed, nor does `a*b` delete what is in `axb`."""
        other = tmp_path / name.replace("*", "x") / "other" if name != "a*b" else tmp_path / "axb"
        for folder in (other, tmp_path / name):
            stub = training.Stub()
            checkpoints = Checkpoints(folder, stub.checkpointables())
            for epoch in (1, 2) if folder == other else (1, 2, 3):
                stub.at(epoch)
                checkpoints.save()
        assert [name.partition(".")[0] for name in names(other)] == ["ckpt-1", "ckpt-1", "ckpt-2", "ckpt-2"]
        assert names(tmp_path / name)[0] == "ckpt-2.data-00000-of-00001"
        stub = training.Stub()
        Checkpoints(tmp_path / name, stub.checkpointables())
        np.testing.assert_array_equal(stub.phi, [3, 3, 3])

    def test_weights_without_any(self, saved):
        """A folder that was copied without them must not be begun anew and written over."""
        shutil.rmtree(saved / "checkpoints")
        Checkpoints(saved, training.Stub().checkpointables())
        (saved / "weights.npz").touch()
        with pytest.raises(ValueError, match="weights of a run and no checkpoint"):
            Checkpoints(saved, training.Stub().checkpointables())

    def test_of_another_program(self, saved):
        """A checkpoint that lacks what this trainer has is not half restored."""

        class Larger(training.Stub):
            def checkpointables(self):
                return {**super().checkpointables(), "more": [tf.Variable(1)]}

        with pytest.raises(ValueError, match="damaged checkpoints"):
            Checkpoints(saved, Larger().checkpointables())

    def test_a_complete_file_is_not_written_over(self, saved):
        files = {name: (saved / "checkpoints" / name).stat().st_mtime_ns for name in names(saved)}
        stub = training.Stub().at(3)
        Checkpoints(saved, stub.checkpointables()).save()
        assert files == {name: (saved / "checkpoints" / name).stat().st_mtime_ns for name in names(saved)}

    def test_killed_while_writing(self, saved):
        """What a kill leaves behind under temporary names is not looked at."""
        (saved / "checkpoints" / "ckpt-4_temp").mkdir()
        shutil.copy(saved / "checkpoints" / "ckpt-3.index", saved / "checkpoints" / "ckpt-4.index")
        stub = training.Stub()
        Checkpoints(saved, stub.checkpointables())
        np.testing.assert_array_equal(stub.phi, [3, 3, 3])

    def test_full_disk(self, saved):
        """No file may grow: an OSError, and the checkpoints are those of before."""
        stub = training.Stub()
        checkpoints = Checkpoints(saved, stub.checkpointables())
        stub.at(4)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            with pytest.raises(OSError, match="checkpoint of meta-epoch 4 cannot be written"):
                checkpoints.save()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        again = training.Stub()
        Checkpoints(saved, again.checkpointables())
        np.testing.assert_array_equal(again.phi, [3, 3, 3])
        checkpoints.save()
        Checkpoints(saved, again.checkpointables())
        np.testing.assert_array_equal(again.phi, [4, 4, 4])
