"""Defaults, presets, and everything that is wrong with a configuration before anything heavy is imported."""

import json
import math
import re

import numpy as np
import pytest

from l2o_tf.cli.assembly import describe, make_lessons
from l2o_tf.cli.config import FIELDS, GONE, PRESETS, REQUIRES, Config, resolve
from l2o_tf.cli.config_checks import Choice, Entries, Range
from l2o_tf.common import names

ALLOWED = {
    kind: [name for name, field in FIELDS.items() if isinstance(field.metadata["allowed"], kind)]
    for kind in (Range, Choice, Entries)
}


class TestDefaults:
    def test_the_papers(self):
        paper = resolve({})
        assert (paper.num_epochs, paper.num_steps, paper.unroll_length, paper.learning_rate) == (5000, 100, 20, 1e-3)
        assert (paper.imitation_ratio, paper.teachers, paper.teacher_choice) == (0.3, "adam,sgd,adagrad", "random")
        assert (paper.evaluation_period, paper.min_periods, paper.patience) == (100, 3, 1)
        assert paper.stages == (100, 200, 500, 1000, 1500, 2000, 2500, 3000)
        assert (paper.objective, paper.second_derivatives, paper.clip_norm) == ("sum", False, 0.0)

    def test_the_original_programs(self):
        original = resolve({"preset": "original", "imitation": True, "curriculum": True})
        assert (original.num_epochs, original.validation_seeds) == (10_000, "fresh")
        assert (original.teachers, original.teacher_choice) == ("adam", "cycle")
        assert original.imitation_distance == "half_mean"
        assert make_lessons(original)[1].ratio == (0.0, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)

    @pytest.mark.parametrize("preset", PRESETS)
    def test_presets_name_fields_and_hold_good_values(self, preset):
        assert PRESETS[preset].keys() <= FIELDS.keys()
        resolve({"preset": preset})
        resolve({"preset": preset, "curriculum": True, "imitation": True, "self_improving": True})

    def test_what_is_given_overrides_the_preset(self):
        given = resolve({"preset": "original", "num_epochs": 700, "imitation": True, "teachers": "sgd,adam"})
        assert (given.num_epochs, given.teachers, given.teacher_choice) == (700, "sgd,adam", "cycle")

    def test_json_holds_it_all(self):
        stored = json.loads(json.dumps(resolve({"preset": "original", "seed": 3}).to_dict()))
        assert Config(**stored) == resolve({"preset": "original", "seed": 3})

    def test_every_field_has_a_help_text_and_a_flag_type(self):
        for name, field in FIELDS.items():
            assert field.metadata["help"].endswith("."), name
            assert type(field.default) in (bool, int, float, str), name

    def test_every_conditional_option_is_a_field(self):
        assert REQUIRES.keys() <= FIELDS.keys()
        assert {switch.partition("=")[0] for switches in REQUIRES.values() for switch in switches} <= FIELDS.keys()


class TestDerived:
    def test_assignments(self):
        assert resolve({}).assignments == []
        given = resolve({"net_assignments": "conv*=L2O-DM,fc[0-9]=b=adam"})
        assert given.assignments == [("conv*", "L2O-DM"), ("fc[0-9]=b", "adam")]


def refused(**options) -> str:
    with pytest.raises(ValueError) as caught:
        resolve(options)
    message = str(caught.value)
    assert message.startswith("Received "), message
    assert "\n" not in message
    return message


class TestContradictions:
    def test_curriculum_and_a_fixed_horizon(self):
        message = refused(curriculum=True, num_steps=100)
        assert "--curriculum with --num_steps" in message
        assert "--curriculum_steps" in message

    def test_curriculum_and_one_ratio(self):
        assert "--imitation_ratios" in refused(curriculum=True, imitation=True, imitation_ratio=0.1)
        assert "--imitation_ratio, or" in refused(imitation=True, imitation_ratios="0.1,0.2")

    @pytest.mark.parametrize("option", REQUIRES)
    def test_an_option_without_its_switch(self, option):
        message = refused(**{option: FIELDS[option].default})
        assert f"--{option} without --{REQUIRES[option][0]}" in message

    def test_an_option_with_any_of_its_switches(self):
        for switch in ({"imitation": True}, {"self_improving": True}, {"net_assignments": "w=L2O-DM,*=adam"}):
            assert resolve({"teacher_learning_rate": 0.1, **switch}).teacher_learning_rate == 0.1

    def test_a_switch_that_is_given_as_off_is_off(self):
        assert "without --curriculum" in refused(curriculum=False, patience=2)
        assert resolve({"curriculum": False, "num_steps": 40}).num_steps == 40

    def test_optimizer_and_assignments(self):
        assert "--optimizer with --net_assignments" in refused(optimizer="L2O-DM", net_assignments="*=L2O-DM")

    def test_a_loss_before_the_last_update_where_there_is_no_other(self):
        assert "Use longer windows" in refused(objective="penultimate", unroll_length=1)
        assert "Use longer windows" in refused(objective="penultimate", long_tail_steps="3,1,5")
        assert resolve({"objective": "penultimate", "unroll_length": 2}).unroll_length == 2

    def test_the_same_teacher_twice(self):
        assert "comes twice" in refused(imitation=True, teachers="adam,sgd,Adam")


