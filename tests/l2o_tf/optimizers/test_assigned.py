"""Different optimizers for different parameters."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers import Step, make_optimizer
from l2o_tf.optimizers.analytic import adam, sgd
from l2o_tf.optimizers.combined import FROZEN, Assigned
from l2o_tf.unrolling import unroll
from l2o_tf.unrolling.objectives import total
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny

SEED = make_seed(0)

PARAMS = {"conv_w": tf.ones([2, 2]), "fc_w": tf.ones([3]), "conv_b": tf.ones([2]), "fc_b": tf.ones([])}


def step(optimizer, params, grads):
    return optimizer.update(Step(grads, params), optimizer.initial_state(params, SEED))


def test_each_parameter_goes_to_the_first_pattern_that_matches():
    optimizer = Assigned([("conv_b", sgd(1.0)), ("conv*", sgd(2.0)), ("*", sgd(3.0))])
    updates, _ = step(optimizer, PARAMS, PARAMS)
    assert list(updates) == list(PARAMS)
    assert {name: np.unique(update).tolist() for name, update in updates.items()} == {
        "conv_w": [-2.0],
        "fc_w": [-3.0],
        "conv_b": [-1.0],
        "fc_b": [-3.0],
    }


def test_every_entry_does_what_it_would_do_alone():
    """A learned optimizer and Adam, each on its part, over some steps with states of their own."""
    student, _ = tiny.random_student(1, layers=(3,))
    optimizer = Assigned([("conv*", student), ("*", adam(0.1))])
    parts = [{k: PARAMS[k] for k in ("conv_w", "conv_b")}, {k: PARAMS[k] for k in ("fc_w", "fc_b")}]
    rules = zip((student, adam(0.1)), parts, strict=True)
    alone = [(rule, part, rule.initial_state(part, SEED)) for rule, part in rules]
    state, rng = optimizer.initial_state(PARAMS, SEED), np.random.default_rng(0)
    for _ in range(3):
        grads = {name: tf.constant(rng.normal(size=p.shape), tf.float32) for name, p in PARAMS.items()}
        updates, state = optimizer.update(Step(grads, PARAMS), state)
        for index, (rule, part, own) in enumerate(alone):
            expected, own = rule.update(Step({name: grads[name] for name in part}, part), own)
            alone[index] = rule, part, own
            for name in part:
                np.testing.assert_array_equal(updates[name], expected[name])


def test_entries_learn_together():
    """Two learned optimizers have meta-parameters of their own, and both get their gradient."""
    first, second = (tiny.random_student(seed, layers=(3,), spread=3.0, scale=0.1)[0] for seed in (1, 2))
    optimizer = Assigned([("w*", first), ("b*", second)])
    assert [name.split("/", 1) for name in optimizer.named_variables] == [
        [str(index), name] for index, one in enumerate((first, second)) for name in one.named_variables
    ]
    problem = tiny.perceptron()
    params, constants = problem.init(tf.constant([1, 2]))
    _, gradients, _, _ = lessons.meta_gradient(
        lambda p, batch: problem.loss(p, constants, batch),
        optimizer,
        unroll.initial_state(optimizer, params, SEED),
        tf.zeros([4]),
        lambda trajectory: total(trajectory.losses),
    )
    assert len(gradients) == 8
    assert all(np.abs(g).max() > 0 for g in gradients)


def test_frozen_parameters_stay_and_have_no_state():
    optimizer = Assigned([("conv*", FROZEN), ("*", sgd(1.0))])
    updates, state = step(optimizer, PARAMS, PARAMS)
    assert {name: set(np.ravel(update)) for name, update in updates.items()} == {
        **{"conv_w": {0.0}, "conv_b": {0.0}, "fc_w": {-1.0}, "fc_b": {-1.0}}
    }
    assert tf.nest.flatten(state[0]) == []
    assert [updates[name].dtype for name in PARAMS] == [tf.float32] * 4


def test_frozen_by_name_and_beside_one_that_learns():
    """By what is written into `optimizer.json`, and through the unroll: nothing frozen has moved."""
    architecture = {"assignments": [["w*", "frozen", {}], ["*", "L2O-DM", {"layers": [2], "scale": 0.1}]]}
    optimizer = make_optimizer("assigned", architecture)
    again = make_optimizer("assigned", optimizer.architecture)
    assert again.architecture == optimizer.architecture
    assert all(name.startswith("1/") for name in again.named_variables)
    problem = tiny.perceptron()
    params, constants = problem.init(tf.constant([1, 2]))
    state = unroll.initial_state(again, params, SEED)
    state, _ = unroll.unroll(lambda p, b: problem.loss(p, constants, b), again, state, tf.zeros([4]))
    assert any(name.startswith("w") for name in params)
    for name, value in params.items():
        assert np.any(state.params[name] != value) == (not name.startswith("w"))


def test_frozen_is_no_optimizer_by_itself():
    with pytest.raises(ValueError, match="Received optimizer 'frozen', expected one of"):
        make_optimizer("frozen")


def test_architecture():
    optimizer = Assigned([("a", sgd()), ("*", adam())])
    assert optimizer.architecture == {"assignments": [["a", "sgd", {}], ["*", "adam", {}]]}


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["conv*"], r"Received parameter 'fc_w', which matches none of \['conv\*'\]; add an entry for '\*'"),
        (["*", "conv*"], r"Received pattern 'conv\*', which takes none of the parameters"),
    ],
)
def test_patterns_that_do_not_fit(patterns, message):
    with pytest.raises(ValueError, match=message):
        Assigned([(pattern, sgd()) for pattern in patterns]).initial_state(PARAMS, SEED)


def test_each_entry_says_how_it_is():
    """As it would alone, under its number; Adam has nothing to say."""
    learned = make_optimizer("L2O-DM", {"layers": (2,)}), make_optimizer("L2O-Scale")
    optimizer = Assigned([("conv*", learned[0]), ("fc_w", adam(0.1)), ("*", learned[1])])
    found = optimizer.diagnose(PARAMS, optimizer.initial_state(PARAMS, SEED))
    parts = optimizer.split(PARAMS)
    alone = [
        each.diagnose(parts[i], each.initial_state(parts[i], SEED)) for i, each in zip((0, 2), learned, strict=True)
    ]
    assert found.keys() == {f"{i}/{name}" for i, names in zip((0, 2), alone, strict=True) for name in names}
    assert {"2/units/coordinate", "2/units/tensor", "2/units/problem", "2/decays/input"} < found.keys()
    assert all(np.max(np.abs(value)) <= 1 for name, value in found.items() if "/units/" in name)
