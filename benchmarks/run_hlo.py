"""Runs what `benchmarks/gpu_hlo.py` has written, through JAX's runtime: JAX and NumPy are all that it needs.

    python -m benchmarks.run_hlo build/hlo
    OPENBLAS_NUM_THREADS=1 python -m benchmarks.run_hlo build/hlo      # on a CPU, for the sake of the floor

Beside each other, milliseconds per step and optimizee on JAX's default device: the program that TensorFlow compiles for
meta_train.py or evaluate.py, compiled from its StableHLO by the XLA that JAX brings; the scan written by hand in JAX
(benchmarks/peers/jax_scan.py) on the same inputs; and the floor of that device (benchmarks/floor.py): on a CPU by
NumPy, elsewhere the matrix products of a step and its transcendental functions as one program that does nothing else.
The outputs of program and scan are compared with those that TensorFlow has stored; a difference ends the run.

JAX has no public call that runs a StableHLO program by itself; this uses the one behind `jax.jit`, of jax 0.10.
"""

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax.extend import backend
from jax.extend.mlir import deserialize_portable_artifact

from benchmarks import floor
from benchmarks.peers import jax_scan
from benchmarks.plan import PERCEPTRONS

TOLERANCE = {"cpu": 1e-3, "gpu": 5e-2}
"""Of the largest entry of a result. Another compiler adds in another order, a GPU may round the factors of products to
fewer digits, and T steps carry that on."""

Call = Callable[[], Sequence[jax.Array]]


def load_program(artifact: bytes, arguments: Sequence[np.ndarray]) -> Call:
    """Compiles a portable StableHLO artifact for JAX's default device, with its arguments on it."""
    client = backend.get_backend()
    with mlir.make_ir_context():
        module = deserialize_portable_artifact(artifact)
        devices = xla_client.DeviceList(tuple(client.local_devices()[:1]))
        program = client.compile_and_load(module, devices, xla_client.CompileOptions())
    on_device = [jax.device_put(argument, client.local_devices()[0]) for argument in arguments]

    def call():
        shards = program.execute_sharded(on_device).disassemble_into_single_device_arrays()
        return [shard for (shard,) in shards]

    return call


def peer(facts: dict, arguments: Sequence[np.ndarray], theta: np.ndarray) -> Call | None:
    """The hand-written scan with its inputs on the device; None for what it does not know. K of them by `jax.vmap`."""
    if facts["problem"] not in PERCEPTRONS or facts["optimizer"] != "L2O-DM":
        return None
    hidden, activation = PERCEPTRONS[facts["problem"]]
    data = {name: jnp.asarray(arguments[index]) for name, index in facts["named"].items()} | {
        "theta": jnp.asarray(theta)
    }
    phi = {name: data.pop(name) for name in facts["weights"]}
    states = jax_scan.initial_states(theta.shape[1])
    sizes = (int(np.prod(data["images"].shape[1:])), *hidden, 10)

    @jax.jit
    def run(data, phi, states):
        network = jax_scan.Network(sizes, activation, data["images"], data["labels"])

        def one(theta, batches):
            arguments = (network, phi, theta, states, batches)
            if facts["phase"] == "evaluation":
                return [jax_scan.rollout(*arguments)]
            (meta_loss, (_, _, losses)), gradient = jax_scan.window(*arguments)
            return [meta_loss, *(gradient[name] for name in facts["weights"]), losses]

        return mean_over(one, data["theta"], data["batches"])

    return lambda: run(data, phi, states)


def mean_over(function: Callable, theta: jax.Array, batches: jax.Array):
    """`function(theta [N], batches [T+1, B])` of one optimizee, or its mean over K; `theta` is `[K, N]`."""
    if len(theta) == 1:
        return function(theta[0], batches)
    found = jax.vmap(function, in_axes=(0, 1))(theta, batches)
    return jax.tree.map(lambda x: x.mean(axis=0), found)


