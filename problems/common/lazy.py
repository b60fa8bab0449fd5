"""Names of a package that load what they need when they are used."""

import pkgutil
import sys
from collections.abc import Callable, Mapping
from typing import Any


def exports(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of the package of that name; `places` says where a name is, `"module:attribute"`."""

    def find(name):
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return pkgutil.resolve_name(places[name])

    return find, lambda: sorted({*vars(sys.modules[package]), *places})
