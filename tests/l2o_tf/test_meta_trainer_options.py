"""Arguments of a meta-training: each has an effect, each fault is said before anything is traced."""

import keras
import numpy as np
import pytest

import l2o_tf as l2o
from l2o_tf.optimizers import make_optimizer
from l2o_tf.training.lessons.imitation import Imitation, half_mean_squared_error
from l2o_tf.training.lessons.kept_states import KeptStates
from l2o_tf.training.lessons.own_trajectory import OwnTrajectory
from l2o_tf.training.lessons.self_improving import SelfImproving
from l2o_tf.unrolling.objectives import final, mean
from problems import PROBLEM_SETS
from problems.sets import MadeOnce
from tests.l2o_tf import tiny, training

ARGUMENTS = {
    "clipping": {"meta_optimizer": training.adam(global_clipnorm=1e-4)},
    "schedule": {"schedule": lambda epoch, stage: 0.5},
    "schedule of Keras": {"meta_optimizer": training.adam(keras.optimizers.schedules.ExponentialDecay(0.01, 1, 0.5))},
}
"""What no flag gives, or more is known of; for the others see `test_assembly`."""


def one_meta_epoch(**arguments):
    """`(report, weights)`."""
    with training.eagerly():
        trained = training.trainer(**arguments)
        return trained.advance().report, training.weights(trained)


def imitating(**options):
    return {"lessons": (OwnTrajectory(), Imitation(("sgd",), ratio=1.0, **options))}


@pytest.fixture(scope="module")
def ordinary():
    return one_meta_epoch()


@pytest.mark.parametrize("name", ARGUMENTS)
def test_has_an_effect(name, ordinary):
    report, found = one_meta_epoch(**ARGUMENTS[name])
    assert not report.diverged
    assert training.differ(found, ordinary[1])
    if name == "clipping":
        assert report.gradient_norm == pytest.approx(ordinary[0].gradient_norm, rel=0.2)
        assert report.gradient_norm > 100 * 1e-4


def test_the_meta_optimizer_is_copied():
    """The user's own object stays as it is, and may serve two trainers."""
    given = training.adam()
    one_meta_epoch(meta_optimizer=given)
    assert not given.built and not given.variables[2:]


class TestLessons:
    def test_objective(self):
        """One window of the same run, judged in three ways."""
        total, average, last = (
            one_meta_epoch(curriculum=4, lessons=lessons)[0]
            for lessons in (OwnTrajectory(), OwnTrajectory(objective=mean), OwnTrajectory(objective=final))
        )
        assert total.final_loss == average.final_loss == last.final_loss == last.meta_loss
        assert total.meta_loss == pytest.approx(5 * average.meta_loss, rel=1e-6)
        assert average.meta_loss != last.meta_loss

    def test_distance(self):
        """Eq. (1) sums squares over T steps and N = 4 coordinates, the original program half of their mean over N."""
        total, half = (
            one_meta_epoch(curriculum=4, **imitating(**options))[0]
            for options in ({}, {"distance": half_mean_squared_error})
        )
        assert total.meta_loss == pytest.approx(2 * 4 * half.meta_loss, rel=1e-5)

    def test_self_improving_fades_out(self):
        """After its meta-epochs only the student acts: the same meta-epoch as without."""
        late = [training.trainer(lessons=lessons) for lessons in (OwnTrajectory(), SelfImproving(decay_epochs=3))]
        for trained in late:
            trained.state.epoch = 3
        with training.eagerly():
            plain, mixed = (trained.advance().report for trained in late)
        assert mixed.meta_loss == pytest.approx(plain.meta_loss, rel=1e-5)
        assert mixed.final_loss == pytest.approx(plain.final_loss, rel=1e-5)

    def test_a_run_that_explodes_ends(self):
        lessons, student = OwnTrajectory(max_growth=1.0 + 1e-6), training.student(scale=50.0)
        with training.eagerly():
            report = training.trainer(learner=student, lessons=lessons).advance().report
        assert report.exploded and not report.diverged and (report.num_windows, report.num_steps) == (1, 4)

    def test_turns_in_windows_of_any_length(self):
        """Compiled: the loop over windows wants shapes that stay."""
        windows = l2o.Windows(4, steps=l2o.LongTail(3.0, 2, 5))
        report = training.trainer(lessons=SelfImproving(), windows=windows).advance().report
        assert report.num_windows >= 1 and not report.diverged

    def test_states_are_kept(self):
        """The second run begins where the first one's last window began; a checkpoint must hold that."""
        with training.eagerly():
            kept, fresh = (training.trainer(lessons=each) for each in (KeptStates(OwnTrajectory()), OwnTrajectory()))
            first = [trained.advance().report.final_loss for trained in (kept, fresh)]
            second = [trained.advance().report.final_loss for trained in (kept, fresh)]
        assert first[0] == first[1] and second[0] != second[1]
        assert "kept" in kept.checkpointables() and "kept" not in fresh.checkpointables()


