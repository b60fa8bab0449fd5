"""Times the programs of `benchmarks.gpu_export` through JAX's runtime, beside the scan written by hand in JAX.

    python -m benchmarks.bench_gpu build/hlo

Milliseconds per step and optimizee on JAX's default device. `program` is what TensorFlow compiles for meta_train.py or
evaluate.py, compiled again from its StableHLO by the XLA that JAX brings. `jax` is benchmarks/peers/jax_scan.py on the
same inputs. Both must give the outputs that TensorFlow has stored; otherwise the command stops. It needs JAX and NumPy
only, and uses the call behind `jax.jit` of jax 0.10, as JAX has no public one for a StableHLO program.
"""

import argparse
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

from benchmarks.peers import PERCEPTRONS, jax_scan

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


def scan(facts: dict, arguments: Sequence[np.ndarray], theta: np.ndarray) -> Call | None:
    """The scan written by hand, on the same inputs, of K optimizees by `jax.vmap`; None for what it does not know."""
    if facts["problem"] not in PERCEPTRONS or facts["optimizer"] != "L2O-DM":
        return None
    hidden, activation = PERCEPTRONS[facts["problem"]]
    data = {name: jnp.asarray(arguments[index]) for name, index in facts["named"].items()}
    data["theta"] = jnp.asarray(theta)
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

        if len(theta) == 1:
            return one(data["theta"][0], data["batches"])
        found = jax.vmap(one, in_axes=(0, 1))(data["theta"], data["batches"])
        return jax.tree.map(lambda x: x.mean(axis=0), found)

    return lambda: run(data, phi, states)


def difference(found: Sequence[np.ndarray], stored: Sequence[np.ndarray]) -> float:
    """The largest difference between results, each in units of its largest entry."""
    pairs = [(np.asarray(a), b) for a, b in zip(found, stored, strict=False)]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def bench(folder: Path, repetitions: int) -> dict[str, dict[str, float]]:
    """Checks and measures one phase: method -> `ms`, `difference` from the stored outputs.

    Raises:
        ValueError: if results differ from those that TensorFlow has stored.
    """
    facts = json.loads((folder / "facts.json").read_text())
    with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
        arguments, outputs = (
            [stored[f"{kind}_{i}"] for i in range(sum(name.startswith(kind) for name in stored.files))]
            for kind in ("in", "out")
        )
        by_hand = scan(facts, arguments, stored["theta"])
    calls = {"program": load_program((folder / "program.stablehlo").read_bytes(), arguments)}
    calls |= {"jax": by_hand} if by_hand else {}
    differences = {name: difference(call(), outputs) for name, call in calls.items()}
    tolerance = TOLERANCE.get(jax.default_backend(), max(TOLERANCE.values()))
    if not max(differences.values()) < tolerance:
        raise ValueError(f"Received results that differ from TensorFlow's by {differences}, expected < {tolerance}.")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    steps = facts["num_steps"] * facts["meta_batch_size"]
    return {
        name: {"ms": 1e3 * statistics.median(times) / steps, "difference": differences[name]}
        for name, times in seconds.items()
    }


def main() -> None:
    """Prints a table of both phases and every K."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what benchmarks.gpu_export has written")
    parser.add_argument("--repetitions", type=int, default=20)
    given = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    print(f"{'phase':12}{'K':>4}  {'method':10}{'ms/step':>9}{'difference':>12}")
    exported = [(json.loads(path.read_text()), path.parent) for path in given.folder.glob("*/facts.json")]
    for facts, folder in sorted(exported, key=lambda found: (found[0]["phase"], found[0]["meta_batch_size"])):
        for method, row in bench(folder, given.repetitions).items():
            begin = f"{facts['phase']:12}{facts['meta_batch_size']:4}  {method:10}"
            print(f"{begin}{row['ms']:9.3f}{row['difference']:12.1e}", flush=True)
    if not exported:
        parser.error(f"Received {given.folder}, expected a folder that benchmarks.gpu_export has written.")


if __name__ == "__main__":
    main()
