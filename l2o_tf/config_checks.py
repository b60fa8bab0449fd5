"""What can be wrong with a configuration, said in one sentence each."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from l2o_tf import names


def complaints(config: Any) -> Iterator[str]:
    """Everything that is wrong with a `Config`, values by themselves first."""
    return itertools.chain(_out_of_range(config), _mismatches(config))


CHOICES = {
    "data": ("auto", "tfds", "embedded"),
    "split": ("original", "train", "test"),
    "objective": (
        *("sum", "mean", "final", "penultimate", "log_mean"),
        *("log_ratio", "log_ratio_numerator", "log_ratio_original", "ratio_original"),
    ),
    "judge": ("steps", "sample", "whole"),
    "meta_optimizer": ("adam", "rmsprop"),
    "relative_learning_rate": ("problem", "tensor", "none"),
    "global_input": ("last", "mean"),
    "feature_order": ("mg", "gm"),
    "validation_seeds": ("fixed", "fresh"),
    "imitation_distance": ("sum", "half_mean"),
    "teacher_choice": ("random", "cycle"),
}


POSITIVE = (
    *(
        "num_epochs",
        "meta_batch_size",
        "num_steps",
        "unroll_length",
        "learning_rate",
        "evaluation_period",
        "num_runs_validation",
    ),
    *("validation_window", "min_periods", "patience", "teacher_learning_rate", "teacher_steps"),
    *("self_improving_epochs", "random_scaling_bound", "max_skips", "time_scales", "judge_minibatches"),
    *("stage_decay", "output_scale", "log_and_sign_k"),
)


def _out_of_range(config: Any) -> Iterator[str]:
    """What is wrong with single values; one sentence each."""
    for name, choices in CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            yield f"Received --{name}={value}, expected one of {list(choices)}.{names.hint(value, choices)}"
    for name in POSITIVE:
        if not getattr(config, name) > 0:
            yield f"Received --{name}={getattr(config, name)}, expected a value above 0."
    for name, value in config.to_dict().items():
        if isinstance(value, float) and not math.isfinite(value):
            yield f"Received --{name}={value}, expected a finite number."
    for name in ("clip_norm", "clip_value", "max_growth", "problem_stddev", "projection_stddev"):
        if getattr(config, name) < 0:
            yield f"Received --{name}={getattr(config, name)}, expected 0 (see --help) or a positive number."
    for name in ("beta_1", "beta_2", "ema_momentum"):
        if not 0 <= getattr(config, name) < 1:
            yield f"Received --{name}={getattr(config, name)}, expected a decay from 0 to below 1."
    if config.stage_decay > 1:
        yield f"Received --stage_decay={config.stage_decay}, expected a factor above 0 and at most 1."
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
    "levels": (lambda entry: int(entry) > 0, "one to three numbers of units above 0"),
    "initial_learning_rates": (lambda entry: 0 < float(entry) < math.inf, "two learning rates, the lower one first"),
    "long_tail_windows": (lambda entry: 0 < float(entry) < math.inf, "mean,least or mean,least,most, all above 0"),
    "long_tail_steps": (lambda entry: 0 < float(entry) < math.inf, "mean,least or mean,least,most, all above 0"),
    "curriculum_steps": (lambda entry: int(entry) > 0, "horizons above 0"),
    "imitation_ratios": (lambda entry: 0 <= float(entry) <= 1, "shares from 0 to 1"),
    "teachers": (bool, "names of analytic optimizers"),
    "net_assignments": (lambda entry: all(entry.rpartition("=")), "entries such as conv*=L2O-DM"),
}
"""Option -> which entries are good, and what is expected of them."""

MAY_BE_EMPTY = ("layers", "net_assignments", "long_tail_windows", "long_tail_steps")


def _mismatches(config: Any) -> Iterator[str]:
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
    if config.clip_norm and config.clip_value:
        yield (
            f"Received --clip_norm={config.clip_norm} with --clip_value={config.clip_value}, of which one can be used. "
            "Drop one of them."
        )
    rates = config.initial_learning_rates.split(",")
    if len(rates) != 2 or float(rates[0]) > float(rates[1]):
        yield f"Received --initial_learning_rates={config.initial_learning_rates}, expected the lowest and the highest."
    teachers = config.teachers.lower().split(",")
    if len(set(teachers)) < len(teachers):
        yield f"Received --teachers={config.teachers}, where a name comes twice."
    if config.max_growth and config.max_growth <= 1:
        yield f"Received --max_growth={config.max_growth}, expected 0 (never) or more than 1."
    yield from _long_tail_mismatches(config)
    if config.keep_states and config.self_improving:
        yield "Received --keep_states with --self_improving, whose teachers begin every run anew. Drop one of them."


def _long_tail_mismatches(config: Any) -> Iterator[str]:
    for name in ("long_tail_windows", "long_tail_steps"):
        if not getattr(config, name):
            continue
        _, *bounds = config.tail(name)
        if len(bounds) not in (1, 2) or bounds != sorted(bounds) or any(bound % 1 for bound in bounds):
            yield (
                f"Received --{name}={getattr(config, name)}, expected mean,least or mean,least,most with whole numbers "
                "for least and most, the last the largest."
            )
        elif name == "long_tail_steps" and config.objective == "penultimate" and bounds[0] < 2:
            yield (
                f"Received --objective=penultimate with --{name}={getattr(config, name)}, where no update comes before "
                "a window of one step ends. Let the least be 2, or use --objective=final."
            )
        if config.curriculum:
            yield f"Received --{name} with --curriculum, which sets the length of runs itself. Drop one of them."
    if config.long_tail_steps and config.jit_compile:
        yield "Received --long_tail_steps with --jit_compile: XLA would compile each length anew. Drop one of them."
