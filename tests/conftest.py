"""What every test shares: the environment, where the recorded references lie, and seeds.

Nothing here imports TensorFlow, so that a test that does not need it does not pay for it.
"""

import functools
import gc
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from l2o_tf.common import xla_cache, xla_flags

BESIDE = Path(__file__).resolve().parents[2] / "shared"
"""Files that may lie beside the checkout. They are never needed: a test that wants them is skipped without them."""

QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
"""`XLA_FLAGS` where there are none: most programs are compiled once here, for a few steps. They are the same programs,
with XLA's older code for fusions, and not optimized: neither by LLVM, nor as graphs by TensorFlow. `XLA_FLAGS= make
test`, which `.ci/run` does, tests them as users have them."""


def _environment() -> None:
    """Set before TensorFlow and matplotlib are imported, which is when they read it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["MPLBACKEND"] = "Agg"
    if (BESIDE / "data" / "tfds").is_dir():
        os.environ.setdefault("TFDS_DATA_DIR", str(BESIDE / "data" / "tfds"))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's threads turn in circles while they wait for work
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:  # TensorFlow takes every core for each process otherwise
        threads = str(max(1, (os.cpu_count() or 1) // workers))
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", threads)
        os.environ.setdefault("TF_NUM_INTEROP_THREADS", threads)
    os.environ.setdefault("XLA_FLAGS", QUICK_TO_COMPILE)
    xla_flags.prefer_wide_vectors()  # as the scripts do, whose processes have the same bits then
    xla_cache.enable()  # a second run of the suite compiles less


_environment()
gc.set_threshold(50_000)  # tracing makes many objects that stay; to look through them less often saves a tenth


def pytest_collection_finish() -> None:
    _leave_graphs_as_they_are()
    gc.freeze()  # what is there before the first test stays: TensorFlow and Keras


def _leave_graphs_as_they_are() -> None:
    """The part of `QUICK_TO_COMPILE` that is TensorFlow's; nothing to do where no test imports it."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow and os.environ["XLA_FLAGS"].startswith(QUICK_TO_COMPILE):
        tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole commands are run by the files of this folder, which take the longest: they come first, then the folders
    below `tests/l2o_tf`, and last the short files of `tests/problems`, so that all workers end at the same time."""
    top = len(Path(__file__).parts)
    items.sort(key=lambda item: (len(item.path.parts) > top, -len(item.path.parts)))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of the files recorded from the original programs (`*_golden.npz`, `weights/`, `orig_eval_curves.npz`)."""
    folder = BESIDE / "reference"
    if not folder.is_dir():
        pytest.skip("the recorded references are not there: ../shared/reference")
    return folder


@pytest.fixture(scope="session")
def recordings(shared_dir: Path) -> Callable[[str], dict[str, np.ndarray]]:
    """`"dm_golden" -> {key: array}`: a file of `shared_dir`, read once; `"weights/dm"` is one, too."""

    @functools.cache
    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(shared_dir / f"{name}.npz", allow_pickle=False) as file:
            arrays = dict(file)
        for array in arrays.values():
            array.setflags(write=False)
        return arrays

    return read


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    """Folder with MNIST as TFDS prepares it."""
    folder = Path(os.environ.get("TFDS_DATA_DIR", "."))
    if not (folder / "mnist").is_dir():
        pytest.skip("real MNIST is not prepared: set TFDS_DATA_DIR")
    return folder


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random numbers, whichever tests ran before it in its process.

    But for TensorFlow's, which the package never draws from without a seed: `tf.random.set_seed` empties the caches of
    kernels, and files that compile little took a fifth longer.
    """
    random.seed(0)
    np.random.seed(0)
