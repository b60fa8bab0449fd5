"""What presets set, for which optimizer, and that it reaches a meta-training. See also test_config.py."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.cli.assembly import make_lessons, make_problems, make_trainer
from l2o_tf.cli.config import FIELDS, resolve
from l2o_tf.cli.presets import OF_OPTIMIZER, PRESETS
from l2o_tf.optimizers import CELLS
from problems.base import make_seed
from problems.transforms.convex_term import KEY

SEED = make_seed(3)


def differences(config, other):
    """Options in which two configurations differ, with the values of the first."""
    return {name: value for name, value in config.to_dict().items() if other.to_dict()[name] != value}


def test_what_belongs_to_one_optimizer_names_a_preset_an_architecture_and_options():
    for (preset, kind), options in OF_OPTIMIZER.items():
        assert preset in PRESETS and kind in CELLS and options.keys() <= FIELDS.keys()
        resolve({"preset": preset, "optimizer": kind, "curriculum": True, "imitation": True})


def test_original_has_a_shorter_period_and_other_ratios_for_rnnprop():
    dm, rnnprop = (resolve({"preset": "original", "optimizer": kind}) for kind in ("L2O-DM", "RNNprop"))
    expected = {"optimizer": "RNNprop", "evaluation_period": 10, "imitation_ratios": "0.3,0.3,0.3"}
    assert differences(rnnprop, dm) == expected
    assert dm.evaluation_period == 100
    taught = resolve({"preset": "original", "optimizer": "RNNprop", "curriculum": True, "imitation": True})
    assert make_lessons(taught)[1].ratio == (0.3, 0.3, 0.3)


def test_what_is_given_overrides_what_belongs_to_the_optimizer():
    assert resolve({"preset": "original", "optimizer": "RNNprop", "evaluation_period": 7}).evaluation_period == 7


def test_optimizers_by_parameter_name_count_too():
    for assigned, period in (("*=RNNprop", 10), ("b=RNNprop,*=L2O-DM", 10), ("b=L2O-DM,*=adam", 100)):
        assert resolve({"preset": "original", "net_assignments": assigned}).evaluation_period == period


def test_the_program_of_2017():
    assert differences(resolve({"preset": "rnnprop2017"}), resolve({})) == {
        "preset": "rnnprop2017",
        "optimizer": "RNNprop",
        "architecture": "feature_order=gm,projection_stddev=0.1,scale=0.1",
        "objective": "penultimate",
        "learning_rate": 1e-4,
        "problem_stddev": 0.1,
        "random_scaling": True,
        "convex_term": True,
    }


def test_its_training_is_for_any_optimizer_but_its_architecture_is_not():
    config = resolve({"preset": "rnnprop2017", "optimizer": "L2O-DM"})
    assert (config.objective, config.convex_term) == ("penultimate", True)
    assert config.architecture == ""


def test_a_given_argument_overrides_that_of_the_preset_and_no_other():
    config = resolve({"preset": "rnnprop2017", "architecture": "scale=0.2,layers=8"})
    assert config.architecture == "feature_order=gm,layers=8,projection_stddev=0.1,scale=0.2"


class TestIn2017:
    """The meta-training that comes out, on the embedded digits."""

    @pytest.fixture(scope="class")
    @classmethod
    def training(cls):
        config = resolve({"preset": "rnnprop2017", "problem": "digits", "unroll_length": 2})
        trainer = make_trainer(config)
        return trainer.validation_problems[0], trainer.student, trainer._plan.make(0)[0]

    def test_student(self, training):
        _, student, _ = training
        architecture = student.architecture
        assert (architecture["feature_order"], architecture["scale"]) == ("gm", 0.1)
        assert architecture["projection_stddev"] == 0.1 and architecture["layers"] == (20, 20)
        assert 0.05 < np.std(student.named_variables["linear/w"]) < 0.12

    def test_the_optimizee_starts_ten_times_as_far_out(self, training):
        params, _ = training[0].init(SEED)
        values = np.concatenate([np.ravel(value) for value in params.values()])
        assert values.size == 1_510
        assert 0.095 < values.std() < 0.105

    def test_the_lesson_sees_scaled_coordinates_and_the_convex_term(self, training):
        """With bounds of 3 and 1."""
        problem, _, (lesson,) = training
        run = lesson.start(SEED, tf.constant(0))
        start, _ = problem.init(SEED)
        assert list(run.state.params) == [*start, KEY]
        assert run.state.params[KEY].shape == (20,)
        spread = np.concatenate([np.ravel(np.log(start[key] / run.state.params[key])) for key in start])
        assert 2.9 < np.abs(spread).max() <= 3.001
        assert 0.5 < np.abs(np.log(run.constants.term.scale["x"])).max() <= 1.0

    def test_the_loss_before_the_last_update_counts(self, training):
        _, _, (lesson,) = training
        _, outcome = lesson.window(lesson.start(SEED, tf.constant(0)), SEED, 2)
        np.testing.assert_allclose(outcome.meta_loss, outcome.losses[1])
        assert outcome.losses.shape == (3,)
        assert all(np.any(gradient) for gradient in outcome.gradients)


def test_without_a_preset_the_optimizee_starts_where_it_always_did():
    params, _ = make_problems(resolve({"problem": "digits"}))[0][0].init(SEED)
    assert 0.0095 < np.std(params["layer_0/w"]) < 0.0105
