"""Several processes, connected by TensorFlow's `tf.distribute.MultiWorkerMirroredStrategy`.

Each process has one replica: on a machine with several GPUs, each of its workers takes one of them. The strategy serves
for its cluster and its collectives. Variables are not the strategy's own: they begin equal and all processes give them
equal updates, so they are mirrored. The strategy's variables would ask for a `merge_call` at each assignment, which
TensorFlow refuses inside `tf.cond` and `tf.while_loop`, and a meta-epoch is one loop.

Collectives are called outside of XLA, between windows, in the same order everywhere. A ring adds up each number in one
place and sends it round, so all processes get the same bits.

TensorFlow's coordination service notices a worker whose connection breaks at once, and one that hangs or has lost its
network after about ten seconds. Everybody's next collective then fails.
"""

import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_tf.common.quoting import differences, few, reason
from l2o_tf.common.workers import ALONE, Share, Workers, addresses_of, check_addresses, pack, unpack

SUM, MEAN = tf.distribute.ReduceOp.SUM, tf.distribute.ReduceOp.MEAN


def connect(addresses: Sequence[str] | None = None, index: int = 0) -> Workers:
    """Connects the processes of one training or evaluation. Start the same program on every machine.

    Call it before anything else of TensorFlow, which can only be connected when it starts. It waits until all workers
    are there.

    Args:
        addresses: of all workers, `host:port`, in the same order everywhere. The first one is the chief, which alone
            writes files. Default: what the environment variable `TF_CONFIG` says; without it, this process is alone.
        index: of this process among them.

    Returns:
        The workers, for `MetaTrainer(..., workers=workers)` or `evaluate(..., workers=workers)`.

    Raises:
        ValueError: if an address is none or is there twice, if `index` is not that of an address, if `TF_CONFIG` does
            not describe workers, or if TensorFlow has begun to work.
        ConnectionError: if this process cannot serve at its address, or another one does not come.

    Example:
        With `l2o.connect(["10.0.0.1:2222", "10.0.0.2:2222"], index=1)` on the second of two machines, each has two of
        the four optimizees. Here, without `TF_CONFIG`, one process has them all:

        >>> import l2o_tf as l2o
        >>> workers = l2o.connect()
        >>> task = l2o.make_problem("quadratic", batch_size=2, num_dims=2)
        >>> options = {"curriculum": 8, "windows": 4, "meta_batch_size": 4}
        >>> trainer = l2o.MetaTrainer(l2o.L2ODM(layers=(4,)), task, workers=workers, **options)
        >>> workers.share
        Share(index=0, count=1)
    """
    if addresses is None:
        addresses, index = addresses_of(os.environ.get("TF_CONFIG", ""))
        if not addresses:
            return ALONE
    check_addresses(addresses, index)
    return Cluster(addresses, index) if len(addresses) > 1 else ALONE


