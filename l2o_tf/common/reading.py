"""Reads files that anybody may have written, and checks what they claim to hold before it takes memory for that."""

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2o_tf.common.quoting import reason, short

MOST_BYTES = 2**26
"""Limit for the weights of an optimizer, in the file and in memory; those that ship have up to 2^18 bytes."""

LIMITS_OF_RESULTS = {"most": 2**33, "most_arrays": 100_000}
"""Arguments of `read_npz` for the curves of evaluations."""

MOST_JSON_BYTES = 2**24
MOST_JSON_NESTS = 500_000
MOST_JSON_DEPTH = 100
MOST_ARRAYS = 2000
MOST_HEADER_BYTES = 10_000


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most so many bytes; others are a ValueError."""
    if not path.is_file():
        raise ValueError(f"Received {path}, expected a regular file.")
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"Received {path} of {size:,} bytes, expected at most {most:,}.")
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """What a JSON file holds. Errors are those of `read_bytes` and `parse_json`, which do not name the file."""
    return parse_json(read_bytes(path, MOST_JSON_BYTES))


def parse_json(data: bytes) -> Any:
    """What JSON says; a ValueError if it is none, too full or too deep."""
    if data.count(b"[") + data.count(b"{") > MOST_JSON_NESTS:  # 3 bytes each, in memory a hundred
        raise ValueError(f"it has more than {MOST_JSON_NESTS:,} lists")
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError(f"it is deeper than {MOST_JSON_DEPTH} levels") from None
    level = [found]
    for _ in range(MOST_JSON_DEPTH):
        nests = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [each for nest in nests for each in nest]
    if level:
        raise ValueError(f"it is deeper than {MOST_JSON_DEPTH} levels")
    return found


class Header(NamedTuple):
    """What an `.npz` file says about an array; `order` is `"C"` or `"F"`, `size` the bytes of the header itself."""

    dtype: np.dtype
    shape: tuple[int, ...]
    order: str
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.dtype.itemsize * math.prod(self.shape)


def read_npz(
    data: bytes,
    source: str | Path,
    most: int = MOST_BYTES,
    most_arrays: int = MOST_ARRAYS,
) -> dict[str, np.ndarray]:
    """Arrays by name; their headers, some hundred bytes each, are read first.

    Args:
        data: the file's content.
        source: what errors call it.
        most, most_arrays: limits for the bytes of all arrays and for their number.

    Raises:
        ValueError: if the bytes are not a complete `.npz` file, hold Python objects, are encrypted, or would be more
            than `most` in memory.
    """
    try:
        if data.count(zipfile.stringCentralDir) > most_arrays:  # `zipfile` would keep a record of each
            raise ValueError(f"it has more than {most_arrays:,} members")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise ValueError("it has two arrays of a name")
            headers = {name: _header(archive, info) for name, info in members.items()}
            if sum(header.nbytes for header in headers.values()) > most:
                raise ValueError(f"its arrays are of more than {most:,} bytes")
            return {name: _array(archive, members[name], headers[name]) for name in members}
    except Exception as error:  # Whatever a damaged or hostile file leads to, it is the file's fault.
        raise ValueError(
            f"Received {source}, {len(data):,} bytes, which is damaged, cut short or no .npz file of plain arrays "
            f"({reason(error)}). Copy or save it again."
        ) from error


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    """The header of a member; reads no more of it."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack more than is asked for
        raise ValueError(f"{short(info.filename)} is compressed in another way than NumPy's")
    with archive.open(info) as member:
        start = io.BytesIO(member.read(MOST_HEADER_BYTES))
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, column_major, dtype = readers[np.lib.format.read_magic(start)](start)
    header = Header(dtype, shape, "F" if column_major else "C", start.tell())
    if dtype.hasobject or min(shape, default=0) < 0 or info.file_size != header.size + header.nbytes:
        raise ValueError(f"{short(info.filename)} holds Python objects, or is not as long as it says")
    return header


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: Header) -> np.ndarray:
    return np.ndarray(header.shape, header.dtype, archive.read(info), header.size, order=header.order).copy("K")
