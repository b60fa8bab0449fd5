"""The convolutional networks against Keras's own layers, and against what the specification says of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers.combined import FROZEN, Assigned
from problems import DataOptions, make_problem
from problems.base import make_seed
from problems.data.datasets import load
from tests.problems import keras_twins

SEED = make_seed(4)
SIZES = {
    "mnist_conv": (6, 18_122),
    "mnist_conv_paper": (6, 18_122),
    "cifar_conv": (6, 13_610),
    "cifar_conv_paper": (6, 13_610),
    "lenet": (14, 62_232),
    "lenet_paper": (10, 62_006),
    "nas": (10, 7_578),
    "nas_paper": (10, 7_578),
    "vgg16": (28, 14_719_818),
    "cifar_multi": (14, 22_682),
}
SMALL_VGG = ((2, 3), (4,), (3, 2), (4,), (5,))


def problem_of(name):
    return make_problem(name, data="embedded", batch_size=16, **({"blocks": SMALL_VGG} if name == "vgg16" else {}))


def model_of(name):
    return keras_twins.MODELS[name](**({"blocks": SMALL_VGG} if name == "vgg16" else {}))


def value_and_grad(function, variables):
    with tf.GradientTape() as tape:
        tape.watch(variables)
        loss = function()
    return loss, tape.gradient(loss, variables)


@pytest.fixture
def keras_in_float64():
    """In float32 Keras rounds more than the problems do, enough to turn a ReLU."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


@pytest.mark.parametrize("name", keras_twins.MODELS)
def test_keras_agrees(name, keras_in_float64):
    """With weights that are large enough for every layer to matter: at the start all logits are nearly zero."""
    problem, model = problem_of(name), model_of(name)
    params, constants = problem.init(SEED)
    generator = np.random.default_rng(4)
    for key, value in params.items():
        fan_in = np.prod(value.shape[:-1]) if key.endswith("/w") else 4.0
        params[key] = tf.constant(generator.normal(0, 1.5 / np.sqrt(fan_in), value.shape), tf.float32)
    exact = {key: tf.cast(value, tf.float64) for key, value in params.items()}
    keras_twins.assign(model, exact)
    rows = problem.sample(SEED, 1)[0]
    images, labels, _ = load("mnist" if name.startswith("mnist") else "cifar10", options=DataOptions("embedded"))
    pixels, answers = tf.cast(tf.gather(images, rows), tf.float64) / 255, tf.gather(labels, rows)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs, their_grads = value_and_grad(
        lambda: cross_entropy(answers, tf.identity(model(pixels, training=True))),
        [variable.value for variable in keras_twins.variables(model)],
    )
    scale = max(float(tf.reduce_max(abs(grad))) for grad in their_grads)
    assert scale > 1e-3
    for start, rtol, atol, rtol_of_loss in ((exact, 1e-9, 1e-11, 1e-12), (params, 1e-3, 5e-4, 1e-5)):
        ours, our_grads = value_and_grad(lambda start=start: problem.loss(start, constants, rows), list(start.values()))
        np.testing.assert_allclose(ours, theirs, rtol=rtol_of_loss)
        for key, mine, other in zip(start, our_grads, their_grads, strict=True):
            other = tf.reshape(other, mine.shape)
            np.testing.assert_allclose(mine, other, rtol=rtol, atol=atol * scale, err_msg=key)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_the_loss_at_the_start(name):
    problem = make_problem(name, data="embedded", batch_size=64)
    params, constants = problem.init(SEED)
    assert (len(params), sum(value.shape.num_elements() for value in params.values())) == SIZES[name]
    weights = np.concatenate([np.ravel(value)[:10_000] for key, value in params.items() if key.endswith("/w")])
    assert 0.0095 < weights.std() < 0.0105
    assert abs(weights.mean()) < 1e-3
    if name != "vgg16":
        assert abs(problem.loss(params, constants, problem.sample(SEED, 1)[0]) - np.log(10)) < 0.03


