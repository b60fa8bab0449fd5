"""`--architecture=k=10,layers=20+20`: arguments of an optimizer's constructor, as text.

Commas separate the arguments, `+` joins the items of a list. The constructor says what a text means: its annotations
and defaults give the types, and it refuses what it cannot use. Nothing here imports TensorFlow before a constructor is
needed.
"""

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from l2o_tf.common import names
from l2o_tf.common.quoting import cut
from problems.common.python_files import is_file

_HELP = "`--architecture=help` lists the arguments"
_OURS = ("seed", "name", "dtype", "self")
"""Parameters of constructors that `--architecture` does not set."""

_SWITCH = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


def _switch(text: str) -> bool:
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


_READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (_switch, "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "a word"),
}
"""Type -> how a text becomes a value of it, and what errors call it."""


class Argument(NamedTuple):
    """A parameter of a constructor.

    Attributes:
        default: its default.
        kind: type of its values, or of the items of a list; None where the constructor does not say.
        is_list: whether it takes a list.
        optional: whether it takes None.
    """

    default: Any
    kind: type | None
    is_list: bool
    optional: bool

    def read(self, text: str) -> Any:
        """The value that a text means.

        Raises:
            ValueError: if it has another form.
        """
        if self.optional and text.lower() == "none":
            return None
        if not self.is_list and not (self.kind is None and "+" in text):
            return self._read(text)
        items = re.split(r"(?<!\d[eE])\+", text) if text else []  # the + of 1e+3 joins nothing
        return tuple(map(self._read, items))

    def _read(self, text: str) -> Any:
        for kind in (self.kind,) if self.kind else (int, float, bool, str):
            try:
                return _READERS[kind][0](text)
            except ValueError:
                continue
        raise ValueError(text)

    def __str__(self) -> str:
        what = _READERS[self.kind][1] if self.kind else "a value"
        return f"{what}, or several joined by +" if self.is_list else f"{what}{' or none' if self.optional else ''}"


def entries(text: str) -> dict[str, str]:
    """`"k=10,layers=20+20"` -> `{"k": "10", "layers": "20+20"}`.

    Raises:
        ValueError: for an entry without a name or `=`, or a name that comes twice.
    """
    found = {}
    for entry in text.split(",") if text else []:
        name, equals, value = entry.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(
                f"Received --architecture={cut(text)}, expected name=value with a comma between two of them, such as "
                f"k=10,layers=20+20; {_HELP}."
            )
        if name in found:
            raise ValueError(f"Received --architecture={cut(text)}, where {name} comes twice.")
        found[name] = value
    return found


def merged(*texts: str) -> str:
    """One text for several; a later one overrides an earlier one. Names are in alphabetical order."""
    found = {name: value for text in texts for name, value in entries(text).items()}
    return ",".join(f"{name}={found[name]}" for name in sorted(found))


def arguments(kinds: Iterable[str], text: str) -> dict[str, dict[str, Any]]:
    """What each of several optimizers gets of `--architecture`: the arguments that its constructor takes.

    Args:
        kinds: names of architectures, or `path/to/file.py:Class`; rules without meta-parameters take nothing.
        text: value of the flag.

    Raises:
        ValueError: for an argument that no constructor takes, or a text that is not of its type.
    """
    known = {kind: _parameters(kind) for kind in kinds}
    found: dict[str, dict[str, Any]] = {kind: {} for kind in known}
    for name, value in entries(text).items():
        takers = [kind for kind in known if name in known[kind]]
        if not takers:
            raise ValueError(_unknown(name, value, known))
        for kind in takers:
            try:
                found[kind][name] = known[kind][name].read(value)
            except ValueError:
                raise ValueError(
                    f"Received --architecture={cut(f'{name}={value}')}, expected {known[kind][name]}."
                ) from None
    return found


def _unknown(name: str, value: str, known: Mapping[str, Mapping[str, Argument]]) -> str:
    taken = sorted({each for parameters in known.values() for each in parameters})
    received = f"Received --architecture={cut(f'{name}={value}')} for {' and '.join(known)}"
    if name == "seed":
        return f"{received}, which has a flag of its own. Use --seed={cut(value)}."
    return f"{received}, expected {f'one of {taken}' if taken else 'no argument'}.{names.hint(name, taken)}"


def text(kind: str, architecture: Mapping[str, Any]) -> str:
    """The flag's value that gives an optimizer these arguments.

    Arguments that have their defaults are left out, and so are values that a text cannot express, such as dicts.
    """
    known = _parameters(kind)
    texts = {name: _text(architecture[name]) for name in known if name in architecture}
    return merged(
        ",".join(f"{name}={it}" for name, it in texts.items() if it not in (None, _text(known[name].default)))
    )


def _text(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        items = [_text(item) for item in value]
        return None if None in items else "+".join(items)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float | str) and "," not in str(value) else None


def listing(kinds: Iterable[str]) -> str:
    """What `--architecture=help` shows: the arguments of each optimizer with their defaults and their meaning."""
    return "\n\n".join(_listed(kind) for kind in kinds)


def _listed(kind: str) -> str:
    known = _parameters(kind)
    if not known:
        return f"{kind} takes no arguments."
    defaults = ",".join(f"{name}={_text(argument.default) or ''}" for name, argument in known.items())
    documented = re.search(r"^Args:\n((?:    .*\n|\n)+)", inspect.getdoc(_constructor(kind)) or "", re.MULTILINE)
    meaning = f"\n{documented[1].rstrip()}" if documented else ""
    return f"{kind}, with the defaults:\n  --architecture={defaults}{meaning}"


def _constructor(kind: str) -> type | None:
    """The class behind the name of an optimizer that learns; None for others."""
    from l2o_tf.optimizers import CELLS, from_file

    return from_file.own_class(kind) if is_file(kind) else CELLS.get(kind)


def _parameters(kind: str) -> dict[str, Argument]:
    """The arguments that an optimizer's constructor takes."""
    constructor = _constructor(kind)
    if constructor is None:
        return {}
    try:
        hints = typing.get_type_hints(constructor.__init__)
    except Exception:  # annotations of the user's own, which need not lead anywhere
        hints = {}
    signature = inspect.signature(constructor).parameters.values()
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {
        each.name: _argument(None if each.default is each.empty else each.default, hints.get(each.name))
        for each in signature
        if each.kind not in variable and each.name not in _OURS
    }


def _argument(default: Any, hint: Any) -> Argument:
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    choices = typing.get_args(hint) if union else (hint,)
    optional = default is None or types.NoneType in choices
    for choice in choices:
        origin = typing.get_origin(choice) or choice
        if choice in _READERS:
            return Argument(default, choice, False, optional)
        if isinstance(origin, type) and issubclass(origin, collections.abc.Sequence):
            item = (*typing.get_args(choice), None)[0]
            return Argument(default, item if item in _READERS else None, True, optional)
    if isinstance(default, list | tuple):
        item = type(default[0]) if default else None
        return Argument(default, item if item in _READERS else None, True, optional)
    return Argument(default, type(default) if type(default) in _READERS else None, False, optional)
