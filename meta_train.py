"""Meta-trains a learned optimizer.

    python meta_train.py --problem=mnist --curriculum --imitation
    python meta_train.py --flagfile=recipes/dm_cl_il.flags --seed=3
    tensorboard --logdir=runs

The same command continues a run that was stopped or killed. Ctrl-C finishes the present meta-epoch, saves, and exits.
"""

import os
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags

from l2o_tf import config as configuration

_DEFINE = {bool: flags.DEFINE_boolean, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}

for _name, _option in configuration.FIELDS.items():
    _DEFINE[type(_option.default)](_name, _option.default, _option.metadata["help"])
flags.DEFINE_string("output_dir", None, "Folder of the run. Default: runs/<optimizer>-<techniques>-<problem>-s<seed>.")
flags.DEFINE_boolean("resume", True, "Continue the run in --output_dir if there is one.")
flags.DEFINE_float("checkpoint_seconds", 60.0, "Seconds between checkpoints; there is one at each validation, too.")


def requested(values: flags.FlagValues) -> configuration.Config:
    """The configuration that the given flags ask for."""
    names = configuration.FIELDS
    return configuration.resolve({name: values[name].value for name in names if values[name].present})


def default_output_dir(config: configuration.Config) -> str:
    """`runs/L2O-DM-CL-IL-mnist-s0`."""
    techniques = {"CL": config.curriculum, "IL": config.imitation, "SI": config.self_improving}
    name = "-".join([config.optimizer, *(short for short, used in techniques.items() if used)])
    return os.path.join("runs", f"{name}-{config.problem}-s{config.seed}")


def meta_train(config: configuration.Config, output_dir: str, *, resume: bool, checkpoint_seconds: float) -> int:
    """Runs or continues a meta-training.

    Returns:
        The exit code: 0 when finished, 128 + n when stopped by signal n.
    """
    from l2o_tf.assembly import make_student
    from l2o_tf.meta_trainer import MetaTrainer
    from l2o_tf.reporting import Reporter
    from l2o_tf.run_directory import checkpoint_manager, export, open_run
    from problems import make_problem

    problem = make_problem(config.problem, data=config.data, data_dir=config.data_dir or None, split=config.split)
    trainer = MetaTrainer(config, problem, make_student(config))
    folder = open_run(output_dir, config, problem.data, resume=resume)
    manager = checkpoint_manager(folder, trainer)
    stopping = _StopSignal()
    with Reporter(folder, trainer, problem.data) as reporter:

        def save():
            reporter.flush()
            manager.save(trainer.standing.epoch)

        saved = time.monotonic()
        while not trainer.finished and not stopping.received:
            event = trainer.advance()
            reporter.report(event)
            if event.validations:
                export(folder, trainer, problem.data)
            if event.validations or time.monotonic() - saved > checkpoint_seconds:
                save()
                saved = time.monotonic()
        save()
    export(folder, trainer, problem.data)
    outcome = trainer.standing.stopped or "all meta-epochs are done" if trainer.finished else "stopped"
    print(f"{outcome}; {trainer.standing.epoch:,} meta-epochs. Weights: {folder / 'weights.npz'}")
    if not trainer.finished:
        print("The same command continues.")
    return 128 + stopping.received if stopping.received and not trainer.finished else 0


class _StopSignal:
    """Remembers SIGINT and SIGTERM; a second one ends the process at once."""

    def __init__(self):
        self.received = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number, frame):
        del frame
        self.received = number
        signal.signal(number, signal.SIG_DFL)
        print("\nFinishing this meta-epoch, then saving. Once more to stop at once.", file=sys.stderr)


def main(argv: list[str]) -> int:
    """Turns flags into a configuration, and errors of the user into exit code 2."""
    try:
        if len(argv) > 1:
            raise ValueError(f"Received unknown arguments {argv[1:]}; options begin with --, see --help.")
        config = requested(flags.FLAGS)
        output_dir = flags.FLAGS.output_dir or default_output_dir(config)
        seconds = flags.FLAGS.checkpoint_seconds
        return meta_train(config, output_dir, resume=flags.FLAGS.resume, checkpoint_seconds=seconds)
    except (ValueError, OSError) as error:
        print(f"meta_train.py: {error}", file=sys.stderr)
        return 2


def run():
    """Entry point of the installed command."""
    app.run(main, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        print(f"meta_train.py: {error}. See --help.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run()
