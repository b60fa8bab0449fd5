"""Everything that decides a meta-training, in one frozen record.

A `Config` is what flags are turned into and what is stored with a run. Defaults are those of the paper; `presets` lists
what programs do differently, `architectures` which options mean something to which optimizer. A field's metadata, its
help text and the values that are allowed, is the only place where these are written.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from l2o_tf.cli import architecture, config_checks, presets
from l2o_tf.cli.config_checks import Choice, Entries, Range, number, whole
from l2o_tf.cli.presets import PRESETS
from l2o_tf.common import names
from l2o_tf.common.quoting import cut


def _field(default, help_text: str, allowed: Range | Choice | Entries | None = None):
    return dataclasses.field(default=default, metadata={"help": help_text, "allowed": allowed})


MOST_STEPS = 1_000_000
LEARNING_RATE = number(0.0, 1e6, above=True)
DECAY = number(0.0, 1.0, below=True)
LONG_TAIL = Entries("mean,least or mean,least,most, all", number(0.0, 100_000.0, above=True), least=0, most=3)
OBJECTIVES = ("sum", "mean", "final", "penultimate", "log_mean")
OBJECTIVES += ("log_ratio", "log_ratio_numerator", "log_ratio_original", "ratio_original")


@dataclasses.dataclass(frozen=True)
class Config:
    """The resolved configuration of a meta-training; see the fields' metadata, or `meta_train.py --help`."""

    preset: str = _field("paper", "Whose defaults: 'paper', 'original' (its program) or 'rnnprop2017' (RNNprop's own).")
    problem: str = _field(
        "mnist",
        "What the optimizer is trained on: a name of `python -m problems --list`, or 'path/to/file.py:function'.",
    )
    optimizer: str = _field("L2O-DM", "The learned optimizer: an architecture, or 'path/to/file.py:Class'.")
    architecture: str = _field(
        "",
        "Arguments of its constructor, such as 'k=10,layers=20+20'; 'help' lists them.",
        Entries("arguments such as layers=20+20", least=0, is_good=lambda entry: all(entry.partition("=")[:2])),
    )
    initial_weights: str = _field(
        "", "Weights and architecture to begin with, as evaluate.py takes them (a name, a run); default: random ones."
    )
    net_assignments: str = _field(
        "",
        "Optimizers by parameter name: 'conv*=L2O-DM,embedding*=frozen,*=adam'; first match wins.",
        Entries("entries such as conv*=L2O-DM", least=0, is_good=lambda entry: all(entry.rpartition("="))),
    )
    seed: int = _field(0, "Decides everything that is drawn: weights, optimizees, minibatches, validation.", whole(0))

    problem_stddev: float = _field(
        0.0, "Standard deviation of the optimizee's start; 0: the problem's own.", number(0.0, 1e6)
    )
    random_scaling: bool = _field(False, "Scale every coordinate by exp(U(-b, b)) (RNNprop's trick).")
    random_scaling_bound: float = _field(3.0, "b of random scaling.", number(0.0, 40.0, above=True))
    convex_term: bool = _field(False, "Add a convex function of 20 more coordinates to the loss (RNNprop's trick).")
    data: str = _field(
        "auto",
        "Where images come from: 'auto' (TFDS, Keras cache, else embedded), 'tfds', 'embedded'.",
        Choice("auto", "tfds", "embedded"),
    )
    data_dir: str = _field("", "TFDS directory; default: $TFDS_DATA_DIR, then TFDS's own default.")
    split: str = _field(
        "original",
        "Images to use: 'original' (as the original program), 'train' or 'test'.",
        Choice("original", "train", "test"),
    )

    num_epochs: int = _field(5000, "Meta-epochs at most; one meta-epoch is one run of the optimizee.", whole())
    num_steps: int = _field(100, "Horizon: steps per run. A curriculum sets its own.", whole(most=MOST_STEPS))
    unroll_length: int = _field(20, "Truncation: steps per window of backpropagation.", whole(most=100_000))
    meta_batch_size: int = _field(
        1, "Optimizees at the same time in a meta-epoch; the meta-gradient is the mean of theirs.", whole(most=1024)
    )
    long_tail_windows: str = _field(
        "", "Random number of windows per run, 'mean,least' or 'mean,least,most': round(Exp(mean)) + least.", LONG_TAIL
    )
    long_tail_steps: str = _field("", "Random steps per window, in the same form; default: --unroll_length.", LONG_TAIL)
    max_growth: float = _field(0.0, "M: a run ends once a window ends above f_0 + (M-1)|f_0|; 0: never.", number(0.0))
    keep_states: bool = _field(
        False, "Begin a run with the optimizer's states of the run before (L2O-Scale's program)."
    )

    curriculum: bool = _field(False, "Lengthen the horizon by Algorithm 1.")
    curriculum_steps: str = _field(
        "100,200,500,1000,1500,2000,2500,3000",
        "Horizons of the curriculum.",
        Entries("horizons", whole(most=MOST_STEPS)),
    )
    min_periods: int = _field(3, "Periods that a stage of the curriculum lasts at least (N_period).", whole())
    patience: int = _field(
        1, "Leave a stage after so many periods in a row without improvement; 1: Algorithm 1.", whole()
    )
    stage_decay: float = _field(
        1.0,
        "Factor of the meta-learning rate from one stage of a curriculum to the next.",
        number(0.0, 1.0, above=True),
    )

    imitation: bool = _field(False, "Imitate analytic optimizers in some meta-epochs (Algorithm 2).")
    imitation_ratio: float = _field(0.3, "Share of meta-epochs spent on imitation (r).", number(0.0, 1.0))
    imitation_ratios: str = _field(
        "0.3",
        "The same per stage of a curriculum; the last entry serves all later stages.",
        Entries("shares", number(0.0, 1.0)),
    )
    imitation_distance: str = _field(
        "sum", "Student loss: 'sum' of squares (Eq. 1) or 'half_mean' (original).", Choice("sum", "half_mean")
    )
    teachers: str = _field(
        "adam,sgd,adagrad",
        "Analytic optimizers to imitate, or to share trajectories with.",
        Entries("names of analytic optimizers"),
    )
    teacher_choice: str = _field(
        "random", "Next teacher: 'random' (Algorithm 2) or 'cycle' (original).", Choice("random", "cycle")
    )
    teacher_learning_rate: float = _field(0.01, "Learning rate of every teacher.", LEARNING_RATE)
    teacher_steps: int = _field(1, "Teacher updates per label (k).", whole(most=10_000))
    self_improving: bool = _field(False, "Share trajectories with the teachers, less and less (section 4.2).")

    evaluation_period: int = _field(
        100, "Meta-epochs per period; each period, and the run, ends with a validation.", whole()
    )
    num_runs_validation: int = _field(20, "Runs per validation.", whole(most=100_000))
    validation_seeds: str = _field(
        "fixed", "'fixed': the same runs every time; 'fresh': new ones (original).", Choice("fixed", "fresh")
    )
    validation_window: int = _field(
        1, "Losses at the end of each run that are averaged into the validation cost.", whole(most=MOST_STEPS)
    )
    ema_momentum: float = _field(
        0.0,
        "Validate and keep the running average of the weights over about 1/(1 - this) updates; 0: the weights.",
        DECAY,
    )

    objective: str = _field(
        "sum",
        "Meta-loss of a window's T+1 losses: 'sum', 'mean', 'final', 'penultimate', 'log_mean', 'log_ratio', or one "
        "of the others in docs/glossary.md.",
        Choice(*OBJECTIVES),
    )
    judge: str = _field(
        "steps",
        "Losses of the objective: of the 'steps', of fixed minibatches ('sample'), of all data ('whole').",
        Choice("steps", "sample", "whole"),
    )
    judge_minibatches: int = _field(
        78, "Fixed minibatches of --judge=sample; 78 of 128 are 10,000 examples.", whole(most=100_000)
    )
    second_derivatives: bool = _field(False, "Differentiate through the optimizee's gradients too.")
    jit_compile: bool = _field(
        True,
        "Compile windows with XLA; if the optimizee convolves, the optimizer's part. Off with --long_tail_steps.",
    )

    meta_optimizer: str = _field(
        "adam", "'adam' (TensorFlow 1's epsilon) or 'rmsprop' (TensorFlow 1's, L2O-Scale).", Choice("adam", "rmsprop")
    )
    learning_rate: float = _field(1e-3, "Learning rate of the meta-optimizer.", LEARNING_RATE)
    clip_norm: float = _field(
        0.0, "Clip the meta-gradient to this global norm; 0: never (paper and program).", number(0.0)
    )
    clip_value: float = _field(0.0, "Clip every entry of the meta-gradient to this size; 0: never.", number(0.0))
    zero_nonfinite: bool = _field(False, "Entries of the meta-gradient that are not finite become 0 (L2O-Scale).")

    def __post_init__(self):
        wrong = next(config_checks.complaints(self), None)
        if wrong:
            raise ValueError(wrong)

    @property
    def kinds(self) -> list[str]:
        """Names of the optimizers that are trained, or assigned to parameters."""
        return _kinds(self.to_dict())

    @property
    def assignments(self) -> list[tuple[str, str]]:
        """`(pattern, optimizer)` of each entry of `net_assignments`."""
        return _assignments(self.net_assignments)

    @property
    def stages(self) -> tuple[int, ...]:
        """Horizons of the curriculum as integers."""
        return tuple(int(horizon) for horizon in self.curriculum_steps.split(","))

    def chosen(self) -> dict[str, Any]:
        """The options whose values are not the defaults, which are the paper's."""
        return {name: value for name, value in self.to_dict().items() if value != FIELDS[name].default}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


