"""Defaults, presets, and everything that is wrong with a configuration before anything heavy is imported."""

import json
import re

import pytest
from absl import flags

from l2o_tf.cli import meta_train
from l2o_tf.cli.assembly import describe, make_arguments, make_lessons
from l2o_tf.cli.config import FIELDS, GONE, MOVED, OBJECTIVES, PRESETS, REQUIRES, Config, resolve
from l2o_tf.common import names
from l2o_tf.unrolling import objectives


class TestDefaults:
    def test_the_papers(self):
        paper = resolve({})
        assert (paper.num_epochs, paper.num_steps, paper.unroll_length, paper.learning_rate) == (5000, 100, 20, 1e-3)
        assert (paper.imitation_ratio, paper.teachers, paper.teacher_choice) == (0.3, "adam,sgd,adagrad", "random")
        assert (paper.evaluation_period, paper.min_periods, paper.patience) == (100, 3, 1)
        assert paper.curriculum_steps == "100,200,500,1000,1500,2000,2500,3000"
        assert (paper.objective, paper.meta_gradient, paper.clip_norm) == ("sum", "first_order", 0.0)

    def test_the_original_programs(self):
        original = resolve({"preset": "original", "imitation": True, "curriculum": True})
        assert (original.num_epochs, original.validation_seeds) == (10_000, "fresh")
        assert (original.teachers, original.teacher_choice) == ("adam", "cycle")
        assert original.imitation_distance == "half_mean"
        assert make_lessons(original)[1].ratio == (0.0, 0.1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)

    @pytest.mark.parametrize("preset", PRESETS)
    def test_presets_go_with_all_techniques(self, preset):
        resolve({"preset": preset, "curriculum": True, "imitation": True, "self_improving": True})

    def test_what_is_given_overrides_the_preset(self):
        given = resolve({"preset": "original", "num_epochs": 700, "imitation": True, "teachers": "sgd,adam"})
        assert (given.num_epochs, given.teachers, given.teacher_choice) == (700, "sgd,adam", "cycle")

    def test_json_holds_it_all(self):
        stored = json.loads(json.dumps(resolve({"preset": "original", "seed": 3}).to_dict()))
        assert Config(**stored) == resolve({"preset": "original", "seed": 3})

    def test_every_field_has_a_help_text(self):
        assert all(field.metadata["help"].endswith(".") for field in FIELDS.values())

    def test_every_conditional_option_is_a_field(self):
        assert REQUIRES.keys() <= FIELDS.keys()
        assert {switch.partition("=")[0] for switches in REQUIRES.values() for switch in switches} <= FIELDS.keys()


def test_assignments():
    assert resolve({}).assignments == []
    given = resolve({"net_assignments": "conv*=L2O-DM,fc[0-9]=b=adam"})
    assert given.assignments == [("conv*", "L2O-DM"), ("fc[0-9]=b", "adam")]


def refused(make=resolve, **options) -> str:
    with pytest.raises(ValueError) as caught:
        make(options)
    message = str(caught.value)
    assert message.startswith("Received "), message
    assert "\n" not in message
    return message


def arguments_refused(**options) -> str:
    return refused(lambda options: make_arguments(resolve(options)), **options)


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
        assert "without --judge=sample" in refused(judge_minibatches=3, judge="whole")
        assert resolve({"judge_minibatches": 3, "judge": "sample"}).judge_minibatches == 3

    def test_a_switch_that_is_given_as_off_is_off(self):
        assert "without --curriculum" in refused(curriculum=False, patience=2)
        assert resolve({"curriculum": False, "num_steps": 40}).num_steps == 40

    def test_optimizer_and_assignments(self):
        assert "--optimizer with --net_assignments" in refused(optimizer="L2O-DM", net_assignments="*=L2O-DM")

    def test_kept_states_and_self_improving(self):
        assert "--keep_states with --self_improving" in refused(keep_states=True, self_improving=True)
        original = {"preset": "original", "optimizer": "L2O-Scale"}
        assert resolve(original).keep_states and not resolve({**original, "self_improving": True}).keep_states

    def test_one_kind_of_clipping_gives_way_to_the_other(self):
        original = {"preset": "original", "optimizer": "L2O-Scale"}
        assert resolve(original).clip_value > 0 == resolve({**original, "clip_norm": 1.0}).clip_value

    def test_windows_of_random_length_are_not_compiled(self):
        assert resolve({}).jit_compile and not resolve({"long_tail_steps": "40,1"}).jit_compile
        assert resolve({"long_tail_windows": "40,1"}).jit_compile

    @pytest.mark.parametrize("options", [{"self_improving": True}, {"optimizer": "L2O-Scale"}])
    def test_optimizees_that_are_compiled_one_by_one_are_few(self, options):
        assert "expected at most 64" in refused(meta_batch_size=65, **options)
        assert resolve({"meta_batch_size": 65}) and resolve({"meta_batch_size": 64, **options})

    def test_a_loss_before_the_last_update_where_there_is_no_other(self):
        assert "Use longer windows" in arguments_refused(objective="penultimate", unroll_length=1)
        assert "Use longer windows" in arguments_refused(objective="penultimate", long_tail_steps="3,1,5")
        assert make_arguments(resolve({"objective": "penultimate", "unroll_length": 2}))


