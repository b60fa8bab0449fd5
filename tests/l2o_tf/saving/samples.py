"""Weights to write and read, and the forms in which the original program keeps them."""

from collections import defaultdict

import numpy as np


def some_weights(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        "lstm_1/w_gates": np.asfortranarray(rng.normal(size=[3, 8]).astype(dtype)),
        "linear/w": rng.normal(size=[2, 1]).astype(dtype),
        "linear/b": rng.normal(size=[1]).astype(dtype),
    }


def assert_equal(received, expected):
    assert list(received) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(received[name], value)
        assert received[name].dtype == np.float32


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def original_tree(weights):
    """As the original program builds it."""
    tree = defaultdict(dict)
    for name, value in weights.items():
        module, variable = name.split("/")
        tree[module][variable] = value
    return tree
