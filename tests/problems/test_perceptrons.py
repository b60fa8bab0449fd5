import numpy as np
import pytest
import tensorflow as tf

from problems import DataOptions, make_problem
from problems.base import fold, make_seed
from problems.data.datasets import load
from problems.images import perceptrons
from problems.transforms.side_by_side import side_by_side

SEED = make_seed(5)
SHAPES = {
    "mnist": [(784, 20), (20,), (20, 10), (10,)],
    "mnist_relu": [(784, 20), (20,), (20, 10), (10,)],
    "mnist_deeper": [(784, 20), (20,), (20, 20), (20,), (20, 10), (10,)],
    "digits": [(64, 20), (20,), (20, 10), (10,)],
}
COUNTS = {"mnist": 15_910, "mnist_relu": 15_910, "mnist_deeper": 16_330, "digits": 1_510}


def embedded(name, **options):
    return make_problem(name, data="embedded", **options)


def data_of(name):
    images, labels, _ = load("digits" if name == "digits" else "mnist", options=DataOptions("embedded"))
    return images.numpy().reshape(len(images), -1) / 255, labels.numpy()


# What each does to z, and its slope where it has given h.
ACTIVATIONS = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda h: h * (1 - h)),
    "relu": (lambda z: z * (z > 0), lambda h: h > 0),
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "elu": (lambda z: np.where(z > 0, z, np.exp(z) - 1), lambda h: np.where(h > 0, 1, h + 1)),
}


def reference(values, x, y, activation):
    """Loss and gradients of a multilayer perceptron, written out: softmax, then layer by layer backwards."""
    weights, biases = values[0::2], values[1::2]
    hidden = [x]
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        hidden.append(ACTIVATIONS[activation][0](hidden[-1] @ w + b))
    logits = hidden[-1] @ weights[-1] + biases[-1]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[range(len(y)), y]).mean()
    delta = (p - np.eye(10)[y]) / len(y)
    gradients = []
    for layer in reversed(range(len(weights))):
        h = hidden[layer]
        gradients = [h.T @ delta, delta.sum(0), *gradients]
        if layer:
            delta = delta @ weights[layer].T * ACTIVATIONS[activation][1](h)
    return loss, gradients, (p.argmax(1) == y).mean()


def spread(params, factor, dtype):
    """Larger weights than at the start, so that layers do not act as linear ones and ReLUs are on and off."""
    return {key: tf.cast(value * factor, dtype) for key, value in params.items()}


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in SHAPES), *(("digits", {"activation": name}) for name in ACTIVATIONS)]
)
def test_loss_and_gradients_against_numpy(name, options):
    problem = embedded(name, **options)
    params, constants = problem.init(SEED)
    params = spread(params, 20.0, tf.float64)
    batch = problem.sample(SEED, 2)[1]
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, constants, batch)
    gradients = tape.gradient(loss, params)
    x, y = data_of(name)
    values = [value.numpy() for value in params.values()]
    activation = options.get("activation", "relu" if name == "mnist_relu" else "sigmoid")
    expected, expected_gradients, _ = reference(values, x[batch.numpy()], y[batch.numpy()], activation)
    assert loss.dtype == tf.float64 and expected > 2.4
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    for key, gradient in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradients[key], gradient, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_in_the_original_order_and_small(name):
    problem = embedded(name)
    params, _ = problem.init(SEED)
    layers = len(SHAPES[name]) // 2
    assert list(params) == [f"layer_{i}/{kind}" for i in range(layers) for kind in "wb"]
    assert [tuple(value.shape) for value in params.values()] == SHAPES[name]
    assert sum(value.shape.num_elements() for value in params.values()) == COUNTS[name]
    values = np.concatenate([value.numpy().ravel() for value in params.values()])
    assert abs(values.mean()) < 1e-3 and 0.0095 < values.std() < 0.0105
    assert np.abs(values).max() > 0.025  # not truncated
    biases = np.concatenate([value.numpy() for key, value in params.items() if key.endswith("b")])
    assert np.all(biases != 0)
    assert len(np.unique(values)) > 0.999 * len(values)  # each tensor has its own draw


@pytest.mark.parametrize("name", SHAPES)
def test_loss_starts_at_the_logarithm_of_ten_and_evaluate_covers_all(name):
    problem = embedded(name, mode="test")
    params, constants = problem.init(SEED)
    assert abs(problem.measure(params, constants)["loss"] - np.log(10)) < 0.02
    params = spread(params, 20.0, tf.float64)
    measured = problem.measure(params, constants)
    images, labels, info = load("digits" if name == "digits" else "mnist", mode="test", options=DataOptions("embedded"))
    assert info == problem.data and info.size == 360
    x = images.numpy().reshape(360, -1) / 255
    activation = "relu" if name == "mnist_relu" else "sigmoid"
    loss, _, accuracy = reference([v.numpy() for v in params.values()], x, labels.numpy(), activation)
    np.testing.assert_allclose([measured["loss"], measured["accuracy"]], [loss, accuracy], rtol=1e-12)


