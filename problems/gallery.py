"""The problems to be looked at: a table of all, and a picture of one.

Adam is Keras's own here: problems do not know the optimizers of this project.
"""

import inspect
import itertools
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from problems import PROBLEM_SETS, PROBLEMS, make_problem
from problems.base import Params, Problem, fold, make_seed, shapes_of
from problems.sets import takes_data

_COLUMNS = ("name", "data", "tensors", "coordinates", "shapes", "source", "what it is")

_DEEPMIND, _SCALE, _PAPER = "Andrychowicz et al. 2016", "Wichrowska et al. 2017", "Chen et al. 2020"
SOURCES = {
    "digits": "-",
    "cifar_multi": _DEEPMIND,
    "square_cos": _PAPER,
    "scale_mnist_conv": _SCALE,
    "scale_mnist_conv_orig": _SCALE,
    "problems.analytic": _DEEPMIND,
    **dict.fromkeys(("problems.confocal", "problems.networks", "problems.convolutions", "problems.cifar"), _PAPER),
    **dict.fromkeys(("problems.synthetic", "problems.matmul", "problems.classifiers", "problems.landscapes"), _SCALE),
}
"""Where a problem is from, by its name or else by its module."""


def table() -> str:
    """All problems with data, tensors, coordinates, shapes, source and first line of the docstring, and the sets.

    Problems of images are made on the embedded digits, which have the shapes of the data set, so that nothing is
    downloaded or read.
    """
    rows = [_COLUMNS]
    for name, factory in PROBLEMS.items():
        problem = make_problem(name, data="embedded")
        shapes = shapes_of(problem)
        about = (inspect.getdoc(factory) or "").splitlines()[0]
        source = SOURCES.get(name) or SOURCES[factory.__module__]
        rows.append((name, _data_of(name, problem), *_sizes(shapes), _shapes(shapes), source, about))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    aligns = "<<>><<"
    lines = [
        "  ".join([*(f"{c:{a}{w}}" for c, a, w in zip(row, aligns, widths, strict=False)), row[-1]]) for row in rows
    ]
    sets = [f"{name:{widths[0]}}  {len(members)} problems" for name, members in PROBLEM_SETS.items()]
    return "\n".join([*lines, "", "Sets, of which each run gets one problem:", *sets])


def describe(problem: Problem) -> str:
    """Name, data, and each tensor with its shape."""
    params, _ = _start(problem)
    shapes = [f"  {name:24} {list(value.shape)}" for name, value in params.items()]
    shown = shapes if len(shapes) <= 40 else [*shapes[:40], f"  ... and {len(shapes) - 40} more"]
    tensors, coordinates = _sizes(params)
    return "\n".join(
        [f"{problem.name}: {coordinates} coordinates in {tensors} tensors; {problem.data or 'no data'}", *shown]
    )


def plot(problem: Problem, file: Path, num_steps: int = 200, learning_rate: float = 0.01, seed: int = 0) -> None:
    """Draws the losses along Adam's trajectory, and the first minibatch where its rows are images.

    Args:
        problem: any problem.
        file: where the picture goes.
        num_steps: of Adam.
        learning_rate: of Adam.
        seed: decides start and minibatches.
    """
    from matplotlib.figure import Figure

    losses = adam_losses(problem, num_steps, learning_rate, seed)
    figure = Figure(figsize=(9.6, 4.0) if problem.examples else (6.4, 4.0), layout="constrained")
    curve, *picture = figure.subplots(1, 2 if problem.examples else 1, squeeze=False)[0]
    _draw_losses(curve, losses, learning_rate)
    for axes in picture:
        _draw_examples(axes, *problem.examples(_first_batch(problem, seed)))
    _, coordinates = _sizes(shapes_of(problem))
    figure.suptitle(f"{problem.name}: {coordinates} coordinates\n{problem.data or 'no data'}", fontsize=10)
    figure.savefig(file, dpi=150)


