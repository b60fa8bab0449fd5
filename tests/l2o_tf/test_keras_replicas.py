"""Data parallelism: two replicas on one machine. In a process of its own, since devices cannot be split once they are
in use."""

import subprocess
import sys

from tests import scripts

MIRRORED = """
from l2o_tf.cli import console
console.import_tensorflow()
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from l2o_tf import LearnedOptimizer
x = np.tile(np.random.default_rng(0).normal(size=[32, 4]), [5, 1]).astype("float32")
y = (x[:, :1] - x[:, 1:2] > 0).astype("float32")

def train(strategy, case):  # uphill the guard acts, at the end of its second period
    uphill, thaws = case == "uphill", case == "thaws"
    with strategy.scope():
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
        guard = {"learning_rate": 0.05, "period": 4, "patience": 1} if uphill else False
        model.layers[0].trainable = not thaws
        optimizer = LearnedOptimizer("RNNprop-CL-IL", -1.0 if uphill else 1.0, guard=guard, use_ema=thaws)
        model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    model.fit(x[: 32 if thaws else None], y[: 32 if thaws else None], batch_size=16, shuffle=False, verbose=0)
    if thaws:
        with strategy.scope():
            model.layers[0].trainable = True
            model.compile(optimizer, model.loss, jit_compile=False)
        model.fit(x[32:], y[32:], batch_size=16, shuffle=False, verbose=0)
        for variable in (*model.variables, *optimizer.variables):
            one, *others = [copy.numpy() for copy in getattr(variable.value, "values", [variable])]
            assert all(np.array_equal(one, other) for other in others), variable.path
    assert int(optimizer.iterations.numpy()) == 10
    assert not uphill or optimizer.guard_report() == {"fallback": 7, "adam_from": "start", "rescues": 0}
    return [v.numpy() for v in (*model.variables, *optimizer.variables)]

mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert mirrored.num_replicas_in_sync == 2
for case in ("plain", "uphill", "thaws"):
    for two, one in zip(train(mirrored, case), train(tf.distribute.get_strategy(), case), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-3, atol=2e-5)
"""


def test_two_replicas_do_what_one_does():  # without a guard, with one that acts, and where a layer thaws
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED], cwd=scripts.ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
