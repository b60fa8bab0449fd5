"""TensorFlow's warning of frequent retracing is hidden where it is wrong, and nowhere else."""

import tensorflow as tf

from l2o_tf.common import retracing


@retracing.hidden()
def work():
    with retracing.hidden():
        pass
    for _ in range(8):
        tf.function(lambda x: x + 1)(1.0)
    tf.get_logger().warning("of something else")


def test_only_this_warning_and_only_inside(caplog):
    with caplog.at_level("WARNING"):
        work()
        assert [record.getMessage() for record in caplog.records] == ["of something else"]
        tf.get_logger().warning("f triggered tf.function retracing")
    assert len(caplog.records) == 2
