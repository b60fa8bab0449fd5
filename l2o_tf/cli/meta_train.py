"""Meta-trains a learned optimizer.

    python meta_train.py --problem=mnist --curriculum --imitation
    python meta_train.py --flagfile=recipes/dm_cl_il.flags --seed=3
    tensorboard --logdir=runs

The same command continues a run that was stopped or killed. Ctrl-C finishes the present meta-epoch, saves, and exits.
"""

import os

from absl import flags

from l2o_tf.cli import config as configuration
from l2o_tf.cli import console
from l2o_tf.cli.config_checks import number

CHECKPOINT_SECONDS = number(0.0, 1e9)


def define_flags(values: flags.FlagValues) -> None:
    """One flag per option of `Config`, and those that say where and how to run."""
    kinds = {bool: flags.DEFINE_boolean, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
    for name, option in configuration.FIELDS.items():
        kinds[type(option.default)](name, option.default, option.metadata["help"], flag_values=values)
    text = "Folder of the run. Default: runs/<optimizer>-<techniques>-<problem>-<preset>-s<seed>."
    flags.DEFINE_string("output_dir", None, text, flag_values=values)
    flags.DEFINE_boolean("resume", True, "Continue the run in --output_dir if there is one.", flag_values=values)
    text = "Run Python code in the folder of --initial_weights. Without this flag, an error names the file."
    flags.DEFINE_boolean("allow_code", False, text, flag_values=values)
    text = "Seconds between checkpoints; there is one at each validation, too."
    flags.DEFINE_float("checkpoint_seconds", 60.0, text, flag_values=values)


def requested(values: flags.FlagValues) -> configuration.Config:
    """The configuration that the given flags ask for; `--initial_weights` bring their architecture with them."""
    given = {name: values[name].value for name in configuration.FIELDS if values[name].present}
    if not given.get("initial_weights"):
        return configuration.resolve(given)
    console.import_tensorflow()
    from l2o_tf.saving import loading

    allow_code = values.allow_code or "optimizer" in given  # then it is the user's own file that is run
    return configuration.resolve(given, loading.options(given["initial_weights"], allow_code=allow_code))


def default_output_dir(config: configuration.Config) -> str:
    """`runs/L2O-DM-CL-IL-mnist-s0`; for what is in a file, `runs/L2O-DM-file-function-s0`; presets have their names."""
    techniques = {"CL": config.curriculum, "IL": config.imitation, "SI": config.self_improving}
    parts = ["+".join(map(_base, config.kinds)), *(short for short, used in techniques.items() if used)]
    parts += [_base(config.problem), *([config.preset] if config.preset != "paper" else [])]
    return os.path.join("runs", "-".join([*parts, f"s{config.seed}"]))


def _base(name: str) -> str:
    return os.path.basename(name).replace(".py:", "-")


def meta_train(config: configuration.Config, output_dir: str, *, resume: bool, checkpoint_seconds: float) -> int:
    """Runs or continues a meta-training.

    Returns:
        The exit code: 0 when finished, 128 + n when stopped by signal n.
    """
    console.import_tensorflow()
    from l2o_tf.cli import assembly

    result = assembly.make_trainer(config).run(
        output_dir,
        epochs=config.num_epochs,
        resume=resume,
        checkpoint_seconds=checkpoint_seconds,
        description=assembly.describe(config),
    )
    print(result)
    return 128 + result.signal if result.signal and not result.finished else 0


def main(values: flags.FlagValues) -> int:
    """Turns flags into a configuration, and runs it."""
    config = requested(values)
    if not CHECKPOINT_SECONDS.has(values.checkpoint_seconds):
        received = f"--checkpoint_seconds={values.checkpoint_seconds}"
        raise ValueError(f"Received {received}, expected {CHECKPOINT_SECONDS}.")
    output_dir = values.output_dir or default_output_dir(config)
    return meta_train(config, output_dir, resume=values.resume, checkpoint_seconds=values.checkpoint_seconds)


def run():
    """Entry point of the installed command."""
    console.run(define_flags, main, {**configuration.HEADINGS, "output_dir": "The run's folder"})
