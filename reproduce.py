"""Evaluates what the paper shows; `l2o_tf.cli.reproduce` says how."""

from l2o_tf.cli.reproduce import run

if __name__ == "__main__":
    run()
