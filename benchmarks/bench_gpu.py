"""Times the programs of `benchmarks.gpu_export` through JAX's runtime, beside the scan written by hand in JAX.

    python -m benchmarks.bench_gpu build/gpu --output=gpu.json

It needs JAX and NumPy only, ends in less than eight minutes (`--budget`), and writes one JSON file as it goes. Cases
come in the order of their importance. Each has a few seconds (`--case_seconds`) after it is compiled. What did not fit
into the budget, or into the memory, is in the file with `status` "not run" or "failed" and a `reason`.

A row has the names of the case, and

    program             "tensorflow": what TensorFlow compiles for meta_train.py or evaluate.py, compiled again from its
                        StableHLO by the XLA that JAX brings; "jax": benchmarks/peers/jax_scan.py on the same inputs
    ns                  median nanoseconds per step and coordinate of all optimizees; `ms`: milliseconds per step
    difference          from the outputs that TensorFlow has stored, in units of their largest entry; of K = 1 only.
                        Where it is too large, the case has failed, and the exit code is 1
    x_adam              the time divided by that of Adam's step on the same optimizees
    x_memory            divided by the time to move `bytes` per step and coordinate (state, gradient and parameter in,
                        state and parameter out: 652 for L2O-DM) at the bandwidth that a copy has here, `bandwidth`;
                        below 1 where the state stays in a cache
    x_jax               divided by that of the JAX scan: of the same method; of sampled meta-gradients, its training

On a processor it works, too: `--most=4` leaves out K above 4. It uses the call behind `jax.jit` of jax 0.10, as JAX has
no public one for a StableHLO program.
"""

import argparse
import gzip
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax.extend import backend
from jax.extend.mlir import deserialize_portable_artifact

from benchmarks import inputs
from benchmarks.peers import PERCEPTRONS, jax_scan

TOLERANCE = {"cpu": 1e-3, "gpu": 5e-2}
"""Of the largest entry of a result. Another compiler adds in another order, a GPU may round the factors of products to
fewer digits, and T steps carry that on."""

Call = Callable[[], Sequence[jax.Array]]
Row = dict[str, Any]


def load_program(artifact: bytes, arguments: Sequence[np.ndarray]) -> Call:
    """Compiles a portable StableHLO artifact for JAX's default device, with its arguments on it."""
    client = backend.get_backend()
    with mlir.make_ir_context():
        module = deserialize_portable_artifact(artifact)
        devices = xla_client.DeviceList(tuple(client.local_devices()[:1]))
        program = client.compile_and_load(module, devices, xla_client.CompileOptions())
    with jax.enable_x64(True):  # else a 64-bit counter of steps would arrive with 32
        on_device = [jax.device_put(argument, client.local_devices()[0]) for argument in arguments]

    def call():
        shards = program.execute_sharded(on_device).disassemble_into_single_device_arrays()
        return [shard for (shard,) in shards]

    return call


def scan(facts: dict, arguments: Sequence[np.ndarray]) -> Call:
    """The scan written by hand on the same inputs, of K optimizees by `jax.vmap`."""
    hidden, activation = PERCEPTRONS[facts["problem"]]
    count, data = facts["meta_batch_size"], {name: jnp.asarray(arguments[at]) for name, at in facts["named"].items()}
    data["batches"] = jnp.asarray(arguments[facts["batches"]])
    data["theta"] = jnp.concatenate([jnp.reshape(arguments[at], [count, -1]) for at in facts["params"]], axis=1)
    weights = [name for name in facts["named"] if name not in ("images", "labels")]
    sizes = (int(np.prod(data["images"].shape[1:])), *hidden, 10)

    @jax.jit
    def run(data):
        network = jax_scan.Network(sizes, activation, data["images"], data["labels"])
        phi, states = {name: data[name] for name in weights}, jax_scan.initial_states(data["theta"].shape[1])

        def one(theta, batches):
            arguments = (network, phi, theta, states, batches)
            if facts["method"] == "evaluation":
                return [jax_scan.rollout(*arguments)]
            (meta_loss, (_, _, losses)), gradient = jax_scan.window(*arguments)
            return [meta_loss, *(gradient[name] for name in weights), losses]

        if count == 1:
            return one(data["theta"][0], data["batches"])
        found = jax.vmap(one, in_axes=(0, 1))(data["theta"], data["batches"])
        return jax.tree.map(lambda x: x.mean(axis=0), found)

    return lambda: run(data)


def difference(found: Sequence[np.ndarray], stored: Sequence[np.ndarray]) -> float:
    """The largest difference between results, each in units of its largest entry."""
    pairs = [(np.asarray(a), b) for a, b in zip(found, stored, strict=False)]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def median_seconds(call: Call, limit: float, most: int = 50) -> tuple[float, int]:
    """Median time of a call, and of how many: at least one, then as many as fit into the limit."""
    times: list[float] = []
    while not times or (sum(times) < limit and len(times) < most):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times), len(times)


def bandwidth() -> float:
    """Bytes per second of a copy: read and written."""
    size = 2**28 if jax.default_backend() == "gpu" else 2**25
    numbers, copy = jnp.ones([size]), jax.jit(lambda x: x + 1)
    jax.block_until_ready(copy(numbers))
    return 2 * 4 * size / median_seconds(lambda: copy(numbers), 1.0)[0]


