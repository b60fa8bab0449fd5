"""The house rules that a machine can check: ranks, lengths, paths, pickles.

`RANKS` is the one place where the ranks are written down. A new module gets its line there; until it has one, the
suite fails. The checks themselves are functions of sources, and are tested on sources that break each rule.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module imports lower ranks and, without cycles, its own. The first pattern that matches decides.
RANKS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (0, ("l2o_tf", "l2o_tf.devices", "l2o_tf.names", "l2o_tf.nest", "l2o_tf.summary")),
    (0, ("l2o_tf.keras_backend", "l2o_tf.keras_registration", "l2o_tf.variable_memory")),
    (0, ("l2o_tf.quoting", "l2o_tf.reading")),
    (0, ("problems.base", "problems.lazy", "problems.closed_pipe", "problems.python_files")),
    (0, ("problems.quiet", "problems.user_errors")),
    (0, ("l2o_tf.architectures", "l2o_tf.config", "l2o_tf.config_checks", "l2o_tf.presets")),
    (1, ("problems.datasets", "problems.sources")),
    (2, ("problems", "problems.*")),
    (3, ("l2o_tf.optimizers.base", "l2o_tf.optimizers.contract", "l2o_tf.optimizers.preprocess")),
    (4, ("l2o_tf.optimizers", "l2o_tf.optimizers.*")),
    (5, ("l2o_tf.guard", "l2o_tf.pull_back", "l2o_tf.unroll", "l2o_tf.objectives")),
    (6, ("l2o_tf.techniques", "l2o_tf.techniques.*")),
    (7, ("l2o_tf.assembly", "l2o_tf.averaging", "l2o_tf.inspection", "l2o_tf.meta_epoch", "l2o_tf.standing")),
    (7, ("l2o_tf.drift", "l2o_tf.evaluation", "l2o_tf.halfway", "l2o_tf.meta_optimizers")),
    (7, ("l2o_tf.meta_trainer", "l2o_tf.validation")),
    (8, ("l2o_tf.checkpoint.__main__",)),
    (7, ("l2o_tf.checkpoint", "l2o_tf.checkpoint.*", "l2o_tf.trained")),
    (8, ("l2o_tf.plots", "l2o_tf.plots.*")),
    (7, ("l2o_tf.results",)),
    (8, ("l2o_tf.comparison", "l2o_tf.console", "l2o_tf.keras_optimizer", "l2o_tf.cards", "l2o_tf.__main__")),
    (8, ("l2o_tf.event_file", "l2o_tf.xla_cache")),
    (8, ("l2o_tf.progress", "l2o_tf.records", "l2o_tf.reporting", "l2o_tf.run_directory")),
    (9, ("meta_train", "evaluate", "reproduce", "benchmarks", "benchmarks.*", "examples.*", "docs.api.*")),
)
OURS = ("l2o_tf", "problems", "meta_train", "evaluate", "reproduce", "benchmarks")
MAX_FUNCTION_LINES = 50  # without the docstring


def rank(module: str) -> int | None:
    for value, patterns in RANKS:
        if any(fnmatchcase(module, pattern) for pattern in patterns):
            return value
    return None


def imports(module: str, source: str, modules: Iterable[str], is_package: bool = False) -> set[str]:
    """The modules of this project that `source` imports, wherever in the file it does so."""
    known, found = set(modules), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            anchor = module.split(".")[: None if is_package and node.level == 1 else -(node.level - is_package)]
            parts = (anchor if node.level else []) + ([node.module] if node.module else [])
            base = ".".join(parts)
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
    return {name for name in found if name.split(".")[0] in OURS} - {module}


def rank_faults(graph: Mapping[str, set[str]]) -> list[str]:
    """Unranked modules, upward arrows, cycles, and problems that know the optimizers."""
    faults = [f"{module} has no rank: give it a line in RANKS" for module in graph if rank(module) is None]
    for module, targets in graph.items():
        for target in sorted(targets):
            here, there = rank(module), rank(target)
            if there is None and target not in graph:
                faults.append(f"{module} imports {target}, which has no rank")
            elif here is not None and there is not None and there > here:
                faults.append(f"{module} (rank {here}) imports {target} (rank {there}): upward")
            if module.startswith("problems") and target.startswith("l2o_tf"):
                faults.append(f"{module} imports {target}: problems never import l2o_tf")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        faults.append("cycle: " + " -> ".join(error.args[1]))
    return faults


def length_faults(name: str, source: str) -> list[str]:
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            doc = node.body[0] if ast.get_docstring(node) is not None else None
            length = node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)
            if length > MAX_FUNCTION_LINES:
                faults.append(f"{name}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
    return faults


MACHINE_PATH = re.compile(r"(?<![A-Za-z0-9_.])/(work|farm|root|home/[a-z]+|Users/[A-Za-z]+)/")


def path_faults(name: str, text: str) -> list[str]:
    found = (MACHINE_PATH.search(line) for line in text.splitlines())
    return [f"{name}:{number}: {hit.group()} is a path of one machine" for number, hit in enumerate(found, 1) if hit]


def pickle_faults(module: str, source: str) -> list[str]:
    """Unpickling runs what the file says. `pickle` is for tests that make evil files only."""
    faults, may_import = [], module.startswith("tests")
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        banned = {"pickle", "_pickle", "dill", "joblib", "cloudpickle", "shelve"} & {n.split(".")[0] for n in names}
        if banned and not (may_import and banned == {"pickle"}):
            faults.append(f"{module}:{node.lineno}: imports {banned.pop()}")
        if isinstance(node, ast.ImportFrom) and node.module == "pickle" and {a.name for a in node.names} & LOADERS:
            faults.append(f"{module}:{node.lineno}: imports a loader of pickle")
        if isinstance(node, ast.Attribute) and node.attr in LOADERS and ast.unparse(node.value) == "pickle":
            faults.append(f"{module}:{node.lineno}: pickle.{node.attr}")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            faults.append(f"{module}:{node.value.lineno}: allow_pickle={ast.unparse(node.value)}")
    return faults


LOADERS = {"load", "loads"}


def files() -> list[Path]:
    """What git would put into a commit of everything, or, outside of git, everything but the environment."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        names = [
            str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.relative_to(ROOT).parts[0] not in (".venv", "runs")
        ]
    return sorted(ROOT / name for name in names if name and (ROOT / name).is_file())


