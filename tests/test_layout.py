"""The house rules that a machine can check: order of packages, lengths, paths, pickles.

`PACKAGES` is the one place where the order of the packages is written down.
The checks themselves are functions of sources, and are tested on sources that break each rule.
"""

import ast
import pkgutil
import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Packages from the bottom to the top. A module imports packages below its own and, without cycles, its own.
PACKAGES: tuple[str, ...] = (
    "problems",
    "l2o_tf.common",
    "l2o_tf.optimizers",
    "l2o_tf.unrolling",
    "l2o_tf.recording",
    "l2o_tf.plots",
    "l2o_tf.saving",
    "l2o_tf.evaluating",
    "l2o_tf.keras_optimizer",
    "l2o_tf.training",
    "l2o_tf.cli",
    "l2o_tf",
    "benchmarks",
    "docs",
    "examples",
)
SCRIPTS = ("meta_train", "evaluate", "reproduce")
OURS = ("l2o_tf", "problems", "meta_train", "evaluate", "reproduce", "benchmarks")
MAX_FUNCTION_LINES = 50  # without the docstring


def package(module: str) -> str | None:
    """The room that a module stands in."""
    if module in ("l2o_tf", "l2o_tf.__main__"):
        return "l2o_tf"
    found = [name for name in PACKAGES if name != "l2o_tf" and f"{module}.".startswith(f"{name}.")]
    return max(found, key=len, default=None)


def rank(module: str) -> int | None:
    """Position of the module's package, from the bottom; scripts are above all packages."""
    if module in SCRIPTS:
        return len(PACKAGES)
    return PACKAGES.index(package(module)) if package(module) else None


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
    faults = [
        f"{module} is in no package: give the package a line in PACKAGES" for module in graph if rank(module) is None
    ]
    for module, targets in graph.items():
        for target in sorted(targets):
            here, there = rank(module), rank(target)
            if there is None and target not in graph:
                faults.append(f"{module} imports {target}, which is in no package")
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


@pytest.mark.parametrize("package", ["l2o_tf", "problems"])
def test_type_checkers_see_the_public_names(package):
    """`__init__.pyi` has each name that `__init__.py` loads when it is used, and where it is."""
    lazy = dict(re.findall(r'"(\w+)": "([\w.:]+)"', (ROOT / package / "__init__.py").read_text()))
    stub = ast.parse((ROOT / package / "__init__.pyi").read_text())
    seen = {a.asname: pkgutil.resolve_name(f"{n.module}.{a.name}") for n in imported(stub) for a in n.names}
    assert seen == {name: pkgutil.resolve_name(place) for name, place in lazy.items()}


def imported(tree: ast.Module) -> list[ast.ImportFrom]:
    return [node for node in tree.body if isinstance(node, ast.ImportFrom)]


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


MODULES = (
    "problems.base",
    "problems.images.perceptrons",
    "l2o_tf.common.nest",
    "l2o_tf.unrolling.unroll",
    "l2o_tf.plots",
    "l2o_tf.plots.style",
)


@pytest.mark.parametrize(
    ("module", "source", "is_package", "expected"),
    [
        ("l2o_tf.unrolling.unroll", "from l2o_tf.common import nest", False, {"l2o_tf.common.nest"}),
        ("l2o_tf.unrolling.unroll", "from l2o_tf import __version__", False, {"l2o_tf"}),
        ("l2o_tf.unrolling.unroll", "def f():\n    import problems.base", False, {"problems.base"}),
        ("l2o_tf.common.names", "from .nest import size", False, {"l2o_tf.common.nest"}),
        ("l2o_tf.plots.style", "from ..common import nest", False, {"l2o_tf.common.nest"}),
        ("l2o_tf.plots", "from .style import save", True, {"l2o_tf.plots.style"}),
        ("l2o_tf.plots", "from ..common.nest import size", True, {"l2o_tf.common.nest"}),
        ("l2o_tf.unrolling.unroll", "import numpy, evaluate_something", False, set()),
    ],
)
def test_imports_are_found(module, source, is_package, expected):
    assert imports(module, source, MODULES, is_package) == expected


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({"l2o_tf.common.nest": {"l2o_tf.unrolling.unroll"}, "l2o_tf.unrolling.unroll": set()}, "upward"),
        ({"l2o_tf.optimizers.base": {"l2o_tf.saving.loading"}}, "upward"),
        ({"problems.images.perceptrons": {"l2o_tf.common.nest"}}, "problems never import l2o_tf"),
        ({"l2o_tf.novelty": set()}, "is in no package"),
        ({"l2o_tf.unrolling.unroll": {"l2o_tf.novelty"}}, "is in no package"),
        (
            {
                "problems.images.perceptrons": {"problems.toys.deepmind"},
                "problems.toys.deepmind": {"problems.images.perceptrons"},
            },
            "cycle",
        ),
    ],
)
def test_a_wrong_arrow_is_found(graph, message):
    assert any(message in fault for fault in rank_faults(graph))


def test_right_arrows_pass():
    assert not rank_faults(
        {"evaluate": {"l2o_tf.plots", "problems"}, "l2o_tf.unrolling.unroll": {"l2o_tf.common.nest", "problems.base"}}
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
        ("l2o_tf.recording.records", "import pickle", False),
        ("l2o_tf.recording.records", "from joblib import load", False),
        ("l2o_tf.recording.records", "json.load(file)", True),
        ("l2o_tf.saving.original", "import pickle\nclass Plain(pickle.Unpickler): ...", False),
        ("l2o_tf.saving.original", "import pickletools", True),
        ("tests.test_evil", "from pickle import loads", False),
        *[
            ("l2o_tf.recording.records", f"np.load(path, allow_pickle={allowed})", not allowed)
            for allowed in (True, False)
        ],
        *[
            ("tests.test_evil", f"import pickle\npickle.{call}(x)", call == "dumps")
            for call in ("dumps", "load", "loads")
        ],
    ],
)
def test_unpickling_is_found(module, source, ok):
    """The sources are only parsed, never run."""
    assert (not pickle_faults(module, source)) == ok
