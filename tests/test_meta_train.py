"""The script: what it refuses and how, and that a run survives whatever ends its process."""

import json
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from l2o_tf.cli import meta_train
from l2o_tf.common import folders, xla_cache
from l2o_tf.recording.records import RECORDS, read_records, without_wall_times
from tests import scripts

TINY = ("--problem=simple", "--architecture=layers=2", "--unroll_length=4", "--num_steps=8", "--num_epochs=2")
TINY += ("--evaluation_period=1", "--num_runs_validation=2", "--data=embedded")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is done, and what it said."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, scripts.call(meta_train, *TINY, f"--output_dir={folder}")


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


@pytest.fixture
def untraced(monkeypatch):
    """Nothing may be trained."""

    def advance(self):
        raise AssertionError("a meta-epoch was begun")

    monkeypatch.setattr("l2o_tf.training.meta_training.MetaTrainer.advance", advance)


def test_help_and_refusals_need_no_tensorflow():
    """In an interpreter of their own, which has nothing imported yet."""
    code = """
import sys
from l2o_tf.cli import evaluate, meta_train
from tests import scripts
for script in (meta_train, evaluate):
    answer = scripts.call(script, "--help")
    assert answer.code == 0 and "--num_steps=" in answer.out and "python " in answer.out, answer
    assert "Unknown command line flag 'num_step'" in scripts.refused(script, "--num_step=3")
scripts.refused(meta_train, "--num_steps=0")
scripts.refused(meta_train, "--curriculum", "--num_steps=100")
heavy = {"tensorflow", "keras", "matplotlib", "tensorflow_datasets", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=scripts.ROOT, timeout=60)


class TestRun:
    def test_it_says_where_the_weights_are(self, finished):
        folder, result = finished
        assert result.code == 0, result
        assert result.out == (
            f"All meta-epochs are done. 2 meta-epochs, 0 of them diverged.\nWeights: {folder / 'weights.npz'}\n"
        )
        assert {path.name for path in folder.iterdir()} == {
            *("checkpoints", "config.json", "optimizer.json", "records.jsonl", "training.png", "weights.npz"),
            next(folder.glob("events.out.tfevents.*")).name,
        }

    def test_once_more_changes_nothing(self, copy):
        before = {path: path.read_bytes() for path in copy.rglob("*") if path.suffix in (".npz", ".jsonl", ".index")}
        result = scripts.call(meta_train, *TINY, f"--output_dir={copy}")
        assert (result.code, result.out.count("\n")) == (0, 2)
        assert {path: path.read_bytes() for path in before} == before

    def test_more_meta_epochs(self, copy, monkeypatch):
        """The one way in which a run may be asked for again with other options; XLA's cache is sealed at each save."""
        sealed = []
        monkeypatch.setattr(xla_cache, "seal", lambda: sealed.append(read_records(copy / RECORDS)))
        result = scripts.call(meta_train, *TINY, "--num_epochs=3", f"--output_dir={copy}")
        assert "3 meta-epochs" in result.out
        assert [len(records) for records in sealed] == [3, 3]
        assert [r["meta_epoch"] for r in read_records(copy / RECORDS)] == [0, 1, 2]

    def test_arguments_of_an_architecture_are_listed(self):
        answer = scripts.call(meta_train, "--architecture=help")
        assert answer.code == 0 and "RNNprop, with the defaults:\n  --architecture=layers=20+20," in answer.out
        answer = scripts.call(meta_train, "--architecture=help", "--optimizer=L2O-DM")
        assert "k: exponent of LogAndSign" in answer.out and "RNNprop" not in answer.out

    def test_default_folder(self):
        values = meta_train.configuration.resolve({"curriculum": True, "imitation": True, "seed": 3})
        assert meta_train.default_output_dir(values) == "runs/L2O-DM-CL-IL-mnist-s3"
        assert meta_train.default_output_dir(meta_train.configuration.resolve({})) == "runs/L2O-DM-mnist-s0"
        values = meta_train.configuration.resolve({"preset": "original", "net_assignments": "x=RNNprop,*=adam"})
        assert meta_train.default_output_dir(values) == "runs/RNNprop+adam-mnist-original-s0"
        values = meta_train.configuration.resolve({"problem": "some/own.py:model"})
        assert meta_train.default_output_dir(values) == "runs/L2O-DM-own-model-s0"


