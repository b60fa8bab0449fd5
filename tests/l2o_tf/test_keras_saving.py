"""A model comes back: with other layers frozen, under other names, from an earlier version, or from a stranger."""

import copy
import os
import random
import re
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.saving import serialization_lib

from l2o_tf.common.names import pretrained_names
from l2o_tf.keras_optimizer import memory, registration
from l2o_tf.keras_optimizer.memory import memory_of
from l2o_tf.keras_optimizer.optimizer import LearnedOptimizer
from l2o_tf.optimizers import make_optimizer
from l2o_tf.saving import loading, named_weights
from tests import scripts

X = np.random.default_rng(0).normal(size=[32, 4]).astype(np.float32)
Y = X[:, :1] * X[:, 1:2]
EVERYTHING = {
    "use_ema": True,
    "gradient_accumulation_steps": 2,
    "guard": {"period": 2, "patience": 1},
    "learning_rate": -1.0,  # uphill, so that the guard acts
}


def made(name="RNNprop-CL-IL", frozen=(), steps=3, **options):
    """Three layers of which two have the same shapes, trained a little."""
    random.seed(len(frozen))
    layers = [keras.layers.Dense(4, "tanh"), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    for i in frozen:
        layers[i].trainable = False
    model.compile(LearnedOptimizer(name, **options), "mse", run_eagerly=True)
    return model, losses(model, steps)


def losses(model, steps=4):
    found = []
    for _ in range(steps):
        model.reset_metrics()
        found.append(model.train_on_batch(X, Y))
    return found


def known(optimizer):
    """What is known of each variable: the rows of its coordinates."""
    ends = np.cumsum([v.numpy().size for v in optimizer._trainable_variables])[:-1]
    return list(zip(*(np.split(leaf, ends) for leaf in tf.nest.flatten(memory_of(optimizer)["learned"])), strict=True))


def assert_carried(now, before, kept):
    """Of each variable as of that one before; None: RNNprop's initial state, zeros."""
    for variable, number in zip(now, kept, strict=True):
        for i, leaf in enumerate(variable):
            np.testing.assert_array_equal(leaf, 0.0 if number is None else before[number][i])


def saved(model, folder, **options):
    model.save(folder / "m.keras")
    return keras.models.load_model(folder / "m.keras", **options)


def told(expected, action, *args):
    """What the action returns; its one warning about the optimizer's state is the expected one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = action(*args)
    messages = [str(w.message) for w in caught if "State of the optimizer" in str(w.message)]
    assert len(messages) == (expected is not None), messages
    assert not messages or re.search(expected, messages[0]), messages
    return result


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
def test_frozen_after_training(options, tmp_path):
    model, _ = made(steps=5, **options)
    model.layers[0].trainable = False
    message = "'learned_optimizer': left out for [^ ]*/kernel, [^ ]*/bias .not trained here.[.]$"
    loaded, copied = told(message, saved, model, tmp_path), told(message, copy.deepcopy, model)
    model.compile(model.optimizer, "mse", run_eagerly=True)  # sees that the layer is frozen
    expected = losses(model)
    for again in (loaded, copied):
        assert int(again.optimizer.iterations.numpy()) == (2 if options else 5)
        again.compile(again.optimizer, "mse", run_eagerly=True)
        np.testing.assert_allclose(losses(again), expected, rtol=1e-6)
    if options:
        assert loaded.optimizer.guard_report() == model.optimizer.guard_report()
        assert loaded.optimizer.guard_report()["fallback"] is not None


def test_the_state_of_tensors_is_found_too(tmp_path):
    model, _ = made("L2O-Scale-Meta")
    before = memory_of(model.optimizer)
    model.layers[0].trainable = False
    after = memory_of(told("left out", saved, model, tmp_path).optimizer)
    leaves = zip(*(tf.nest.flatten(each["learned"])[:3] for each in (after, before)), strict=True)
    for (now, then), begin in zip(leaves, (20, 2, 0), strict=True):  # of coordinates, of tensors, of all
        np.testing.assert_array_equal(now, then[begin:])


def test_low_rank_adapters(tmp_path):
    """The kernel is frozen, two new matrices begin; a bias that was there goes on."""
    model, _ = made()
    before = known(model.optimizer)
    model.layers[1].enable_lora(1)
    loaded = told("kernel .not trained here.; begins anew for .*lora_kernel_a, .*lora_kernel_b", saved, model, tmp_path)
    assert_carried(known(loaded.optimizer), before, [0, 1, 3, None, None, 4, 5])


@pytest.mark.parametrize(
    ("one", "other", "kept", "message"),
    [
        ([], [0], [2, 3, 4, 5], "left out for .*kernel, .*bias .not trained here.[.]$"),
        ([0], [], [None, None, 0, 1, 2, 3], "optimizer': begins anew for .*kernel, .*bias[.]$"),
        ([0], [1], [None, None, 2, 3], "left out .*; begins anew"),
        ([0], [0], [0, 1, 2, 3], None),
    ],
)
def test_weights_of_a_model_with_other_frozen_layers(one, other, kept, message, tmp_path):
    """Names differ, and two layers have the same shapes: values tell which is which."""
    source, _ = made(frozen=one)
    target, _ = made(frozen=other, steps=1)
    source.save_weights(tmp_path / "w.weights.h5")
    told(message, target.load_weights, tmp_path / "w.weights.h5")
    assert_carried(known(target.optimizer), known(source.optimizer), kept)


def by_number(optimizer, store):
    """Saves as earlier versions did: the same numbers, and no word for which variables."""
    rows = iter(tf.nest.flatten(memory_of(optimizer)["learned"]))
    states = set(map(id, tf.nest.flatten(optimizer.state[0])))
    for i, variable in enumerate(optimizer.variables):
        store[str(i)] = next(rows) if id(variable) in states else variable.numpy()


def test_files_of_earlier_versions(monkeypatch, tmp_path):
    monkeypatch.setattr(LearnedOptimizer, "save_own_variables", by_number)
    model, _ = made()
    loaded = saved(model, tmp_path)
    assert_carried(known(loaded.optimizer), known(model.optimizer), range(6))
    assert losses(loaded) == pytest.approx(losses(model), rel=1e-6)
    model.layers[0].trainable = False
    told("does not name its variables", saved, model, tmp_path)


def test_a_scaled_loss(tmp_path):
    """Keras wraps the optimizer for float16, and stores a second copy of the state."""
    model, _ = made(steps=0)
    model.compile(keras.optimizers.LossScaleOptimizer(model.optimizer), "mse", run_eagerly=True)
    losses(model)
    model.layers[0].trainable = False
    loaded = told("left out", saved, model, tmp_path)
    assert_carried(known(loaded.optimizer.inner_optimizer), known(model.optimizer.inner_optimizer), [2, 3, 4, 5])


def test_the_state_of_another_optimizer_is_left_out(tmp_path):
    source, _ = made("L2O-DM")
    source.save_weights(tmp_path / "w.weights.h5")
    target, _ = made()
    before = known(target.optimizer)
    told("that of another optimizer", target.load_weights, tmp_path / "w.weights.h5")
    assert_carried(known(target.optimizer), before, range(6))


def test_a_model_that_is_frozen_as_a_whole_and_thaws(tmp_path):
    model, _ = made()
    model.trainable = False
    loaded = told("left out", saved, model, tmp_path)
    for layer in loaded.layers:
        layer.trainable = True
    loaded.compile(loaded.optimizer, "mse", run_eagerly=True)
    losses(loaded, 1)
    assert int(loaded.optimizer.iterations.numpy()) == 4
    assert len(known(loaded.optimizer)) == 6


def test_a_model_from_the_old_format_is_trained(tmp_path):
    """Keras builds its optimizer for no variables, and says that the state begins anew."""
    model, _ = made()
    model.compile(model.optimizer, keras.losses.MeanSquaredError(), run_eagerly=True)
    model.save(tmp_path / "m.h5")
    losses(keras.models.load_model(tmp_path / "m.h5"), 1)


class Huge:
    """An array that may not be read."""

    shape = (2**40, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"learned_0": np.zeros([42, 20])}, "another optimizer, or is damaged"),
        ({"learned_1": Huge()}, "is damaged"),
        ({"learned_999999999": Huge()}, "is damaged"),
        ({"watch_3": Huge()}, "is damaged"),
        ({"accumulated_0": np.zeros([3])}, "is damaged"),
        ({"average_1": np.zeros([3])}, "is damaged"),
        ({"average_77": Huge()}, "is damaged"),
        ({"watch_99": np.zeros([])}, "is damaged"),
        ({"variables": np.frombuffer(b'[["a", [4, 4], "y"]]', np.uint8)}, "is damaged"),
        ({"iteration": Huge()}, "is damaged"),
        ({"average_x": Huge()}, None),
        *(
            ({"variables": np.frombuffer(text.encode(), np.uint8)}, "is damaged")
            for text in ("null", "nonsense", '[["a", [-4], "y"]]', '[["a", 4, "y"]]', '[["a"]]', "[" * 10**5)
        ),
    ],
)
def test_damaged_state(changed, message, trained_with_everything):
    """What is not as long as it should be is not read: a small file may claim to hold any number of bytes."""
    optimizer, store = trained_with_everything
    before = known(optimizer)
    told(message and f"begins anew, since .*{message}", optimizer.load_own_variables, {**store, **changed})
    assert_carried(known(optimizer), before, range(6))


@pytest.fixture(scope="module")
def trained_with_everything():
    optimizer, store = made(**EVERYTHING)[0].optimizer, {}
    optimizer.save_own_variables(store)
    return optimizer, store


@pytest.mark.parametrize("guard", [True, False])
def test_a_guard_that_joins_or_leaves(guard):
    """The state of the learned optimizer goes on without a word."""
    source, target, store = made(guard=guard)[0].optimizer, made(guard=not guard, steps=1)[0].optimizer, {}
    source.save_own_variables(store)
    told(None, target.load_own_variables, store)
    assert_carried(known(target), known(source), range(6))


def test_state_of_another_shape_is_refused(trained_with_everything):
    with pytest.raises(ValueError, match="shape"):
        trained_with_everything[0].variables[-1].assign(np.zeros([3, 3], np.float32))


A, B, C = (memory.identity(f"dense_{i}/kernel", np.full([2, 2], float(i))) for i in range(3))


def net(*layers, shift=0, moved=""):
    """Kernels that differ, and biases that are zero; `shift` of the names that Keras counts, values that `moved`."""
    found = []
    for i in layers:
        path, value = f"net/d_{i + shift}", np.full([2, 2], i + 0.5 * (moved == "x" or str(i) in moved.split()))
        bias = memory.identity(f"{path}/bias", np.zeros(2) + (moved == "x"))
        found += [memory.identity(f"{path}/kernel", value), bias]
    return found


def adapters(path, value=1.0):
    return [memory.identity(f"{path}/lora_{x}", np.full([2, 1], value)) for x in "ab"]


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        ([A, B], [B], [1]),
        ([A, B], [B._replace(path="x"), A._replace(path="y")], [1, 0]),
        ([A, A._replace(path="x")], [A._replace(path="x"), A], [1, 0]),  # the same value twice
        ([A, B], [B._replace(digest="other"), C], [0, 1]),  # names count up
        ([A, B, C], [B._replace(digest="other"), C._replace(digest="x")], [1, 2]),
        ([A, B], [A._replace(path="x", digest="x"), B._replace(path="y", digest="y")], [0, 1]),  # by place
        ([A, B], [B._replace(path="y", digest="y")], [None]),
        ([A], [A._replace(shape=(4,))], [None]),
        (net(0, 1, 2), net(0, 1, 2, shift=1), [0, 1, 2, 3, 4, 5]),
        (net(0, 1, 2), net(0, 2, shift=1), [0, 1, 4, 5]),
        (net(0, 1, 2), net(0, 1, 2, shift=1, moved="x"), [0, 1, 2, 3, 4, 5]),
        (net(0, 1, 2)[1::2], net(0, 1, 2, shift=1)[1::2], [0, 1, 2]),  # biases alone
        (net(0, 2)[::2], net(0, 1, shift=1, moved="1")[::2], [0, None]),
        (net(0) + adapters("net/d_0"), net(0) + adapters("d_0", 0.0), [0, 1, 2, 3]),
        (net(0) + adapters("net/d_0"), net(0) + adapters("d_1", 0.0), [0, 1, None, None]),
    ],
)
def test_which_variable_is_which(before, now, kept):
    assert memory.same(before, now) == kept


KERAS = """
class saving:
    objects = {}
    get_custom_objects = lambda: saving.objects
"""
LATER = """
import l2o_tf, importlib.util, sys
assert 'keras' not in sys.modules
importlib.util.find_spec('keras')  # as TensorFlow looks for it
import keras
print(*keras.saving.objects)
"""


def test_the_package_is_all_that_has_to_be_imported(tmp_path, monkeypatch):
    """After Keras, and before it: in a process with a Keras that takes no time."""
    model, _ = made(steps=1)
    monkeypatch.delitem(keras.saving.get_custom_objects(), registration.NAME)
    registration.register()
    assert isinstance(keras.saving.get_custom_objects()[registration.NAME], registration.StandIn)
    assert isinstance(saved(model, tmp_path).optimizer, LearnedOptimizer)
    (tmp_path / "keras.py").write_text(KERAS)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LATER], cwd=scripts.ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == [registration.NAME, *pretrained_names()], done.stderr


def test_messages_show_no_weights(tmp_path):
    optimizer = LearnedOptimizer("L2O-Scale-Meta")
    config = optimizer.get_config()
    assert len(repr(config)) < 3000 < len(config["source"]["weights"])
    for wrong in ({"colour": 1}, {"source": {"name": "x", "weights": "x" * 10_000}}, {"learning_rate": None}):
        with pytest.raises(ValueError) as caught:
            keras.saving.deserialize_keras_object(
                {
                    "class_name": "LearnedOptimizer",
                    "registered_name": registration.NAME,
                    "config": {**config, **wrong},
                }
            )
        assert len(str(caught.value)) < 600


def test_a_description_of_another_size_makes_nothing(monkeypatch):
    """A file may ask for more memory than there is."""
    packed = LearnedOptimizer("L2O-DM").get_config()["source"]
    packed["architecture"] = {**packed["architecture"], "layers": [10**6]}
    monkeypatch.setattr(loading, "make_optimizer", None)
    with pytest.raises(ValueError, match="another architecture than L2O-DM: .*1000002, 4000000. expected"):
        LearnedOptimizer(packed)


OWN = """
import keras, tensorflow as tf
class Plain(keras.layers.Layer):
    def build(self, shape):
        self.rate = self.add_weight(name="rate", shape=(), initializer="ones")
    def get_initial_state(self, batch_size=None):
        return [tf.zeros([batch_size, 1])]
    def call(self, inputs, states):
        return -0.1 * self.rate * inputs, states
    def get_config(self):
        return super().get_config()
"""


@pytest.mark.parametrize("assigned", [False, True])
def test_code_of_strangers_is_not_run(assigned, tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    kind = f"{tmp_path}/own.py:Plain"
    learned = make_optimizer(kind)
    if assigned:
        learned = make_optimizer("assigned", {"assignments": [["*", kind, learned.architecture]]})
    model, _ = made(steps=0)
    model.compile(LearnedOptimizer(learned), "mse", run_eagerly=True)
    losses(model, 1)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(model.optimizer))  # what runs, runs already
    assert again.learned.kind == learned.kind
    assert isinstance(copy.deepcopy(model).optimizer, LearnedOptimizer)
    assert saved(model, tmp_path, safe_mode=False).optimizer.learned.kind == learned.kind
    monkeypatch.setattr(loading, "make_optimizer", None)
    with pytest.raises(ValueError, match=r"would run the Python code .*own.py:Plain, .*safe_mode=False"):
        saved(model, tmp_path)


@pytest.mark.parametrize("safe", [True, False])
def test_a_configuration_cannot_allow_code(safe, monkeypatch):
    """Safe mode decides: for a description, for a folder, and for a shipped name with options."""
    allowed, learned = [], loading.load("L2O-DM")
    config = {**LearnedOptimizer("L2O-DM").get_config(), "allow_code": True}
    monkeypatch.setattr(
        "l2o_tf.keras_optimizer.optimizer.learned_from",
        lambda source, allow_code: allowed.append(allow_code) or (learned, named_weights(learned)),
    )
    with serialization_lib.SafeModeScope(safe):
        LearnedOptimizer.from_config(config)
        LearnedOptimizer.from_config({**config, "source": "runs/mine"})
        registration.StandIn("L2O-DM").from_config({"allow_code": True})
    assert allowed == [not safe] * 3
