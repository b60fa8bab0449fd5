"""On what this process computes."""

import os

import tensorflow as tf


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether TensorFlow has a GPU, which then computes what can be compiled."""
    return bool(tf.config.list_logical_devices("GPU"))
