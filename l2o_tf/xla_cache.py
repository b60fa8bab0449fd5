"""What XLA has compiled is kept on disk, so that the next process need not compile it again.

TensorFlow offers the cache and keys it by program and device, but neither by processor nor by `XLA_FLAGS`, and its CPU
entries are machine code. So each processor has a folder of its own, for home directories that several machines share,
and so have other flags, which would get what was compiled without them::

    $XDG_CACHE_HOME/l2o_tf/xla/<TensorFlow's version>-<hash of processor and flags>        ($XDG_CACHE_HOME: ~/.cache)

`L2O_TF_XLA_CACHE` names another folder for these; empty, it switches the cache off. A cache directory that is already
in `TF_XLA_FLAGS` stands. Entries are written to a temporary file and renamed; the folder may be deleted at any time.
"""

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import MutableMapping
from pathlib import Path

SETTING, FLAGS, FLAG = "L2O_TF_XLA_CACHE", "TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory"


def enable(environment: MutableMapping[str, str] = os.environ) -> None:
    """Tells TensorFlow, which must not be imported yet, where its cache is; without a writable folder there is none."""
    given = environment.get(FLAGS, "")
    chosen = environment.get(SETTING)
    if FLAG in given or chosen == "":
        return
    folder = (Path(chosen) if chosen else _default(environment)) / _key(environment)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(folder, os.W_OK) and " " not in str(folder):  # a flag of TF_XLA_FLAGS ends at a space
        environment[FLAGS] = f"{given} {FLAG}={folder}".strip()


def advice(message: str, environment: MutableMapping[str, str] = os.environ) -> str:
    """What to add to an error that names the cache, which TensorFlow does not survive when it cannot write it."""
    _, _, folder = environment.get(FLAGS, "").partition(f"{FLAG}=")
    folder = folder.split(" ")[0]
    return f". {SETTING}= (empty) switches this cache off." if folder and folder in message else ""


def _default(environment: MutableMapping[str, str]) -> Path:
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "l2o_tf" / "xla"


def _key(environment: MutableMapping[str, str]) -> str:
    decides = _processor() + environment.get("XLA_FLAGS", "")
    return f"{importlib.metadata.version('tensorflow')}-{hashlib.sha256(decides.encode()).hexdigest()[:12]}"


def _processor() -> str:
    """What decides which instructions the machine code may have."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
