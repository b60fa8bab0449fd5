"""The sets of problems that L2O-Scale was meta-trained on: tables of factories, options and transforms.

`PROBLEM_SETS["scale_meta"]` is the whole ensemble: 101 members, of which each run gets one by chance. A `Member` is
data. It becomes a `Problem` only by `make`, so that a set costs nothing until one of its members is drawn::

    members = PROBLEM_SETS["scale_meta"]
    problem = members[draw(members, seed)].make()

The other sets are its parts, those parts that the original program leaves out by default, and `mnist_mlp_problems`, on
which *Training Stronger Baselines for Learning to Optimize* trained L2O-Scale.

Source: names, members and order from the program of Wichrowska et al., *Learned Optimizers that Scale and Generalize*,
2017 (https://arxiv.org/abs/1703.04813). Two of its members have noise that never reaches a gradient (sums of noisy
problems); they are here as they acted, without noise.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from problems.base import Problem, Seed
from problems.data.datasets import DataOptions
from problems.images.perceptrons import mnist
from problems.toys import classifiers, families, landscapes
from problems.toys.matmul import matmul_algorithm
from problems.transforms.coordinates import log_objective, normal_start, rescale, sum_of
from problems.transforms.gradients import gradient_noise, sparse_gradient

Options = dict[str, Any]


class Member(NamedTuple):
    """One problem of a set, not made yet.

    Attributes:
        factory: returns a `Problem`.
        options: its keyword arguments.
        around: transforms and their keyword arguments, the innermost first.
    """

    factory: Callable[..., Problem]
    options: Options
    around: tuple[tuple[Callable[..., Problem], Options], ...] = ()

    def make(self, mode: str = "train", data_options: DataOptions | None = None) -> Problem:
        """Makes the problem, with `str(self)` as its name; `mode` and `data_options` are for factories with data."""
        takes_data = "data_options" in inspect.signature(self.factory).parameters
        data = {"mode": mode, "data_options": data_options} if takes_data else {}
        problem = self.factory(**self.options, **data)
        for transform, options in self.around:
            problem = transform(problem, **options)
        return problem._replace(name=str(self))

    def inside(self, transform: Callable[..., Problem], **options: Any) -> "Member":
        """This member with one more transform around it."""
        return self._replace(around=(*self.around, (transform, options)))

    def __str__(self) -> str:
        """E.g. `least_squares(num_dims=20) gradient_noise(stddev=0.5)`."""
        return " ".join(_call(function, options) for function, options in ((self.factory, self.options), *self.around))


class MadeOnce(Sequence):
    """The problems of a set, each made when it is first asked for, transformed (default: not), and then kept."""

    def __init__(
        self,
        members: Sequence[Member],
        transform: Callable[[Problem], Problem] = lambda problem: problem,
        data_options: DataOptions | None = None,
    ):
        self._members = members
        self._make = functools.cache(lambda index: transform(members[index].make(data_options=data_options)))

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> Problem:
        return self._make(index)


def sum_of_members(members: Sequence[Member]) -> Problem:
    """`sum_of` the problems of several members."""
    return sum_of([member.make() for member in members])


def draw(members: Sequence, seed: Seed) -> int:
    """Index of the member that a run with this seed gets; all are equally probable."""
    return int(tf.random.stateless_uniform([], seed, 0, len(members), tf.int32))


def _call(function: Callable, options: Options) -> str:
    return f"{function.__name__}({', '.join(f'{key}={_plain(value)}' for key, value in options.items())})"


def _plain(value: Any) -> str:
    if isinstance(value, tuple) and not isinstance(value, Member):
        return f"({', '.join(map(_plain, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(factory: Callable[..., Problem], names: str, *rows: tuple, **common: Any) -> tuple[Member, ...]:
    """A member for each row: the values of the options called `names`, and options that all members have."""
    return tuple(Member(factory, dict(zip(names.split(), row, strict=True)) | common) for row in rows)


def _sized(factory: Callable[..., Problem], *sizes: int) -> tuple[Member, ...]:
    return _table(factory, "num_dims", *((size,) for size in sizes))


def _named(names: str) -> tuple[Member, ...]:
    return tuple(Member(getattr(landscapes, name), {}) for name in names.split())


def _noisy(members: Sequence[Member], *stddevs: float) -> tuple[Member, ...]:
    pairs = zip(members, stddevs, strict=True)
    return tuple(member.inside(gradient_noise, stddev=stddev) if stddev else member for member, stddev in pairs)


def _all(members: Sequence[Member], transform: Callable[..., Problem]) -> tuple[Member, ...]:
    return tuple(member.inside(transform) for member in members)


def _sum(*members: Member) -> Member:
    return Member(sum_of_members, {"members": members})


_L2 = 1e-3
_QUADRATICS = _sized(families.least_squares, 20, 25, 50, 100)
_ROUND_BOWLS = _table(families.bowl, "condition", (0.1,), (1.0,), (5.0,))
_BOWLS = (*_ROUND_BOWLS, Member(families.bowl, {"condition": 5.0, "angle": math.pi / 4}))
_NORM_18 = _table(families.norm, "num_dims power", (18, 2.5), (18, 1.5), (18, 2.0), (18, 3.0), (18, 1.0))
_LANDSCAPES = _named("ackley beale booth branin log_sum_exp matyas michalewicz rosenbrock styblinski_tang")
_SUMMED_LANDSCAPES = _named("rosenbrock log_sum_exp ackley beale booth styblinski_tang matyas branin michalewicz")
_SUM_OF_SEVEN = _sum(*_sized(families.least_squares, 11, 3, 9, 7, 5, 13, 12))
_SUM_OF_ELEVEN = _sum(*_SUMMED_LANDSCAPES, *_sized(families.least_squares, 5, 13))
_SOFTMAX = _table(
    classifiers.softmax_regression,
    "num_features separation batch_size",
    *((10, 2.0, 100), (100, 1.0, 50), (200, 1.5, 20), (256, 1.5, 100)),
    l2=_L2,
)
_NETWORKS = _table(
    classifiers.fully_connected,
    "num_features layers batch_size",
    *((8, (8, 5), 10), (12, (8, 5, 3), 200), (5, (4, 4, 4, 4), 100)),
    *((11, (4, 5, 6), 64), (9, (8,), 128), (7, (8, 5), 16)),
    *((8, (32, 64), 10), (12, (16, 8, 3), 200), (5, (8, 8, 8, 8), 100)),
    *((11, (10, 12, 12), 64), (9, (32,), 128), (7, (32, 64), 16)),
    l2=_L2,
)
_ROWS = "num_dims num_rows batch_size"
_CHAIN_ROWS = (
    *((20, 1000, 100), (12, 200, 10), (56, 5000, 100), (64, 1000, 50), (13, 10000, 50)),
    *((20, 1000, 128), (12, 300, 16), (56, 5000, 128), (64, 1000, 64), (13, 10000, 32)),
)
_SYMMETRIC_ROWS = (
    *((20, 1000, 100), (12, 100, 10), (56, 5000, 100), (64, 1000, 50), (13, 10000, 50)),
    *((20, 1000, 128), (12, 100, 16), (56, 5000, 128), (64, 1000, 64), (13, 10000, 32)),
)
_SCALES = (0.123, 8.0, 50.0, 200.0, 1000.0, 0.1, 10.0, 350.0, 132.0)
_FEW = (_QUADRATICS[0], *_QUADRATICS[2:], *_ROUND_BOWLS)

_ENSEMBLE: dict[str, tuple[Member, ...]] = {
    "noisy_quadratic_problems": _noisy(_QUADRATICS, 0.5, 0.0, 1.0, 2.0),
    "large_quadratic_problems": _sized(families.least_squares, 784, 1024, 2048),
    "bowl_problems": _BOWLS,
    "noisy_bowl_problems": _noisy(_BOWLS, *[0.1] * 4),
    "softmax_2_class_problems": _SOFTMAX,
    "noisy_softmax_2_class_problems": _noisy(_SOFTMAX, 0.5, 0.1, 0.1, 0.5),
    "optimization_test_problems": _LANDSCAPES,
    "noisy_optimization_test_problems": _noisy(_LANDSCAPES, *[1.0] * 9),
    "fully_connected_random_2_class_problems": _NETWORKS,
    "matmul_problems": _table(
        matmul_algorithm, "size rank", *((2, rank) for rank in range(5, 9)), *((3, rank) for rank in range(19, 25))
    ),
    "log_objective_problems": _all(_FEW, log_objective),
    "rescale_problems": tuple(
        member.inside(rescale, scale=scale) for member, scale in zip((*_NORM_18, *_QUADRATICS), _SCALES, strict=True)
    ),
    "norm_problems": _table(families.norm, "num_dims power", (27, 1.0), (25, 2.0), (22, 3.0)),
    "noisy_norm_problems": _noisy(_table(families.norm, "num_dims power", (19, 1.0), (26, 2.0), (23, 3.0)), *[0.1] * 3),
    "sum_problems": (
        _SUM_OF_SEVEN,
        _sum(_NORM_18[3], _QUADRATICS[1], _SUMMED_LANDSCAPES[0]),
        _sum(*_SUMMED_LANDSCAPES),
        _SUM_OF_ELEVEN,
        _sum(*_sized(families.least_squares, 11, 3)),
        _sum(*_SUMMED_LANDSCAPES[:3]),
    ),
    "noisy_sum_problems": (_SUM_OF_SEVEN, _SUM_OF_ELEVEN),
    "sparse_gradient_problems": _all(_FEW, sparse_gradient),
    "sparse_gradient_mlp_problems": _all(_all(_NETWORKS[:3], normal_start), sparse_gradient),
}

PROBLEM_SETS: dict[str, tuple[Member, ...]] = {
    "scale_meta": tuple(member for members in _ENSEMBLE.values() for member in members),
    **_ENSEMBLE,
    "quadratic_problems": _QUADRATICS,
    "sparse_softmax_problems": (Member(classifiers.sparse_softmax_regression, {"l2": _L2}),),
    "one_hot_sparse_softmax_problems": (Member(classifiers.one_hot_sparse_softmax_regression, {"l2": _L2}),),
    "min_max_well_problems": _sized(families.min_max_well, 20, 12, 56, 64, 13),
    "sum_of_quadratics_problems": _table(families.sum_of_quadratics, _ROWS, *_SYMMETRIC_ROWS),
    "projection_quadratic_problems": _table(families.projection_quadratic, _ROWS, *_SYMMETRIC_ROWS),
    "outward_snake_problems": _table(families.outward_snake, _ROWS, *_CHAIN_ROWS),
    "dependency_chain_problems": _sized(families.dependency_chain, *(num_dims for num_dims, _, _ in _CHAIN_ROWS)),
    "mnist_mlp_problems": (Member(mnist, {}),),
}
"""Name -> members. `scale_meta` is the ensemble; the names that end in `_problems` are those of the original flags."""