def test_minibatches_of_the_judge():
    assert "--judge_minibatches without --judge=sample" in refused(judge_minibatches=3)
    assert "--judge_minibatches without --judge=sample" in refused(judge_minibatches=3, judge="whole")
    assert resolve({"judge_minibatches": 3, "judge": "sample"}).judge_minibatches == 3


def test_kept_states_and_self_improving():
    assert "--keep_states with --self_improving" in refused(keep_states=True, self_improving=True)
    original = {"preset": "original", "optimizer": "L2O-Scale"}
    assert resolve(original).keep_states and not resolve({**original, "self_improving": True}).keep_states


def test_one_kind_of_clipping_gives_way_to_the_other():
    original = {"preset": "original", "optimizer": "L2O-Scale"}
    assert resolve(original).clip_value > 0 == resolve({**original, "clip_norm": 1.0}).clip_value


def test_windows_of_random_length_are_not_compiled():
    assert resolve({}).jit_compile and not resolve({"long_tail_steps": "40,1"}).jit_compile
    assert resolve({"long_tail_windows": "40,1"}).jit_compile


class TestValues:
    @pytest.mark.parametrize("name", ALLOWED[Range])
    def test_numbers_have_limits(self, name):
        """What is beyond them is refused before anything is computed; what is on them is allowed, alone at least."""
        allowed = FIELDS[name].metadata["allowed"]
        assert allowed.has(FIELDS[name].default)
        huge = 10**23 if allowed.kind is int else 1e300
        for value in (math.nan, math.inf, -math.inf, huge, -huge, allowed.low - 1, allowed.high + max(1, allowed.high)):
            if allowed.kind is float or math.isfinite(value):
                with pytest.raises(ValueError, match=rf"--{name}={re.escape(str(value))}, expected a .*number .*\."):
                    Config(**{name: allowed.kind(value)})
        assert allowed.has(allowed.low) != allowed.above and allowed.has(allowed.high) != allowed.below

    def test_all_numbers_do(self):
        numbers = {name for name, field in FIELDS.items() if type(field.default) in (int, float)}
        assert numbers == set(ALLOWED[Range])

    def test_lists_of_numbers_do(self):
        lists = [FIELDS[name].metadata["allowed"] for name in ALLOWED[Entries]]
        numeric = [entries for entries in lists if entries.range]
        assert len(numeric) == 4
        for entries in numeric:
            assert not entries.has(f"1,{10**12}") and not entries.has("1," * 1000 + "1")

    @pytest.mark.parametrize("options", [{"self_improving": True}, {"optimizer": "L2O-Scale"}])
    def test_optimizees_that_are_compiled_one_by_one_are_few(self, options):
        assert "expected at most 64" in refused(meta_batch_size=65, **options)
        assert resolve({"meta_batch_size": 65}) and resolve({"meta_batch_size": 64, **options})

    def test_a_long_value_is_cut(self):
        assert len(refused(teachers="adam," * 1000)) < 200

    @pytest.mark.parametrize("name", ALLOWED[Choice])
    def test_unknown_choice(self, name):
        choice = FIELDS[name].metadata["allowed"][0]
        with pytest.raises(ValueError, match=rf"--{name}={choice}s, expected one of .*Did you mean {choice}"):
            Config(**{name: choice + "s"})

    @pytest.mark.parametrize(
        ("name", "bad"),
        [
            ("architecture", ("layers", "=20", "layers=20,", "layers=20,,k=5")),
            ("curriculum_steps", ("", "abc", "100,", "100,0", "-100,100", "100.5,200")),
            ("imitation_ratios", ("", "x", "0.3,", "-0.1", "1.1", "nan")),
            ("teachers", ("", "adam,", ",adam")),
            ("net_assignments", ("adam", "x=", "=adam", "x=adam,", "x=adam,,y=sgd")),
            ("long_tail_windows", ("x", "0,1", "40,-1", "nan,1", "40,")),
            ("long_tail_steps", ("x", "0,1", "40,-1", "inf,1", "40,")),
        ],
    )
    def test_lists(self, name, bad):
        for value in bad:
            with pytest.raises(ValueError, match=rf"--{name}={value}, expected .* separated by commas"):
                Config(**{name: value})

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("seed", (-1, 2**31)),
            ("clip_norm", (-0.1,)),
            ("stage_decay", (-0.1, 1.1)),
            ("clip_value", (-0.1,)),
            ("max_growth", (-0.1, 0.5, 1.0)),
            ("problem_stddev", (-0.1,)),
            ("imitation_ratio", (-0.1, 1.1)),
            ("ema_momentum", (-0.1, 1.0)),
        ],
    )
    def test_ranges(self, name, values):
        for value in values:
            with pytest.raises(ValueError, match=f"--{name}={value}, expected"):
                Config(**{name: value})

    def test_limits_are_included(self):
        assert Config(seed=2**31 - 1, imitation_ratio=1.0, clip_norm=0.0, architecture="", net_assignments="").seed > 0

    def test_unknown_preset(self):
        assert "expected one of ['original', 'paper', 'rnnprop2017']. Did you mean paper?" in refused(preset="papr")


