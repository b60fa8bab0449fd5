"""The folder of an evaluation. Further evaluations can add their results to it.

    curves.npz      all results; `numpy.load` reads it, no pickle inside
    summary.json    the entry "about" of curves.npz, for people
    curves.png      the picture; `evaluate.py --plot_only` draws it again

Of R runs of S steps, `curves.npz` has::

    "<problem>/<optimizer>"                float32 [R, S]  losses; entry i is that after update i + 1, on a fresh
                                                           minibatch, or before it, if "record" is "before"
    "<problem>/<optimizer>/full_step"      int64 [M]       after how many updates all data were measured
    "<problem>/<optimizer>/full_loss"      float32 [R, M]  mean loss over all data
    "<problem>/<optimizer>/full_accuracy"  float32 [R, M]  share of right answers, from 0 to 1;
                                                           NaN for a problem without
    "about"                                text            JSON: "flags", what was asked; "results", per problem and
                                                           optimizer the names, data, card, statistics and program

The entries "full_..." are there with `--full_period` only. Losses are those of the problem, without a logarithm; they
are not finite where a run has diverged. Row r has the same start and the same minibatches for every optimizer. For
example::

    with np.load("results/curves.npz") as file:
        for result in json.loads(str(file["about"]))["results"]:
            losses = file[f"{result['problem']}/{result['optimizer']}"]
            plt.plot(np.log(losses).mean(axis=0), label=result["optimizer"])

reproduce.py writes each result, without its curves, to a JSON file of its own (`read_file`).

`curves.npz` is replaced after each result, atomically. So the folder of an interrupted evaluation is as good as that of
a finished one: the next command adds what is missing. A command that does not fit the results in the folder is refused.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2o_tf.common.quoting import cut, reason
from l2o_tf.common.reading import LIMITS_OF_RESULTS, parse_json, read_bytes, read_json, read_npz
from l2o_tf.common.summary import is_summary
from l2o_tf.saving import write_atomically

CURVES, SUMMARY, PICTURE = "curves.npz", "summary.json", "curves.png"
_ABOUT = "about"
_ROLES = ("problem", "optimizer")
_ELSEWHERE = f"another folder, or remove {CURVES}, {SUMMARY} and {PICTURE} from it to evaluate anew"

Identity = Mapping[str, Mapping[str, Any]]
"""`{"problem": {...}, "optimizer": {...}}`, of JSON types: what tells each from others of the same name."""


class Result(NamedTuple):
    """The result of an optimizer on a problem.

    Attributes:
        problem, optimizer: their names.
        identity: tells both from others of the same names: by data and weights, for example.
        card: of the optimizer.
        summary: what `summary.summarize` returns.
        provenance: the program that made it, and when.
        losses: `[R, S]`.
        full: measurements over the whole data set by name, possibly none.
    """

    problem: str
    optimizer: str
    identity: Identity
    card: Mapping[str, Any]
    summary: Mapping[str, Any]
    provenance: Mapping[str, Any]
    losses: np.ndarray
    full: Mapping[str, np.ndarray]

    @property
    def key(self) -> str:
        """Name of the losses in `curves.npz`."""
        return f"{self.problem}/{self.optimizer}"

    @property
    def data(self) -> str | None:
        """Which data was used (`str(DataInfo)`), or None."""
        return self.identity["problem"]["data"]


class Results(NamedTuple):
    """The content of a folder: `settings`, the options of the evaluation, of JSON types; `all`, the results so far."""

    settings: Mapping[str, Any]
    all: Sequence[Result]


def write(folder: Path, results: Results) -> None:
    """Writes `curves.npz`, then `summary.json`.

    Raises:
        OSError: if the folder cannot be written or the disk is full; each file is then as it was.
    """
    curves = {result.key: result.losses for result in results.all}
    curves |= {f"{result.key}/full_{name}": value for result in results.all for name, value in result.full.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **{_ABOUT: np.array(_about(results))}, **curves)
    write_atomically(folder / CURVES, content.getvalue())
    write_summary(folder, results)


def write_summary(folder: Path, results: Results) -> None:
    """Writes `summary.json` alone. After a kill it may lack results that `curves.npz` has."""
    write_atomically(folder / SUMMARY, _about(results).encode())


def _about(results: Results) -> str:
    described = [{name: getattr(result, name) for name in Result._fields[:-2]} for result in results.all]
    return json.dumps({"flags": results.settings, "results": described}, indent=2)


def read(folder: Path) -> Results | None:
    """What is in a folder; None where there is nothing yet.

    Raises:
        ValueError: if one of the files is damaged or not of an evaluation.
    """
    path, beside = folder / CURVES, [name for name in (SUMMARY, PICTURE) if (folder / name).exists()]
    if not path.exists():
        if beside:
            raise _foreign(folder / beside[0], f"there is no {CURVES} beside it")
        return None
    try:
        curves = read_npz(read_bytes(path, LIMITS_OF_RESULTS["most"]), path, **LIMITS_OF_RESULTS)
        about = parse_json(str(curves[_ABOUT]).encode())
        results = Results(dict(about["flags"]), [_read(entry, about["flags"], curves) for entry in about["results"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _foreign(path, f"{type(error).__name__}: {reason(error)}") from error
    if SUMMARY in beside:
        _check_summary(folder / SUMMARY, results)
    return results


def _read(entry: Mapping[str, Any], flags: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> Result:
    """A result whose parts are what they should be; else a ValueError, KeyError or TypeError."""
    key = f"{entry['problem']}/{entry['optimizer']}"
    start = f"{key}/full_"
    full = {name.removeprefix(start): value for name, value in curves.items() if name.startswith(start)}
    result = Result(**entry, losses=curves[key], full=full)
    texts = (result.problem, result.optimizer)
    dicts = (result.identity, result.card, result.provenance, *(result.identity[role] for role in _ROLES))
    data = result.identity["problem"]["data"]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(each, dict) for each in dicts):
        raise ValueError(f"{cut(key)} is not described")
    if not isinstance(data, str | None) or "file" not in result.identity["problem"] or not is_summary(result.summary):
        raise ValueError(f"data, file or summary of {cut(key)} are missing")
    shape = (flags["num_runs"], flags["num_steps"])
    if result.losses.dtype != np.float32 or result.losses.shape != shape:
        found = f"{result.losses.dtype} {list(result.losses.shape)}"
        raise ValueError(f"the losses of {cut(key)} are {found}, expected float32 {list(shape)}")
    shapes = {name: value.shape for name, value in full.items()}
    if full and shapes != dict.fromkeys(shapes, (shape[0], *shapes["step"])) | {"step": (full["step"].size,)}:
        raise ValueError(f"the measurements of {cut(key)} are of different shapes")
    return result


def _check_summary(path: Path, results: Results) -> None:
    """After a kill the summary may lack a result; everything else in it must fit."""
    try:
        about = read_json(path)
        there = [(entry["problem"], entry["optimizer"]) for entry in about["results"]]
        if about["flags"] == results.settings and set(there) <= {result[:2] for result in results.all}:
            return
        why = f"it is not about {CURVES} beside it"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {reason(error)}"
    raise _foreign(path, why)


def _foreign(path: Path, why: str) -> ValueError:
    return ValueError(
        f"Received {path}, which is damaged or not of an evaluation ({why}), and is left as it is. Use {_ELSEWHERE}."
    )


def fitting(
    folder: Path, found: Results, settings: Mapping[str, Any], asked: Mapping[tuple[str, str], Identity]
) -> set[tuple[str, str]]:
    """Checks that a new evaluation fits the results of a folder.

    Args:
        folder: the folder, for errors.
        found: its content.
        settings: of the new evaluation; must equal those of `found`.
        asked: (problem, optimizer) by name -> their identity.

    Returns:
        (problem, optimizer), by name, of all results in the folder.

    Raises:
        ValueError: if settings differ, or a problem or an optimizer has the name of another one in the folder.
    """
    if told := differences(found.settings, settings):
        raise ValueError(
            f"Received --output_dir={folder}, which holds an evaluation with other options ({told}). Use the same "
            f"ones to add to it, {_ELSEWHERE}."
        )
    for names, identity in asked.items():
        for role, name in zip(_ROLES, names, strict=True):
            same = (result.identity[role] for result in found.all if getattr(result, role) == name)
            if told := next(filter(None, (differences(there, identity[role]) for there in same)), ""):
                raise ValueError(
                    f"Received --output_dir={folder}, which holds results of another {role} called {name} ({told}). "
                    f"Use {_ELSEWHERE}."
                )
    return {result[:2] for result in found.all}


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`seed: 0 there, 1 now`."""
    now = json.loads(json.dumps(now))  # lists for tuples, as they are read
    different = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    return "; ".join(f"{name}: {cut(there.get(name))} there, {cut(now.get(name))} now" for name in different)


def read_file(path: Path) -> dict[str, Any]:
    """One result without its curves, as reproduce.py writes it.

    Raises:
        ValueError: if the file is damaged or something else.
    """
    try:
        found = read_json(path)
        names = isinstance(found["problem"], str) and isinstance(found["optimizer"], str) and "data" in found
        numbers = [(at["step"], at["mean"], at["std"], at["diverged"]) for at in found["summary"]["at"]]
        if names and numbers and found["summary"]["runs"] and found["summary"]["steps"]:
            return found
        why = "it lacks something"
    except (ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {reason(error)}"
    raise ValueError(f"Received {path}, which is damaged or no result file ({why}). Remove it, or name another folder.")


def file_name(problem: str, optimizer: str, ending: str) -> str:
    """`mnist--L2O-DM.json`: the name of a file that belongs to a problem and an optimizer.

    File systems allow 255 bytes. A long name is cut, and gets its SHA-256 to tell it from others.
    """
    name = f"{problem}--{optimizer}".replace(" ", "_").replace("/", "_")
    data = name.encode()
    if len(data) > 150:
        name = f"{data[:130].decode(errors='ignore')}-{hashlib.sha256(data).hexdigest()[:16]}"
    return name + ending
