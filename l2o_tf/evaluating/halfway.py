"""Keeps the state of a running evaluation in a file, so that an interrupted evaluation can be continued.

    halfway.npz     "of": SHA-256 of what is evaluated, how, and by which program; "done": windows so far; "seconds";
                    "losses [R, done, T+1]"; "full/<name> [R, M]"; "0", "1", ...: tensors of the carry, serialised

The file is replaced once in a while; that takes at most a fiftieth of the time. A damaged file, or that of another
evaluation, is ignored with a warning. Tensors are written as they are: a continued evaluation has bit for bit the same
result as one that was not interrupted.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from l2o_tf.common.reading import LIMITS_OF_RESULTS, read_bytes, read_npz
from l2o_tf.saving import write_atomically

LARGEST = 2**30
"""A carry of more bytes is not written."""


class Halfway(NamedTuple):
    """The state of an evaluation of R runs.

    Attributes:
        done: number of windows that are done.
        carry: parameters, constants and optimizer states of all runs.
        losses: pieces `[R, w, T+1]` that follow each other, `done` windows in all.
        full: name -> pieces `[R]`, one for each measurement over the whole data set.
        seconds: of the steps so far.
    """

    done: int
    carry: Any
    losses: list[np.ndarray]
    full: dict[str, list[np.ndarray]]
    seconds: float


class Keeper:
    """Keeps a `Halfway` in a file.

    Args:
        path: the file.
        of: everything that decides the result, of JSON types.
        every: least seconds between two writings; default 60.
        clock: seconds, monotonic.
    """

    def __init__(
        self, path: Path, of: Mapping[str, Any], every: float = 60.0, clock: Callable[[], float] = time.monotonic
    ):
        self._path, self._every, self._clock = path, every, clock
        self._of = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
        self._next = clock() + every

    def load(self, begin: Halfway) -> Halfway:
        """The state in the file, which has the structure of `begin`; if the file does not fit, `begin`."""
        if not self._path.exists():
            return begin
        try:
            arrays = read_npz(read_bytes(self._path, LIMITS_OF_RESULTS["most"]), self._path, **LIMITS_OF_RESULTS)
            if str(arrays["of"]) == self._of:
                return _read(arrays, begin)
            reason = "of other settings, weights or another program"
        except (OSError, ValueError, KeyError, TypeError, tf.errors.OpError):
            reason = "damaged"
        logging.warning("%s is %s: the evaluation begins anew.", self._path, reason)
        return begin

    def save(self, halfway: Halfway) -> None:
        """Writes the file, if it is time to.

        Raises:
            OSError: if the folder cannot be written or the disk is full; an earlier file stays.
        """
        leaves, began = tf.nest.flatten(halfway.carry), self._clock()
        if began < self._next or sum(leaf.dtype.size * leaf.shape.num_elements() for leaf in leaves) > LARGEST:
            return
        arrays = {
            str(k): np.frombuffer(tf.io.serialize_tensor(leaf).numpy(), np.uint8) for k, leaf in enumerate(leaves)
        }
        arrays |= {f"full/{name}": np.stack(values, axis=-1) for name, values in halfway.full.items()}
        content = io.BytesIO()
        losses = np.concatenate(halfway.losses, axis=1)
        np.savez(content, of=self._of, done=halfway.done, seconds=halfway.seconds, losses=losses, **arrays)
        write_atomically(self._path, content.getvalue())
        ended = self._clock()
        self._next = ended + max(self._every, 50 * (ended - began))


def _read(arrays: Mapping[str, np.ndarray], begin: Halfway) -> Halfway:
    like = tf.nest.flatten(begin.carry)
    found = [tf.io.parse_tensor(arrays[str(k)].tobytes(), leaf.dtype) for k, leaf in enumerate(like)]
    done, losses = int(arrays["done"]), arrays["losses"]
    shapes_fit = all(tensor.shape == leaf.shape for tensor, leaf in zip(found, like, strict=True))
    if not shapes_fit or losses.ndim != 3 or losses.shape[1] != done or losses.dtype != np.float32:
        raise ValueError("its arrays have other shapes")
    full = {name.removeprefix("full/"): arrays[name] for name in arrays if name.startswith("full/")}
    return Halfway(
        done,
        tf.nest.pack_sequence_as(begin.carry, found),
        [losses],
        {name: list(np.moveaxis(values, -1, 0)) for name, values in full.items()},
        float(arrays["seconds"]),
    )
