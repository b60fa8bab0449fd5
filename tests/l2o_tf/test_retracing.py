"""TensorFlow's warning of frequent retracing is hidden where it is wrong, and nowhere else."""

import logging

from l2o_tf.common import retracing


@retracing.hidden()
def warn(text):
    with retracing.hidden():
        pass
    logging.getLogger("tensorflow").warning(text)


def test_only_this_warning_and_only_inside(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tensorflow"), "propagate", True)
    warn("5 out of the last 5 calls to f triggered tf.function retracing.")
    assert not caplog.records
    warn("Something else.")
    logging.getLogger("tensorflow").warning("6 calls triggered tf.function retracing.")
    assert [record.getMessage() for record in caplog.records] == [
        "Something else.",
        "6 calls triggered tf.function retracing.",
    ]
