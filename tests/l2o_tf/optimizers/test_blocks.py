"""When an optimizee counts as large, and that nothing else changes then."""

import re

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers import blocks, make_optimizer
from l2o_tf.training.reporting import inspector
from l2o_tf.unrolling import batch, unroll
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny, training


@pytest.fixture
def small_is_large(monkeypatch):
    monkeypatch.setattr(blocks, "LARGE", tiny.SIZE - 1)
    monkeypatch.setattr(blocks, "SIZE", 20)


@pytest.mark.parametrize("kind", ["L2O-DM", "RNNprop"])
def test_who_works_in_blocks(kind, small_is_large):
    student = make_optimizer(kind, {"layers": (2,)})
    found = batch.Optimizees(tiny.perceptron()).in_blocks_if_large(student)
    assert isinstance(found, blocks.Blocked)
    assert found.named_variables.keys() == student.named_variables.keys() != set()
    assert (found.name, found.kind, found.architecture) == (student.name, student.kind, student.architecture)


@pytest.mark.parametrize("kind", ["L2O-Scale", "adam"])
def test_who_does_not(kind, small_is_large):
    optimizer = make_optimizer(kind)
    assert batch.Optimizees(tiny.perceptron()).in_blocks_if_large(optimizer) is optimizer


def test_small_optimizees_are_not_cut():
    student = make_optimizer("L2O-DM")
    assert batch.Optimizees(tiny.perceptron()).in_blocks_if_large(student) is student


class TestEverythingElseIsTheSame:
    """Training with imitation, validation and inspection, from the outside."""

    def trained(self):
        lessons = training.imitation("sgd", ratio=0.5)
        trainer = training.trainer(tiny.perceptron(4), training.student("RNNprop"), lessons=lessons)
        with training.eagerly():
            events = [trainer.advance() for _ in range(2)]
            assert {event.lesson for event in events} == {"train", "imitation/sgd"}
            inspected = inspector(tiny.perceptron(4), trainer.student, 4)(make_seed(0))
            return training.weights(trainer), events, inspected

    def test_it(self, monkeypatch):
        weights, events, histograms = self.trained()
        monkeypatch.setattr(blocks, "LARGE", tiny.SIZE - 1)
        monkeypatch.setattr(blocks, "SIZE", 20)
        in_blocks, events_in_blocks, seen = self.trained()
        assert seen.keys() == histograms.keys()
        name = "updates/log10_size"
        np.testing.assert_allclose(seen[name], histograms[name], rtol=1e-3)

        for name, value in weights.items():
            np.testing.assert_allclose(in_blocks[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
        for ours, theirs in zip(events_in_blocks, events, strict=True):
            np.testing.assert_allclose(ours.report.meta_loss, theirs.report.meta_loss, rtol=1e-5)
            for a, b in zip(ours.validations, theirs.validations, strict=True):
                np.testing.assert_allclose(a.losses, b.losses, rtol=1e-5)


def test_the_layout_is_that_of_the_loop(small_is_large):
    """`[B, H, S]`: three blocks of 20 of the 53 coordinates."""
    student = make_optimizer("L2O-DM", {"layers": (2,)})
    own = lessons.own_trajectory(tiny.perceptron(), student, objective=lambda losses, first: losses[-1])
    theirs = lessons.imitation(tiny.perceptron(), student, make_optimizer("sgd"))
    for each in (own, theirs):
        assert [x.shape for x in each.start(make_seed(0), 0).state.optimizer] == [(3, 2, 20)] * 2


def test_xla_never_copies_all_blocks_in_a_step():
    """Only on the way into the loop is each tensor of the state copied, once."""
    student = blocks.Blocked(make_optimizer("L2O-DM", {"layers": (4,)}), 20)
    state = unroll.initial_state(student, {"x": tf.ones([53])}, make_seed(0))

    @tf.function(jit_compile=True, autograph=False)
    def run(state):
        return unroll.unroll(lambda params, _: tf.reduce_sum(params["x"] ** 2), student, state, tf.zeros([6]))

    program = run.experimental_get_compiler_ir(state)(stage="optimized_hlo")
    copied = re.findall(r"= f32\[3,4,20\]\S* copy\((.*?)\)", program)
    assert len(copied) == len(set(copied)) == 2 and all(name.startswith("%arg") for name in copied)


def test_rows_come_back_from_blocks():
    """Of 53 coordinates in blocks of 20; and of as many as a block has."""
    for total, count in ((53, 3), (20, 1)):
        state = {"rows": tf.random.stateless_normal([total, 2], [0, 1]), "bits": tf.range(total)[:, None] % 2 == 0}
        loop = blocks.Blocked(make_optimizer("L2O-DM", {"layers": (2,)}), 20).rows(total)
        entered = loop.enter(state)
        assert [tuple(x.shape) for x in entered.values()] == [(count, 2, 20), (count, 1, 20)]
        for name, value in loop.leave(entered).items():
            np.testing.assert_array_equal(value, state[name])
