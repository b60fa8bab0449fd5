"""Builds the API reference from the docstrings, with pdoc: build/docs/index.html.

    python -m docs.api.build
    python -m docs.api.build another/folder

The first page has the public API, the names that `l2o_tf/__init__.py` exports. Every module has a page of its own.
"""

import inspect
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import pdoc

from l2o_tf.cli import console

HERE = Path(__file__).parent
PACKAGES = ("l2o_tf", "problems")


def public_names(package: ModuleType) -> list[str]:
    """The public API: names that the package loads when they are used, in the order of its source."""
    order = inspect.getsource(package).index
    return sorted((name for name in dir(package) if name not in vars(package)), key=lambda name: order(f'"{name}"'))


def show_public_names(package: ModuleType) -> None:
    """Makes attributes of the public names, since pdoc sees no others, and puts them before the submodules."""
    names = public_names(package)
    if names:
        vars(package).update({name: getattr(package, name) for name in names})
        package.__all__ = names


def name_submodules(package: ModuleType) -> None:
    """Adds the submodules to `__all__`, all the way down: pdoc leaves out those that are not there."""
    show_public_names(package)
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        name = module.name.rpartition(".")[2]
        if name != "__main__" and name not in getattr(package, "__all__", [name]):
            package.__all__.append(name)
        if module.ispkg:
            name_submodules(pdoc.extract.load_module(module.name))


def main(output: Path) -> None:
    """Writes the pages into that folder."""
    console.import_tensorflow()
    for package in map(pdoc.extract.load_module, PACKAGES):
        name_submodules(package)
    pdoc.render.configure(docformat="google", template_directory=HERE, show_source=False)
    pdoc.pdoc(*PACKAGES, output_directory=output)
    print(f"API reference: {output / 'index.html'}")


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["build/docs"]))