class TestFromPython:
    def test_an_unknown_option(self):
        assert "'lerning_rate'" in (message := refused(lerning_rate=1)) and "Did you mean learning_rate" in message

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"learning_rate": "fast"}, "--learning_rate=fast of type str, expected a number"),
            ({"learning_rate": None}, "--learning_rate=None of type NoneType, expected a number"),
            ({"learning_rate": True}, "expected a number"),
            ({"seed": 1.5}, "--seed=1.5 of type float, expected a whole number"),
            ({"curriculum": 1}, "--curriculum=1 of type int, expected True or False"),
            ({"preset": ["paper"]}, "of type list, expected a text"),
            ({"problem": None}, "--problem=None of type NoneType, expected a text"),
            ({"teachers": 20}, "--teachers=20 of type int, expected a text or a list: names of analytic optimizers"),
            ({"architecture": [20, "x"]}, "--architecture=20,x, expected name=value with a comma between two of them"),
            ({"net_assignments": {"w": "adam"}}, "of type dict, expected a text or a list"),
        ],
    )
    def test_a_wrong_type(self, options, words):
        assert words in refused(**options)
        if "architecture" not in options:
            with pytest.raises(ValueError, match=re.escape(words)):
                Config(**options)

    def test_lists_and_numbers_of_other_kinds(self):
        given = resolve(
            {
                "curriculum": True,
                "curriculum_steps": (20, 40),
                "teachers": ["sgd", "adam"],
                "imitation": True,
                "learning_rate": 1,
            }
        )
        assert (given.curriculum_steps, given.teachers, given.learning_rate) == ("20,40", "sgd,adam", 1.0)
        given = resolve({"seed": np.int64(3), "learning_rate": np.float32(0.5)})
        assert json.loads(json.dumps(given.to_dict()))["seed"] == 3 and given.learning_rate == 0.5


class TestEarlierVersions:
    """The description of a run that was begun when each argument of a constructor was an option of its own."""

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls):
        return {**GONE, **resolve({"seed": 3}).to_dict()}

    def test_it_is_continued_where_these_options_had_their_defaults(self, found):
        assert not describe(resolve({"seed": 3})).differences(found)
        del found["architecture"], found["imitation_ratio"]
        assert not describe(resolve({"seed": 3})).differences(found)

    def test_it_is_refused_where_they_had_not(self, found):
        answer = describe(resolve({"seed": 3})).differences({**found, "layers": "8", "anneal": True})
        assert answer == ["layers: '8' there, '20,20' now", "anneal: True there, False now"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("adan", " Did you mean adam?"), ("ADAM", " Did you mean adam?"), ("l2o-dm", " Did you mean L2O-DM?"), ("q", "")],
)
def test_hint(name, expected):
    assert names.hint(name, ["adam", "sgd", "L2O-DM"]) == expected


def test_shortened_names_keep_both_ends_and_differ():
    given = ["Adam", "a" * 20 + "1" + "z" * 20, "a" * 20 + "2" + "z" * 20, "b" * 40]
    assert list(names.shortened([*given, "Adam"], 11).values()) == [
        "Adam",
        "aaaaa…zzzzz",
        "aaaaa…zzzzz #2",
        "bbbbb…bbbbb",
    ]
