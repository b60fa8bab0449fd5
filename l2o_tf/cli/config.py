"""Everything that decides a meta-training, in one frozen record.

A `Config` is what flags are turned into, and what is stored with a run. Its defaults are those of the paper; `presets`
says what published programs do differently. Help texts and allowed values stand in the metadata of the fields.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from absl import flags

from l2o_tf.cli import architecture, presets
from l2o_tf.cli.presets import PRESETS
from l2o_tf.common import names

INT32 = 2**31 - 1
FLOAT32 = 1e30
"""Far below the largest number in single precision: results of computations with it are finite, too."""
MOST_STEPS = 1_000_000
MOST_CALLS = 64


class _Checked(flags.ArgumentParser):
    """Reads a flag whose text means a value of a type that passes a test."""

    def __init__(self, kind: type, is_good: Callable[[Any], bool], expected: str):
        self._kind, self._is_good, self._expected = kind, is_good, expected

    def parse(self, argument: Any) -> Any:
        value = self._kind(argument)
        if not self._is_good(value):  # as NaN never is
            raise ValueError(f"expected {self._expected}")
        return value


def _whole(least: int = 1, most: int = INT32) -> _Checked:
    return _Checked(int, lambda value: least <= value <= most, f"a whole number from {least:,} to {most:,}")


def _number(least: float, most: float = FLOAT32) -> _Checked:
    return _Checked(float, lambda value: least <= value <= most, f"a number from {least:g} to {most:g}")


def _positive(most: float) -> _Checked:
    return _Checked(float, lambda value: 0 < value <= most, f"a number above 0, at most {most:g}")


def _commas(kind: type) -> _Checked:
    return _Checked(str, lambda text: [kind(entry) for entry in text.split(",")], "")


_TEXT = flags.ArgumentParser()
_ASSIGNMENTS = _Checked(
    str,
    lambda text: not text or all(all(entry.rpartition("=")) for entry in text.split(",")),
    "entries such as conv*=L2O-DM, separated by commas",
)
OBJECTIVES = "sum mean final penultimate log_mean log_ratio log_ratio_numerator log_ratio_original ratio_original"


def _option(default: Any, help_text: str, parser: flags.ArgumentParser = _TEXT) -> Any:
    return dataclasses.field(default=default, metadata={"help": help_text, "parser": parser})


def _one_of(words: str, help_text: str) -> Any:
    """An option whose value is one of several words, with spaces between them; the first one is the default."""
    known = words.split()
    return _option(known[0], help_text, _Checked(str, known.__contains__, f"one of {known}"))


@dataclasses.dataclass(frozen=True)
class Config:
    """The resolved configuration of a meta-training; see the fields' metadata, or `meta_train.py --help`."""

    preset: str = _option(
        "paper", "A set of defaults: of the 'paper', its 'original' program, or RNNprop's own ('rnnprop2017')."
    )
    problem: str = _option(
        "mnist", "What it is trained on: a name from `python -m problems --list`, or 'path/to/file.py:function'."
    )
    optimizer: str = _option("L2O-DM", "What is trained: 'L2O-DM', 'RNNprop', 'L2O-Scale', or 'path/to/file.py:Class'.")
    architecture: str = _option(
        "", "Arguments of its constructor: 'k=10,layers=20+20'. --architecture=help lists them."
    )
    initial_weights: str = _option(
        "", "Begin with weights and architecture of a trained optimizer: a shipped name or a run. Default: random."
    )
    net_assignments: str = _option(
        "", "Optimizers by parameter name: 'conv*=L2O-DM,emb*=frozen,*=adam'. The first match counts.", _ASSIGNMENTS
    )
    seed: int = _option(
        0, "Seed of everything that is drawn: weights, optimizees, minibatches, validation runs.", _whole(0)
    )

    problem_stddev: float = _option(
        0.0, "Standard deviation of the optimizee's first parameters. 0: the problem's own start.", _number(0.0, 1e6)
    )
    random_scaling: bool = _option(
        False, "Scale each coordinate of the optimizee by exp(U(-b, b)), as RNNprop's program does."
    )
    random_scaling_bound: float = _option(3.0, "The bound b of --random_scaling.", _positive(40.0))
    convex_term: bool = _option(
        False, "Add a convex function of 20 more coordinates to the loss, as RNNprop's program does."
    )
    data: str = _one_of(
        "auto tfds embedded",
        "Where images come from: 'tfds', 'embedded' digits, or 'auto': TFDS, else Keras's cache, else embedded.",
    )
    data_dir: str = _option("", "Folder of TFDS. Default: $TFDS_DATA_DIR, else TFDS's own.")
    split: str = _one_of(
        "original train test", "Which images: 'train', 'test', or 'original': those that the original program uses."
    )

    num_epochs: int = _option(
        5000, "Largest number of meta-epochs. A meta-epoch is one run of the optimizee.", _whole()
    )
    num_steps: int = _option(100, "Steps of each run (the horizon). A curriculum has its own.", _whole(most=MOST_STEPS))
    unroll_length: int = _option(20, "Steps of each window of truncated backpropagation.", _whole(most=100_000))
    meta_batch_size: int = _option(
        1, "Optimizees per meta-epoch. The meta-gradient is the mean over them.", _whole(most=1024)
    )
    long_tail_windows: str = _option(
        "", "Draw the number of windows of each run: 'mean,least' or 'mean,least,most' give round(Exp(mean)) + least."
    )
    long_tail_steps: str = _option("", "Draw the steps of each window in the same way. Default: --unroll_length.")
    max_growth: float = _option(
        0.0, "End a run once a window ends above f_0 + (M - 1)|f_0|, where M is this number. 0: never.", _number(0.0)
    )
    keep_states: bool = _option(
        False, "Begin each run with the optimizer's states of the run before, as L2O-Scale's program does."
    )

    curriculum: bool = _option(False, "Lengthen the runs in stages (Algorithm 1).")
    curriculum_steps: str = _option(
        "100,200,500,1000,1500,2000,2500,3000",
        "Steps of a run in each stage. The last number is only for validation.",
        _commas(int),
    )
    min_periods: int = _option(3, "Smallest number of periods of a stage (N_period).", _whole())
    patience: int = _option(
        1, "Leave a stage after so many periods in a row without improvement. Algorithm 1 has 1.", _whole()
    )
    stage_decay: float = _option(
        1.0, "Multiply the meta-learning rate by this number at each new stage.", _positive(1.0)
    )

    imitation: bool = _option(False, "Imitate analytic optimizers in some meta-epochs (Algorithm 2).")
    imitation_ratio: float = _option(
        0.3, "Share of the meta-epochs that imitate (r), without a curriculum.", _number(0.0, 1.0)
    )
    imitation_ratios: str = _option(
        "0.3", "The same for each stage of a curriculum. The last entry serves all later stages.", _commas(float)
    )
    imitation_distance: str = _one_of(
        "sum half_mean",
        "Distance from the teacher: 'sum' of squares (Eq. 1), or 'half_mean' of them (original program).",
    )
    teachers: str = _option("adam,sgd,adagrad", "Optimizers that the student imitates, or shares its runs with.")
    teacher_choice: str = _one_of(
        "random cycle", "The next teacher is 'random' (Algorithm 2), or they take turns: 'cycle' (original program)."
    )
    teacher_learning_rate: float = _option(0.01, "Learning rate of every teacher.", _positive(1e6))
    teacher_steps: int = _option(
        1, "Updates of the teacher that the student learns in one step (k).", _whole(most=10_000)
    )
    self_improving: bool = _option(
        False, "Let the teachers act in the student's runs, less and less often (section 4.2)."
    )

    evaluation_period: int = _option(
        100, "Meta-epochs of a period. Each period, and the whole run, ends with a validation.", _whole()
    )
    num_runs_validation: int = _option(20, "Runs of a validation.", _whole(most=100_000))
    validation_seeds: str = _one_of(
        "fixed fresh", "Whether all validations have the same runs: 'fixed', or new ones: 'fresh' (original program)."
    )
    validation_window: int = _option(
        1, "The validation cost is the mean of so many losses at the end of each run.", _whole(most=MOST_STEPS)
    )
    ema_momentum: float = _option(
        0.0,
        "Validate and keep an average of the weights over about 1/(1 - this number) updates. 0: no average.",
        _Checked(float, lambda value: 0 <= value < 1, "a number from 0 to below 1"),
    )

    objective: str = _one_of(
        OBJECTIVES,
        "What is minimised, of the losses of a window: 'sum', 'mean', 'final', 'penultimate', 'log_mean', 'log_ratio'; "
        "docs/glossary.md has their equations, and others.",
    )
    judge: str = _one_of(
        "steps sample whole",
        "Losses that the objective gets: of the 'steps', of fixed minibatches ('sample'), or of all data ('whole').",
    )
    judge_minibatches: int = _option(
        78, "Number of minibatches of --judge=sample. 78 minibatches of 128 are 10,000 examples.", _whole(most=100_000)
    )
    meta_gradient: str = _one_of(
        "first_order sampled whole_run",
        "How a window is differentiated: 'first_order', where the optimizee's gradients count as constants; 'sampled', "
        "an unbiased estimate of it from some coordinates; 'whole_run', gradients included (second derivatives).",
    )
    sampled_share: float = _option(
        0.125, "Share of the coordinates that --meta_gradient=sampled takes of each large tensor.", _positive(1.0)
    )
    jit_compile: bool = _option(
        True, "Compile windows with XLA; of optimizees that convolve, the optimizer only. Off with --long_tail_steps."
    )

    meta_optimizer: str = _one_of(
        "adam rmsprop",
        "What trains the weights: 'adam', or 'rmsprop' as L2O-Scale's program has it. Both are those of TensorFlow 1.",
    )
    learning_rate: float = _option(1e-3, "Learning rate of the meta-optimizer.", _positive(1e6))
    clip_norm: float = _option(0.0, "Clip the meta-gradient to this global norm. 0: no clipping.", _number(0.0))
    clip_value: float = _option(
        0.0, "Clip every entry of the meta-gradient to this size. 0: no clipping.", _number(0.0)
    )
    zero_nonfinite: bool = _option(
        False, "Replace entries of the meta-gradient that are not finite by 0, as L2O-Scale's program does."
    )

    @property
    def kinds(self) -> list[str]:
        """Names of the optimizers that are trained, or assigned to parameters."""
        return list(dict.fromkeys(kind for _, kind in self.assignments)) or [self.optimizer]

    @property
    def assignments(self) -> list[tuple[str, str]]:
        """`(pattern, optimizer)` of each entry of `net_assignments`."""
        entries = self.net_assignments.split(",") if self.net_assignments else []
        return [tuple(entry.rpartition("=")[::2]) for entry in entries]

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
    **dict.fromkeys(("curriculum_steps", "min_periods", "patience", "stage_decay"), ("curriculum",)),
    **dict.fromkeys(("imitation_ratio", "imitation_ratios", "imitation_distance"), ("imitation",)),
    **dict.fromkeys(("teacher_choice", "teacher_steps"), ("imitation",)),
    "teachers": ("imitation", "self_improving"),
    "teacher_learning_rate": ("imitation", "self_improving", "net_assignments"),
    "random_scaling_bound": ("random_scaling",),
    "judge_minibatches": ("judge=sample",),
    "sampled_share": ("meta_gradient=sampled",),
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
    "second_derivatives": False,
}
"""Options of earlier versions, with the defaults that they had. A run that had others cannot be continued."""

