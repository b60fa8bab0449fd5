"""Meta-trains a learned optimizer.

    python meta_train.py --problem=mnist --curriculum --imitation
    python meta_train.py --optimizer=RNNprop --architecture=layers=32,scale=0.1 --problem=digits
    python meta_train.py --flagfile=recipes/dm_cl_il.flags --seed=3
    tensorboard --logdir=runs

The same command continues a run that was stopped or killed. Ctrl-C finishes the present meta-epoch, saves, and exits.
Several machines train together: start the same command on each, with TF_CONFIG or --workers, see docs/scaling.md.
"""

import os
from collections.abc import Mapping
from typing import Any

from absl import flags

from l2o_tf.cli import architecture, console
from l2o_tf.cli import config as configuration

MOVED = configuration.MOVED


def define_flags(values: flags.FlagValues) -> None:
    """One flag per option of `Config`, and those that say where and how to run."""
    for name, option in configuration.FIELDS.items():
        if type(option.default) is bool:
            flags.DEFINE_boolean(name, option.default, option.metadata["help"], flag_values=values)
        else:
            parser, shown = option.metadata["parser"], flags.ArgumentSerializer()
            flags.DEFINE(parser, name, option.default, option.metadata["help"], values, shown)
    text = "Folder of the run. Default: runs/<optimizer>-<techniques>-<problem>-<preset>-s<seed>."
    flags.DEFINE_string("output_dir", None, text, flag_values=values)
    flags.DEFINE_boolean("resume", True, "Continue the run in --output_dir if there is one.", flag_values=values)
    text = "Run Python code in the folder of --initial_weights. Without this flag, an error names the file."
    flags.DEFINE_boolean("allow_code", False, text, flag_values=values)
    text = "Seconds between checkpoints. Each validation is followed by one, too."
    flags.DEFINE_float("checkpoint_seconds", 60.0, text, flag_values=values)
    console.define_workers(values)


def requested(values: flags.FlagValues) -> configuration.Config:
    """The configuration that the given flags ask for; `--initial_weights` bring their architecture with them."""
    given = {name: values[name].value for name in configuration.FIELDS if values[name].present}
    if not given.get("initial_weights"):
        return configuration.resolve(given)
    console.import_tensorflow()
    from l2o_tf.saving import loading

    own = {"optimizer", "net_assignments"} & given.keys()  # then it is the user's own file that is run
    allow_code = values.allow_code or bool(own)
    kind, arguments = loading.architecture_of(given["initial_weights"], allow_code=allow_code)
    return configuration.resolve(given, _of_weights(kind, arguments, given))


def _of_weights(kind: str, arguments: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """The options that ask for an optimizer of this kind with these arguments, unless another kind is given."""
    if kind == "assigned":
        return {}
    asked = given.get("optimizer", kind)
    if given.get("net_assignments") or asked.rpartition(":")[2] != kind.rpartition(":")[2]:
        return {"optimizer": kind}
    return {"optimizer": asked, "architecture": architecture.text(asked, arguments)}


def default_output_dir(config: configuration.Config) -> str:
    """`runs/L2O-DM-CL-IL-mnist-s0`; for what is in a file, `runs/L2O-DM-file-function-s0`; presets have their names."""
    techniques = {"CL": config.curriculum, "IL": config.imitation, "SI": config.self_improving}
    parts = ["+".join(map(_base, config.kinds)), *(short for short, used in techniques.items() if used)]
    parts += [_base(config.problem), *([config.preset] if config.preset != "paper" else [])]
    return os.path.join("runs", "-".join([*parts, f"s{config.seed}"]))


def _base(name: str) -> str:
    return os.path.basename(name).replace(".py:", "-")


def main(values: flags.FlagValues) -> int:
    """Turns flags into objects, and runs them; returns the exit code, 128 + n if stopped by signal n."""
    if values.architecture == "help":
        console.import_tensorflow()
        from l2o_tf.optimizers import CELLS

        print(architecture.listing([values.optimizer] if values["optimizer"].present else CELLS))
        return 0
    config = requested(values)
    console.import_tensorflow()
    from l2o_tf.cli import assembly

    workers = console.connected(values)
    result = assembly.make_trainer(config, workers).run(
        values.output_dir or default_output_dir(config),
        epochs=config.num_epochs,
        resume=values.resume,
        checkpoint_seconds=values.checkpoint_seconds,
        description=assembly.describe(config),
    )
    if workers.is_chief:
        print(result)
    return 128 + result.signal if result.signal and not result.finished else 0


def run():
    """Entry point of the installed command."""
    console.run(define_flags, main, {**configuration.HEADINGS, "output_dir": "The run's folder"})
