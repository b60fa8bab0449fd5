"""The backward pass in blocks is that of all coordinates: replayed, shared out among calls of XLA, kept in blocks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.common import devices, nest
from l2o_tf.optimizers import Optimizer, Step, make_optimizer
from l2o_tf.optimizers.base import Blocks
from l2o_tf.optimizers.blocks import Blocked
from l2o_tf.unrolling import batch, unroll
from l2o_tf.unrolling.meta_gradients import FirstOrder, WholeRun, Window, pull_back
from l2o_tf.unrolling.objectives import total
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny
from tests.l2o_tf.test_meta_gradient import STEPS, Run


def both(trajectory):
    """An objective of the losses and of the updates, so that both have a cotangent."""
    return total(trajectory.losses) + tiny.half_mean(0.1, trajectory.updates)


@pytest.mark.parametrize("xla", [None, "update", "window"])
def test_a_window_may_be_replayed_in_blocks(xla, monkeypatch):
    """Of 20 coordinates, of which the last one overlaps: 53 are 20 + 20 + 13."""
    run = Run()
    batches = run.batches[: STEPS + 1]
    monkeypatch.setattr(pull_back, "REPLAYED_AT_ONCE", 1)
    options = {"objective": both, "record": True}
    kept = lessons.meta_gradient(run.loss_fn, run.student, run.state, batches, **options)
    monkeypatch.setattr(pull_back, "MAX_BYTES", 2 * 20 * STEPS * 2 * (4 + 3) * 8)
    assert pull_back.replayed_size(run.student.loop(), run.state.optimizer, tiny.SIZE, STEPS) == 20
    replayed = tf.function(
        lambda state, batches: lessons.meta_gradient(run.loss_fn, run.student, state, batches, xla=xla, **options),
        autograph=False,
    )(run.state, batches)
    tiny.assert_gradients(replayed[1], run.named(kept[1]), rtol=1e-12)


@pytest.mark.parametrize("shares", [3, 16])
def test_the_backward_pass_may_take_blocks_at_the_same_time(shares, monkeypatch):
    """Of 16 coordinates, of which the last one overlaps: 53 are 16 + 16 + 16 + 5, of which a share has 2, or 1."""
    run = Run(layers=(3,))
    loop = run.student.loop()
    monkeypatch.setattr(run.student, "loop", lambda: loop._replace(blocks=loop.blocks._replace(cached=16)))
    monkeypatch.setattr(pull_back, "SHARES", shares)
    batches = run.batches[: STEPS + 1]
    expected, *rest = (
        tf.function(
            lambda state, batches, xla=xla: lessons.meta_gradient(
                run.loss_fn, run.student, state, batches, both, record=True, xla=xla
            )[1],
            autograph=False,
        )
        for xla in (None, "window", "update")
    )
    for compiled in rest:
        found, again = compiled(run.state, batches), compiled(run.state, batches)
        tiny.assert_gradients(found, run.named(expected(run.state, batches)), rtol=1e-9)
        assert all(np.array_equal(one, two) for one, two in zip(found, again, strict=True))


@pytest.mark.parametrize(("size", "jit_compile"), [(53, False), (20, False), (20, True)])
def test_states_may_be_kept_in_blocks(size, jit_compile):
    """Two windows, the second from the first one's state; one block of all, and blocks that overlap."""
    run = Run()
    blocked = Blocked(run.student, size)
    plain, in_blocks = (
        tf.function(
            lambda state, batches, student=student: lessons.meta_gradient(
                run.loss_fn, student, state, batches, both, record=True
            ),
            jit_compile=jit,
            autograph=False,
        )
        for student, jit in ((run.student, False), (blocked, jit_compile))
    )
    own, others = run.state, unroll.initial_state(blocked, run.state.params, make_seed(0))
    for batches in (run.batches[: STEPS + 1], run.batches[1 : STEPS + 2]):
        _, expected, own, trajectory = plain(own, batches)
        _, found, others, blocks = in_blocks(others, batches)
        np.testing.assert_allclose(blocks.losses, trajectory.losses, rtol=1e-10)
        np.testing.assert_allclose(blocks.updates, trajectory.updates, rtol=1e-9, atol=1e-12)
        tiny.assert_gradients(found, run.named(expected), rtol=1e-9)


@pytest.mark.parametrize("num_steps", [200, 500, 1000, 20_000])
def test_blocks_that_are_replayed_at_the_same_time_hold_half_of_the_limit(num_steps, monkeypatch):
    """Of L2O-DM on the paper's perceptron, 320 bytes of state per coordinate; on a processor of any number of cores."""
    monkeypatch.setattr(devices, "has_gpu", lambda: False)
    student, size = make_optimizer("L2O-DM"), 15_910
    start = student.loop().enter(student.initial_state({"x": tf.zeros([size])}, make_seed(0)))
    block = pull_back.replayed_size(student.loop(), start, size, num_steps)
    if num_steps == 200:
        assert block is None, "what fits is kept"
        return
    grads = np.broadcast_to(np.float32(0), [num_steps, size])  # only its shape is asked for
    kept = pull_back.Kept(grads, None, grads[0], start, None, None, grads[:, 0], grads[0], 0, 0)
    shares = pull_back._num_shares(kept, block)
    assert pull_back.REPLAYED_AT_ONCE <= shares <= pull_back.SHARES
    assert block <= 1024
    assert 0.3 * 2**30 < 320 * num_steps * block * shares <= 0.5 * 2**30