@pytest.mark.parametrize("technique", ["imitation", "self_improving"])
@pytest.mark.parametrize("teachers", ["", "adam,", "adam,sgd,Adam"])
def test_teachers(technique, teachers):
    assert re.search("teacher", arguments_refused(**{technique: True, "teachers": teachers}))


def flag_refused(name: str, value: str) -> str:
    values = flags.FlagValues()
    meta_train.define_flags(values)
    with pytest.raises(flags.IllegalFlagValueError) as caught:
        values(["meta_train", f"--{name}={value}"])
    return str(caught.value)


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if type(field.default) in (int, float)])
def test_numbers_have_limits(name):
    """What is beyond them is refused before anything is computed."""
    is_whole = type(FIELDS[name].default) is int
    for value in (str(-(10**23)), str(10**23)) if is_whole else ("nan", "inf", "-inf", "1e300", "-1e300"):
        assert re.search(f"--{name}={value}: expected a .*number .*", flag_refused(name, value))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seed", ("-1", "2147483648", "1.5")),
        ("num_steps", ("0", "1000001")),
        ("clip_norm", ("-0.1",)),
        ("stage_decay", ("0", "1.1")),
        ("learning_rate", ("0", "fast")),
        ("imitation_ratio", ("-0.1", "1.1")),
        ("ema_momentum", ("-0.1", "1.0")),
        ("data", ("tdfs", "")),
        ("objective", ("sums",)),
        ("curriculum_steps", ("", "abc", "100,", "100.5,200")),
        ("imitation_ratios", ("", "x", "0.3,")),
        ("net_assignments", ("adam", "x=", "=adam", "x=adam,", "x=adam,,y=sgd")),
    ],
)
def test_flags_refuse(name, values):
    for value in values:
        assert re.match(rf"flag --{name}={re.escape(value)}: ", flag_refused(name, value))


@pytest.mark.parametrize(
    "options",
    [
        *({"architecture": text} for text in ("layers", "=20", "layers=20,", "layers=20,,k=5")),
        *({"curriculum": True, "curriculum_steps": text} for text in ("100,0", "-100,100")),
        *({"imitation": True, "curriculum": True, "imitation_ratios": text} for text in ("-0.1", "1.1", "nan")),
        *({"max_growth": growth} for growth in (0.5, 1.0)),
        *(
            {f"long_tail_{unit}": text}
            for unit in ("windows", "steps")
            for text in ("x", "0,1", "40,-1", "inf,1", "4,")
        ),
    ],
)
def test_objects_refuse(options):
    assert "expected" in arguments_refused(**options)


def test_objectives_are_those_of_the_unroll():
    assert OBJECTIVES.split() == list(objectives.OBJECTIVES)


def test_limits_are_included():
    values = flags.FlagValues()
    meta_train.define_flags(values)
    values(["meta_train", "--seed=2147483647", "--imitation_ratio=1", "--clip_norm=0", "--net_assignments="])
    assert (values.seed, values.imitation_ratio) == (2**31 - 1, 1.0)


def test_unknown_preset():
    assert "expected one of ['original', 'paper', 'rnnprop2017']. Did you mean paper?" in refused(preset="papr")


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

    def test_flags_say_what_to_use(self):
        assert MOVED.keys() == GONE.keys() and MOVED["log_and_sign_k"] == "--architecture=k=..."


def test_other_spellings_of_an_architecture_are_the_same_configuration():
    written = ("k=10,layers=8", "layers=8,k=10.0,scale=0.01", "k=1e1,layers=08,preprocess=LogAndSign")
    found = [describe(resolve({"architecture": text})) for text in written]
    assert all(not found[0].differences(each.config) for each in found)
    assert found[0].config["architecture"] == "k=10,layers=8"
    assert found[0].differences(describe(resolve({"architecture": "k=11,layers=8"})).config)


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
