"""L2O-Scale: the hierarchical recurrent network of Wichrowska et al. (2017), *Learned optimizers that scale and
generalize*, as the original program of Chen et al. (2020) configures it.

Three levels of recurrent units: one per coordinate (state h), one per tensor of the optimizee (c), one for all (z). A
level biases the gates of those below and sees the mean of the one just below.
In one step, with ' for what is new (`step.py` follows these lines, `equations.py` has the pieces)::

    a'  = (1 - δ) g + δ a,        δ = d_i, d_i^1/2, d_i^1/4, d_i^1/8     # averages over four time scales
    m'  = (1 - d_s) (a'² + 1e-12) + d_s m                                # their sizes
    φ   = asinh(a' / √m'), products of neighbours, ln m' - mean, λ - mean λ
    h'  = GRU_0(φ, h;             bias  c A_p + a_p + z A_g + a_g)
    c'  = GRU_1(mean [h', φ], c;  bias  z B_g + b_g)                     # mean over the tensor's coordinates
    z'  = GRU_2(c', z)                                                   # c' of the last tensor, or the mean
    Δ   = h' w_u + asinh(a' / √m') w_sc, divided by its root mean square over the tensor
    λ*  = clip(λ + h' w_l + b_l)                                         # log learning rate, per coordinate
    λ'  = μ λ + (1 - μ) λ*,       μ = σ(m̂)
    d_s', d_i' = σ(h' w_s + b_s), σ(h' w_i + b_i)
    θ'  = θ - exp(λ* + o) Δ

Every weight is shared by all coordinates and all tensors, so an optimizer of 8,349 weights serves any optimizee.

Not all states have a row per coordinate: c has one per tensor, `[K, 20]`, and z is `[1, 20]`. Which rows form a tensor
is said by `sizes = (n_1, ..., n_K)`, static numbers that `HierarchicalOptimizer` takes from the parameters. Without
them all coordinates are one tensor, and `ScaleCell` is a Keras RNN cell like any other.

The initial vectors h_0, c_0, z_0 are learned. Truncated backpropagation takes a window's first state as a constant,
so the cell looks the vectors up itself, at the step whose number is 0: only a window that begins a run moves them.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from l2o_tf.common import nest
from l2o_tf.optimizers.cell import Cell
from l2o_tf.optimizers.effects import require_effect
from l2o_tf.optimizers.scale import step, weights
from problems.base import Seed, make_seed


def _needs(cell: "ScaleCell") -> dict[str, tuple[bool, tuple[str, ...]]]:
    rates = ("initial_learning_rates", "max_log_learning_rate", "zero_learning_rate_weights")
    products = ("learn_input_decay", "gradient_products", "scale_decay_per_time_scale")
    return {
        "dynamic_learning_rates": (cell.dynamic_learning_rates, rates),
        "three levels": (len(cell.levels) == 3, ("global_input",)),
        "several time scales": (cell.time_scales > 1, products),
    }


@keras.saving.register_keras_serializable("l2o_tf")
class ScaleCell(Cell):
    """The L2O-Scale update rule as a Keras cell; see the module's docstring.

    Gradients are clipped to ±1e18, and NaN counts as 0: one bad gradient does not spoil the other coordinates.

    Call arguments:
        inputs: `[N, 1]`, the gradient of every coordinate.
        states: a `step.ScaleState`, from `get_initial_state`.
        sizes: `(n_1, ..., n_K)`, coordinates of each tensor; default: one tensor.

    Returns:
        `(updates [N, 1], ScaleState)`.

    Args:
        levels: units of the coordinate, tensor and global level, `H_0, H_1, H_2`. Default `(10, 20, 20)`; two levels or
            one leave the upper ones out.
        time_scales: S, number of running averages. Default 4. With 1, the gradient itself.
        initial_learning_rates: range of the first learning rates, drawn anew in each run. Default `(1e-6, 1e-2)`.
        max_log_learning_rate: upper end of the clip of λ*; default 33. The lower end is -33.
        dynamic_learning_rates: whether there are learning rates. Default True; without them `θ' = θ - Δ`, and Δ is not
            divided by its root mean square.
        learn_input_decay, learn_scale_decay: whether d_i and d_s are read out of h'. Default True; without it they are
            0.89 and 0.93.
        learn_initial_vectors: whether h_0, c_0 and z_0 are weights; default True. Without it they are 0.
        scale_decay_per_time_scale: whether m has the decays `d_s, d_s^1/2, ...`; default False: d_s for all.
        gradient_products: whether φ has the products. Default True.
        log_mean_squares: whether φ has `ln m' - mean`. Default True.
        relative_learning_rate: what λ is compared with in φ: the mean over the `"problem"` (default), over the
            `"tensor"`, or `"none"`, which leaves the feature out.
        extreme_learning_rate: whether φ tells how far a rate is above 1 or below 1e-6. Default False.
        learning_rate_shortcut: whether φ has `λ - ln 1e-3`. Default False.
        gradient_shortcut: whether Δ has the term `w_sc`. Default True.
        global_input: what z sees: c' of the `"last"` tensor (default, as both programs have it, where a mean is meant
            but taken over one element) or the `"mean"` over tensors.
        zero_learning_rate_weights: whether `w_l` starts at 0; default True. Otherwise as the other read-outs.
        seed: seed of the initial weights; default None, random.

    Raises:
        ValueError: for values that are out of range, or have no effect.
    """

    def __init__(
        self,
        levels: Sequence[int] = (10, 20, 20),
        time_scales: int = 4,
        initial_learning_rates: Sequence[float] = (1e-6, 1e-2),
        max_log_learning_rate: float = 33.0,
        dynamic_learning_rates: bool = True,
        learn_input_decay: bool = True,
        learn_scale_decay: bool = True,
        learn_initial_vectors: bool = True,
        scale_decay_per_time_scale: bool = False,
        gradient_products: bool = True,
        log_mean_squares: bool = True,
        relative_learning_rate: str = "problem",
        extreme_learning_rate: bool = False,
        learning_rate_shortcut: bool = False,
        gradient_shortcut: bool = True,
        global_input: str = "last",
        zero_learning_rate_weights: bool = True,
        seed: int | None = None,
        **kwargs,
    ):
        arguments = locals()
        super().__init__(**kwargs)
        self.keep(arguments)
        weights.check(self)
        require_effect(ScaleCell, vars(self), _needs(self))
        self.state_size = [*self.levels, *(3 - len(levels)) * [0], 1, 1, 1, time_scales, time_scales, 1]

    def table(self):
        return weights.table(self)

    def get_initial_state(self, batch_size=None, sizes: Sequence[int] | None = None, seed: Seed | None = None):
        """The state before the first step; the seed, `make_seed(0)` by default, is that of the learning rates."""
        sizes, seed = sizes or (batch_size,), make_seed(0) if seed is None else seed
        return step.initial_state(self, sizes, seed, self.compute_dtype)

    def call(self, inputs, states, sizes=None):
        outputs, states = self.columns(tf.transpose(inputs), nest.transposed(states), sizes)
        return tf.transpose(outputs), nest.transposed(states)

    def columns(self, inputs, states, sizes=None):
        """`call` with everything transposed: `([1, N], states) -> ([1, N], states)`."""
        sizes = sizes or (inputs.shape[1] or tf.shape(inputs)[1],)
        return step.step(self, inputs, step.ScaleState(*states), sizes)

    def diagnose(self, inputs, states):
        """Log learning rates, decays in (0, 1), units in (-1, 1): what sits at either end of these learns nothing."""
        state = step.ScaleState(*states)
        units = zip(("coordinate", "tensor", "problem"), state[: len(self.levels)], strict=False)
        return {
            "rates/log_learning_rate": state.log_learning_rate,
            "decays/input": state.input_decay,
            "decays/scale": state.scale_decay,
            **{f"units/{level}": values for level, values in units},
        }
