"""Optimizers that nobody had to train: the baselines of every comparison and the teachers of imitation.

Each is a pair of pure functions behind `Analytic`; a factory binds the hyper-parameters. All work per coordinate, so
a dict of tensors and the same coordinates as one vector give the same updates. They compute in the dtype of the
parameters, keep their step counter as a tensor, and so run inside `tf.function`, `tf.while_loop` and XLA alike.

The equations are those of `keras.optimizers` (Keras 3). The defaults are those of the teachers, so that "adam" is the
same rule as teacher and as baseline: learning rate 0.01 for each (paper, appendix A1.3), and otherwise the defaults of
TensorFlow 1, on which the original program runs. These are the arguments in which the two differ:

| rule | TensorFlow 1 (default here) | Keras 3 |
|---|---|---|
| adam | `epsilon=1e-8` | `learning_rate=0.001, epsilon=1e-7` |
| rmsprop | `epsilon=1e-10, initial_mean_square=1.0` | `learning_rate=0.001, epsilon=1e-7, initial_mean_square=0.0` |
| adagrad | `epsilon=0.0` | `learning_rate=0.001, epsilon=1e-7` |
| nag | the same rule, written with the velocity divided by -η | |

Symbols: θ parameters, g gradient, Δ update with `θ <- θ + Δ`, η learning rate, t = 1 at the first step. All
operations are element-wise.
"""

import numbers
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.common import names
from l2o_tf.optimizers.base import Analytic, Params
from problems.base import require_name, require_not_negative


class VelocityState(NamedTuple):
    """State of momentum and nag: `velocity`, shaped as the parameters."""

    velocity: Params


class AdamState(NamedTuple):
    """State of adam: `step` (int64 scalar, updates done), first and second moments, shaped as the parameters."""

    step: tf.Tensor
    m: Params
    v: Params


class RMSPropState(NamedTuple):
    """State of rmsprop: running mean of squared gradients, and velocity, shaped as the parameters."""

    mean_square: Params
    velocity: Params


class AdagradState(NamedTuple):
    """State of adagrad: sum of squared gradients, shaped as the parameters."""

    accumulator: Params


def sgd(learning_rate: float = 0.01) -> Analytic:
    """Stochastic gradient descent.

        Δ = -η g

    Args:
        learning_rate: η, positive. Default 0.01, that of the paper's teacher.

    Raises:
        ValueError: if the learning rate is not positive.
    """
    _check_positive("learning_rate", learning_rate)

    def init(params):
        del params
        return ()

    def update(grads, state, params):
        return _map(lambda _, g: -learning_rate * g, params, grads), state

    return Analytic("sgd", init, update)


def momentum(learning_rate: float = 0.01, momentum: float = 0.9) -> Analytic:
    """Gradient descent with momentum (Polyak, 1964).

        w <- μ w - η g,    w_0 = 0
        Δ = w

    Args:
        learning_rate: η, positive. Default 0.01.
        momentum: μ in [0, 1). Default 0.9.

    Raises:
        ValueError: if a hyper-parameter is out of range.
    """
    _check_positive("learning_rate", learning_rate)
    _check_decay("momentum", momentum)

    def update(grads, state, params):
        velocity = _velocity(grads, state.velocity, params, learning_rate, momentum)
        return velocity, VelocityState(velocity)

    return Analytic("momentum", lambda params: VelocityState(_full(params, 0.0)), update)


def nag(learning_rate: float = 0.01, momentum: float = 0.9) -> Analytic:
    """Nesterov's accelerated gradient, in the form of Sutskever et al. (2013) that needs no gradient elsewhere.

        w <- μ w - η g,    w_0 = 0
        Δ = μ w - η g

    A teacher of the original program, there too with η = 0.01 and μ = 0.9.

    Args:
        learning_rate: η, positive. Default 0.01.
        momentum: μ in [0, 1). Default 0.9.

    Raises:
        ValueError: if a hyper-parameter is out of range.
    """
    _check_positive("learning_rate", learning_rate)
    _check_decay("momentum", momentum)

    def update(grads, state, params):
        velocity = _velocity(grads, state.velocity, params, learning_rate, momentum)
        return _velocity(grads, velocity, params, learning_rate, momentum), VelocityState(velocity)

    return Analytic("nag", lambda params: VelocityState(_full(params, 0.0)), update)


