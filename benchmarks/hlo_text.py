"""What the instructions of an optimized HLO program are, read from its text: pure functions, no TensorFlow."""

import re
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\S+) ([\w\-]+)\((.*)$")
_CALLED = re.compile(r"(?:body|condition|calls|to_apply)=%?([\w.\-]+)")
_NONLINEAR = {"tanh", "exponential", "log", "logistic", "exponential-minus-one", "log-plus-one", "power"}
_MOVES = {"copy", "slice", "concatenate", "broadcast", "transpose", "bitcast", "pad", "dynamic-slice", "gather"}
_FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "convert", "reshape", "iota"}


class Instruction(NamedTuple):
    """One instruction, and the operations that are fused into it.

    Attributes:
        name: in the text, and in a profile.
        where: `"forward"` for the first loop of the program, `"backward"` for those after it (one, or one for each
            share of the blocks), else `"outside"`.
        kind: `"product"`, `"nonlinearity"`, `"arithmetic"`, `"kept rows"` or `"move"`.
        what: operations and shapes, for people.
    """

    name: str
    where: str
    kind: str
    what: str


def instructions(text: str) -> dict[str, Instruction]:
    """All instructions outside of fusions, by name."""
    computations, entry = _parse(text)
    loops = [line for line in computations[entry] if line[2] == "while"]
    where = dict.fromkeys(computations, "outside")
    for number, loop in enumerate(loops):
        for name in _reachable(computations, _CALLED.findall(loop[3])):
            where[name] = "backward" if number else "forward"
    fused = {
        c for lines in computations.values() for line in lines if line[2] == "fusion" for c in _CALLED.findall(line[3])
    }
    found = {}
    for computation, lines in computations.items():
        shapes = {name: shape for name, shape, _, _ in lines}
        for line in () if computation in fused else lines:
            inner = (
                [x for called in _CALLED.findall(line[3]) for x in computations[called]] if line[2] == "fusion" else []
            )
            found[line[0]] = Instruction(line[0], where[computation], *_describe(line, inner, shapes))
    return found


def _parse(text: str):
    """`({computation: [(name, shape, operation, rest)]}, name of the entry)`."""
    computations, current, entry = {}, None, None
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            current = match[2]
            computations[current] = []
            entry = current if match[1] else entry
        elif current and (match := _INSTRUCTION.match(_without_tuple(line))):
            computations[current].append(match.groups())
    return computations, entry


def _without_tuple(line: str) -> str:
    """The shape of a tuple has spaces: it becomes `tuple`."""
    return re.sub(r" = \(.*?\) ([\w\-]+)\((?=[%\w)])", r" = tuple \1(", line, count=1)


def _reachable(computations, names) -> set[str]:
    seen, todo = set(), list(names)
    while todo:
        name = todo.pop()
        if name not in seen and name in computations:
            seen.add(name)
            todo += [called for line in computations[name] for called in _CALLED.findall(line[3])]
    return seen


def _describe(line, inner, shapes) -> tuple[str, str]:
    _, shape, operation, _ = line
    operations = [x[2] for x in inner] or [operation]
    if "dot" in operations:
        product = next((x for x in inner if x[2] == "dot"), line)
        known = {x[0]: x[1] for x in inner} | shapes if inner else shapes
        factors = [_size(known.get(operand, "")) for operand in re.findall(r"%([\w.\-]+)", product[3].split(")")[0])]
        return "product", f"{' x '.join(factors)} -> {_size(product[1])}"
    counts = {op: operations.count(op) for op in dict.fromkeys(operations) if op not in _FREE}
    words = ", ".join(f"{count} {op}" if count > 1 else op for op, count in counts.items()) or operation
    if "dynamic-update-slice" in operations:
        return "kept rows", f"{words}: {_size(shape)}"
    if _NONLINEAR & counts.keys():
        return "nonlinearity", f"{words}: {_size(shape)}"
    return "move" if counts.keys() <= _MOVES else "arithmetic", f"{words}: {_size(shape)}"


def _size(shape: str) -> str:
    match = re.match(r"\w+(\[[\d,]*\])", shape)
    return match[1] if match else shape
