"""A trained optimizer in Keras's own training loop: the same as in our unroll, and saved and continued exactly."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import saving
from l2o_tf.common.names import PRETRAINED, pretrained_names
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer
from l2o_tf.optimizers import make_optimizer
from l2o_tf.saving.loading import load_optimizer
from l2o_tf.unrolling import unroll
from problems.base import make_seed

NAMES = ["L2O-DM-CL-IL", "RNNprop-CL-IL", "L2O-Scale"]
ROWS = np.random.default_rng(0)
X = ROWS.normal(size=[64, 6]).astype(np.float32)
Y = (X @ ROWS.normal(size=[6, 3])).argmax(1).astype(np.int32)


def model_of(seed=1, **options):
    random.seed(seed)  # where Keras's initializers take their seeds from
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, "tanh", **options), keras.layers.Dense(3)])


def compiled(optimizer, model=None, jit_compile=False):
    model = model or model_of()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=jit_compile)
    return model


def train(model, epochs=3, callbacks=()):
    history = model.fit(X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
    return history.history["loss"]


def values(model):
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


LENGTHS = {"L2O-DM-CL-IL": 200, "RNNprop-CL-IL": 200, "L2O-Scale-CL-IL": 200, "L2O-Scale": 80}


@pytest.mark.parametrize(("name", "steps"), LENGTHS.items())
def test_the_same_losses_as_in_our_own_unroll(name, steps):
    """The same model, batches and weights; the whole data as a batch.

    With L2O-Scale the losses of step 91 and later change by more than 1e-5 if each weight of the first layer begins one
    unit in its last place higher: from there on, rounding decides.
    """
    model = compiled(LearnedOptimizer(name, seed=5))
    params = {str(i): tf.constant(v.numpy()) for i, v in enumerate(model.trainable_variables)}

    def loss_fn(params, batch):
        del batch
        logits = tf.tanh(X @ params["0"] + params["1"]) @ params["2"] + params["3"]
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(Y, logits))

    learned = load_optimizer(name)[0]
    state = unroll.UnrollState(params, learned.initial_state(params, make_seed(5)))
    window = tf.function(lambda state: unroll.unroll(loss_fn, learned, state, tf.zeros([steps + 1])), autograph=False)
    ours = window(state)[1].losses
    theirs = []
    for _ in range(steps):
        model.reset_metrics()  # else the mean over steps
        theirs.append(model.train_on_batch(X, Y))
    np.testing.assert_allclose(theirs, ours[:-1], atol=1e-5)
    assert ours[-1] < 0.9 * ours[0]


@pytest.mark.parametrize("name", NAMES)
def test_xla_does_the_same(name):
    plain, xla = (train(compiled(LearnedOptimizer(name), jit_compile=jit)) for jit in (False, True))
    np.testing.assert_allclose(xla, plain, rtol=1e-4)


def test_by_name_in_compile_and_get():
    model = compiled("RNNprop-CL-IL")
    assert isinstance(model.optimizer, LearnedOptimizer)
    assert train(model) == train(compiled(LearnedOptimizer("RNNprop-CL-IL")))
    again = keras.optimizers.get(
        keras.optimizers.serialize(LearnedOptimizer("L2O-DM", learning_rate=0.5, clipnorm=2.0))
    )
    assert (again.learned.name, float(again.learning_rate), again.clipnorm) == ("L2O-DM", 0.5, 2.0)
    assert len(pretrained_names()) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_goes_on_exactly(name, tmp_path):
    straight = compiled(LearnedOptimizer(name))
    train(straight, 2)
    halfway = compiled(LearnedOptimizer(name))
    train(halfway, 1)
    halfway.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    for ours, theirs in zip(values(loaded), values(halfway), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    train(loaded, 1)
    for ours, theirs in zip(values(loaded), values(straight), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Killed(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_killed_fit_is_continued_exactly(tmp_path):
    straight = compiled(LearnedOptimizer("L2O-DM"))
    train(straight, 4)
    killed = compiled(LearnedOptimizer("L2O-DM"))
    with pytest.raises(KeyboardInterrupt):
        train(killed, 4, [keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False), Killed()])
    restored = compiled(LearnedOptimizer("L2O-DM"), model_of(seed=9))
    train(restored, 4, [keras.callbacks.BackupAndRestore(tmp_path / "backup")])
    for ours, theirs in zip(values(restored), values(straight), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def losses_in_float32():
    return train(compiled(LearnedOptimizer("RNNprop-CL-IL")), 4)


@pytest.mark.parametrize("guard", [False, True])
def test_mixed_precision(guard, losses_in_float32):
    """Keras wraps the optimizer for float16; a guard, which needs the loss, is given a factor in place of that."""
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = model_of()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    optimizer = LearnedOptimizer("RNNprop-CL-IL", guard=guard, loss_scale_factor=1024.0 if guard else None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, auto_scale_loss=not guard)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) != guard
    np.testing.assert_allclose(train(model, 4), losses_in_float32, rtol=1e-2)


def test_sparse_gradients_are_dense_ones_with_zeros():  # where nothing rests
    results = []
    for sparse in (True, False):
        optimizer, table = LearnedOptimizer("L2O-DM", rest="none"), keras.Variable(np.ones([4, 2], np.float32))
        rows = tf.IndexedSlices(tf.constant([[0.3, -0.2]]), tf.constant([2]), tf.constant([4, 2]))
        optimizer.apply([rows if sparse else tf.convert_to_tensor(rows)], [table])
        results.append(table.numpy())
    np.testing.assert_array_equal(*results)
    assert np.any(results[0][2] != 1)


def test_two_optimizers_in_a_process_do_not_mix():
    alone = train(compiled(LearnedOptimizer("L2O-DM")))
    first, second = compiled(LearnedOptimizer("L2O-DM")), compiled(LearnedOptimizer("L2O-DM"))
    together = []
    for _ in range(3):
        together += train(first, 1)
        train(second, 1)
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("rate", [2, np.float32(2.0), np.int64(2)])
def test_a_learning_rate_is_any_number(rate):
    assert float(LearnedOptimizer("RNNprop-CL-IL", learning_rate=rate).learning_rate) == 2.0
    with pytest.raises(ValueError, match="Received learning_rate=nan, expected a finite number or a schedule"):
        LearnedOptimizer("RNNprop-CL-IL", learning_rate=float("nan") * rate)


def test_a_path():
    folder = PRETRAINED / "L2O-DM"
    assert LearnedOptimizer(folder).learned.name == str(folder)


def test_bad_sources(tmp_path):
    with pytest.raises(ValueError, match="Received optimizer 'L2O-DX', expected one of"):
        LearnedOptimizer("L2O-DX")
    with pytest.raises(ValueError, match="Received adam, an analytic rule, which has no weights, expected one of"):
        LearnedOptimizer("adam")
    with pytest.raises(ValueError, match="Received source=3, expected a name"):
        LearnedOptimizer(3)
    with pytest.raises(ValueError, match="no floating-point numbers"):
        LearnedOptimizer("L2O-DM").build([keras.Variable([1, 2], dtype="int32")])
    for pattern in ("*", "w*"):
        assigned = make_optimizer("assigned", {"assignments": [[pattern, "L2O-DM", {"layers": [2]}]]})
        card = {"optimizer": "assigned", "architecture": assigned.architecture}
        saving.save_weights(tmp_path / pattern[0], saving.named_weights(assigned), card)
    assert LearnedOptimizer(tmp_path / "*").learned.kind == "assigned"
    with pytest.raises(ValueError, match=r"assigns optimizers to the parameters \['w\*'\], .* layer.trainable = False"):
        LearnedOptimizer(tmp_path / "w")
