import numpy as np
import pytest
import tensorflow as tf

from problems import make_problem
from problems.base import make_seed
from problems.data.drawn import clusters, noisy_parity, random_mlp
from problems.data.sampling import epochs
from problems.toys import classifiers
from tests.problems.gradients import loss_and_gradients

SEED = make_seed(4)


def cross_entropy(logits, labels):
    """Of the first output, as `−ln p(label)`."""
    p = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
    return -np.log(np.where(labels == 1, p, 1 - p)).mean()


def test_a_network_in_numpy():
    problem = classifiers.fully_connected(7, (6, 3), batch_size=16, l2=0.01)
    rows = random_mlp(7)
    params, constants = problem.init(SEED)
    batch = problem.sample(SEED, 1)[0].numpy()
    weights = [value.numpy() for value in params.values()]
    hidden = rows.features.numpy()
    for w, b in ((weights[0], weights[1]), (weights[2], weights[3])):
        hidden = 1 / (1 + np.exp(-(hidden @ w + b)))
    logits, labels = hidden @ weights[4] + weights[5], rows.labels.numpy()
    penalty = 0.01 * np.mean([(w**2).sum() for w in weights])
    np.testing.assert_allclose(
        problem.loss(params, constants, batch), cross_entropy(logits[batch], labels[batch]) + penalty, rtol=1e-5
    )
    measured = problem.measure(params, constants)
    np.testing.assert_allclose(measured["loss"], cross_entropy(logits, labels) + penalty, rtol=1e-5)
    np.testing.assert_allclose(measured["accuracy"], np.mean((logits[:, 0] > 0) == labels), rtol=1e-6)
    assert problem.data.size == 1000 and problem.data.name == "random-mlp-7"


@pytest.mark.parametrize("name", ["softmax_regression", "sparse_softmax_regression", "fully_connected"])
def test_the_second_output_has_no_slope(name):
    problem = make_problem(name)
    params, constants = problem.init(SEED)
    bias = loss_and_gradients(problem, params, constants, problem.sample(SEED, 1)[0])[1][list(params)[-1]]
    assert bias.shape == (2,) and bias[0] != 0 and bias[1] == 0


def test_the_look_ups_agree_and_give_dense_gradients():
    values = []
    for make in (classifiers.sparse_softmax_regression, classifiers.one_hot_sparse_softmax_regression):
        problem = make(num_features=6)
        params, constants = problem.init(SEED)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, constants, problem.sample(SEED, 1)[0])
        grads = tape.gradient(loss, params)
        assert all(isinstance(grad, tf.Tensor) for grad in grads.values())
        values.append((loss, grads))
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *values)


def test_spread_of_the_start():
    wide = classifiers.fully_connected(100, (400,)).init(SEED)[0]
    assert 0.95 < np.std(wide["layer_0/w"]) / (1.2 / 10) < 1.05
    assert 0.9 < np.std(wide["layer_0/b"]) / (1.2 / 20) < 1.1
    narrow = classifiers.fully_connected(100, (400,), stddev=0.01).init(SEED)[0]
    assert all(0.009 < np.std(value) < 0.011 for value in list(narrow.values())[:2])


def test_clusters_lie_around_corners_of_the_cube():
    rows = clusters(3, 4000, separation=50.0)
    features, labels = rows.features.numpy(), rows.labels.numpy()
    corners, cluster = np.unique(np.sign(features), axis=0, return_inverse=True)
    assert len(corners) == 4
    centres = [features[cluster == k].mean(axis=0) for k in range(4)]
    np.testing.assert_allclose(centres, 50 * corners, atol=0.5)
    means = np.array([labels[cluster == k].mean() for k in range(4)])
    pure = np.minimum(means, 1 - means)
    assert (pure < 0.02).all() and pure.max() > 0 and sorted(np.round(means)) == [0, 0, 1, 1]  # 0.5 % are wrong
    assert all(np.abs(np.corrcoef(features[cluster == k].T)[np.triu_indices(3, 1)]).max() > 0.05 for k in range(4))


def test_data_depend_on_their_seed_alone():
    for make in (clusters, random_mlp, noisy_parity):
        one, again, other = make(8), make(8), make(8, seed=1)
        assert one.info == again.info and np.array_equal(one.features, again.features)
        assert one.info.fingerprint != other.info.fingerprint and not np.array_equal(one.features, other.features)
        assert one.features.dtype == tf.float32 and one.labels.dtype == tf.int32 and set(one.labels.numpy()) <= {0, 1}
    mlp = random_mlp(8, 500)
    assert mlp.features.shape == [500, 8] and abs(np.std(mlp.features) - 1) < 0.05 and 0.02 < np.mean(mlp.labels) < 0.98
    parity = [noisy_parity(5, seed) for seed in range(60)]
    odd = [np.mean(rows.features.numpy().sum(axis=1) % 2 != rows.labels.numpy()) for rows in parity]
    assert 0.15 < np.mean(odd) < 0.35 and parity[0].features.shape == [5, 5]


def test_epochs_visit_every_row_once():
    batches = epochs(10, 3)(SEED, 8).numpy()
    assert batches.shape == (8, 3) and batches.dtype == np.int32
    for epoch in (batches[:3], batches[3:6]):
        assert len(set(epoch.ravel())) == 9
    assert not np.array_equal(batches[:3], batches[3:6])
    assert np.array_equal(epochs(10, 3)(SEED, 8), batches) and not np.array_equal(
        epochs(10, 3)(make_seed(9), 8), batches
    )
    assert {int(row) for row in epochs(10, 5)(SEED, 2).numpy().ravel()} == set(range(10))
    assert epochs(5, 23)(SEED, 3).shape == [3, 5]
    ends = {tuple(sorted(epochs(10, 9)(make_seed(k), 1).numpy().ravel())) for k in range(12)}
    assert len(ends) > 3  # another row is left over


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: clusters(1), "num_features=1"),
        (lambda: random_mlp(0), "num_features=0"),
        (lambda: noisy_parity(0), "num_features=0"),
        (lambda: epochs(5, 0), "batch_size=0"),
        (lambda: classifiers.fully_connected(layers=(3, 0)), r"layers=\(3, 0\)"),
        (lambda: classifiers.fully_connected(activation="gelu"), "activation='gelu'"),
        (lambda: classifiers.fully_connected(stddev=-0.1), "stddev=-0.1"),
    ],
)
def test_options_that_make_no_sense(call, text):
    with pytest.raises(ValueError, match=f"Received .*{text}.*, expected"):
        call()
