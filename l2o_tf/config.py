"""Everything that decides a meta-training, in one frozen record.

A `Config` is what flags are turned into and what is stored with a run. Defaults are those of the paper; `presets` lists
what programs do differently, `architectures` which options mean something to which optimizer. A field's metadata is its
help text, the only place where it is written.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from l2o_tf import architectures, names, presets
from l2o_tf.presets import PRESETS


def _field(default, help_text: str):
    return dataclasses.field(default=default, metadata={"help": help_text})


@dataclasses.dataclass(frozen=True)
class Config:
    """The resolved configuration of a meta-training; see the fields' metadata, or `meta_train.py --help`."""

    preset: str = _field("paper", "Whose defaults: 'paper', 'original' (its program) or 'rnnprop2017' (RNNprop's own).")
    problem: str = _field("mnist", "What the optimizer is trained on; `python -m problems --list` has the names.")
    optimizer: str = _field("L2O-DM", "Architecture of the learned optimizer.")
    problem_stddev: float = _field(0.0, "Standard deviation of the optimizee's start; 0: the problem's own.")
    layers: str = _field("20,20", "Hidden sizes of L2O-DM and RNNprop; empty: none.")
    preprocess: str = _field("LogAndSign", "Input of L2O-DM: 'LogAndSign', 'Clamp' or 'identity' (DeepMind's toys).")
    output_scale: float = _field(0.01, "Output scale of L2O-DM and RNNprop; 1.0 for DeepMind's toy problems.")
    beta_1: float = _field(0.95, "Decay of RNNprop's mean of gradients.")
    beta_2: float = _field(0.95, "Decay of RNNprop's mean of squared gradients.")
    feature_order: str = _field("mg", "RNNprop's first input: the mean ('mg') or the gradient ('gm', program of 2017).")
    projection_stddev: float = _field(0.0, "Stddev of RNNprop's initial projections; 0: 1/sqrt(fan_in).")
    net_assignments: str = _field(
        "", "Optimizers by parameter name: 'conv*=L2O-DM,fc*=L2O-DM,*=adam'; first match wins."
    )
    data: str = _field("auto", "Where images come from: 'auto' (TFDS, Keras cache, else embedded), 'tfds', 'embedded'.")
    data_dir: str = _field("", "TFDS directory; default: $TFDS_DATA_DIR, then TFDS's own default.")
    split: str = _field("original", "Images to use: 'original' (as the original program), 'train' or 'test'.")
    seed: int = _field(0, "Decides everything that is drawn: weights, optimizees, minibatches, validation.")
    num_epochs: int = _field(5000, "Meta-epochs at most; one meta-epoch is one run of the optimizee.")
    num_steps: int = _field(100, "Horizon: steps per run. A curriculum sets its own.")
    unroll_length: int = _field(20, "Truncation: steps per window of backpropagation.")
    learning_rate: float = _field(1e-3, "Learning rate of the meta-optimizer, keras.optimizers.Adam.")
    objective: str = _field("sum", "Meta-loss of a window: 'sum', 'mean', 'final' or 'penultimate' of its T+1 losses.")
    second_derivatives: bool = _field(False, "Differentiate through the optimizee's gradients too.")
    clip_norm: float = _field(0.0, "Clip the meta-gradient to this global norm; 0: never (paper and program).")
    evaluation_period: int = _field(100, "Meta-epochs per period; each period, and the run, ends with a validation.")
    num_runs_validation: int = _field(20, "Runs per validation.")
    validation_seeds: str = _field("fixed", "'fixed': the same runs every time; 'fresh': new ones (original).")
    validation_window: int = _field(1, "Losses at the end of each run that are averaged into the validation cost.")
    curriculum: bool = _field(False, "Lengthen the horizon by Algorithm 1.")
    curriculum_steps: str = _field("100,200,500,1000,1500,2000,2500,3000", "Horizons of the curriculum.")
    min_periods: int = _field(3, "Periods that a stage of the curriculum lasts at least (N_period).")
    patience: int = _field(1, "Leave a stage after so many periods in a row without improvement; 1: Algorithm 1.")
    reset_slots: bool = _field(False, "Clear the meta-optimizers' slots when a stage begins with restored weights.")
    imitation: bool = _field(False, "Imitate analytic optimizers in some meta-epochs (Algorithm 2).")
    imitation_ratio: float = _field(0.3, "Share of meta-epochs spent on imitation (r).")
    imitation_ratios: str = _field("0.3", "The same per stage of a curriculum; the last entry serves all later stages.")
    imitation_distance: str = _field("sum", "Student loss: 'sum' of squares (Eq. 1) or 'half_mean' (original).")
    teachers: str = _field("adam,sgd,adagrad", "Analytic optimizers to imitate, or to share trajectories with.")
    teacher_choice: str = _field("random", "Next teacher: 'random' (Algorithm 2) or 'cycle' (original).")
    teacher_learning_rate: float = _field(0.01, "Learning rate of every teacher.")
    teacher_steps: int = _field(1, "Teacher updates per label (k).")
    self_improving: bool = _field(False, "Share trajectories with the teachers, less and less (section 4.2).")
    self_improving_epochs: int = _field(100, "Meta-epochs until only the student acts.")
    random_scaling: bool = _field(False, "Scale every coordinate by exp(U(-b, b)) (RNNprop's trick).")
    random_scaling_bound: float = _field(3.0, "b of random scaling.")
    convex_term: bool = _field(False, "Add a convex function of 20 more coordinates to the loss (RNNprop's trick).")
    max_skips: int = _field(10, "Diverged meta-epochs in a row after which the last good weights return.")

    def __post_init__(self):
        wrong = next(itertools.chain(_out_of_range(self), _mismatches(self)), None)
        if wrong:
            raise ValueError(wrong)

    @property
    def assignments(self) -> list[tuple[str, str]]:
        """`(pattern, optimizer)` of each entry of `net_assignments`."""
        return _assignments(self.net_assignments)

    @property
    def stages(self) -> tuple[int, ...]:
        """Horizons of the curriculum as integers."""
        return architectures.integers(self.curriculum_steps)

    def ratio(self, stage: int) -> float:
        """Share of imitation at a stage."""
        if not self.imitation:
            return 0.0
        if not self.curriculum:
            return self.imitation_ratio
        ratios = [float(ratio) for ratio in self.imitation_ratios.split(",")]
        return ratios[min(stage, len(ratios) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)


FIELDS = {field.name: field for field in dataclasses.fields(Config)}

REQUIRES = {
    "curriculum_steps": ("curriculum",),
    "min_periods": ("curriculum",),
    "patience": ("curriculum",),
    "reset_slots": ("curriculum",),
    "imitation_ratio": ("imitation",),
    "imitation_ratios": ("imitation",),
    "imitation_distance": ("imitation",),
    "teacher_choice": ("imitation",),
    "teacher_steps": ("imitation",),
    "teachers": ("imitation", "self_improving"),
    "teacher_learning_rate": ("imitation", "self_improving", "net_assignments"),
    "self_improving_epochs": ("self_improving",),
    "random_scaling_bound": ("random_scaling",),
}
"""An option on the left does something only with one of the switches on the right."""

CHOICES = {
    "data": ("auto", "tfds", "embedded"),
    "split": ("original", "train", "test"),
    "objective": ("sum", "mean", "final", "penultimate"),
    "feature_order": ("mg", "gm"),
    "validation_seeds": ("fixed", "fresh"),
    "imitation_distance": ("sum", "half_mean"),
    "teacher_choice": ("random", "cycle"),
}


def resolve(overrides: Mapping[str, Any]) -> Config:
    """The configuration for explicitly given options: preset first, then what was given.

    Args:
        overrides: option name -> value, only those that the user gave.

    Raises:
        ValueError: for unknown presets, contradictory options, and values out of range.
    """
    preset = overrides.get("preset", "paper")
    if preset not in PRESETS:
        raise ValueError(f"Received --preset={preset}, expected one of {sorted(PRESETS)}.{names.hint(preset, PRESETS)}")
    kinds = _kinds({**PRESETS[preset], **overrides})
    given = {**presets.values(preset, kinds), **overrides}
    for option, switches in REQUIRES.items():
        if option in overrides and not any(given.get(switch) for switch in switches):
            needed = " or ".join(f"--{switch}" for switch in switches)
            raise ValueError(f"Received --{option} without {needed}, where it does nothing. Add {needed}, or drop it.")
    if "optimizer" in overrides and given.get("net_assignments"):
        raise ValueError("Received --optimizer with --net_assignments, which names the optimizers. Drop one of them.")
    for option in architectures.untaken(overrides, kinds):
        raise ValueError(
            f"Received --{option} with {' and '.join(kinds)}, where it does nothing: it is for "
            f"{' and '.join(architectures.takers(option))}. Drop it, or choose another --optimizer."
        )
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


def _assignments(net_assignments: str) -> list[tuple[str, str]]:
    """`(pattern, optimizer)` of each entry."""
    entries = net_assignments.split(",") if net_assignments else []
    return [tuple(entry.rpartition("=")[::2]) for entry in entries]


def _kinds(options: Mapping[str, Any]) -> list[str]:
    """Names of the optimizers that options ask for."""
    assigned = [kind for _, kind in _assignments(options.get("net_assignments", ""))]
    return list(dict.fromkeys(assigned)) or [options.get("optimizer", FIELDS["optimizer"].default)]


POSITIVE = (
    *("num_epochs", "num_steps", "unroll_length", "learning_rate", "evaluation_period", "num_runs_validation"),
    *("validation_window", "min_periods", "patience", "teacher_learning_rate", "teacher_steps"),
    *("self_improving_epochs", "random_scaling_bound", "max_skips"),
)


def _out_of_range(config: Config) -> Iterator[str]:
    """What is wrong with single values; one sentence each."""
    for name, choices in CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            yield f"Received --{name}={value}, expected one of {list(choices)}.{names.hint(value, choices)}"
    for name in POSITIVE:
        if not getattr(config, name) > 0:
            yield f"Received --{name}={getattr(config, name)}, expected a value above 0."
    for name, field in FIELDS.items():
        if isinstance(field.default, float) and not math.isfinite(getattr(config, name)):
            yield f"Received --{name}={getattr(config, name)}, expected a finite number."
    for name in ("clip_norm", "problem_stddev", "projection_stddev"):
        if getattr(config, name) < 0:
            yield f"Received --{name}={getattr(config, name)}, expected 0 (see --help) or a positive number."
    for name in ("beta_1", "beta_2"):
        if not 0 <= getattr(config, name) < 1:
            yield f"Received --{name}={getattr(config, name)}, expected a decay from 0 to below 1."
    if not 0 <= config.seed < 2**31:
        yield f"Received --seed={config.seed}, expected a number from 0 to 2^31 - 1."
    if not 0 <= config.imitation_ratio <= 1:
        yield f"Received --imitation_ratio={config.imitation_ratio}, expected a share from 0 to 1."
    for name, (is_good, meant) in LISTS.items():
        if not _all_good(is_good, getattr(config, name)) and (getattr(config, name) or name not in MAY_BE_EMPTY):
            yield f"Received --{name}={getattr(config, name)}, expected {meant}, separated by commas."


def _all_good(is_good: Callable[[str], bool], entries: str) -> bool:
    try:
        return all(is_good(entry) for entry in entries.split(","))
    except ValueError:
        return False


LISTS: dict[str, tuple[Callable[[str], bool], str]] = {
    "layers": (lambda entry: int(entry) > 0, "hidden sizes above 0"),
    "curriculum_steps": (lambda entry: int(entry) > 0, "horizons above 0"),
    "imitation_ratios": (lambda entry: 0 <= float(entry) <= 1, "shares from 0 to 1"),
    "teachers": (bool, "names of analytic optimizers"),
    "net_assignments": (lambda entry: all(entry.rpartition("=")), "entries such as conv*=L2O-DM"),
}
"""Option -> which entries are good, and what is expected of them."""

MAY_BE_EMPTY = ("layers", "net_assignments")


def _mismatches(config: Config) -> Iterator[str]:
    """Values that are fine by themselves but not together; one sentence each."""
    horizons = config.stages if config.curriculum else (config.num_steps,)
    name = "curriculum_steps" if config.curriculum else "num_steps"
    for horizon in horizons:
        if horizon % config.unroll_length:
            lower = max(1, horizon // config.unroll_length) * config.unroll_length
            yield (
                f"Received --{name} with {horizon}, which is not a multiple of --unroll_length={config.unroll_length}. "
                f"Use {lower} or {lower + config.unroll_length}, or another --unroll_length."
            )
    if config.curriculum and (len(horizons) < 2 or list(horizons) != sorted(set(horizons))):
        yield f"Received --curriculum_steps={config.curriculum_steps}, expected at least two rising horizons."
    shortest = horizons[1] if config.curriculum else horizons[0]
    if config.validation_window > shortest:
        received = f"--validation_window={config.validation_window}"
        yield f"Received {received}, expected at most {shortest}, the steps of a validation run."
    if config.objective == "penultimate" and config.unroll_length < 2:
        yield (
            f"Received --objective=penultimate with --unroll_length={config.unroll_length}, where no update comes "
            "before it. Use a longer window, or --objective=final."
        )
    teachers = config.teachers.split(",")
    if len(set(teachers)) < len(teachers):
        yield f"Received --teachers={config.teachers}, where a name comes twice."