def test_minibatches_are_uniform_with_replacement():
    problem = embedded("digits", batch_size=500)
    batches = problem.sample(SEED, 200)
    assert batches.dtype == tf.int32 and batches.shape == [200, 500]
    drawn = batches.numpy()
    assert drawn.min() == 0 and drawn.max() == problem.data.size - 1
    repeats = [500 - len(np.unique(row)) for row in drawn]
    expected = 500 - problem.data.size * (1 - (1 - 1 / problem.data.size) ** 500)
    assert abs(np.mean(repeats) - expected) < 2  # about 77 of 500 are drawn twice; without replacement it would be 0
    counts = np.bincount(drawn.ravel(), minlength=problem.data.size)
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum() / (problem.data.size - 1)
    assert 0.85 < chi2 < 1.15


@pytest.mark.parametrize("name", ["digits", "quadratic"])
def test_a_seed_decides_everything_inside_and_outside_of_a_graph(name):
    problem = embedded(name)

    def draw(seed):
        return problem.init(fold(seed, 0)), problem.sample(fold(seed, 1), 3)

    graph = tf.function(draw)
    eager, again, traced = draw(SEED), draw(SEED), graph(SEED)
    other = graph(make_seed(6))
    for a, b, c, d in zip(*map(tf.nest.flatten, (eager, again, traced, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
        assert (name == "quadratic" and a.shape == [3]) or not np.array_equal(a, d)
    assert graph.experimental_get_tracing_count() == 1


def test_data_are_inputs_of_the_graph_and_no_constants_in_it():
    problem = embedded("mnist")
    params, constants = problem.init(SEED)
    batch = problem.sample(SEED, 1)[0]
    loss = tf.function(lambda params, batch: problem.loss(params, constants, batch))
    graph = loss.get_concrete_function(params, batch).graph
    sizes = [op.outputs[0].shape.num_elements() or 0 for op in graph.get_operations() if op.type == "Const"]
    assert sizes and max(sizes) < 100
    assert {tuple(t.shape) for t, _ in graph.captures} == {(1437, 28, 28, 1), (1437,)}


def test_compiled_loss_and_second_derivatives():
    problem = embedded("digits")
    params, constants = problem.init(SEED)
    params = spread(params, 20.0, tf.float64)
    batch = problem.sample(SEED, 1)[0]
    direction = spread(problem.init(make_seed(9))[0], 1.0, tf.float64)

    def gradient(params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, constants, batch)
        return tape.gradient(loss, params)

    @tf.function(jit_compile=True)
    def product(params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            slope = tf.add_n([tf.reduce_sum(g * direction[key]) for key, g in gradient(params).items()])
        return tape.gradient(slope, params)

    h = 1e-5
    shifted = [gradient({key: params[key] + sign * h * direction[key] for key in params}) for sign in (1, -1)]
    for key, value in product(params).items():
        np.testing.assert_allclose(value, (shifted[0][key] - shifted[1][key]) / (2 * h), rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu"}, "Received activation='gelu', expected one of sigmoid, relu, tanh, elu"),
        ({"layers": (20, 0)}, r"Received layers=\(20, 0\), expected a sequence of positive"),
        ({"layers": 20}, "Received layers=20, expected a sequence of positive"),
        ({"batch_size": 0}, "Received batch_size=0, expected a positive"),
        ({"mode": "valid"}, "Received mode='valid', expected one of train, test"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        perceptrons.mnist(**options, data_options=DataOptions("embedded"))


def test_layers_can_be_chosen():
    params, _ = perceptrons.digits(layers=(7, 5), activation="relu").init(SEED)
    assert [tuple(v.shape) for v in params.values()] == [(64, 7), (7,), (7, 5), (5,), (5, 10), (10,)]
    params, _ = perceptrons.digits(layers=()).init(SEED)
    assert [tuple(v.shape) for v in params.values()] == [(64, 10), (10,)]


def test_the_losses_of_several_perceptrons_are_one_call():
    """That they are right is in the contracts."""
    problem = make_problem("digits", data="embedded")
    assert side_by_side(problem, 2).loss is problem.loss
    changed = problem._replace(loss=lambda *arguments: 2 * problem.loss(*arguments))
    assert side_by_side(changed, 2).loss is not changed.loss
