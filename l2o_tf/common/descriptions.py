"""Which options each architecture of learned optimizers takes. No TensorFlow here.

`Config` has one flat list of options, like the command line. An architecture takes some of them; a user who gives one
that it does not take gets an error.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from l2o_tf.common.quoting import short
from problems.python_files import is_file

MOST_ASSIGNMENTS = 1000


def integers(text: str) -> tuple[int, ...]:
    """`"20,20"` -> `(20, 20)`; empty: `()`."""
    return tuple(int(entry) for entry in text.split(",") if entry)


def numbers(text: str) -> tuple[float, ...]:
    """`"1e-6,1e-2"` -> `(1e-6, 1e-2)`; empty: `()`."""
    return tuple(float(entry) for entry in text.split(",") if entry)


def _text(entries: Sequence[float]) -> str:
    """`(20, 20)` -> `"20,20"`; what `integers` and `numbers` read."""
    return ",".join(str(entry) for entry in entries)


def _unchanged(value: Any) -> Any:
    return value


def _none_if_zero(value: float) -> float | None:
    return value or None


class Option(NamedTuple):
    """An option as an architecture takes it.

    Attributes:
        argument: name of the cell's argument.
        parse: from the option's value to the argument's.
        format: from the argument's value to the option's.
    """

    argument: str
    parse: Callable[[Any], Any] = _unchanged
    format: Callable[[Any], Any] = _unchanged


_SCALE_UNCHANGED = (
    *("time_scales", "max_log_learning_rate", "dynamic_learning_rates", "learn_input_decay", "learn_scale_decay"),
    *("learn_initial_vectors", "scale_decay_per_time_scale", "gradient_products", "log_mean_squares"),
    *("relative_learning_rate", "extreme_learning_rate", "learning_rate_shortcut", "gradient_shortcut"),
    *("global_input", "zero_learning_rate_weights"),
)

ARCHITECTURES: dict[str, dict[str, Option]] = {
    "L2O-DM": {
        "layers": Option("layers", integers, _text),
        "preprocess": Option("preprocess"),
        "log_and_sign_k": Option("k"),
        "output_scale": Option("scale"),
    },
    "RNNprop": {
        "layers": Option("layers", integers, _text),
        "output_scale": Option("scale"),
        "beta_1": Option("beta_1"),
        "beta_2": Option("beta_2"),
        "feature_order": Option("feature_order"),
        "projection_stddev": Option("projection_stddev", _none_if_zero),
    },
    "L2O-Scale": {
        "levels": Option("levels", integers, _text),
        "initial_learning_rates": Option("initial_learning_rates", numbers, _text),
        **{name: Option(name) for name in _SCALE_UNCHANGED},
    },
}
"""Architecture -> option -> argument. Options that are not here are for every architecture."""


def arguments(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the cell of an architecture, from the values of all options."""
    return {option.argument: option.parse(options[name]) for name, option in ARCHITECTURES[kind].items()}


def options(kind: str, arguments: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that give a cell these arguments: the inverse of `arguments`. Empty for any other kind.

    A value that means the same as the default is written like the default.
    """
    found = {}
    for name, option in ARCHITECTURES.get(kind, {}).items():
        default, value = defaults[name], option.format(arguments[option.argument])
        found[name] = default if option.format(option.parse(default)) == value else value
    return found


def kinds(kind: str, architecture: Mapping[str, Any] | None = None) -> list[str]:
    """Kinds of the optimizers that `make_optimizer` would make: one, or those of all assignments.

    Raises:
        ValueError: if the arguments describe no optimizer, or too many.
    """
    found = []
    renamed(lambda each: found.append(each) or each, kind, architecture)
    if len(found) > MOST_ASSIGNMENTS:
        raise ValueError(f"Received {len(found):,} assignments, expected at most {MOST_ASSIGNMENTS:,}.")
    return found


def renamed(
    rename: Callable[[str], str], kind: str, architecture: Mapping[str, Any] | None = None
) -> tuple[str, Mapping[str, Any]]:
    """The same description, with each of its `kinds` renamed.

    Raises:
        ValueError: if the arguments describe no optimizer.
    """
    architecture = {} if architecture is None else architecture
    if not isinstance(kind, str) or not isinstance(architecture, Mapping):
        raise ValueError(f"Received optimizer {short(kind)} of {short(architecture)}, expected a name and arguments.")
    if kind != "assigned":
        return rename(kind), architecture
    entries = architecture.get("assignments")
    if not isinstance(entries, Sequence) or not all(isinstance(e, Sequence) and len(e) in (2, 3) for e in entries):
        raise ValueError(f"Received assignments {short(entries)}, expected a list of [pattern, kind, architecture].")
    assigned = [[pattern, *renamed(rename, *entry)] for pattern, *entry in entries]
    return kind, {**architecture, "assignments": assigned}


def files(kind: str, architecture: Mapping[str, Any] | None = None) -> list[str]:
    """The cells in Python files, `path/to/file.py:Cell`, that `make_optimizer` would run; mostly none.

    Ask here before you make an optimizer from a stranger's file: making it would run their code.
    """
    return [found for found in kinds(kind, architecture) if is_file(found)]


def takers(option: str) -> list[str]:
    """Architectures that take an option; empty for an option that is for all."""
    return [kind for kind, options in ARCHITECTURES.items() if option in options]


def untaken(given: Iterable[str], kinds: Iterable[str]) -> list[str]:
    """The given options that only other architectures take; none if no kind is an architecture."""
    kinds = {kind for kind in kinds if kind in ARCHITECTURES or is_file(kind)}
    return [option for option in given if kinds and takers(option) and not kinds.intersection(takers(option))]
