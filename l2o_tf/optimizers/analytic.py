"""Optimizers that nobody had to train: the baselines of every comparison and the teachers of imitation.

Each is a pair of pure functions behind `Analytic`; a factory binds the hyper-parameters, and raises ValueError where
one is out of range. All work per coordinate, in the dtype of the parameters.

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
from collections.abc import Callable, Mapping

import tensorflow as tf

from l2o_tf.common import names
from l2o_tf.optimizers.base import Analytic, Params
from problems.base import require_name, require_not_negative


def sgd(learning_rate: float = 0.01) -> Analytic:
    """Stochastic gradient descent.

        Δ = -η g

    Args:
        learning_rate: η, positive.
    """
    _check(learning_rate)

    def update(grads, state, params):
        return _map(lambda _, g: -learning_rate * g, params, grads), state

    return Analytic("sgd", lambda params: (), update)


def momentum(learning_rate: float = 0.01, momentum: float = 0.9) -> Analytic:
    """Gradient descent with momentum (Polyak, 1964).

        w <- μ w - η g,    w_0 = 0
        Δ = w

    Args:
        learning_rate: η, positive.
        momentum: μ in [0, 1).
    """
    _check(learning_rate, {"momentum": momentum})

    def update(grads, velocity, params):
        velocity = _velocity(grads, velocity, params, learning_rate, momentum)
        return velocity, velocity

    return Analytic("momentum", _full, update)


def nag(learning_rate: float = 0.01, momentum: float = 0.9) -> Analytic:
    """Nesterov's accelerated gradient, in the form of Sutskever et al. (2013) that needs no gradient elsewhere.

        w <- μ w - η g,    w_0 = 0
        Δ = μ w - η g

    A teacher of the original program, there too with η = 0.01 and μ = 0.9.

    Args:
        learning_rate: η, positive.
        momentum: μ in [0, 1).
    """
    _check(learning_rate, {"momentum": momentum})

    def update(grads, velocity, params):
        velocity = _velocity(grads, velocity, params, learning_rate, momentum)
        return _velocity(grads, velocity, params, learning_rate, momentum), velocity

    return Analytic("nag", _full, update)


def adam(learning_rate: float = 0.01, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> Analytic:
    """Adam (Kingma & Ba, 2015), in the form just before section 2.1 of its paper: bias correction in the step size.

        m <- m + (1 - β1) (g - m),    v <- v + (1 - β2) (g² - v),    m_0 = v_0 = 0
        Δ = -η √(1 - β2^t) / (1 - β1^t) · m / (√v + ε)

    The most used teacher, and the original program's only default one. Its state is `(t, m, v)`.

    Args:
        learning_rate: η, positive.
        beta_1, beta_2: β1 and β2 in [0, 1).
        epsilon: ε, not negative.
    """
    _check(learning_rate, {"beta_1": beta_1, "beta_2": beta_2}, {"epsilon": epsilon})

    def init(params):
        return tf.zeros([], tf.int64), _full(params), _full(params)

    def update(grads, state, params):
        step, m, v = state
        step = step + 1
        m = _map(lambda _, m, g: m + (1.0 - beta_1) * (g - m), params, m, grads)
        v = _map(lambda _, v, g: v + (1.0 - beta_2) * (tf.square(g) - v), params, v, grads)

        def delta(theta, m, v):
            t = tf.cast(step, theta.dtype)
            size = learning_rate * tf.sqrt(1.0 - _power(beta_2, t)) / (1.0 - _power(beta_1, t))
            return -size * _quotient(m, tf.sqrt(v) + epsilon)

        return _map(delta, params, m, v), (step, m, v)

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

    A teacher of the original program, there too with η = 0.01 and ρ = 0.9. Its state is `(s, w)`.

    Args:
        learning_rate: η, positive.
        rho, momentum: ρ and μ in [0, 1).
        epsilon: ε, not negative.
        initial_mean_square: s_0, not negative. The default makes the first steps short where gradients are small.
    """
    not_negative = {"epsilon": epsilon, "initial_mean_square": initial_mean_square}
    _check(learning_rate, {"rho": rho, "momentum": momentum}, not_negative)

    def update(grads, state, params):
        s, velocity = state
        s = _map(lambda _, s, g: rho * s + (1.0 - rho) * tf.square(g), params, s, grads)
        scaled = _map(lambda _, s, g: _quotient(g, tf.sqrt(s + epsilon)), params, s, grads)
        velocity = _velocity(scaled, velocity, params, learning_rate, momentum)
        return velocity, (s, velocity)

    return Analytic("rmsprop", lambda params: (_full(params, initial_mean_square), _full(params)), update)


def adagrad(learning_rate: float = 0.01, initial_accumulator: float = 0.1, epsilon: float = 0.0) -> Analytic:
    """Adagrad (Duchi et al., 2011), ε inside the square root.

        a <- a + g²
        Δ = -η g / √(a + ε)

    Args:
        learning_rate: η, positive.
        initial_accumulator: a_0, not negative.
        epsilon: ε, not negative.
    """
    _check(learning_rate, {}, {"initial_accumulator": initial_accumulator, "epsilon": epsilon})

    def update(grads, a, params):
        a = _map(lambda _, a, g: a + tf.square(g), params, a, grads)
        return _map(lambda _, a, g: -learning_rate * _quotient(g, tf.sqrt(a + epsilon)), params, a, grads), a

    return Analytic("adagrad", lambda params: _full(params, initial_accumulator), update)


ANALYTIC: dict[str, Callable[..., Analytic]] = {
    factory.__name__: factory for factory in (sgd, momentum, nag, adam, rmsprop, adagrad)
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


def _full(params: Params, value: float = 0.0) -> Params:
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


def _check(learning_rate: float, decays: Mapping | None = None, not_negative: Mapping | None = None) -> None:
    """Raises ValueError for a hyper-parameter, by name, that is out of range."""
    if not isinstance(learning_rate, numbers.Real) or not 0.0 < learning_rate < float("inf"):
        raise ValueError(f"Received learning_rate={learning_rate!r}, expected a positive number.")
    for name, value in (decays or {}).items():
        if not isinstance(value, numbers.Real) or not 0.0 <= value < 1.0:
            raise ValueError(f"Received {name}={value!r}, expected a number in [0, 1).")
    for name, value in (not_negative or {}).items():
        require_not_negative(name, value)