_FOR_PYTHON = dict.fromkeys(("anneal", "max_skips", "reset_slots", "self_improving_epochs"), "the Python API")
MOVED = {name: f"--architecture={name}=..., with + for commas" for name in GONE}
MOVED |= {"log_and_sign_k": "--architecture=k=...", "output_scale": "--architecture=scale=...", **_FOR_PYTHON}
MOVED["second_derivatives"] = "--meta_gradient=whole_run"
"""Flag of an earlier version -> what is to be used instead."""

IRRELEVANT = ("data_dir", "num_epochs")
"""Options that may differ between the sessions of a run: they change nothing that was done before, but for the
validation with which a run ends in the middle of a period."""


def resolve(overrides: Mapping[str, Any], of_weights: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """The preset's options, overridden by those that make an optimizer like `initial_weights`, and by the user's.

    Raises ValueError for options that contradict each other, or do nothing.
    """
    preset = overrides.get("preset", "paper")
    if preset not in PRESETS:
        raise ValueError(f"Received --preset={preset}, expected one of {sorted(PRESETS)}.{names.hint(preset, PRESETS)}")
    kinds = Config(**{**PRESETS[preset], **of_weights, **overrides}).kinds
    given = {**presets.values(preset, kinds), **of_weights}
    arguments = [options.get("architecture", "") for options in (given, overrides)]
    given |= {**overrides, "architecture": architecture.merged(*arguments)}
    if given.get("long_tail_steps"):
        given.setdefault("jit_compile", False)
    for asked, instead in (("self_improving", {"keep_states": False}), ("clip_norm", {"clip_value": 0.0})):
        if overrides.get(asked):  # which contradicts what a preset may say
            given |= {name: value for name, value in instead.items() if name not in overrides}
    config = Config(**given)
    if wrong := next(_contradictions(config, overrides), None):
        raise ValueError(wrong)
    return config


def _contradictions(config: Config, overrides: Mapping[str, Any]) -> Iterator[str]:
    """An error message for each combination of options that does not work, and that no object refuses by itself."""
    for option, switches in REQUIRES.items():
        if option in overrides and not any(_is_on(config, switch) for switch in switches):
            needed = " or ".join(f"--{switch}" for switch in switches)
            yield f"Received --{option} without {needed}, where it does nothing. Add {needed}, or drop it."
    if "optimizer" in overrides and config.net_assignments:
        yield "Received --optimizer with --net_assignments, which names the optimizers. Drop one of them."
    for option, instead in (("num_steps", "curriculum_steps"), ("imitation_ratio", "imitation_ratios")):
        if config.curriculum and option in overrides:
            yield (
                f"Received --curriculum with --{option}, which contradict each other: a curriculum has a value per "
                f"stage. Use --{instead}, or drop one of the two."
            )
    if "imitation_ratios" in overrides and not config.curriculum:
        yield "Received --imitation_ratios without --curriculum. Use --imitation_ratio, or add --curriculum."
    if config.keep_states and config.self_improving:
        yield "Received --keep_states with --self_improving, whose teachers begin every run anew. Drop one of them."
    if config.meta_batch_size > MOST_CALLS and (config.self_improving or "L2O-Scale" in config.kinds):
        what = "--self_improving" if config.self_improving else "L2O-Scale"
        yield (
            f"Received --meta_batch_size={config.meta_batch_size} with {what}, where each optimizee is compiled by "
            f"itself, expected at most {MOST_CALLS}."
        )


def _is_on(config: Config, switch: str) -> bool:
    name, _, value = switch.partition("=")
    return getattr(config, name) == value if value else bool(getattr(config, name))