def adam_losses(problem: Problem, num_steps: int, learning_rate: float, seed: int) -> np.ndarray:
    """`[num_steps]`: the loss before each step of Keras's Adam."""
    params, constants = _start(problem, seed)
    variables = {name: tf.Variable(value) for name, value in params.items()}
    adam = keras.optimizers.Adam(learning_rate)
    adam.build(list(variables.values()))

    @tf.function
    def step(batch):
        with tf.GradientTape() as tape:
            loss = problem.loss({name: tf.identity(value) for name, value in variables.items()}, constants, batch)
        adam.apply(tape.gradient(loss, list(variables.values())))
        return loss

    batches = problem.sample(fold(make_seed(seed), 1), num_steps)
    return np.array([step(tf.nest.map_structure(lambda rows, t=t: rows[t], batches)) for t in range(num_steps)])


def _draw_losses(axes, losses: np.ndarray, learning_rate: float) -> None:
    axes.plot(losses, color="#0072b2", linewidth=1.2)
    axes.set(xlabel="step", ylabel="loss", title=f"Adam, learning rate {learning_rate:g}")
    axes.spines[["top", "right"]].set_visible(False)
    if losses.min() > 0 and losses.max() > 100 * losses.min():
        axes.set_yscale("log")


def _draw_examples(axes, inputs: tf.Tensor, labels: tf.Tensor, side: int = 5) -> None:
    """The first 25 images of a minibatch in a square, with their labels; or rows of numbers as one image."""
    axes.set(xticks=[], yticks=[])
    if len(inputs.shape) != 4:
        axes.imshow(np.reshape(inputs, [inputs.shape[0], -1]), cmap="viridis", aspect="auto", interpolation="nearest")
        axes.set(title="A minibatch, one row per example")
        return
    images, names = inputs.numpy()[: side**2], _names(labels.numpy())[: side**2]
    _, height, width, channels = images.shape
    canvas = np.zeros([side * height, side * width, channels], images.dtype)
    for k, (image, name) in enumerate(itertools.zip_longest(images, names, fillvalue="")):
        top, left = k // side * height, k % side * width
        canvas[top : top + height, left : left + width] = image
        axes.annotate(f"{name}", (left + 1, top + 1), va="top", color="#ffd75f", fontsize=8, weight="bold")
    axes.imshow(canvas.squeeze(), cmap="gray" if channels == 1 else None, interpolation="nearest")
    axes.set(title=f"{len(images)} of a minibatch of {inputs.shape[0]}")


def _names(labels: np.ndarray) -> np.ndarray:
    """What to write on each example: its number, the place of the 1 in a one-hot row, or nothing."""
    rows = labels.reshape([len(labels), -1])
    if rows.shape[1] == 1:
        return rows[:, 0]
    one_hot = np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all()
    return rows.argmax(axis=1) if one_hot else rows[:0, 0]


def _first_batch(problem: Problem, seed: int):
    return tf.nest.map_structure(lambda rows: rows[0], problem.sample(fold(make_seed(seed), 1), 1))


def _start(problem: Problem, seed: int = 0):
    return problem.init(fold(make_seed(seed), 0))


def _sizes(shapes: Params) -> tuple[str, str]:
    """Tensors and coordinates."""
    return f"{len(shapes):,}", f"{sum(math.prod(value.shape) for value in shapes.values()):,}"


def _shapes(shapes: Params, most: int = 4) -> str:
    """`784x20 20 20x10 10`; of many tensors the first ones."""
    found = ["x".join(map(str, value.shape)) or "1" for value in shapes.values()]
    return " ".join(found if len(found) <= most else [*found[:most], "..."])


def _data_of(name: str, problem: Problem) -> str:
    if not takes_data(PROBLEMS[name]):
        return "drawn" if problem.data is not None else "-"
    stand_ins = {"digits-28x28": "MNIST", "digits-32x32": "CIFAR-10"}
    return stand_ins.get(problem.data.name, problem.data.name)
