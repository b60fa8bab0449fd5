"""Builds the API reference from the docstrings, with pdoc: build/docs/index.html.

    python -m docs.api.build
    python -m docs.api.build another/folder

pdoc leaves out submodules that the `__all__` of their package does not name; here every module has a page.
"""

import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import pdoc

from l2o_tf.cli import console

HERE = Path(__file__).parent
PACKAGES = ("l2o_tf", "problems")


def name_submodules(package: ModuleType) -> None:
    """Adds the submodules to `__all__`, where there is one, all the way down."""
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        name = module.name.rpartition(".")[2]
        if name != "__main__" and name not in getattr(package, "__all__", [name]):
            package.__all__.append(name)
        if module.ispkg:
            name_submodules(pdoc.extract.load_module(module.name))


def load_exports(package: ModuleType) -> None:
    """Makes attributes of the names that `problems.lazy` loads when they are used; pdoc looks for nothing else."""
    vars(package).update({name: getattr(package, name) for name in getattr(package, "__all__", [])})


def main(output: Path) -> None:
    """Writes the pages into that folder."""
    console.import_tensorflow()
    for package in map(pdoc.extract.load_module, PACKAGES):
        load_exports(package)
        name_submodules(package)
    pdoc.render.configure(docformat="google", template_directory=HERE)
    pdoc.pdoc(*PACKAGES, output_directory=output)
    print(f"API reference: {output / 'index.html'}")


if __name__ == "__main__":
    main(Path(*sys.argv[1:] or ["build/docs"]))