@pytest.mark.usefixtures("untraced")
class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("--problem=smiple", "Received problem 'smiple', expected one of .*did you mean simple"),
            ("--imitation --teachers=adam,sdg", "Received teacher 'sdg.*', expected one of .*Did you mean sgd"),
            ("--num_steps=10", "a horizon of 10 steps with windows of 4, expected a multiple. Use 8 or 12"),
            ("--curriculum", "--curriculum with --num_steps"),
            ("--optimizer=adam", r"where nothing can be trained; .* \['L2O-DM', 'RNNprop', 'L2O-Scale'\] or"),
            ("--net_assignments=y*=L2O-DM", r"parameter 'x', which matches none of \['y\*'\]"),
            ("--validation_window=9", "a validation window of 9, expected at most 8"),
            ("--long_tail_windows=40,1.5", "a long tail of 40,1.5, expected mean,least or mean,least,most"),
            ("--long_tail_windows=40,20,10", "a long tail of 40,20,10, expected mean,least or mean,least,most"),
            ("--long_tail_steps=40,1 --jit_compile", "random length with jit_compile=True"),
            ("--clip_norm=1 --clip_value=1", "Only one of `clipnorm`, `clipvalue` and `global_clipnorm`"),
            ("--num_runs_validation=100000 --num_steps=20000", "at most 1,000,000,000 losses in a validation"),
            (
                "--layers=20,20",
                "'layers'.*, which is of an earlier version. Use --architecture=layers=..., with [+] for",
            ),
            (
                "--architecture=preprocess=Clamp,k=3",
                "Received k=3.0, which does nothing without preprocess='LogAndSign'",
            ),
            ("--nogradient_products", "earlier version. Use --architecture=gradient_products=..., with [+] for"),
            ("--num_stpes=8", "Unknown command line flag 'num_stpes'. Did you mean: num_steps"),
            ("--seed=-1", "--seed=-1: expected a whole number from 0 to 2,147,483,647"),
            ("--flagfile=missing.flags", "missing.flags"),
            ("--nocurriculum=true", "--nocurriculum=true does not take an argument. See --help"),
            ("--checkpoint_seconds=nan", "checkpoint_seconds=nan, expected a number from 0 to"),
            ("--checkpoint_seconds=-1", "checkpoint_seconds=-1.0, expected a number from 0 to"),
            ("stray", "Received 'stray', which is no flag"),
        ],
    )
    def test_one_line_and_code_2(self, tmp_path, arguments, words):
        folder = tmp_path / "run"
        answer = scripts.refused(meta_train, *TINY, *arguments.split(), f"--output_dir={folder}")
        assert re.search(words, answer), answer
        assert not folder.exists()

    def test_a_run_of_an_earlier_version(self, copy):
        """Its configuration has an option for each argument of a constructor."""
        stored = json.loads((copy / "config.json").read_text())
        stored["config"] |= {"architecture": "layers=2", "output_scale": 0.01, "time_scales": 4, "anneal": False}
        (copy / "config.json").write_text(json.dumps(stored))
        assert scripts.call(meta_train, *TINY, f"--output_dir={copy}").code == 0
        answer = scripts.refused(meta_train, *TINY, "--architecture=layers=3", f"--output_dir={copy}")
        assert "(architecture: 'layers=2' there, 'layers=3' now)" in answer
        stored["config"] |= {"output_scale": 0.1}
        (copy / "config.json").write_text(json.dumps(stored))
        assert "(output_scale: 0.1 there, 0.01 now)" in scripts.refused(meta_train, *TINY, f"--output_dir={copy}")

    def test_a_run_of_another_configuration(self, copy):
        before = sorted(copy.rglob("*"))
        answer = scripts.refused(meta_train, *TINY, "--seed=1", f"--output_dir={copy}")
        assert "another configuration (seed: 0 there, 1 now)" in answer
        assert sorted(copy.rglob("*")) == before

    def test_a_run_on_other_data(self, copy):
        stored = json.loads((copy / "config.json").read_text())
        stored["data"] = {"name": "mnist", "split": "train", "size": 60_000, "fingerprint": "0" * 16}
        (copy / "config.json").write_text(json.dumps(stored))
        answer = scripts.refused(meta_train, *TINY, f"--output_dir={copy}")
        assert "data: mnist/train (60,000 examples, 0000000000000000) there, none now" in answer

    def test_a_run_that_is_not_to_be_resumed(self, copy):
        assert "holds a run" in scripts.refused(meta_train, *TINY, "--noresume", f"--output_dir={copy}")

    def test_a_run_that_another_process_is_at(self, copy):
        with folders.alone_in(copy):
            answer = scripts.refused(meta_train, *TINY, f"--output_dir={copy}", "--num_epochs=3")
        assert "where another process is at work" in answer
        with folders.alone_in(copy):
            pass

    def test_checkpoints_cut_in_half(self, copy):
        for path in (copy / "checkpoints").glob("ckpt*"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        answer = scripts.refused(meta_train, *TINY, "--num_epochs=3", f"--output_dir={copy}")
        assert "Received damaged checkpoints" in answer

    def test_a_configuration_cut_in_half(self, copy):
        text = (copy / "config.json").read_text()
        (copy / "config.json").write_text(text[: len(text) // 2])
        assert "config.json, which is damaged" in scripts.refused(meta_train, *TINY, f"--output_dir={copy}")

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        assert "file" in scripts.refused(meta_train, *TINY, f"--output_dir={tmp_path / 'file' / 'run'}")

    def test_a_read_only_disk(self, copy, monkeypatch):
        """For root, who may write anywhere, too: replacing files fails as it does there."""

        def replace(source, target):
            raise OSError(30, "Read-only file system", str(target))

        monkeypatch.setattr("os.replace", replace)
        for folder in (copy, copy / "new"):
            answer = scripts.refused(meta_train, *TINY, "--num_epochs=3", f"--output_dir={folder}")
            assert "Read-only file system" in answer

    def test_a_disk_that_is_full_at_the_start(self, tmp_path):
        with no_file_above(0):
            result = scripts.call(meta_train, *TINY, f"--output_dir={tmp_path / 'run'}")
        assert (result.code, result.err.count("\n")) == (2, 1), result
        assert "Nothing was written" in result.err


def test_a_disk_that_is_full_in_the_middle(tmp_path):
    """One line, code 2, and once there is space the same command ends as if nothing had been.

    Without XLA, whose cache of compiled programs would be the first to meet the limit.
    """
    command = (*TINY, "--nojit_compile", f"--output_dir={tmp_path / 'run'}")
    with no_file_above(8_000):
        result = scripts.call(meta_train, *command)
    assert result.code == 2, result
    assert "cannot be written" in result.err.splitlines()[-1]
    assert "Traceback" not in result.err
    assert scripts.call(meta_train, *command).code == 0


class no_file_above:
    """Within it no file of this process may grow beyond so many bytes, as on a full disk."""

    def __init__(self, size):
        self._size = size

    def __enter__(self):
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, self._before[1]))

    def __exit__(self, *error):
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


LONGER = (
    *("--problem=digits", "--architecture=layers=", "--unroll_length=4", "--num_epochs=24", "--evaluation_period=6"),
    *("--curriculum", "--curriculum_steps=4,8,12,16,20,24", "--min_periods=1", "--num_runs_validation=2"),
    *("--imitation", "--imitation_ratios=0.5", "--teachers=adam,sgd", "--teacher_choice=cycle", "--seed=1"),
    *("--learning_rate=0.01", "--patience=1", "--checkpoint_seconds=0"),
)


def interrupt(folder, number, lines) -> scripts.Result:
    """Starts the command, and sends a signal at some moment after it has made so many records of its own or before it.

    A session begins with a new file of records, in place of the one that the session before has left.
    """

    def inode():
        return (folder / RECORDS).stat().st_ino if (folder / RECORDS).exists() else None

    left, give_up = inode(), time.monotonic() + 300
    process = scripts.start("meta_train.py", *LONGER, f"--output_dir={folder}")
    while process.poll() is None and time.monotonic() < give_up:
        if inode() != left and (folder / RECORDS).read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.005)
    time.sleep(0.2 * random.random())
    assert process.poll() is None, scripts.finish(process)
    process.send_signal(number)
    return scripts.finish(process)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """`(folder of the undisturbed run, folder of the other, how each of its sessions ended)`."""
    folder = tmp_path_factory.mktemp("interrupted")
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    assert scripts.call(meta_train, *LONGER, f"--output_dir={undisturbed}").code == 0
    ends = [
        interrupt(disturbed, signal.SIGKILL, 3),
        interrupt(disturbed, signal.SIGTERM, 9),
        interrupt(disturbed, signal.SIGINT, 17),
        scripts.call(meta_train, *LONGER, f"--output_dir={disturbed}"),
    ]
    return undisturbed, disturbed, ends


