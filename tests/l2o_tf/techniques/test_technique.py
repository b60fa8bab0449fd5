"""What a user makes of techniques: names, shares, errors, one of their own."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizers import make_optimizer
from l2o_tf.optimizers.analytic import adam, sgd
from l2o_tf.training.lessons.imitation import Imitation
from l2o_tf.training.lessons.kept_states import KeptStates
from l2o_tf.training.lessons.lesson import Technique
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.lessons.self_improving import SelfImproving
from l2o_tf.unrolling.meta_gradients import ZeroNonfinite
from problems.base import make_seed
from tests.l2o_tf import lessons, tiny

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OwnTrajectory(objective="sums"), r"Received objective='sums', expected a function or one of \['sum',"),
        (lambda: OwnTrajectory(judge=3), "Received judge=3, expected a function or one of"),
        (lambda: OwnTrajectory(max_growth=-1.0), "Received max_growth=-1.0, expected"),
        (lambda: OwnTrajectory(ratio=1.5), r"Received ratio=1.5, expected a number in \[0, 1\]"),
        (lambda: Imitation(ratio=()), r"Received ratio=\(\), expected"),
        (lambda: Imitation(()), r"Received teachers \[\], expected some"),
        (lambda: Imitation("adam"), "Received teachers='adam', expected a tuple"),
        (lambda: Imitation(("adan",)), r"Received optimizer 'adan', expected one of .* Did you mean adam"),
        (lambda: Imitation(("adam:fast",)), "Received optimizer 'adam:fast', expected a number after the colon"),
        (lambda: Imitation(("adam", "Adam")), r"Received teachers \['adam', 'adam'\], expected some, each with a name"),
        (lambda: Imitation(distance="far"), "Received distance='far'"),
        (lambda: Imitation(teacher_steps=0), "Received teacher_steps=0"),
        (lambda: Imitation(choice="best"), "Received choice='best', expected 'random' or 'cycle'"),
        (lambda: SelfImproving(decay_epochs=0), "Received decay_epochs=0"),
        (lambda: KeptStates("train"), "Received technique='train', expected one such as OwnTrajectory"),
        (lambda: ZeroNonfinite(True), "Received inner=True, expected a meta-gradient"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_shares_of_stages_and_turns_of_teachers():
    technique = Imitation((adam(), "sgd:0.1", make_optimizer("nag")), ratio=(0.5, 0.25), choice="cycle")
    assert [technique.share(stage) for stage in range(4)] == [0.5, 0.25, 0.25, 0.25]
    assert [technique.choose(RNG, count) for count in range(4)] == [0, 1, 2, 0]
    drawn = [Imitation(technique.teachers).choose(RNG, 0) for _ in range(50)]
    assert set(drawn) == {0, 1, 2}
    found = technique.lessons(lessons.setting(tiny.perceptron(), tiny.random_student(1, (2,))[0]))
    assert [lesson.name for lesson in found] == ["imitation/adam", "imitation/sgd:0.1", "imitation/nag"]
    kept = KeptStates(technique)
    assert (kept.share(0), kept.choose(RNG, 1)) == (0.5, 1)


@dataclasses.dataclass(frozen=True)
class Farther(Technique):
    """Starts runs farther away: one technique made of another."""

    factor: float = 2.0

    def lessons(self, setting):
        def init(seed):
            params, constants = setting.problem.init(seed)
            return tf.nest.map_structure(lambda x: self.factor * x, params), constants

        (lesson,) = OwnTrajectory().lessons(setting._replace(problem=setting.problem._replace(init=init)))
        return [lesson._replace(name="farther")]


def test_a_technique_of_ones_own():
    setting = lessons.setting(tiny.perceptron(), sgd())
    (own,), (farther,) = OwnTrajectory().lessons(setting), Farther(3.0, ratio=0.5).lessons(setting)
    runs = [lesson.start(make_seed(1), tf.constant(0)) for lesson in (own, farther)]
    np.testing.assert_allclose(runs[1].state.params["w1"], 3.0 * runs[0].state.params["w1"])
    assert Farther(ratio=0.5).share(3) == 0.5


def test_a_judge_of_ones_own():
    """Any function of the parameters, for each of several optimizees: here the loss on other points."""
    problem = tiny.perceptron(4)

    def judge(params, constants):
        return problem.loss(params, {"shift": constants["shift"] + 0.1}, tf.range(16))

    setting = lessons.setting(problem, tiny.random_student(1, (2,))[0], meta_batch_size=2)
    (lesson,) = OwnTrajectory(judge=judge).lessons(setting)
    run = lesson.start(make_seed(1), tf.constant(0))
    after, outcome = lesson.window(run, make_seed(2), 3)
    ends = [
        judge({name: x[k] for name, x in after.state.params.items()}, {"shift": after.constants["shift"][k]})
        for k in range(2)
    ]
    np.testing.assert_allclose(outcome.losses[-1], np.mean(ends), rtol=1e-5)


def test_a_run_knows_its_step_and_its_horizon():
    (lesson,) = OwnTrajectory().lessons(lessons.setting(tiny.perceptron(), sgd()))
    run = lesson.start(make_seed(1), tf.constant(0), tf.constant(8))
    for _ in range(2):
        run, _ = lesson.window(run, make_seed(2), 4)
    assert (int(run.state.index), int(run.state.horizon)) == (8, 8)
