"""Meta-trains a learned optimizer.

    python meta_train.py --problem=mnist --curriculum --imitation
    python meta_train.py --flagfile=recipes/dm_cl_il.flags --seed=3
    tensorboard --logdir=runs

The same command continues a run that was stopped or killed. Ctrl-C finishes the present meta-epoch, saves, and exits.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

from absl import flags, logging

from l2o_tf.cli import config as configuration
from l2o_tf.cli import console
from l2o_tf.cli.config_checks import number
from l2o_tf.common import xla_cache

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
    from l2o_tf.cli.assembly import make_optimizees, make_student
    from l2o_tf.training.reporting import Reporter
    from l2o_tf.training.run_folder import Checkpoints, export, open_run
    from l2o_tf.training.trainer import MetaTrainer

    optimizees = make_optimizees(config)
    data = optimizees[0].data
    trainer = MetaTrainer(config, optimizees, make_student(config))
    with open_run(output_dir, config, data, resume=resume) as folder:
        checkpoints = Checkpoints(folder, trainer)
        if not trainer.finished and trainer.has_ended_once:
            logging.warning(
                "This run has ended before, after %d meta-epochs, with a validation in the middle of a period. It goes "
                "on from there. A run with --num_epochs=%d from the start would have another result.",
                *(trainer.standing.epoch, config.num_epochs),
            )
        with stop_signals() as received, Reporter(folder, trainer, data) as reporter:

            def save():
                reporter.flush()
                checkpoints.save()
                xla_cache.seal()

            saved = time.monotonic()
            while not trainer.finished and not received:
                event = trainer.advance()
                reporter.report(event)
                if event.validations or time.monotonic() - saved > checkpoint_seconds:
                    save()
                    saved = time.monotonic()
                if event.validations:  # after the checkpoint: where there are weights, there is one
                    export(folder, trainer, data)
            save()
            export(folder, trainer, data)
    print(f"{_outcome(trainer)} {trainer.standing.epoch:,} meta-epochs, {trainer.standing.skips:,} of them diverged.")
    print(f"Weights: {folder / 'weights.npz'}")
    if not trainer.finished:
        print("The same command continues.")
    return 128 + received[0] if received and not trainer.finished else 0


def _outcome(trainer) -> str:
    """How a meta-training ended, or that it has not."""
    from l2o_tf.training.curriculum import has_result

    state = trainer.standing.curriculum
    if trainer.standing.stopped:
        return trainer.standing.stopped
    if not has_result(state):
        seen = "No validation had a finite cost" if trainer.standing.history else "Stopped before the first validation"
        return f"{seen}: the weights are those it began with."
    if not trainer.finished:
        return "Stopped."
    if trainer.config.initial_weights and not state.improved and not state.stage:
        return "No validation beat that of the initial weights, which are the result."
    if trainer.config.initial_weights:
        costs = [each["cost"] for each in trainer.standing.history if each["stage"] == state.stage]
        return f"Best validation: {min(costs):.4g}. The weights that this stage began with had {costs[0]:.4g}."
    return "All meta-epochs are done."


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of obeying them at once; a second one of a kind ends the process."""
    received = []

    def receive(number, frame):
        del frame
        received.append(number)
        signal.signal(number, signal.SIG_DFL)
        # Not `print`, whose buffer may be in use at this moment.
        with contextlib.suppress(OSError):
            os.write(2, b"\nFinishing this meta-epoch, then saving. Once more to stop at once.\n")

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
