"""Counts what the code is made of: lines, files, packages, and the import arrows between them.

    python -m benchmarks.house
    python -m benchmarks.house --root=../older-checkout

It reads the sources of a checkout (default: the present folder), old or new, and runs nothing of it.
"""

import argparse
import ast
from pathlib import Path

COUNTED = ("l2o_tf", "problems", "benchmarks")
SCRIPTS = ("meta_train", "evaluate", "reproduce")


def sources(root: Path) -> dict[str, Path]:
    """Module -> file. A package counts as the module of its `__init__.py`."""
    files = [*(root / f"{name}.py" for name in SCRIPTS), *(p for name in COUNTED for p in (root / name).rglob("*.py"))]
    found = {".".join(path.relative_to(root).with_suffix("").parts): path for path in files if path.exists()}
    return {name.removesuffix(".__init__"): path for name, path in found.items()}


def arrows(modules: dict[str, Path]) -> set[tuple[str, str]]:
    """Pairs `(importer, imported)` of modules; imports inside functions and lazy exports (`"module:name"`) count."""
    found = set()
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in modules else node.module for name in names]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
                names = [node.value.partition(":")[0]]
            found |= {(module, name) for name in names if name in modules and name != module}
    return found


def main(root: Path) -> None:
    """Prints a line per package, then the sums."""
    modules = sources(root)
    lines = {module: len(path.read_text().splitlines()) for module, path in modules.items()}
    where = {m: m if path.name == "__init__.py" else m.rpartition(".")[0] or m for m, path in modules.items()}
    between = arrows(modules)
    importers = [sum(target == module for _, target in between) for module in modules]
    for name in sorted(set(where.values())):
        own = [module for module in modules if where[module] == name]
        print(f"{name:40}{len(own):4} files{sum(lines[module] for module in own):7,} lines")
    across = {(where[a], where[b]) for a, b in between if where[a] != where[b]}
    print(f"{sum(lines.values()):,} lines, {len(modules)} files, {len(set(where.values()) - set(SCRIPTS))} packages")
    print(f"{len(between)} arrows between modules, {importers.count(1)} modules with one importer")
    print(f"{len(across)} arrows between packages")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path())
    main(parser.parse_args().root)
