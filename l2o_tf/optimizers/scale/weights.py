"""What L2O-Scale is made of: its options, and its weights by name, shape and start.

Names are those of the original program's checkpoint without its prefix `LOL/`, so its values fit one by one. Matrices
start as N(0, (0.5 / √rows)²), which is not truncated; biases of gates and decays so that much is kept at first,
σ(2.2) = 0.900 and σ(3.2) = 0.961.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras

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


@dataclasses.dataclass(frozen=True)
class ScaleOptions:
    """What `l2o_tf.optimizers.scale.cell.ScaleCell` is configured with; meanings and defaults are explained there."""

    levels: tuple[int, ...]
    time_scales: int
    initial_learning_rates: tuple[float, float]
    max_log_learning_rate: float
    dynamic_learning_rates: bool
    learn_input_decay: bool
    learn_scale_decay: bool
    learn_initial_vectors: bool
    scale_decay_per_time_scale: bool
    gradient_products: bool
    log_mean_squares: bool
    relative_learning_rate: str
    extreme_learning_rate: bool
    learning_rate_shortcut: bool
    gradient_shortcut: bool
    global_input: str
    zero_learning_rate_weights: bool

    def __post_init__(self):
        rates = self.initial_learning_rates
        rate_features = (self.relative_learning_rate != "none", self.extreme_learning_rate, self.learning_rate_shortcut)
        for option, is_good, expected in (
            ("levels", 1 <= len(self.levels) <= 3 and min(self.levels) > 0, "one to three numbers of units"),
            ("time_scales", self.time_scales > 0, "at least 1"),
            (
                "initial_learning_rates",
                len(rates) == 2 and 0 < rates[0] <= rates[1],
                "two positive numbers, the lower one first",
            ),
            ("max_log_learning_rate", self.max_log_learning_rate > MIN_LOG_LEARNING_RATE, "more than -33"),
            ("relative_learning_rate", self.relative_learning_rate in RELATIVE_TO, f"one of {list(RELATIVE_TO)}"),
            ("global_input", self.global_input in GLOBAL_INPUTS, f"one of {list(GLOBAL_INPUTS)}"),
            ("dynamic_learning_rates", self.dynamic_learning_rates or not any(rate_features), _RATES_NEEDED),
        ):
            if not is_good:
                raise ValueError(f"Received {option}={dataclasses.asdict(self)[option]!r}, expected {expected}.")

    @property
    def num_features(self) -> int:
        """F, the width of φ."""
        optional = (
            (self.gradient_products, self.time_scales - 1),
            (self.log_mean_squares, self.time_scales),
            (self.relative_learning_rate != "none", 1),
            (self.extreme_learning_rate, 1),
            (self.learning_rate_shortcut, 1),
        )
        return self.time_scales + sum(width for is_there, width in optional if is_there)


class Weight(NamedTuple):
    """A weight before it is made: its shape, and `seed -> initializer`."""

    shape: list[int]
    initializer: Callable[[int | None], keras.initializers.Initializer]


def table(options: ScaleOptions) -> dict[str, Weight]:
    """Every weight by name, in a fixed order."""
    levels = options.levels
    units = levels[0]
    found = {}
    if options.learn_initial_vectors:
        for index, size in enumerate(levels):
            found[f"Level{index}_RNN/init_vector"] = Weight([1, size], _uniform)
    found["update_weights"] = _matrix(units, 1)
    if options.learn_scale_decay:
        found |= {"scl_decay_weights": _matrix(units, 1), "scl_decay_bias": _constant([1], SCALE_DECAY_BIAS)}
    if options.learn_input_decay and options.time_scales > 1:
        found |= {"inp_decay_weights": _matrix(units, 1), "inp_decay_bias": _constant([1], INPUT_DECAY_BIAS)}
    if options.dynamic_learning_rates:
        weights = _constant([units, 1], 0.0) if options.zero_learning_rate_weights else _matrix(units, 1)
        found |= {"learning_rate_weights": weights, "learning_rate_bias": _constant([1], 0.0)}
    if len(levels) > 1:
        found |= _affine(TENSOR_TO_COORDINATE, levels[1], 3 * units)
    if len(levels) > 2:
        found |= _affine(PROBLEM_TO_COORDINATE, levels[2], 3 * units)
    found |= _gru(COORDINATE_GRU, options.num_features, units)
    if len(levels) > 2:
        found |= _affine(PROBLEM_TO_TENSOR, levels[2], 3 * levels[1])
    if len(levels) > 1:
        found |= _gru(TENSOR_GRU, units + options.num_features, levels[1])
    if options.gradient_shortcut:
        found[SHORTCUT] = _matrix(options.time_scales, 1, SHORTCUT_SCALE, 1.0 / options.time_scales)
    if options.dynamic_learning_rates:
        found |= {RATE_MOMENTUM: _constant([], RATE_MOMENTUM_LOGIT), STEP_SIZE: _constant([], STEP_SIZE_OFFSET)}
    if len(levels) > 2:
        found |= _gru(PROBLEM_GRU, levels[1], levels[2])
    return found


def _gru(name: str, inputs: int, units: int) -> dict[str, Weight]:
    gates = _affine(f"{name}/gates/Affine", inputs + units, 2 * units, GATE_BIAS)
    return gates | _affine(f"{name}/candidate/Affine", inputs + units, units)


def _affine(name: str, rows: int, columns: int, bias: float = 0.0) -> dict[str, Weight]:
    return {f"{name}/Matrix": _matrix(rows, columns), f"{name}/Bias": _constant([columns], bias)}


def _matrix(rows: int, columns: int, scale: float = MATRIX_SCALE, mean: float = 0.0) -> Weight:
    stddev = scale / rows**0.5
    return Weight([rows, columns], lambda seed: keras.initializers.RandomNormal(mean, stddev, seed))


def _constant(shape: list[int], value: float) -> Weight:
    return Weight(shape, lambda seed: keras.initializers.Constant(value))


def _uniform(seed: int | None) -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-1.0, 1.0, seed)