def adam(learning_rate: float = 0.01, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> Analytic:
    """Adam (Kingma & Ba, 2015), in the form just before section 2.1 of its paper: bias correction in the step size.

        m <- m + (1 - β1) (g - m),    v <- v + (1 - β2) (g² - v),    m_0 = v_0 = 0
        Δ = -η √(1 - β2^t) / (1 - β1^t) · m / (√v + ε)

    The most used teacher, and the original program's only default one.

    Args:
        learning_rate: η, positive. Default 0.01, that of the paper's teacher.
        beta_1: β1 in [0, 1). Default 0.9.
        beta_2: β2 in [0, 1). Default 0.999.
        epsilon: ε, not negative. Default 1e-8, as in the original program (Keras: 1e-7).

    Raises:
        ValueError: if a hyper-parameter is out of range.
    """
    _check_positive("learning_rate", learning_rate)
    _check_decay("beta_1", beta_1)
    _check_decay("beta_2", beta_2)
    require_not_negative("epsilon", epsilon)

    def init(params):
        return AdamState(tf.zeros([], tf.int64), _full(params, 0.0), _full(params, 0.0))

    def update(grads, state, params):
        step = state.step + 1
        m = _map(lambda _, m, g: m + (1.0 - beta_1) * (g - m), params, state.m, grads)
        v = _map(lambda _, v, g: v + (1.0 - beta_2) * (tf.square(g) - v), params, state.v, grads)

        def delta(theta, m, v):
            t = tf.cast(step, theta.dtype)
            size = learning_rate * tf.sqrt(1.0 - _power(beta_2, t)) / (1.0 - _power(beta_1, t))
            return -size * _quotient(m, tf.sqrt(v) + epsilon)

        return _map(delta, params, m, v), AdamState(step, m, v)

    return Analytic("adam", init, update)


def rmsprop(
    learning_rate: float = 0.01,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-10,
    initial_mean_square: float = 1.0,
) -> Analytic:
    """RMSProp (Tieleman & Hinton, 2012), ε inside the square root.

        s <- ρ s + (1 - ρ) g²
        w <- μ w - η g / √(s + ε),    w_0 = 0
        Δ = w

    A teacher of the original program, there too with η = 0.01 and ρ = 0.9.

    Args:
        learning_rate: η, positive. Default 0.01.
        rho: ρ in [0, 1). Default 0.9, in TensorFlow 1 as in Keras.
        momentum: μ in [0, 1). Default 0.
        epsilon: ε, not negative. Default 1e-10, that of TensorFlow 1 (Keras: 1e-7).
        initial_mean_square: s_0, not negative. Default 1, that of TensorFlow 1, which makes the first steps short
            where gradients are small; Keras starts from 0.

    Raises:
        ValueError: if a hyper-parameter is out of range.
    """
    _check_positive("learning_rate", learning_rate)
    _check_decay("rho", rho)
    _check_decay("momentum", momentum)
    require_not_negative("epsilon", epsilon)
    require_not_negative("initial_mean_square", initial_mean_square)

    def init(params):
        return RMSPropState(_full(params, initial_mean_square), _full(params, 0.0))

    def update(grads, state, params):
        s = _map(lambda _, s, g: rho * s + (1.0 - rho) * tf.square(g), params, state.mean_square, grads)
        scaled = _map(lambda _, s, g: _quotient(g, tf.sqrt(s + epsilon)), params, s, grads)
        velocity = _velocity(scaled, state.velocity, params, learning_rate, momentum)
        return velocity, RMSPropState(s, velocity)

    return Analytic("rmsprop", init, update)


def adagrad(learning_rate: float = 0.01, initial_accumulator: float = 0.1, epsilon: float = 0.0) -> Analytic:
    """Adagrad (Duchi et al., 2011), ε inside the square root.

        a <- a + g²
        Δ = -η g / √(a + ε)

    Args:
        learning_rate: η, positive. Default 0.01, that of the paper's teacher.
        initial_accumulator: a_0, not negative. Default 0.1, in TensorFlow 1 as in Keras.
        epsilon: ε, not negative. Default 0, as in TensorFlow 1 (Keras: 1e-7).

    Raises:
        ValueError: if a hyper-parameter is out of range.
    """
    _check_positive("learning_rate", learning_rate)
    require_not_negative("initial_accumulator", initial_accumulator)
    require_not_negative("epsilon", epsilon)

    def update(grads, state, params):
        a = _map(lambda _, a, g: a + tf.square(g), params, state.accumulator, grads)
        updates = _map(lambda _, a, g: -learning_rate * _quotient(g, tf.sqrt(a + epsilon)), params, a, grads)
        return updates, AdagradState(a)

    return Analytic("adagrad", lambda params: AdagradState(_full(params, initial_accumulator)), update)


ANALYTIC: dict[str, Callable[..., Analytic]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nag": nag,
    "adam": adam,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
}
"""Every analytic optimizer by name; each factory takes its hyper-parameters by keyword."""


def rule(text: str) -> Analytic:
    """The rule of that name, in any case, with its learning rate if need be.

    >>> rule("Adam:0.003").name
    'adam:0.003'

    Raises:
        ValueError: for an unknown rule, or a rate that is no positive number.
    """
    require_name("optimizer", text)
    kind, _, rate = text.lower().partition(":")
    if kind not in ANALYTIC:
        raise ValueError(f"Received optimizer {text!r}, expected one of {list(ANALYTIC)}.{names.hint(kind, ANALYTIC)}")
    if not rate:
        return ANALYTIC[kind]()
    try:
        architecture = {"learning_rate": float(rate)}
    except ValueError:
        raise ValueError(f"Received optimizer {text!r}, expected a number after the colon.") from None
    found = ANALYTIC[kind](**architecture)
    found.name, found.architecture = f"{kind}:{rate}", architecture
    return found


def _map(function: Callable[..., tf.Tensor], params: Params, *others: Params) -> Params:
    """Applies `function(param, *others)` to tensors of the same name, in the order of `params`."""
    return {name: function(param, *(other[name] for other in others)) for name, param in params.items()}


def _full(params: Params, value: float) -> Params:
    """Tensors filled with `value`, shaped as the parameters."""
    return _map(lambda param: tf.zeros_like(param) + value, params)


def _velocity(grads: Params, velocity: Params, params: Params, learning_rate: float, momentum: float) -> Params:
    """`μ w - η g`."""
    return _map(lambda _, w, g: momentum * w - learning_rate * g, params, velocity, grads)


def _power(base: float, exponent: tf.Tensor) -> tf.Tensor:
    return tf.pow(tf.constant(base, exponent.dtype), exponent)


def _quotient(numerator: tf.Tensor, denominator: tf.Tensor) -> tf.Tensor:
    """`numerator / denominator`; 0 where both are 0, which only happens if ε and the initial value are 0 too."""
    return tf.math.divide_no_nan(numerator, denominator)


def _check_positive(name: str, value: float) -> None:
    if not isinstance(value, numbers.Real) or not 0.0 < value < float("inf"):
        raise ValueError(f"Received {name}={value!r}, expected a positive number.")


def _check_decay(name: str, value: float) -> None:
    if not isinstance(value, numbers.Real) or not 0.0 <= value < 1.0:
        raise ValueError(f"Received {name}={value!r}, expected a number in [0, 1).")
