"""Where the time of a meta-step goes: one window of meta-training under TensorFlow's profiler.

    python -m benchmarks.profile_unroll
    python -m benchmarks.profile_unroll --optimizer=RNNprop --output=build/profile     # keeps the trace for TensorBoard

The window is that of meta_train.py as XLA compiles it (`benchmarks/gpu_hlo.py`). The profiler says how long each
instruction took, the optimized program says what it is: a matrix product, a nonlinearity, other arithmetic, a row that
is kept for the backward pass, or a move of data; in the forward loop, in the backward loop, or outside. Instructions
may overlap on several threads: milliseconds are the instruction's share of all that ran, times the wall time of a step,
so that they add up to it. In this one program the blocks of the backward pass run one after the other; in meta_train.py
they run on several cores at the same time.

One JSON line is appended to --history; docs/performance.md gets its table from there.
"""

import tempfile
import time
from collections import Counter
from pathlib import Path

import tensorflow as tf
from absl import app, flags

from benchmarks import gpu_hlo, history
from benchmarks.hlo_text import Instruction, instructions
from l2o_tf.cli import console
from l2o_tf.optimizers import make_optimizer
from l2o_tf.saving import provenance
from l2o_tf.training.lessons.lesson import Optimizees
from problems import make_problem

_FLAGS = flags.FLAGS
TOP = 12


def define_flags() -> None:
    """The flags of this script; not on import, since others have some of the same names."""
    flags.DEFINE_string("problem", "mnist", "Optimizee.")
    flags.DEFINE_string("optimizer", "L2O-DM", "Architecture.")
    flags.DEFINE_integer("unroll_length", 20, "Steps of the window.", lower_bound=1)
    flags.DEFINE_integer("repetitions", 5, "Windows under the profiler.", lower_bound=1)
    flags.DEFINE_string("data", "auto", "Where images come from: 'auto', 'tfds', 'embedded'.")
    flags.DEFINE_string("history", str(Path(__file__).with_name("history.jsonl")), "File to append to; empty: none.")
    flags.DEFINE_string("output", "", "Folder for the trace, to look at in TensorBoard; default: none is kept.")


def profile(
    problem_name: str, optimizer: str, num_steps: int, repetitions: int, data: str, folder: str
) -> tuple[list[tuple[Instruction, float]], float]:
    """Instructions with milliseconds per step, the longest first, and the wall time of a step."""
    problem, student = make_problem(problem_name, data=data), make_optimizer(optimizer)
    step = gpu_hlo.training_step(Optimizees(problem), student, in_blocks=True)
    params, _ = problem.init(gpu_hlo.SEED)
    inputs = (params, student.initial_state(params, gpu_hlo.SEED), problem.sample(gpu_hlo.SEED, num_steps + 1))
    known = instructions(step.experimental_get_compiler_ir(*inputs)(stage="optimized_hlo"))
    step(*inputs)[0].numpy()
    with tf.profiler.experimental.Profile(folder):
        started = time.perf_counter()
        for _ in range(repetitions):
            step(*inputs)[0].numpy()
        wall = 1e3 * (time.perf_counter() - started) / (num_steps * repetitions)
    spent = durations(folder)
    found = {name: seconds for name, seconds in spent.items() if name in known and not name.startswith("while")}
    total = sum(found.values())
    return [(known[name], wall * found[name] / total) for name in sorted(found, key=found.get, reverse=True)], wall


def durations(folder: str) -> Counter:
    """Picoseconds of all events of the newest trace in `folder`, by name."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    trace = max(Path(folder).glob("plugins/profile/*/*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    space, spent = xplane_pb2.XSpace.FromString(trace.read_bytes()), Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                spent[plane.event_metadata[event.metadata_id].name] += event.duration_ps
    return spent


def rows(found: list[tuple[Instruction, float]], names: dict[str, str]) -> list[dict]:
    """For the record: a row per place and kind, then the longest instructions, those of all blocks as one."""
    groups: Counter = Counter()
    alike: Counter = Counter()
    longest = {instruction[1:]: instruction for instruction, _ in reversed(found)}
    for instruction, ms in found:
        groups[instruction.where, instruction.kind] += ms
        alike[instruction[1:]] += ms
    slices = [{**names, "where": where, "kind": kind, "ms": round(ms, 4)} for (where, kind), ms in groups.most_common()]
    single = [{**names, **longest[key]._asdict(), "ms": round(ms, 4)} for key, ms in alike.most_common(TOP)]
    return slices + single


def table(results: list[dict], wall: float) -> str:
    """Both parts as text."""
    lines = [f"{wall:.2f} ms per step (wall)", f"{'ms/step':>8}{'share':>8}  {'where':10}what"]
    for row in results:
        what = f"{row['kind']}: {row['name']}: {row['what']}" if "name" in row else row["kind"]
        lines.append(f"{row['ms']:8.3f}{100 * row['ms'] / wall:7.1f}%  {row['where']:10}{what}")
    return "\n".join(lines)


def main() -> None:
    """Profiles, prints, remembers."""
    made_by, path = provenance(), Path(_FLAGS.history or "/dev/null")
    names = {"problem": _FLAGS.problem, "optimizer": _FLAGS.optimizer}
    with tempfile.TemporaryDirectory() as scratch:
        folder = _FLAGS.output or scratch
        found, wall = profile(*names.values(), _FLAGS.unroll_length, _FLAGS.repetitions, _FLAGS.data, folder)
    results = rows(found, names)
    arguments = {"benchmark": "profile", **names, "unroll_length": _FLAGS.unroll_length, "ms": round(wall, 4)}
    history.append(path, history.make_run(made_by, history.machine("cpu"), arguments, None, results))
    print(table(results, wall))


if __name__ == "__main__":
    define_flags()
    app.run(lambda rest: console.guarded(main, rest))
