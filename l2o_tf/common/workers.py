"""The processes of one job. Each computes a share, and they agree on everything that decides.

`Workers()` is a process alone. It has nobody to ask, and nothing here costs it anything. Several processes are a
`Cluster` (`l2o_tf.common.cluster`), which has the same methods. Worker 0 is the *chief*: it alone writes files.
"""

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

EXAMPLE = "10.0.0.1:2222,10.0.0.2:2222"


class Part(NamedTuple):
    """Some of a number of things: `count` of `total`, from `first` on."""

    total: int
    first: int
    count: int

    def of(self, things: Any) -> Any:
        """These of all things, a sequence or a tensor with an axis of them."""
        return things[self.first : self.first + self.count]


class Share(NamedTuple):
    """Which of several shares: `index`, from 0, of `count`."""

    index: int = 0
    count: int = 1

    def part(self, total: int) -> Part:
        """What this share has of `total` things. Shares differ by one thing at most; the first has some if any has."""
        first, end = (-(-index * total // self.count) for index in (self.index, self.index + 1))  # rounded up
        return Part(total, first, end - first)


class Workers:
    """The processes that work on one training or evaluation. This class: one process alone. `connect` makes several.

    Attributes:
        share: which share of the work is this process's.
    """

    share = Share()

    @property
    def is_chief(self) -> bool:
        """Whether this process writes files and speaks to people."""
        return self.share.index == 0

    def agree(self, values: Any) -> Any:
        """A nest of tensors as all workers have it: the mean of numbers; of booleans whether any is true."""
        return values

    def gather(self, content: bytes) -> list[bytes]:
        """What each worker gives, in their order."""
        return [content]

    def joined(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Each array with the rows of all workers, in their order. A worker without rows gives no arrays."""
        return arrays

    def told(self, make: Callable[[], bytes]) -> bytes:
        """What the chief makes; its ValueError or OSError is everybody's."""
        return make()

    def mirror(self, read: Callable[[], bytes], write: Callable[[bytes], None]) -> None:
        """Everybody takes over what the chief has."""

    def most(self, number: int = 0) -> int:
        """The largest of the workers' numbers, from 0 to 2^24."""
        return number

    def require_equal(self, about: Callable[[], Mapping[str, Any]]) -> None:
        """Raises ValueError on every worker unless all give the same; values are of JSON types."""

    def together(self) -> contextlib.AbstractContextManager:
        """Inside, the loss of another worker is a ConnectionError that says so."""
        return contextlib.nullcontext()


ALONE = Workers()


def pack(arrays: Sequence[np.ndarray]) -> bytes:
    """Arrays as bytes, of which `unpack` makes the same ones."""
    file = io.BytesIO()
    np.savez(file, *arrays)
    return file.getvalue()


def unpack(content: bytes) -> list[np.ndarray]:
    """The arrays that `pack` was given."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return [file[name] for name in file.files]


def check_addresses(addresses: Sequence[str], index: int) -> None:
    """Raises ValueError unless these are addresses of workers, and one has this index."""
    for address in addresses:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            raise ValueError(f"Received the worker {address!r}, expected host:port, for example {EXAMPLE}.")
    if not addresses or len(set(addresses)) < len(addresses):
        raise ValueError(f"Received the workers {','.join(addresses)!r}, expected different ones, such as {EXAMPLE}.")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(addresses):
        raise ValueError(
            f"Received the worker index {index!r} with {len(addresses)} workers, expected one from 0 to "
            f"{len(addresses) - 1}."
        )


def addresses_of(config: str) -> tuple[list[str], int]:
    """The workers of a `TF_CONFIG`, the chief first, and the index of this process; none if it names no cluster.

    >>> addresses_of('{"cluster": {"worker": ["a:1"], "chief": ["c:1"]}, "task": {"type": "worker", "index": 0}}')
    (['c:1', 'a:1'], 1)
    """
    expected = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        found = json.loads(config or "{}")
        cluster, task = found.get("cluster") or {}, found.get("task") or {}
        jobs = {job: list(cluster.pop(job)) for job in ("chief", "worker") if job in cluster}
        if not jobs and not cluster:
            return [], 0
        if cluster:
            raise ValueError(f"it has jobs called {', '.join(cluster)}")
        addresses, before = jobs.get("chief", []) + jobs.get("worker", []), {"worker": len(jobs.get("chief", []))}
        own = jobs[task["type"]]
        if not 0 <= task["index"] < len(own):
            raise ValueError(f"it has no {task['type']} {task['index']}")
        return addresses, before.get(task["type"], 0) + task["index"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"Received TF_CONFIG={config[:300]!r} ({error!r}), expected one like {expected}.") from error