def test_each_meta_epoch_gets_a_problem_by_chance():
    bowls = MadeOnce(PROBLEM_SETS["bowl_problems"])
    trained = training.trainer(bowls, num_epochs=8, validation=l2o.Validation(8, 4))
    with training.eagerly():
        events = [trained.advance() for _ in range(8)]
    names = [event.problem for event in events]
    assert len(set(names)) > 1 and all(name.startswith("bowl(condition=") for name in names)
    (validation,) = events[-1].validations
    assert validation.losses.shape == (4, 8)
    assert -1 < validation.cost < 1 < validation.losses.max() - validation.losses.min()


class TestSchedules:
    def test_annealing_begins_anew_with_every_period(self):
        """By hand for a period of four: `α/2 (1 + cos(π e/4))`, of every lesson's meta-optimizer."""
        with training.eagerly():
            trained = training.trainer(schedule=l2o.CosinePeriods(4), lessons=training.imitation("sgd"))
            rates = []
            for _ in range(6):
                trained.advance()
                rates.append([float(o.learning_rate.numpy()) for o in trained._plan.meta_optimizers.values()])
        expected = [0.01, 0.00853553, 0.005, 0.00146447, 0.01, 0.00853553]
        np.testing.assert_allclose(rates, np.transpose([expected, expected]), rtol=1e-5)

    def test_the_rate_falls_from_stage_to_stage(self):
        """And several factors are multiplied."""
        trained = training.trainer(**training.staged(), schedule=[l2o.StageDecay(0.5), lambda epoch, stage: 0.1])
        for stage, expected in ((0, 0.001), (2, 0.00025)):
            trained._plan.set_learning_rate(0, stage)
            rates = [float(o.learning_rate.numpy()) for o in trained._plan.meta_optimizers.values()]
            np.testing.assert_allclose(rates, [expected] * 3, rtol=1e-6)

    @pytest.mark.parametrize("make", [lambda: l2o.StageDecay(0.0), lambda: l2o.StageDecay(2.0)])
    def test_refused(self, make):
        with pytest.raises(ValueError, match="Received factor=.*, expected a number above 0, at most 1"):
            make()


def anonymous(name):
    """A technique whose lesson has this name."""

    class Named(OwnTrajectory):
        def lessons(self, setting):
            return [lesson._replace(name=name) for lesson in super().lessons(setting)]

    return Named()


