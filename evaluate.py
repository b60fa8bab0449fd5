"""Evaluates optimizers; `l2o_tf.cli.evaluate` says how."""

from l2o_tf.cli.evaluate import run

if __name__ == "__main__":
    run()
