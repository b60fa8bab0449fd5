"""Two processes on this machine do together what one does, refuse what is not alike, and continue after a loss."""

import json

import numpy as np
import pytest
import tensorflow as tf

import l2o_tf as l2o
from benchmarks import job
from l2o_tf.cli import meta_train
from l2o_tf.common import cluster
from l2o_tf.common.workers import Share, addresses_of, pack, unpack
from tests import scripts
from tests.l2o_tf import worker


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def lost(folder):
    return job.run(["-m", "tests.l2o_tf.worker", "lose", str(folder)], 2)


@pytest.fixture(scope="module")
def before(lost):
    """What each worker printed before one was lost."""
    return [json.loads(ended.printed.splitlines()[0]) for ended in lost]


@pytest.fixture(scope="module")
def alone(folder):
    trained = worker.trainer(worker.Sends(0, 0))
    trained.run(folder / "alone", epochs=worker.EPOCHS)
    return trained


def test_two_workers_train_as_one_process(before, alone, folder):
    assert before[0]["undisturbed"] == before[1]["undisturbed"]
    assert before[0]["history"] == before[1]["history"]
    with np.load(folder / "undisturbed" / "weights.npz", allow_pickle=False) as file:
        for name, value in alone.best_weights().items():
            np.testing.assert_allclose(file[name], value, rtol=0, atol=1e-6)
    costs = [[each["cost"] for each in history] for history in (before[0]["history"], alone.state.history)]
    np.testing.assert_allclose(*costs, rtol=1e-6)


def test_what_happens_on_one_worker_is_decided_on_all(before):
    """As the explosion of a run, and as a meta-gradient that is not finite."""
    assert [found["agreed"] for found in before] == 2 * [[True, [0.5, np.inf]]]


def test_two_workers_evaluate_as_one_process(before, folder):
    found, expected = l2o.Results.read(folder / "results"), worker.evaluated(None)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.losses, theirs.losses)
        for name in ("step", "loss", "accuracy"):
            np.testing.assert_array_equal(ours.full[name], theirs.full[name])


def test_workers_that_are_not_alike_are_refused(before):
    for found in before:
        assert found["differ"].startswith("ValueError: Received workers that are not alike: seed: 0 on worker 0 (127.")
        assert "expected a multiple" in found["many"]
        assert "holds records.jsonl but no config.json" in found["refused"]
    assert "worker 0 (127.0.0.1:" in before[1]["refused"]


def test_a_lost_worker_ends_the_job_which_resumes_exactly(lost, before, folder):
    chief, killed = lost
    assert killed.code == -9
    said = json.loads(chief.printed.splitlines()[-1])["lost"]
    assert said.startswith("ConnectionError: worker 1 (127.0.0.1:")
    assert "same commands" in said
    resumed = job.run(["-m", "tests.l2o_tf.worker", "resume", str(folder)], 2)
    for ended in resumed:
        found = json.loads(ended.printed)
        assert found == {"told": [worker.TOLD_AT + 1, False, 2], "resumed": before[0]["undisturbed"]}, ended.said


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", ([], 0)),
        ('{"cluster": {}, "task": {"type": "worker", "index": 0}}', ([], 0)),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}', (["a:1", "b:1"], 1)),
        (
            '{"cluster": {"worker": ["a:1"], "chief": ["c:1"]}, "task": {"type": "chief", "index": 0}}',
            (["c:1", "a:1"], 0),
        ),
    ],
)
def test_tf_config(config, expected, monkeypatch):
    assert addresses_of(config) == expected
    monkeypatch.setenv("TF_CONFIG", config)
    if len(expected[0]) < 2:
        assert cluster.connect().share == Share()


@pytest.mark.parametrize(
    "config",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}}',
    ],
)
def test_a_wrong_tf_config_is_refused(config):
    with pytest.raises(ValueError, match=r"Received TF_CONFIG=.*expected one like"):
        addresses_of(config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers=a:1,b:1"], "expected both or none"),
        (["--worker_index=0"], "expected both or none"),
        (["--workers=a:1,b", "--worker_index=0"], "Received the worker 'b', expected host:port"),
        (["--workers=a:1,a:1", "--worker_index=0"], "expected different ones"),
        (["--workers=a:1,b:1", "--worker_index=2"], "Received the worker index 2 with 2 workers"),
    ],
)
def test_wrong_flags_are_refused(arguments, message):
    assert message in scripts.refused(meta_train, "--problem=quadratic", *arguments)


def test_tensorflow_that_has_begun_to_work_cannot_be_connected():
    tf.constant(0)
    with pytest.raises(ValueError, match="after TensorFlow has begun to work"):
        l2o.connect(job.addresses(2), index=0)


def test_arrays_travel_as_they_are():
    arrays = [np.array([-0.0, np.nan, 1e-45], np.float32), np.array(3, np.int64), np.empty([0, 2])]
    for one, other in zip(arrays, unpack(pack(arrays)), strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


def test_shares_cover_everything():
    for total in range(7):
        parts = [Share(index, 3).part(total) for index in range(3)]
        assert [each for part in parts for each in part.of(range(total))] == list(range(total))
        assert parts[0].count == max(part.count for part in parts)