REFUSED = {
    "a loss scale": (
        {"meta_optimizer": keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())},
        "Received a LossScaleOptimizer as meta_optimizer, expected one with a learning rate",
    ),
    "student": ({"learner": "L2O-DM"}, "Received student='L2O-DM' of type str, expected an Optimizer"),
    "nothing to train": ({"learner": make_optimizer("adam")}, "Received student adam, where nothing can be trained"),
    "another student": (
        {"learner": make_optimizer("assigned", {"assignments": [["w*", "L2O-DM", {"layers": [2]}]]})},
        "'x', which matches none of",
    ),
    "problems": ({"problem": "mnist"}, "Received problems='mnist', expected a Problem or a sequence of them"),
    "a name among problems": (
        {"problem": [training.quadratic(), "simple"]},
        "Received a str as problem, expected a problems.Problem",
    ),
    "no problems": ({"validation_problems": []}, r"Received validation_problems=\[\], expected a Problem"),
    "horizon": ({"curriculum": 10}, "horizon of 10 steps with windows of 4, expected a multiple. Use 8 or 12"),
    "validation horizon": ({"curriculum": l2o.Curriculum((4, 8, 10))}, "horizon of 10 steps with windows of 4"),
    "curriculum": (
        {"curriculum": (4, 8)},
        r"Received curriculum=\(4, 8\) of type tuple, expected a Curriculum or an integer",
    ),
    "no horizon": ({"curriculum": 0}, "expected positive integers"),
    "windows": ({"windows": 0}, "length=0, expected a positive integer"),
    "random windows": (
        {"curriculum": l2o.Curriculum((4, 8, 12)), "windows": l2o.Windows(4, l2o.LongTail(1.0, 1))},
        "with a curriculum of several stages",
    ),
    "XLA": ({"windows": l2o.Windows(4, steps=l2o.LongTail(1.0, 1)), "jit_compile": True}, "Pass jit_compile=False"),
    "meta_optimizer": (
        {"meta_optimizer": "adam"},
        "Received meta_optimizer='adam' of type str, expected an optimizer of Keras",
    ),
    "schedule": (
        {**ARGUMENTS["schedule of Keras"], "schedule": l2o.StageDecay(0.5)},
        "Received schedule with a meta_optimizer that has a schedule of Keras",
    ),
    "validation": ({"validation": 100}, "Received validation=100 of type int, expected a Validation"),
    "window of the cost": ({"validation": l2o.Validation(window=9)}, "window of 9, expected at most 8"),
    "average": ({"average": 0.9}, "Received average=0.9 of type float, expected a RunningAverage or None"),
    "meta_batch_size": ({"meta_batch_size": 0}, "meta_batch_size=0, expected a positive integer"),
    "max_skips": ({"max_skips": 0}, "max_skips=0, expected a positive integer"),
    "seed": ({"seed": 0.5}, "seed=0.5, expected an integer"),
    "lessons": ({"lessons": ["imitation"]}, r"Received lessons=\['imitation'\], expected techniques"),
    "a number for lessons": ({"lessons": 3}, "Received lessons=3, expected techniques"),
    "an empty text for an optimizer": ({"meta_optimizer": ""}, "Received meta_optimizer='' of type str"),
    "a number for a schedule": ({"schedule": 0.5}, r"Received schedule=0.5, expected a function \(epoch, stage\)"),
    "a schedule without a number": ({"schedule": lambda epoch, stage: None}, "expected a number for epoch 0"),
    "jit_compile": ({"jit_compile": "no"}, "Received jit_compile='no' of type str, expected True or False"),
    "no lessons": ({"lessons": ()}, r"Received lessons=\(\), expected techniques"),
    "a negative seed": ({"seed": -1}, "Received seed=-1, expected a finite number of at least 0"),
    "no lesson": ({"lessons": (OwnTrajectory(), anonymous(3))}, "expected named Lessons"),
    "one name": ({"lessons": (OwnTrajectory(), anonymous("train"))}, "expected different names"),
    "ratios": (
        {"lessons": (*training.imitation("adam", ratio=0.6), Imitation(("sgd",), ratio=(0.1, 0.7)))},
        "ratios add up to 1.3",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    arguments, words = REFUSED[name]
    if name == "ratios":
        arguments = {**arguments, "curriculum": l2o.Curriculum((4, 8, 12))}
    with pytest.raises(ValueError, match=words):
        training.trainer(**arguments)


def test_a_problem_that_breaks_its_contract_is_refused():
    broken = tiny.perceptron()._replace(loss=lambda params, constants, batch: params["w1"])
    for arguments in ({"problem": broken}, {"validation_problems": [tiny.perceptron(), broken]}):
        with pytest.raises(ValueError, match="loss"):
            training.trainer(**arguments)
