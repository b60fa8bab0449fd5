"""What L2O-Scale is made of: its weights by name, shape and start. Which there are depends on the options of its cell.

Names are those of the original program's checkpoint without its prefix `LOL/`, so its values fit one by one. Matrices
start as N(0, (0.5 / √rows)²), which is not truncated; biases of gates and decays so that much is kept at first,
σ(2.2) = 0.900 and σ(3.2) = 0.961.
"""

import keras

from l2o_tf.optimizers.cell import Cell, Weight, constant

MATRIX_SCALE = 0.5
GATE_BIAS = 2.2
INPUT_DECAY_BIAS, SCALE_DECAY_BIAS = 2.2, 3.2
RATE_MOMENTUM_LOGIT, STEP_SIZE_OFFSET = 3.2, -1.0
SHORTCUT_SCALE = 0.1

MIN_LOG_LEARNING_RATE = -33.0
RELATIVE_TO = ("problem", "tensor", "none")
GLOBAL_INPUTS = ("last", "mean")
_RATES_NEEDED = "True, or no features made of learning rates (relative_..., extreme_..., learning_rate_shortcut)"

COORDINATE_GRU = "PerTensor/Layer0_RNN/BiasGRUCell"
TENSOR_GRU = "PerTensor/Layer1_RNN/BiasGRUCell"
PROBLEM_GRU = "Layer2_RNN/BiasGRUCell"
TENSOR_TO_COORDINATE = "PerTensor/Layer0_RNN/Param/Affine"
PROBLEM_TO_COORDINATE = "PerTensor/Layer0_RNN/Global/Affine"
PROBLEM_TO_TENSOR = "PerTensor/Layer1_RNN/Affine"
SHORTCUT = "PerTensor/GradsToDelta/Matrix"
RATE_MOMENTUM = "PerTensor/learning_rate_momentum_logit"
STEP_SIZE = "PerTensor/param_stepsize_offset"


def check(cell: Cell) -> None:
    """Raises ValueError for options that are out of range."""
    levels, rates = cell.levels, cell.initial_learning_rates
    rate_features = cell.relative_learning_rate != "none" or cell.extreme_learning_rate or cell.learning_rate_shortcut
    for option, is_good, expected in (
        ("levels", 1 <= len(levels) <= 3 and min(levels) > 0, "one to three numbers of units"),
        ("time_scales", cell.time_scales > 0, "at least 1"),
        (
            "initial_learning_rates",
            len(rates) == 2 and 0 < rates[0] <= rates[1],
            "two positive numbers, the lower one first",
        ),
        ("max_log_learning_rate", cell.max_log_learning_rate > MIN_LOG_LEARNING_RATE, "more than -33"),
        ("relative_learning_rate", cell.relative_learning_rate in RELATIVE_TO, f"one of {list(RELATIVE_TO)}"),
        ("global_input", cell.global_input in GLOBAL_INPUTS, f"one of {list(GLOBAL_INPUTS)}"),
        ("dynamic_learning_rates", cell.dynamic_learning_rates or not rate_features, _RATES_NEEDED),
    ):
        if not is_good:
            raise ValueError(f"Received {option}={getattr(cell, option)!r}, expected {expected}.")


def num_features(cell: Cell) -> int:
    """F, the width of φ."""
    optional = (
        (cell.gradient_products, cell.time_scales - 1),
        (cell.log_mean_squares, cell.time_scales),
        (cell.relative_learning_rate != "none", 1),
        (cell.extreme_learning_rate, 1),
        (cell.learning_rate_shortcut, 1),
    )
    return cell.time_scales + sum(width for is_there, width in optional if is_there)


def table(cell: Cell) -> dict[str, Weight]:
    """Every weight by name, in a fixed order."""
    levels, found = cell.levels, {}
    units, features = levels[0], num_features(cell)
    if cell.learn_initial_vectors:
        for index, size in enumerate(levels):
            found[f"Level{index}_RNN/init_vector"] = Weight((1, size), _uniform)
    found["update_weights"] = _matrix(units, 1)
    if cell.learn_scale_decay:
        found |= {"scl_decay_weights": _matrix(units, 1), "scl_decay_bias": constant((1,), SCALE_DECAY_BIAS)}
    if cell.learn_input_decay and cell.time_scales > 1:
        found |= {"inp_decay_weights": _matrix(units, 1), "inp_decay_bias": constant((1,), INPUT_DECAY_BIAS)}
    if cell.dynamic_learning_rates:
        weights = constant((units, 1)) if cell.zero_learning_rate_weights else _matrix(units, 1)
        found |= {"learning_rate_weights": weights, "learning_rate_bias": constant((1,))}
    if len(levels) > 1:
        found |= _affine(TENSOR_TO_COORDINATE, levels[1], 3 * units)
    if len(levels) > 2:
        found |= _affine(PROBLEM_TO_COORDINATE, levels[2], 3 * units)
    found |= _gru(COORDINATE_GRU, features, units)
    if len(levels) > 2:
        found |= _affine(PROBLEM_TO_TENSOR, levels[2], 3 * levels[1])
    if len(levels) > 1:
        found |= _gru(TENSOR_GRU, units + features, levels[1])
    if cell.gradient_shortcut:
        found[SHORTCUT] = _matrix(cell.time_scales, 1, SHORTCUT_SCALE, 1.0 / cell.time_scales)
    if cell.dynamic_learning_rates:
        found |= {RATE_MOMENTUM: constant((), RATE_MOMENTUM_LOGIT), STEP_SIZE: constant((), STEP_SIZE_OFFSET)}
    if len(levels) > 2:
        found |= _gru(PROBLEM_GRU, levels[1], levels[2])
    return found


def _gru(name: str, inputs: int, units: int) -> dict[str, Weight]:
    gates = _affine(f"{name}/gates/Affine", inputs + units, 2 * units, GATE_BIAS)
    return gates | _affine(f"{name}/candidate/Affine", inputs + units, units)


def _affine(name: str, rows: int, columns: int, bias: float = 0.0) -> dict[str, Weight]:
    return {f"{name}/Matrix": _matrix(rows, columns), f"{name}/Bias": constant((columns,), bias)}


def _matrix(rows: int, columns: int, scale: float = MATRIX_SCALE, mean: float = 0.0) -> Weight:
    stddev = scale / rows**0.5
    return Weight((rows, columns), lambda seed: keras.initializers.RandomNormal(mean, stddev, seed))


def _uniform(seed: int | None) -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-1.0, 1.0, seed)
