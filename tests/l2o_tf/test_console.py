"""What the scripts keep from a terminal."""

import tensorflow as tf

from l2o_tf import console

MESSAGE = """Graph execution error:

Detected at node x defined at (most recent call last):
  File "a.py", line 1, in f

cache/xla/x.tmp; File too large
\t [[{{node x}}]] [Op:__inference_f_1]"""


def test_what_tensorflow_cannot_run_is_one_line(capsys):
    def action():
        raise tf.errors.ResourceExhaustedError(None, None, MESSAGE)

    assert console.guarded(action, []) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "TensorFlow: cache/xla/x.tmp; File too large (--verbosity=1 says where)" in error


def test_tracing_many_functions_of_one_line_is_no_news(caplog):
    console.import_tensorflow()
    with caplog.at_level("WARNING"):
        for _ in range(8):
            tf.function(lambda x: x + 1)(1.0)
        tf.get_logger().warning("of something else")
    assert [record.getMessage() for record in caplog.records] == ["of something else"]