FIELDS = {field.name: field for field in dataclasses.fields(Config)}

HEADINGS = {
    "preset": "What is trained",
    "problem_stddev": "The optimizee and its data",
    "num_epochs": "Length of a meta-training and of its runs",
    "curriculum": "Curriculum (Algorithm 1)",
    "imitation": "Imitation (Algorithm 2) and self-improving",
    "evaluation_period": "Validation",
    "objective": "Meta-loss",
    "meta_optimizer": "Meta-optimizer",
}
"""The first option of a group -> what the group is about."""

REQUIRES = {
    "curriculum_steps": ("curriculum",),
    "min_periods": ("curriculum",),
    "patience": ("curriculum",),
    "stage_decay": ("curriculum",),
    "imitation_ratio": ("imitation",),
    "imitation_ratios": ("imitation",),
    "imitation_distance": ("imitation",),
    "teacher_choice": ("imitation",),
    "teacher_steps": ("imitation",),
    "teachers": ("imitation", "self_improving"),
    "teacher_learning_rate": ("imitation", "self_improving", "net_assignments"),
    "random_scaling_bound": ("random_scaling",),
    "judge_minibatches": ("judge=sample",),
}
"""An option on the left does something only with one of the switches on the right, `name` or `name=value`."""


GONE: dict[str, Any] = {
    **{"layers": "20,20", "preprocess": "LogAndSign", "log_and_sign_k": 5.0, "output_scale": 0.01, "beta_1": 0.95},
    **{"beta_2": 0.95, "feature_order": "mg", "projection_stddev": 0.0, "levels": "10,20,20", "time_scales": 4},
    **{"initial_learning_rates": "1e-6,1e-2", "max_log_learning_rate": 33.0, "dynamic_learning_rates": True},
    **{"learn_input_decay": True, "learn_scale_decay": True, "learn_initial_vectors": True, "log_mean_squares": True},
    **{"scale_decay_per_time_scale": False, "gradient_products": True, "relative_learning_rate": "problem"},
    **{"extreme_learning_rate": False, "learning_rate_shortcut": False, "gradient_shortcut": True},
    **{"global_input": "last", "zero_learning_rate_weights": True},
    **{"anneal": False, "max_skips": 10, "reset_slots": False, "self_improving_epochs": 100},
}
"""Options of earlier versions, with the defaults that they had. A run that had others cannot be continued."""

