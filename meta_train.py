"""Meta-trains a learned optimizer; `l2o_tf.cli.meta_train` says how."""

from l2o_tf.cli.meta_train import run

if __name__ == "__main__":
    run()
