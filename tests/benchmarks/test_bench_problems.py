import numpy as np

from benchmarks import bench_problems, twins
from problems import make_problem


def test_both_train_the_same_model():
    """The sum of Keras's losses over the first step is our first loss."""
    problem = make_problem("cifar_conv_paper", data="embedded", batch_size=8)
    model = twins.MODELS["cifar_conv_paper"]()
    twins.assign(model, problem.init(bench_problems.SEED)[0])
    theirs = bench_problems.keras_steps(problem, model, False, 1)()
    ours = problem.loss(problem.init(bench_problems.SEED)[0], (), problem.sample(bench_problems.SEED, 1)[0])
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)


def test_every_method_has_a_time():
    found = bench_problems.rows("cifar_conv_paper", ["Adam"], num_steps=2, repetitions=2, data="embedded")
    methods = ["Keras Adam, graph", "Keras Adam, XLA", "Adam, graph", "Adam, XLA"]
    assert [method for method, _, _ in found] == methods
    assert all(milliseconds > 0 and ratio > 0 for _, milliseconds, ratio in found)
    assert min(ratio for _, _, ratio in found[:2]) == 1.0