IRRELEVANT = ("data_dir", "num_epochs")
"""Options that may differ between the sessions of a run. They change nothing that was done before, with one exception:
a run that ends in the middle of a period ends with a validation."""


def resolve(overrides: Mapping[str, Any], of_weights: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """The configuration for explicitly given options: preset first, then what was given.

    Args:
        overrides: option name -> value, only those that the user gave; a list where the flag has commas.
        of_weights: options that make an optimizer like `initial_weights`; they override those of the preset.

    Raises:
        ValueError: for unknown names, contradictory options, and values of a wrong type or out of range.
    """
    overrides = {name: _converted(name, value) for name, value in overrides.items()}
    preset = overrides.get("preset", "paper")
    if preset not in PRESETS:
        raise ValueError(f"Received --preset={preset}, expected one of {sorted(PRESETS)}.{names.hint(preset, PRESETS)}")
    kinds = _kinds({**PRESETS[preset], **of_weights, **overrides})
    given = {**presets.values(preset, kinds), **of_weights}
    given |= {
        **overrides,
        "architecture": architecture.merged(*(o.get("architecture", "") for o in (given, overrides))),
    }
    _give_way(given, overrides)
    for option, switches in REQUIRES.items():
        if option in overrides and not any(_is_on(given, switch) for switch in switches):
            needed = " or ".join(f"--{switch}" for switch in switches)
            raise ValueError(f"Received --{option} without {needed}, where it does nothing. Add {needed}, or drop it.")
    if "optimizer" in overrides and given.get("net_assignments"):
        raise ValueError("Received --optimizer with --net_assignments, which names the optimizers. Drop one of them.")
    if given.get("curriculum"):
        for option, instead in (("num_steps", "curriculum_steps"), ("imitation_ratio", "imitation_ratios")):
            if option in overrides:
                raise ValueError(
                    f"Received --curriculum with --{option}, which contradict each other: a curriculum has a value per "
                    f"stage. Use --{instead}, or drop one of the two."
                )
    elif "imitation_ratios" in overrides:
        raise ValueError(
            "Received --imitation_ratios without --curriculum. Use --imitation_ratio, or add --curriculum."
        )
    return Config(**given)


def _converted(name: str, value: Any) -> Any:
    """The value as the option has it: lists with commas, numbers as Python's."""
    if name not in FIELDS:
        raise ValueError(
            f"Received the option {cut(name)!r}, expected one of those that meta_train.py --help lists."
            f"{names.hint(str(name), FIELDS)}"
        )
    field = FIELDS[name]
    if isinstance(value, list | tuple) and isinstance(field.metadata["allowed"], Entries):
        value = ",".join(map(str, value))
    wrong = config_checks.wrong_type(field, value)
    if wrong:
        raise ValueError(wrong)
    return value if type(value) is int else type(field.default)(value)


def _give_way(given: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Drops values of a preset or a default that contradict the options of the user."""
    if given.get("long_tail_steps"):
        given.setdefault("jit_compile", False)
    for asked, instead in (("self_improving", {"keep_states": False}), ("clip_norm", {"clip_value": 0.0})):
        if overrides.get(asked):
            given.update({name: value for name, value in instead.items() if name not in overrides})


def _is_on(given: Mapping[str, Any], switch: str) -> bool:
    name, _, value = switch.partition("=")
    return given.get(name) == value if value else bool(given.get(name))


def _assignments(net_assignments: str) -> list[tuple[str, str]]:
    """`(pattern, optimizer)` of each entry."""
    entries = net_assignments.split(",") if net_assignments else []
    return [tuple(entry.rpartition("=")[::2]) for entry in entries]


def _kinds(options: Mapping[str, Any]) -> list[str]:
    """Names of the optimizers that options ask for."""
    assigned = [kind for _, kind in _assignments(options.get("net_assignments", ""))]
    return list(dict.fromkeys(assigned)) or [options.get("optimizer", FIELDS["optimizer"].default)]
