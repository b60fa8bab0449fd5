"""The floor counts what the cells really have. No time is asserted, except that 40 products take longer than one."""

import numpy as np
import pytest

from benchmarks import Case, Settings, floor, kernels
from benchmarks.cases import prepare
from l2o_tf.optimizers import make_optimizer

MLP = {"layer_0/w": (784, 20), "layer_0/b": (20,), "layer_1/w": (20, 10), "layer_1/b": (10,)}
OPTIMIZEE = [
    floor.Product(128, 784, 20),
    floor.Product(784, 128, 20),
    floor.Product(128, 20, 10),
    floor.Product(20, 128, 10),
    floor.Product(128, 10, 20),
]


def test_a_step_of_meta_training():
    work = floor.step("L2O-DM", "training", MLP, 128)
    assert work.products[:5] == OPTIMIZEE
    assert work.products[5:8] == [(15910, 22, 80), (22, 15910, 80), (15910, 80, 20)]
    assert len(work.products) == 5 + 3 * 3
    assert work.transcendentals == 201 * 15910


def test_a_step_of_an_evaluation():
    work = floor.step("RNNprop", "evaluation", MLP, 128)
    assert work.products == [*OPTIMIZEE, (15910, 2, 20), (15910, 40, 80), (15910, 40, 80), (15910, 20, 1)]


def test_nothing_goes_back_into_constants():
    assert (15910, 20, 2) not in floor.step("RNNprop", "training", MLP, 128).products


def test_threads_share_coordinates_and_minibatch():
    work = floor.step("L2O-DM", "evaluation", MLP, 128, num_threads=3)
    assert work.products[0] == (43, 784, 20)
    assert work.products[-1] == (5304, 20, 1)


@pytest.mark.parametrize("shapes", [{"x": (128, 10)}, {"w": (3, 3, 1, 8), "b": (8,)}, {"w": (2, 3), "b": (2,)}])
def test_of_optimizees_that_are_no_perceptrons_nothing_is_counted(shapes):
    assert floor.perceptron_products(list(shapes.values()), 128) == []


@pytest.mark.parametrize("name", ["L2O-DM", "RNNprop"])
def test_the_matrices_are_those_of_the_cell(name):
    shapes = [tuple(v.shape) for v in make_optimizer(name).trainable_variables if len(v.shape) == 2]
    assert [matrix[:2] for matrix in floor.CELLS[name].matrices] == shapes


def test_the_matrices_of_the_coordinates_of_the_scale_cell():
    shapes = {name: tuple(v.shape) for name, v in make_optimizer("L2O-Scale").named_variables.items()}
    gru = "PerTensor/Layer0_RNN/BiasGRUCell"
    gates, candidate, readouts, shortcut = (matrix[:2] for matrix in floor.CELLS["L2O-Scale"].matrices)
    assert shapes[f"{gru}/gates/Affine/Matrix"] == gates
    assert shapes[f"{gru}/candidate/Affine/Matrix"] == candidate
    assert readouts == (
        10,
        sum(shapes[f"{name}_weights"][1] for name in ("update", "learning_rate", "inp_decay", "scl_decay")),
    )
    assert shapes["PerTensor/GradsToDelta/Matrix"] == shortcut


@pytest.mark.parametrize("product", [floor.Product(3, 4, 2), floor.Product(5, 1, 2)])
def test_a_product_is_a_product_whoever_does_it(product):
    found = kernels.products(product)
    assert {kernel.library for kernel in found} == {"NumPy", "TensorFlow", "XLA"}
    for kernel in found:
        out = np.asarray(kernel.run(2))
        assert sorted(out.shape) == sorted((product.rows, product.columns))
        np.testing.assert_array_equal(out, product.inner)


def test_a_tanh_is_a_tanh_whoever_does_it():
    expected = np.tanh(np.linspace(-4, 4, kernels.PIECE))
    for kernel in kernels.tanhs():
        np.testing.assert_allclose(np.asarray(kernel.run(1)), expected, atol=1e-6, err_msg=kernel.library)


def test_xla_does_the_work_as_often_as_it_is_told():
    """Else a floor of XLA would be that of a single step."""
    kernel = next(kernel for kernel in kernels.products(floor.Product(300, 300, 300)) if kernel.library == "XLA")
    kernel.run(1)
    assert kernels._seconds(kernel, 40) > 8 * min(kernels._seconds(kernel, 1) for _ in range(3))


def test_the_fastest_is_taken(monkeypatch):
    seconds = {"NumPy": 3.0, "TensorFlow": 1.0, "XLA": 2.0}
    monkeypatch.setattr(kernels, "_seconds", lambda kernel, count: seconds[kernel.library])
    assert kernels.fastest(kernels.tanhs()).library == "TensorFlow"


@pytest.mark.parametrize("name", floor.CELLS)
@pytest.mark.parametrize("problem", ["mnist", "quadratic"])
def test_every_floor_runs_and_names_the_fastest(name, problem, monkeypatch):
    monkeypatch.setattr(kernels, "fastest", lambda candidates: candidates[0])  # to time them all takes long
    repetition, facts = prepare(Case(problem, name, "training", "floor"), Settings(1, 1, "embedded"))
    assert repetition() == 0.0
    shapes = MLP if problem == "mnist" else {"x": (128, 10)}
    count = len(floor.step(name, "training", shapes, 128).products)
    assert facts["note"] == f"products: {count} by NumPy; tanh: NumPy"