class Cluster(Workers):
    """This process among several, as number `index`; see `connect`."""

    def __init__(self, addresses: Sequence[str], index: int):
        self.share, self._addresses = Share(index, len(addresses)), list(addresses)
        gpus = _take_own_gpu(addresses, index)
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": self._addresses}),
            task_type="worker",
            task_id=index,
            num_accelerators={"GPU": gpus},
            rpc_layer="grpc",
        )
        print(f"This is {self._name(index)}. It waits until all {len(addresses)} are there.", file=sys.stderr)
        try:
            with _obeying_ctrl_c():
                self._strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        except tf.errors.OpError as error:
            raise ConnectionError(
                f"{self._name(index)} cannot connect to the others at {', '.join(addresses)} ({reason(error)}). Start "
                "all workers with the same list; each must be able to open its own port."
            ) from error
        except RuntimeError as error:
            raise ValueError(
                f"Received workers after TensorFlow has begun to work ({reason(error)}). Connect them first."
            ) from error
        self._gathered = tf.function(self._all_gather, autograph=False, input_signature=[tf.TensorSpec([None])])
        self._summed = tf.function(
            lambda vector: self._all_reduce(SUM, vector), autograph=False, input_signature=[tf.TensorSpec([None])]
        )

    def _name(self, index: int) -> str:
        return f"worker {index} ({self._addresses[index]})"

    def _all_reduce(self, operation: tf.distribute.ReduceOp, vector: tf.Tensor) -> tf.Tensor:
        # `tf.identity` gives the tensor a device, by which the strategy chooses the collective.
        context = tf.distribute.get_replica_context
        return self._strategy.run(lambda: context().all_reduce(operation, tf.identity(vector)))

    def _all_gather(self, vector: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context
        return self._strategy.run(lambda: context().all_gather(tf.identity(vector), axis=0))

    def agree(self, values: Any) -> Any:
        """One all-reduce of all values together: for as few numbers, what it takes is mostly the way."""
        flat = [tf.convert_to_tensor(value) for value in tf.nest.flatten(values)]
        wide = tf.float64 if any(value.dtype == tf.float64 for value in flat) else tf.float32
        vector = tf.concat([tf.reshape(tf.cast(value, wide), [-1]) for value in flat], axis=0)
        parts = tf.split(self._all_reduce(MEAN, vector), [tf.size(value) for value in flat], num=len(flat))
        shaped = [tf.ensure_shape(tf.reshape(x, tf.shape(old)), old.shape) for x, old in zip(parts, flat, strict=True)]
        found = [x > 0 if old.dtype == tf.bool else tf.cast(x, old.dtype) for x, old in zip(shaped, flat, strict=True)]
        return tf.nest.pack_sequence_as(values, found)

    def gather(self, content: bytes) -> list[bytes]:
        """Bytes travel as floats, which collectives take on every device."""
        with self.together():
            length = np.frombuffer(len(content).to_bytes(8, "little"), np.uint8)
            sent = np.concatenate([length, np.frombuffer(content, np.uint8)]).astype(np.float32)
            received = self._gathered(tf.constant(sent)).numpy().astype(np.uint8).tobytes()
        found = []
        while received:
            end = 8 + int.from_bytes(received[:8], "little")
            found.append(received[8:end])
            received = received[end:]
        return found

    def joined(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        found = [unpack(content) for content in self.gather(pack(arrays))]
        return [np.concatenate(rows) for rows in zip(*filter(None, found), strict=True)]

    def told(self, make: Callable[[], bytes]) -> bytes:
        said = b""
        try:
            said = b"+" + make() if self.is_chief else b""
        except (ValueError, OSError) as error:
            self.gather(b"-" + str(error).encode())
            raise
        said = self.gather(said)[0]
        if said.startswith(b"-"):
            raise ValueError(f"{self._name(0)}, the chief, has refused. {said[1:].decode()}")
        return said[1:]

    def mirror(self, read: Callable[[], bytes], write: Callable[[bytes], None]) -> None:
        found = self.told(read)
        if not self.is_chief:
            write(found)

    def most(self, number: int = 0) -> int:
        numbers = np.zeros(self.share.count, np.float32)
        numbers[self.share.index] = number
        with self.together():
            return int(self._summed(tf.constant(numbers)).numpy().max())

    def require_equal(self, about: Callable[[], Mapping[str, Any]]) -> None:
        found = [json.loads(each) for each in self.gather(json.dumps(about()).encode())]
        clauses = []
        for index, other in enumerate(found):
            clauses += differences(found[0], other, f"on {self._name(0)}", f"on {self._name(index)}")
        if clauses:
            raise ValueError(
                f"Received workers that are not alike: {few(clauses)}. Start all of them with the same program, "
                "options and data."
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            if "ollective" not in error.message:  # an error of this process alone
                raise
            lost = {int(number) for number in re.findall(r"/task:(\d+)", error.message)} - {self.share.index}
            name = " and ".join(map(self._name, sorted(lost))) or "another worker"
            raise ConnectionError(
                f"{name} has ended or cannot be reached, so {self._name(self.share.index)} ends, too. What it printed "
                "says why. Start all workers again with the same commands to continue."
            ) from error


def _take_own_gpu(addresses: Sequence[str], index: int) -> int:
    """Makes one GPU visible, if there is any: the workers of one machine take its GPUs in turn. Returns how many."""
    gpus = tf.config.list_physical_devices("GPU")
    host = addresses[index].rpartition(":")[0]
    before = [address for address in addresses[:index] if address.rpartition(":")[0] == host]
    if len(gpus) > 1:
        if len(before) >= len(gpus):
            raise ValueError(f"Received more workers on {host} than it has GPUs, {len(gpus)}. Start one for each GPU.")
        tf.config.set_visible_devices(gpus[len(before)], "GPU")
    return min(1, len(gpus))


@contextlib.contextmanager
def _obeying_ctrl_c() -> Iterator[None]:
    """Lets Ctrl-C end the process while TensorFlow waits, where Python would not hear it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
