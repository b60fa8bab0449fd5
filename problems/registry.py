"""Every problem by its name.

`PROBLEMS` has a factory for each name; `make_problem` calls it and explains what is wrong with its arguments.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from problems import contract, from_file
from problems.base import Problem, require_name
from problems.common.python_files import is_file
from problems.common.user_errors import describe
from problems.data.datasets import DataOptions
from problems.images import cifar, convolutions, perceptrons
from problems.sets import PROBLEM_SETS
from problems.toys import classifiers, confocal, deepmind, families, landscapes, matmul
from problems.transforms.coordinates import sum_of

_NAMES = {
    deepmind: "simple simple_multi_optimizer quadratic square_cos",
    confocal: "confocal_microscopy_3d",
    perceptrons: "mnist mnist_relu mnist_deeper digits",
    convolutions: "mnist_conv cifar_conv mnist_conv_paper cifar_conv_paper scale_mnist_conv scale_mnist_conv_orig",
    cifar: "lenet lenet_paper nas nas_paper vgg16 cifar_multi",
    families: "least_squares bowl norm min_max_well dependency_chain outward_snake projection_quadratic "
    "sum_of_quadratics isotropic_quadratic",
    matmul: "matmul_algorithm",
    classifiers: "softmax_regression sparse_softmax_regression one_hot_sparse_softmax_regression fully_connected",
    landscapes: "ackley beale booth branin log_sum_exp matyas michalewicz rosenbrock styblinski_tang saddle",
}
PROBLEMS: dict[str, Callable[..., Problem]] = {
    name: getattr(module, name) for module, names in _NAMES.items() for name in names.split()
}
"""Name -> factory. A factory with the parameters `mode` and `data_options` is one that has data."""


def make_problem(
    name: str,
    *,
    mode: str = "train",
    data: str = "auto",
    data_dir: str | None = None,
    split: str = "original",
    **options,
) -> Problem:
    """Makes a registered problem, or one of the user's own.

    >>> from problems import make_problem
    >>> problem = make_problem("quadratic", num_dims=3)
    >>> problem.name
    'quadratic'

    Args:
        name: a key of `PROBLEMS`, or `path/to/file.py:function`, see `problems.from_file`.
        mode: `"train"` (default) for meta-training, `"test"` for evaluation.
        data, data_dir, split: see `DataOptions`. Problems without data ignore them, and `mode`.
        **options: options of that problem's factory, e.g. `batch_size=64`.

    Raises:
        ValueError: on an unknown name or option (with the names that are close), a value that its factory refuses, or a
            file or function that cannot be used.
        DataError: a ValueError; if the data cannot be had.
    """
    require_name("problem", name)
    if name in PROBLEM_SETS:
        raise ValueError(
            f"Received problem {name!r}, which is a set of {len(PROBLEM_SETS[name])}, "
            "expected the name of one problem. A function in a file may return one of its members, "
            f"`PROBLEM_SETS[{name!r}][0].make()`."
        )
    if name not in PROBLEMS and not is_file(name):
        raise ValueError(f"Received problem {name!r}, expected {_suggest(name, PROBLEMS)}.")
    factory = PROBLEMS[name] if name in PROBLEMS else from_file.factory(name)
    accepted = set(inspect.signature(factory).parameters)
    own = accepted - {"mode", "data_options"}
    for option in options:
        if option not in own:
            raise ValueError(f"Received option {option!r} for problem {name!r}, expected {_suggest(option, own)}.")
    for_all = {"mode": mode, "data_options": DataOptions(data, data_dir, split)}
    try:
        problem = factory(**options, **{key: value for key, value in for_all.items() if key in accepted})
    except TypeError as error:
        raise ValueError(f"Received problem {name!r} with an option of another type: {describe(error)}.") from error
    if name in PROBLEMS:
        contract.trust(problem)
    return problem


def ensemble(problems: Sequence[Mapping[str, Any]], weights: Sequence[float] | None = None) -> Problem:
    """DeepMind's ensemble: `f(θ) = Σ_k w_k f_k(θ_k)` of registered problems.

    >>> parts = [{"name": "simple", "options": {}}, {"name": "quadratic", "options": {"batch_size": 5}}]
    >>> ensemble(parts, weights=[1.0, 0.5]).name
    'ensemble'

    Args:
        problems: `{"name": ..., "options": {...}}` of each problem; none may have data.
        weights: w_k; default: all 1.

    Raises:
        ValueError: if there is no problem or not one weight for each, or as `make_problem` and `sum_of` do.
    """
    for problem in problems:
        if not isinstance(problem, Mapping) or "name" not in problem or set(problem) - {"name", "options"}:
            raise ValueError(f"Received {problem!r} in an ensemble, expected a dict of 'name' and perhaps 'options'.")
    made = [make_problem(problem["name"], **problem.get("options", {})) for problem in problems]
    return sum_of(made, weights)._replace(name="ensemble")


def _suggest(name: str, known: Iterable[str]) -> str:
    """`one of a, b (did you mean a?)`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names)
    listed = f"one of {', '.join(names)}" if names else "none"
    return listed + (f" (did you mean {' or '.join(close)}?)" if close else "")
