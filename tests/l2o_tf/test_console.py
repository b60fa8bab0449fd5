"""What the scripts keep from a terminal."""

import tensorflow as tf

from l2o_tf import console


def test_tracing_many_functions_of_one_line_is_no_news(caplog):
    console.import_tensorflow()
    with caplog.at_level("WARNING"):
        for _ in range(8):
            tf.function(lambda x: x + 1)(1.0)
        tf.get_logger().warning("of something else")
    assert [record.getMessage() for record in caplog.records] == ["of something else"]