@pytest.mark.parametrize(
    ("name", "zero", "normal", "ones"),
    [
        ("mnist_conv", ["conv_0/b", "conv_1/b", "linear/b"], [], []),
        ("mnist_conv_paper", [], ["conv_0/b", "conv_1/b", "linear/b"], []),
        ("nas", ["stem/b", "edge_02/b", "edge_01/b", "edge_13/b", "fc/b"], [], []),
        ("nas_paper", [], ["stem/b", "fc/b"], []),
        ("lenet", ["conv_0/beta", "fc_1/beta"], ["conv_0/b", "fc_0/b", "fc_2/b"], []),
        ("vgg16", ["conv_0/b", "conv_12/b"], [], ["fc/b"]),
    ],
)
def test_biases_start_as_the_specification_says(name, zero, normal, ones):
    params, _ = make_problem(name, data="embedded").init(SEED)
    assert all(not np.any(params[key]) for key in zero)
    assert all(0.003 < np.std(params[key]) < 0.02 for key in normal)
    assert all(np.all(params[key] == 1) for key in ones)


@pytest.mark.parametrize("name", ["mnist_conv", "cifar_conv_paper"])
def test_all_images_are_measured_minibatch_after_minibatch(name):
    """Which bounds the memory; batch normalisation sees a minibatch at a time, too."""
    problem = make_problem(name, data="embedded", batch_size=1000)
    params, constants = problem.init(SEED)
    params = {key: tf.cast(20 * value, tf.float64) for key, value in params.items()}
    measured = problem.measure(params, constants)
    size = problem.data.size
    assert 1000 < size < 2000
    losses = [problem.loss(params, constants, rows) for rows in (tf.range(1000), tf.range(1000, size))]
    np.testing.assert_allclose(measured["loss"], np.average(losses, weights=[1000, size - 1000]), rtol=1e-12)
    assert abs(losses[0] - losses[1]) > 1e-4
    assert 0 < measured["accuracy"] < 1 and measured["accuracy"].dtype == tf.float64


def test_what_the_program_adds_to_conv_mnist():
    """Batch norm cancels the biases; dead logits are ln 10 with a gradient of zero."""
    problem = make_problem("mnist_conv", data="embedded")
    params, constants = problem.init(SEED)
    rows = problem.sample(SEED, 1)[0]
    loss, grads = value_and_grad(lambda: problem.loss(params, constants, rows), params)
    assert np.abs(grads["conv_1/b"]).max() < 1e-5
    shifted = params | {"conv_0/b": params["conv_0/b"] + 0.3}
    np.testing.assert_allclose(problem.loss(shifted, constants, rows), loss, rtol=1e-4)
    dead = params | {"linear/b": params["linear/b"] - 100}
    loss, grads = value_and_grad(lambda: problem.loss(dead, constants, rows), dead)
    np.testing.assert_allclose(loss, np.log(10), rtol=1e-6)
    assert not any(np.any(grad) for grad in grads.values())


def test_the_loss_of_vgg16_is_bounded_by_its_two_softmaxes():
    problem = problem_of("vgg16")
    params, constants = problem.init(SEED)
    for favour in range(10):
        certain = params | {"fc/b": 1000.0 * tf.one_hot(favour, 10)}
        assert 1.46 < problem.loss(certain, constants, problem.sample(SEED, 1)[0]) < 2.4612


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist_conv", {"batch_size": 0}, "Received batch_size=0"),
        ("vgg16", {"blocks": ((3,), (3,))}, "expected five"),
        ("cifar_multi", {"conv_channels": (4,) * 6}, "expected positive sizes and one to five"),
        ("cifar_multi", {"linear_layers": (0,)}, "expected positive sizes"),
    ],
)
def test_bad_arguments(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_problem(name, data="embedded", **options)


def test_cifar_multi_is_split_as_deepmind_splits_it():
    """Kernels of convolutions to one optimizer; their biases, offsets and all of the dense layers to the other."""
    params, _ = make_problem("cifar_multi", data="embedded", conv_channels=(4, 4), linear_layers=(3,)).init(SEED)
    kernels, others = Assigned([("conv_*", FROZEN), ("*", FROZEN)]).split(params)
    assert list(kernels) == ["conv_0/w", "conv_1/w"]
    offsets = [f"fc_{layer}/{kind}" for layer in ("conv_0", "conv_1", "0") for kind in ("b", "beta")]
    assert set(others) == {*offsets, "fc_0/w", "fc_1/w", "fc_1/b"}