def measure(folder: Path, facts: dict, program: str, seconds: float) -> Row:
    """Compiles, checks and times a case.

    Raises:
        ValueError: if results differ from those that TensorFlow has stored.
    """
    with np.load(folder / f"{facts['name']}.npz", allow_pickle=False) as file:
        stored = dict(file)
    arguments = [inputs.make(recipe, stored) for recipe in facts["inputs"]]
    begun = time.perf_counter()
    if program == "jax":
        call = scan(facts, arguments)
    else:
        artifact = gzip.decompress((folder / f"{facts['name']}.stablehlo.gz").read_bytes())
        call = load_program(artifact, arguments)
    found = [np.asarray(x) for x in call()]
    row = {"first_call_s": round(time.perf_counter() - begun, 2)}
    if outputs := [stored[f"out_{i}"] for i in range(sum(name.startswith("out_") for name in stored))]:
        row["difference"] = difference(found, outputs)
        tolerance = TOLERANCE.get(jax.default_backend(), max(TOLERANCE.values()))
        if not row["difference"] < tolerance:
            raise ValueError(f"Received results that differ by {row['difference']}, expected < {tolerance}.")
    median, row["repetitions"] = median_seconds(call, seconds)
    ms = 1e3 * median / facts["num_steps"]
    return row | {"ms": ms, "ns": 1e6 * ms / facts["coordinates"] / facts["meta_batch_size"]}


NAMES = ("problem", "optimizer", "method", "meta_batch_size", "coordinates", "bytes")


def rows_of(cases: Sequence[dict], most: int) -> list[tuple[dict, Row]]:
    """Facts and an empty row of each case, and of its JAX scan where there is one, in their order."""
    found = []
    for facts in cases:
        if facts["meta_batch_size"] > most:
            continue
        by_hand = facts["problem"] in PERCEPTRONS and facts["optimizer"] == "L2O-DM" and facts["method"] != "sampled"
        for program in ("tensorflow", "jax") if by_hand else ("tensorflow",):
            waiting = {"program": program, "status": "not run", "reason": "The budget was used up."}
            found.append((facts, {name: facts[name] for name in NAMES} | waiting))
    return found


def with_ratios(rows: Sequence[Row], bytes_per_second: float) -> list[Row]:
    """The same rows with `x_adam`, `x_memory` and `x_jax`, where there is what they are divided by."""

    def key(row, **changes):
        wanted = row | changes
        return tuple(wanted[name] for name in ("problem", "meta_batch_size", "optimizer", "method", "program"))

    done, found = {key(row): row["ns"] for row in rows if "ns" in row}, []
    for row in rows:
        ratios = {}
        if "ns" in row:
            method = "training" if row["method"] == "sampled" else row["method"]
            references = {
                "x_adam": done.get(key(row, optimizer="adam", method="evaluation", program="tensorflow")),
                "x_memory": 1e9 * row["bytes"] / bytes_per_second,
                "x_jax": done.get(key(row, method=method, program="jax")),
            }
            ratios = {name: row["ns"] / other for name, other in references.items() if other}
        found.append(row | ratios)
    return found


class Report:
    """The JSON file: whole at any time, written again after each case."""

    def __init__(self, path: Path, head: Row, rows: Sequence[Row]):
        self._path, self._head, self._rows, self._lock = path, head, rows, threading.Lock()

    def write(self) -> None:
        with self._lock:
            text = json.dumps(self._head | {"cases": with_ratios(self._rows, self._head["bandwidth"])}, indent=1)
            part = self._path.with_name(f"{self._path.name}.tmp")
            part.write_text(text)
            part.replace(self._path)


def run(folder: Path, cases: Sequence[tuple[dict, Row]], report: Report, end: float, case_seconds: float) -> bool:
    """Measures until `end`, a time of `time.monotonic`; returns whether all that was measured is right."""
    longest = 0.0
    for facts, row in cases:
        if time.monotonic() + longest > end:  # the next one may take as long
            break
        begun = time.monotonic()
        row["reason"] = "It was running when the time was up."
        try:
            row |= measure(folder, facts, row["program"], case_seconds) | {"status": "done"}
            del row["reason"]
        except (RuntimeError, MemoryError, ValueError) as error:  # JAX's errors, out of memory too, are RuntimeErrors
            row |= {"status": "failed", "reason": str(error)[:500]}
        longest = max(longest, time.monotonic() - begun)
        report.write()
        names = [str(row[name]) for name in (*NAMES[:4], "program")]
        told = f"{row['ns']:.3f} ns" if "ns" in row else row["reason"].splitlines()[0]
        print(" / ".join(names), told, flush=True)
    return not any(row["status"] == "failed" and "differ" in row["reason"] for _, row in cases)


def parse() -> argparse.Namespace:
    """The command line, checked before anything is compiled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what benchmarks.gpu_export has written")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write; must not exist")
    parser.add_argument("--budget", type=float, default=440, help="seconds for everything; default 440")
    parser.add_argument("--case_seconds", type=float, default=2, help="seconds to repeat a case; default 2")
    parser.add_argument("--most", type=int, default=2**30, help="leave out cases of a larger K; default: none")
    given = parser.parse_args()
    if not (given.folder / "cases.json").exists():
        parser.error(f"Received {given.folder}, expected a folder that benchmarks.gpu_export has written.")
    if given.output.exists():
        parser.error(f"Received --output={given.output}, which exists. Name another file.")
    return given


def main() -> int:
    """Measures all cases in the order of `cases.json`."""
    given, begun = parse(), time.monotonic()
    exported = json.loads((given.folder / "cases.json").read_text())
    cases = rows_of(exported["cases"], given.most)
    head = {
        "commit": exported["commit"],
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "budget": given.budget,
        "bandwidth": bandwidth(),
    }
    report = Report(given.output, head, [row for _, row in cases])
    report.write()

    def stop():  # a compiler cannot be interrupted
        report.write()
        os._exit(0)

    watch = threading.Timer(given.budget + 20 - (time.monotonic() - begun), stop)
    watch.daemon = True
    watch.start()
    right = run(given.folder, cases, report, begun + given.budget, given.case_seconds)
    watch.cancel()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