class TestInterruptions:
    def test_exit_codes(self, interrupted):
        codes = [end.code for end in interrupted[2]]
        assert codes == [-signal.SIGKILL, 143, 130, 0], interrupted[2]

    def test_it_says_that_it_stops(self, interrupted):
        for end in interrupted[2][1:3]:
            assert "Finishing this meta-epoch, then saving." in end.err
            assert end.out.startswith("Stopped. ")
            assert end.out.endswith("Start it again to continue.\n")

    def test_the_weights_are_the_same_to_the_last_bit(self, interrupted):
        loaded = [dict(np.load(folder / "weights.npz")) for folder in interrupted[:2]]
        assert loaded[0].keys() == loaded[1].keys()
        for name, value in loaded[0].items():
            np.testing.assert_array_equal(value, loaded[1][name], err_msg=name)

    def test_the_records_are_the_same_but_for_the_clock(self, interrupted):
        undisturbed, disturbed = (without_wall_times(read_records(folder / RECORDS)) for folder in interrupted[:2])
        assert undisturbed == disturbed
        assert sum("validation/loss" in record for record in undisturbed) == 4

    def test_the_card_is_the_same_but_for_the_clock(self, interrupted):
        cards = [json.loads((folder / "optimizer.json").read_text()) for folder in interrupted[:2]]
        for card in cards:
            assert card.pop("wall_seconds") > 0
            del card["provenance"], card["architecture"]["name"]
        assert cards[0] == cards[1]
        assert (cards[0]["data"]["name"], cards[0]["meta_epochs"], cards[0]["stopped"]) == ("digits", 24, "")

    def test_the_run_had_something_to_lose(self, interrupted):
        """Several stages and both teachers; otherwise the tests above show little."""
        records = read_records(interrupted[0] / RECORDS)
        assert {record.get("curriculum/stage") for record in records} >= {0, 1}
        assert {"imitation/adam", "imitation/sgd", "train/meta_loss"} <= {name for record in records for name in record}

    def test_nothing_but_progress_on_stderr(self, interrupted):
        for line in filter(None, interrupted[2][1].err.splitlines()):
            assert line.startswith(("L2O-DM: meta-epoch ", "meta-epoch ", "Finishing this meta-epoch")), line
