"""The synthetic problems once more, in NumPy and float64, straight from the formulas of the literature."""

from collections.abc import Callable

import numpy as np

from problems import make_problem

PI = np.pi


def two(formula):
    return lambda params, constants: formula(*params["x"])


def residual(params, constants):
    return constants["w"] @ params["x"] - constants["y"]


def snake(params, rows):
    x = params["x"]
    total = 0.0
    for row in rows:
        total += row[0] / (np.sqrt((x**2).sum()) + 1e-6)
        total += sum(((x[i] - PI * np.cos(x[i - 1])) * row[i]) ** 2 for i in range(1, len(x)))
    return total


def chain(params, constants):
    x = params["x"]
    return sum(x[0] ** 2 + x[i] ** 2 / (x[i - 1] ** 2 + 1e-6) for i in range(1, len(x)))


def sum_of_quadratics(params, rows):
    return sum(((params["x"] - row) ** 2).sum() - (row**2).sum() for row in rows)


def matmul(params, constants):
    """The read-out by the pseudo-inverse, the products by loops."""
    a, b, c = [], [], []
    for i, j, k, m in np.ndindex(2, 2, 2, 2):
        left, right = np.zeros([2, 2]), np.zeros([2, 2])
        left[i, j] = right[k, m] = 1
        a.append(left.ravel()), b.append(right.ravel()), c.append((left @ right).ravel())
    p = (np.array(a) @ params["theta_a"]) * (np.array(b) @ params["theta_b"])
    return ((p @ (np.linalg.pinv(p) @ np.array(c)) - np.array(c)) ** 2).sum()


CLOSED_FORMS: dict[str, tuple[dict, Callable]] = {
    "least_squares": ({"num_dims": 5}, lambda p, c: 0.5 * (residual(p, c) ** 2).sum()),
    "norm": ({"num_dims": 5, "power": 3.0}, lambda p, c: ((abs(residual(p, c)) + 1e-6) ** 3).sum() ** (1 / 3)),
    "bowl": (
        {"condition": 3.0, "angle": 0.4},
        two(lambda x, y: 1.5 * (x * np.cos(0.4) - y * np.sin(0.4)) ** 2 + (x * np.sin(0.4) + y * np.cos(0.4)) ** 2 / 2),
    ),
    "isotropic_quadratic": ({"num_dims": 4}, lambda p, c: (p["x"] ** 2).sum()),
    "min_max_well": ({"num_dims": 6}, lambda p, c: (p["x"] ** 2).max() + 1 / (p["x"] ** 2).min() - 2),
    "dependency_chain": ({"num_dims": 5}, chain),
    "outward_snake": ({"num_dims": 5, "num_rows": 12, "batch_size": 4}, snake),
    "projection_quadratic": (
        {"num_dims": 4, "num_rows": 12, "batch_size": 4},
        lambda p, rows: sum(((p["x"] * row) ** 2).sum() for row in rows),
    ),
    "sum_of_quadratics": ({"num_dims": 4, "num_rows": 12, "batch_size": 4}, sum_of_quadratics),
    "matmul_algorithm": ({"size": 2, "rank": 6}, matmul),
    "rosenbrock": ({}, two(lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2)),
    "ackley": (
        {},
        two(
            lambda x, y: (
                -20 * np.exp(-0.2 * np.sqrt((x**2 + y**2) / 2))
                - np.exp((np.cos(2 * PI * x) + np.cos(2 * PI * y)) / 2)
                + np.e
                + 20
            )
        ),
    ),
    "beale": (
        {},
        two(lambda x, y: (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2),
    ),
    "booth": ({}, two(lambda x, y: (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2)),
    "branin": (
        {},
        two(
            lambda x, y: (y - 5.1 / (4 * PI**2) * x**2 + 5 / PI * x - 6) ** 2 + 10 * (1 - 1 / (8 * PI)) * np.cos(x) + 10
        ),
    ),
    "log_sum_exp": (
        {},
        two(lambda x, y: np.log(np.exp(x + 3 * y - 0.1) + np.exp(x - 3 * y - 0.1) + np.exp(-x - 0.1) + 1)),
    ),
    "matyas": ({}, two(lambda x, y: 0.26 * (x**2 + y**2) - 0.48 * x * y)),
    "michalewicz": (
        {},
        two(lambda x, y: 2 - np.sin(x) * np.sin(x**2 / PI) ** 10 - np.sin(y) * np.sin(2 * y**2 / PI) ** 10),
    ),
    "styblinski_tang": ({}, two(lambda x, y: sum(z**4 - 16 * z**2 + 5 * z for z in (x, y)) / 2 + 80)),
    "saddle": ({}, two(lambda x, y: x**2 - y**2)),
}
"""Registered name -> small options, and `(params, constants or rows of the minibatch) -> value`."""

MINIMA = {  # the places and values that the literature gives, with the offsets of this project
    "rosenbrock": ((1.0, 1.0), 0.0),
    "beale": ((3.0, 0.5), 0.0),
    "booth": ((1.0, 3.0), 0.0),
    "branin": ((np.pi, 2.275), 0.397887),
    "matyas": ((0.0, 0.0), 0.0),
    "styblinski_tang": ((-2.903534, -2.903534), 80 - 2 * 39.166165),
}


def small(name: str):
    """The problem of that name, with the options that its closed form is for."""
    return make_problem(name, **CLOSED_FORMS[name][0])


def slope(function, params: dict[str, np.ndarray], constants, step: float = 1e-5) -> dict[str, np.ndarray]:
    """Central differences."""
    grads = {key: np.zeros_like(value) for key, value in params.items()}
    for key, value in params.items():
        for index in np.ndindex(value.shape):
            up, down = ({k: v.copy() for k, v in params.items()} for _ in range(2))
            up[key][index] += step
            down[key][index] -= step
            grads[key][index] = (function(up, constants) - function(down, constants)) / (2 * step)
    return grads