def device_floor(facts: dict, num_steps: int) -> Callable[[], object]:
    """A call that does the work of the floor for so many steps of K optimizees.

    On a CPU it does one after the other. Elsewhere a product of the optimizees is one batched product, and the cell's
    products are over K N coordinates.
    """
    count, shapes, batch_size = facts["meta_batch_size"], facts["shapes"], facts["batch_size"]
    if jax.default_backend() == "cpu":
        work = floor.step(facts["optimizer"], facts["phase"], shapes, batch_size, floor.threads())
        return floor.prepare(work, num_steps * count, floor.threads())
    size = count * sum(int(np.prod(shape)) for shape in shapes.values())
    work = floor.step(facts["optimizer"], facts["phase"], {"coordinates": (size,)}, batch_size)
    optimizees = floor.perceptron_products(list(shapes.values()), batch_size)
    operands = [(jnp.ones(product[:2]), jnp.ones(product[1:])) for product in work.products]
    operands += [(jnp.ones((count, *product[:2])), jnp.ones((count, *product[1:]))) for product in optimizees]

    @jax.jit
    def run(operands, numbers):
        for _ in range(work.transcendentals // size):
            numbers = jnp.tanh(numbers)
        return [numbers, *(a * b if a.shape[-1] == 1 else a @ b for a, b in operands)]

    numbers = jnp.linspace(-4, 4, size)
    return lambda: [run(operands, numbers) for _ in range(num_steps)]


def difference(found: Sequence[np.ndarray], stored: Sequence[np.ndarray]) -> float:
    """The largest difference between results, each in units of its largest entry."""
    pairs = [(np.asarray(a), b) for a, b in zip(found, stored, strict=False)]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def median_ms(calls: dict[str, Callable[[], object]], repetitions: int, num_steps: int) -> dict[str, float]:
    """Milliseconds per step; the calls, each of so many steps, take turns after one that compiles."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(times[1:]) / num_steps for name, times in seconds.items()}


def bench(folder: Path, repetitions: int) -> dict[str, dict[str, float | None]]:
    """Checks and measures one phase: method -> `ms`, `ratio` to the floor, `difference` from the stored outputs.

    Raises:
        ValueError: if results differ from those that TensorFlow has stored.
    """
    facts = json.loads((folder / "facts.json").read_text())
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        arguments, outputs = (
            [stored[f"{kind}_{i}"] for i in range(sum(name.startswith(kind) for name in stored.files))]
            for kind in ("in", "out")
        )
        scan = peer(facts, arguments, stored["theta"])
    calls = {"program": load_program((folder / "program.stablehlo").read_bytes(), arguments)}
    if scan:
        calls["jax"] = scan
    differences = {name: difference(call(), outputs) for name, call in calls.items()}
    tolerance = TOLERANCE.get(jax.default_backend(), max(TOLERANCE.values()))
    if not max(differences.values()) < tolerance:
        raise ValueError(f"Received results that differ from TensorFlow's by {differences}, expected < {tolerance}.")
    calls["floor"] = device_floor(facts, facts["num_steps"])
    times = median_ms(calls, repetitions, facts["num_steps"] * facts["meta_batch_size"])
    return {
        name: {"ms": ms, "ratio": ms / times["floor"], "difference": differences.get(name)}
        for name, ms in times.items()
    }


def main() -> None:
    """Prints a table of both phases and every K."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what benchmarks.gpu_hlo has written")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("history", type=Path, nargs="?", help="file that gets the results as one JSON line")
    given = parser.parse_args()
    device, results = jax.devices()[0].device_kind, []
    print(f"{device}, jax {jax.__version__}")
    print(f"{'phase':12}{'K':>4}  {'method':10}{'ms/step':>9}{'x floor':>9}{'difference':>12}")
    exported = [(json.loads(path.read_text()), path.parent) for path in given.folder.glob("*/facts.json")]
    for facts, folder in sorted(exported, key=lambda found: (found[0]["phase"], found[0]["meta_batch_size"])):
        told = {key: facts[key] for key in ("problem", "optimizer", "phase", "meta_batch_size")}
        for name, row in bench(folder, given.repetitions).items():
            results.append(told | {"method": name} | row)
            apart = "" if row["difference"] is None else f"{row['difference']:.1e}"
            begin = f"{facts['phase']:12}{facts['meta_batch_size']:4}  {name:10}"
            print(f"{begin}{row['ms']:9.3f}{row['ratio']:9.2f}{apart:>12}", flush=True)
    if not results:
        parser.error(f"Received {given.folder}, expected a folder that benchmarks.gpu_hlo has written.")
    if given.history:
        made_by = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "commit": facts["commit"]}
        run = made_by | {"versions": {"jax": jax.__version__}, "machine": {"device": device}}
        with given.history.open("a") as file:
            file.write(json.dumps(run | {"arguments": {"benchmark": "hlo"}, "results": results}) + "\n")


if __name__ == "__main__":
    main()
