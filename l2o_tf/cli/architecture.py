"""`--architecture=k=10,layers=20+20`: arguments of an optimizer's constructor, as text.

Commas separate the arguments, `+` joins the items of a list. The default of an argument says of which type a text is,
a whole number with an annotation of `float` included; the constructor refuses what it cannot use. Nothing here imports
TensorFlow before a constructor is needed.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from l2o_tf.common import names
from l2o_tf.common.quoting import cut
from problems.common.python_files import is_file

_OURS = ("seed", "name", "dtype", "self")
"""Parameters of constructors that `--architecture` does not set."""

_SWITCH = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
_READERS = {int: int, float: float, bool: lambda text: _SWITCH[text.lower()], str: str}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def entries(text: str) -> dict[str, str]:
    """`"k=10,layers=20+20"` -> `{"k": "10", "layers": "20+20"}`."""
    found = {}
    for entry in text.split(",") if text else []:
        name, equals, value = entry.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(
                f"Received --architecture={cut(text)}, expected name=value with a comma between two of them, such as "
                "k=10,layers=20+20; `--architecture=help` lists the arguments."
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
    """What each of these optimizers gets of the text: the arguments that its constructor takes."""
    known = {kind: _defaults(kind) for kind in kinds}
    found: dict[str, dict[str, Any]] = {kind: {} for kind in known}
    for name, value in entries(text).items():
        takers = [kind for kind in known if name in known[kind]]
        if not takers:
            raise ValueError(_unknown(name, value, known))
        for kind in takers:
            found[kind][name] = _read(name, value, known[kind][name])
    return found


def normal(kinds: Iterable[str], given: str) -> str:
    """The text that all spellings of the same arguments share: without defaults, and `k=10` for `k=10.0`."""
    return merged(*(text(kind, found) for kind, found in arguments(kinds, given).items()))


def text(kind: str, architecture: Mapping[str, Any]) -> str:
    """The text that gives an optimizer these arguments, without defaults and what a text cannot express."""
    defaults = _defaults(kind)
    texts = {name: _text(architecture[name]) for name in defaults if name in architecture}
    return merged(",".join(f"{name}={it}" for name, it in texts.items() if it not in (None, _text(defaults[name]))))


def listing(kinds: Iterable[str]) -> str:
    """What `--architecture=help` shows: the arguments of each optimizer with their defaults and their meaning."""
    return "\n\n".join(_listed(kind) for kind in kinds)


def _listed(kind: str) -> str:
    known = _defaults(kind)
    if not known:
        return f"{kind} takes no arguments."
    defaults = ",".join(f"{name}={_text(default) or ''}" for name, default in known.items())
    documented = re.search(r"^Args:\n((?:    .*\n|\n)+)", inspect.getdoc(_constructor(kind)) or "", re.MULTILINE)
    meaning = f"\n{documented[1].rstrip()}" if documented else ""
    return f"{kind}, with the defaults:\n  --architecture={defaults}{meaning}"


def _unknown(name: str, value: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    taken = sorted({each for defaults in known.values() for each in defaults})
    received = f"Received --architecture={cut(f'{name}={value}')} for {' and '.join(known)}"
    if name == "seed":
        return f"{received}, which has a flag of its own. Use --seed={cut(value)}."
    return f"{received}, expected {f'one of {taken}' if taken else 'no argument'}.{names.hint(name, taken)}"


def _read(name: str, text: str, default: Any) -> Any:
    """The value that a text means: of the type of the default, or, where that is None, of the type it looks like."""
    if default is None and text.lower() == "none":
        return None
    is_list = isinstance(default, list | tuple)
    kind = type((*default, None)[0] if is_list else default)
    try:
        if not is_list and not (default is None and "+" in text):
            return _value(text, kind)
        items = re.split(r"(?<!\d[eE])\+", text) if text else []  # the + of 1e+3 joins nothing
        return tuple(_value(item, kind) for item in items)
    except ValueError:
        expected = _WORDS[kind] + (", or several joined by +" if is_list else "")
        raise ValueError(f"Received --architecture={cut(f'{name}={text}')}, expected {expected}.") from None


def _value(text: str, kind: type) -> Any:
    for each in [kind] if kind in _READERS else _READERS:
        try:
            return _READERS[each](text)
        except (ValueError, KeyError):
            continue
    raise ValueError(text)


def _text(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        items = [_text(item) for item in value]
        return None if None in items else "+".join(items)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) if isinstance(value, int | float | str) and "," not in str(value) else None


def _constructor(kind: str) -> type | None:
    """The class behind the name of an optimizer that learns; None for others."""
    from l2o_tf.optimizers import CELLS, from_file

    return from_file.own_class(kind) if is_file(kind) else CELLS.get(kind)


def _defaults(kind: str) -> dict[str, Any]:
    """The arguments that an optimizer's constructor takes, and their defaults; None for one that must be given."""
    constructor = _constructor(kind)
    parameters = inspect.signature(constructor).parameters.values() if constructor else ()
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    taken = [each for each in parameters if each.kind not in variable and each.name not in _OURS]
    return {each.name: _default(each) for each in taken}


def _default(parameter: inspect.Parameter) -> Any:
    default = None if parameter.default is parameter.empty else parameter.default
    if "float" not in str(parameter.annotation):
        return default
    return float(default) if type(default) is int else tuple(map(float, default)) if type(default) is tuple else default