def python_files() -> dict[str, Path]:
    """Module name -> file."""
    paths = [path for path in files() if path.suffix == ".py"]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def test_imports_point_downward():
    ours = {module: path for module, path in python_files().items() if module.split(".")[0] != "tests"}
    graph = {m: imports(m, path.read_text(), ours, path.name == "__init__.py") for m, path in ours.items()}
    assert "problems.base" in graph
    assert not rank_faults(graph)


def test_an_installation_has_all_packages():
    ours = [module for module in python_files() if module.split(".")[0] in ("l2o_tf", "problems")]
    packages = {module.rpartition(".")[0] or module for module in ours}
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert set(configured) == packages | {"l2o_tf.recipes"}


def test_functions_are_short():
    assert not [fault for module, path in python_files().items() for fault in length_faults(module, path.read_text())]


def test_no_unpickling_and_no_machine_paths():
    assert not [fault for module, path in python_files().items() for fault in pickle_faults(module, path.read_text())]
    texts = [
        path
        for path in files()
        if path.suffix in {".py", ".md", ".txt", ".toml", ".flags", ".json", ".yaml", ".ipynb", ""}
    ]
    assert ROOT / "README.md" in texts
    name_of = {path: str(path.relative_to(ROOT)) for path in texts}
    assert not [fault for p in texts for fault in path_faults(name_of[p], p.read_text(errors="replace"))]


MODULES = ("problems.base", "problems.networks", "l2o_tf.nest", "l2o_tf.unroll", "l2o_tf.plots", "l2o_tf.plots.style")


@pytest.mark.parametrize(
    ("module", "source", "is_package", "expected"),
    [
        ("l2o_tf.unroll", "from l2o_tf import nest", False, {"l2o_tf.nest"}),
        ("l2o_tf.unroll", "from l2o_tf import __version__", False, {"l2o_tf"}),
        ("l2o_tf.unroll", "def f():\n    import problems.base", False, {"problems.base"}),
        ("l2o_tf.unroll", "from .nest import size", False, {"l2o_tf.nest"}),
        ("l2o_tf.plots.style", "from .. import nest", False, {"l2o_tf.nest"}),
        ("l2o_tf.plots", "from .style import save", True, {"l2o_tf.plots.style"}),
        ("l2o_tf.plots", "from ..nest import size", True, {"l2o_tf.nest"}),
        ("l2o_tf.unroll", "import numpy, evaluate_something", False, set()),
    ],
)
def test_imports_are_found(module, source, is_package, expected):
    assert imports(module, source, MODULES, is_package) == expected


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"l2o_tf.nest": {"l2o_tf.unroll"}, "l2o_tf.unroll": set()}, "upward"),
        ({"l2o_tf.optimizers.base": {"l2o_tf.optimizers.dm"}}, "upward"),
        ({"problems.networks": {"l2o_tf.nest"}}, "problems never import l2o_tf"),
        ({"l2o_tf.novelty": set()}, "has no rank"),
        ({"l2o_tf.unroll": {"l2o_tf.novelty"}}, "has no rank"),
        ({"problems.networks": {"problems.analytic"}, "problems.analytic": {"problems.networks"}}, "cycle"),
    ],
)
def test_a_wrong_arrow_is_found(graph, message):
    assert any(message in fault for fault in rank_faults(graph))


def test_right_arrows_pass():
    assert not rank_faults(
        {"evaluate": {"l2o_tf.plots", "problems"}, "l2o_tf.unroll": {"l2o_tf.nest", "problems.base"}}
    )


def test_a_long_function_is_found():
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    assert length_faults("m", "def f():\n" + body) == ["m:1: f has 51 lines, at most 50"]
    assert not length_faults("m", 'def f():\n    """One.\n\n    Two.\n    """\n' + body.removeprefix("    x = 1\n"))


@pytest.mark.parametrize("folder", ["work", "root", "home/ada", "Users/Ada"])
def test_a_machine_path_is_found(folder):
    assert path_faults("m", f"first\nopen('/{folder}/data')") == [f"m:2: /{folder}/ is a path of one machine"]
    assert not path_faults("m", f"see docs/{folder}/data")


@pytest.mark.parametrize(
    ("module", "source", "ok"),
    [
        ("l2o_tf.records", "import pickle", False),
        ("l2o_tf.records", "from joblib import load", False),
        ("l2o_tf.records", "json.load(file)", True),
        ("l2o_tf.checkpoint.original", "import pickle\nclass Plain(pickle.Unpickler): ...", False),
        ("l2o_tf.checkpoint.original", "import pickletools", True),
        ("tests.test_evil", "from pickle import loads", False),
        *[("l2o_tf.records", f"np.load(path, allow_pickle={allowed})", not allowed) for allowed in (True, False)],
        *[
            ("tests.test_evil", f"import pickle\npickle.{call}(x)", call == "dumps")
            for call in ("dumps", "load", "loads")
        ],
    ],
)
def test_unpickling_is_found(module, source, ok):
    """The sources are only parsed, never run."""
    assert (not pickle_faults(module, source)) == ok