class Decaying(Optimizer):
    """`Δ = -a g - b θ + c m - d f(θ) √(1 + θ²) t / T` per coordinate: it looks at all there is. φ = (a, b, c, d)."""

    name = kind = "decaying"
    architecture, coordinatewise = {}, True

    def __init__(self):
        self._phi = [keras.Variable(value, dtype="float64") for value in (0.5, 0.2, 0.3, 0.1)]

    def initial_state(self, params, seed):
        del seed
        return {"m": tf.zeros([nest.size(params)], tf.float64)}

    def update(self, step, state):
        a, b, c, d = (tf.convert_to_tensor(variable) for variable in self._phi)
        losses = {name: tf.broadcast_to(x, step.params[name].shape) for name, x in step.losses.items()}
        grads, theta, loss = map(nest.flatten, (step.grads, step.params, losses))
        m = 0.5 * state["m"] + theta * grads
        done = tf.cast(step.index, tf.float64) / tf.cast(step.horizon, tf.float64)
        updates = -a * grads - b * theta + c * m - d * loss * tf.sqrt(1.0 + theta**2) * done
        return nest.unflatten(updates, like=step.params), {"m": m}

    def loop(self):
        blocks = Blocks(lambda state, first, size: {"m": tf.slice(state["m"], [first], [size])}, self.update, cached=16)
        return super().loop()._replace(blocks=blocks)

    @property
    def named_variables(self):
        return dict(zip("abcd", self._phi, strict=True))


class TestARuleThatLooksAtEverything:
    """Its meta-gradient in blocks, replayed, and side by side is that of plain automatic differentiation."""

    HORIZON = 2 * STEPS

    @pytest.fixture(params=[1, 3], ids=["one optimizee", "three side by side"])
    def window(self, request):
        """The second window of a run."""
        optimizees = batch.Optimizees(tiny.perceptron(4, tf.float64), request.param, Decaying())
        seeds = optimizees.seeds(make_seed(1))
        params, constants = optimizees.problem.init(seeds)
        state = unroll.initial_state(Decaying(), params, make_seed(1), self.HORIZON)
        state = state._replace(index=tf.constant(STEPS), optimizer={"m": 0.1 * nest.flatten(params)})
        return Window(
            unroll.OwnPath(lambda params, batch: optimizees.problem.loss(params, constants, batch)),
            Decaying(),
            state,
            optimizees.problem.sample(seeds, STEPS + 1),
            both,
            record=True,
            shape=optimizees.shape,
        )

    def plain(self, window):
        """A tape around a loop in Python; gradients and losses that the rule sees are constants."""
        rule = window.optimizer
        with tf.GradientTape() as tape:
            params, memory, losses, updates = window.state.params, window.state.optimizer, [], []
            for t in range(STEPS + 1):
                loss, grads = unroll.value_and_grad(window.path.loss_fn)(params, window.batches[t])
                losses.append(loss)
                grads, seen = tf.nest.map_structure(tf.stop_gradient, (grads, loss))
                found, memory = rule.update(Step(grads, params, seen, STEPS + t, self.HORIZON), memory)
                updates.append(nest.flatten(found))
                params = nest.add(params, found)
            trajectory = unroll.Trajectory(tf.stack(losses), None, tf.stack(updates[:-1]))
            meta_loss = window.objective(trajectory)
        phi = [variable.value for variable in rule.trainable_variables]
        return dict(zip(rule.named_variables, tape.gradient(meta_loss, phi), strict=True))

    @pytest.mark.parametrize("how", ["kept", "in blocks", "replayed", "replayed by XLA", "kept in blocks"])
    def test_it(self, window, how, monkeypatch):
        expected, size = self.plain(window), nest.size(window.state.params)
        if how.startswith("replayed"):
            monkeypatch.setattr(pull_back, "REPLAYED_AT_ONCE", 1)
            monkeypatch.setattr(pull_back, "MAX_BYTES", 2 * 20 * STEPS * 8)
            assert pull_back.replayed_size(window.optimizer.loop(), window.state.optimizer, size, STEPS) is not None
        if how == "kept in blocks":
            blocked = Blocked(window.optimizer, 20)
            starts = [min(20 * b, size - 20) for b in range(-(-size // 20))]
            memory = {"m": tf.stack([window.state.optimizer["m"][first : first + 20] for first in starts])}
            window = window._replace(optimizer=blocked, state=window.state._replace(optimizer=memory))
        window = window._replace(xla="window" if how in ("in blocks", "replayed by XLA") else None)
        found = tf.function(
            lambda state, batches: FirstOrder().window(window._replace(state=state, batches=batches)).gradients,
            autograph=False,
        )(window.state, window.batches)
        tiny.assert_gradients(found, expected, rtol=1e-9)

    def test_in_imitation_it_sees_what_its_teacher_saw(self, window):
        """Played steps: parameters and losses of the teacher, wherever the student is; blocks or not, one gradient."""
        rng, (rows, size) = np.random.default_rng(0), (STEPS + 1, nest.size(window.state.params))
        played = unroll.Recorded(
            *(tf.constant(rng.normal(size=[rows, size])) for _ in range(2)), rng.normal(size=[rows, *window.shape])
        )
        window = window._replace(path=unroll.PlayedPath(), batches=played)
        found = [FirstOrder().window(window._replace(xla=xla)).gradients for xla in (None, "window")]
        expected = dict(zip("abcd", WholeRun().window(window).gradients, strict=True))
        for gradients in found:
            tiny.assert_gradients(gradients, expected, rtol=1e-9)
