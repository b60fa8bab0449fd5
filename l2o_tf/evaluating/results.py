"""The folder of an evaluation. Further evaluations can add their results to it.

    curves.npz      all results; `numpy.load` reads it, no pickle inside
    summary.json    the entry "about" of curves.npz, for people; nothing reads it
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
are not finite where a run has diverged. Row r has the same start and the same minibatches for every optimizer.
docs/faq.md reads the file with NumPy alone.

While a pair of an optimizer and a problem runs, its file `<problem>--<optimizer>.pair.npz` has the runs so far, in the
same form: `[r, S]`, r up to R. When all pairs of a command are done, they become entries of `curves.npz`, and their
files are removed. Files are replaced atomically. A command that does not fit the results in the folder is refused.

reproduce.py writes each result, without its curves, to a JSON file of its own (`read_file`).
"""

import dataclasses
import hashlib
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from l2o_tf.common import folders, summary
from l2o_tf.common.quoting import cut, differences, few, reason
from l2o_tf.common.reading import LIMITS_OF_RESULTS, parse_json, read_bytes, read_json, read_npz
from l2o_tf.common.writing import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES, SUMMARY, PICTURE = "curves.npz", "summary.json", "curves.png"
PAIR = ".pair.npz"
_ABOUT = "about"
_ROLES = ("problem", "optimizer")
_ELSEWHERE = f"another folder, or remove {CURVES}, {SUMMARY}, {PICTURE} and *{PAIR} from it to evaluate anew"

Identity = Mapping[str, Mapping[str, Any]]
"""`{"problem": {...}, "optimizer": {...}}`, of JSON types: what tells each from others of the same name."""


class PairResult(NamedTuple):
    """The result of an optimizer on a problem.

    Attributes:
        problem, optimizer: their names.
        identity: tells both from others of the same names: by data and weights, for example.
        card: of the optimizer.
        summary: what `summary.summarize` returns.
        provenance: the program that made it, and when.
        losses: `[R, S]`; fewer rows where an evaluation was killed.
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
    def names(self) -> tuple[str, str]:
        """Of the problem and of the optimizer."""
        return self.problem, self.optimizer

    @property
    def key(self) -> str:
        """Name of the losses in `curves.npz`."""
        return f"{self.problem}/{self.optimizer}"

    @property
    def data(self) -> str | None:
        """Which data was used (`str(DataInfo)`), or None."""
        return self.identity["problem"]["data"]

    @property
    def guess(self) -> float | None:
        """Loss of a guesser: ln 10 for problems that ship and have data, since these have ten classes; else None."""
        return math.log(10) if self.data and not self.identity["problem"]["file"] else None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Results:
    """What an evaluation found: the results of optimizers on problems, in the order in which they are shown.

    >>> import tempfile
    >>> import l2o_tf
    >>> found = l2o_tf.evaluate(["Adam", "SGD"], "simple", num_steps=100, num_runs=2)
    >>> found.losses["simple", "Adam"].shape
    (2, 100)
    >>> folder = tempfile.mkdtemp()
    >>> found.save(folder)
    >>> len(l2o_tf.Results.read(folder))
    2

    Attributes:
        settings: the options of the evaluation, of JSON types.
        all: a `PairResult` for each pair. Iteration goes through them, too.
    """

    settings: Mapping[str, Any]
    all: Sequence[PairResult]

    @property
    def complete(self) -> list[PairResult]:
        """Those of which all runs are done."""
        return [result for result in self if len(result.losses) == self.settings["num_runs"]]

    def __iter__(self) -> Iterator[PairResult]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def __repr__(self) -> str:
        return self.table()

    @property
    def losses(self) -> dict[tuple[str, str], np.ndarray]:
        """`(problem, optimizer)` by name -> losses `[R, S]`; not finite where a run has diverged."""
        return {result.names: result.losses for result in self}

    def table(self) -> str:
        """A table as text: for each problem and optimizer the ln of the mean of the last 50 losses, at a few steps."""
        rows = [summary.Row(*result.names, result.summary, result.data) for result in self]
        return summary.format_table(rows)

    def plot(self, path: str | os.PathLike | None = None, *, x_scale: Literal["linear", "log"] = "linear") -> "Figure":
        """Draws loss against step, a panel for each problem; `x_scale="log"` shows the first steps, too.

        With a path, it also writes the picture, of a kind that Matplotlib knows by its ending.

        Raises:
            ValueError: if there are no results, or the ending of the file is unknown.
            OSError: if the file cannot be written.
        """
        from l2o_tf import plots

        if x_scale not in ("linear", "log"):
            raise ValueError(f"Received x_scale={x_scale!r}, expected 'linear' or 'log'.")
        if not isinstance(path, str | os.PathLike | None) or path == "":
            raise ValueError(f"Received path={path!r}, expected the name of a file or None.")
        panels: dict[str, plots.Panel] = {}
        for result in self:
            panel = plots.Panel(result.problem, {}, result.data, result.guess)
            panels.setdefault(result.problem, panel).curves[result.optimizer] = result.losses
        figure = plots.evaluation_figure(list(panels.values()), x_scale=x_scale)
        if path is not None:
            plots.save(figure, path)
        return figure

    def save(self, folder: str | os.PathLike) -> None:
        """Adds the results to a folder.

        Raises:
            ValueError: if the folder has results of other settings, or of the same optimizer on the same problem.
            OSError: if the folder cannot be written or the disk is full.
        """
        folder = folders.as_path(folder)
        there = find(folder) or Results(self.settings, [])
        known = check_fit(folder, there, self.settings, {result.names: result.identity for result in self})
        if twice := [" on ".join(reversed(result.names)) for result in self if result.names in known]:
            raise ValueError(f"Received folder {folder}, which has results of {twice[0]}. Use {_ELSEWHERE}.")
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, Results(self.settings, [*there, *self]))

    @classmethod
    def read(cls, folder: str | os.PathLike) -> "Results":
        """All results in a folder; of a killed evaluation those that were done.

        Raises:
            ValueError: if there are none, or one of the files is damaged or not of an evaluation.
        """
        found = find(folders.as_path(folder))
        if found is None:
            raise ValueError(f"Received {folder}, expected a folder with {CURVES}.")
        return found


def write(folder: Path, results: Results) -> None:
    """Writes what is complete to `curves.npz` and `summary.json`, and removes the files of these pairs.

    After an OSError each file is as it was.
    """
    complete = dataclasses.replace(results, all=results.complete)
    write_atomically(folder / CURVES, _packed(complete))
    write_atomically(folder / SUMMARY, _about(complete).encode())
    for names in complete.losses:
        remove_pair(folder, names)


def write_pair(folder: Path, settings: Mapping[str, Any], result: PairResult) -> None:
    """Writes the file of one pair."""
    write_atomically(folder / file_name(*result.names, PAIR), _packed(Results(settings, [result])))


def read_pair(folder: Path, names: tuple[str, str], settings: Mapping[str, Any]) -> PairResult | None:
    """What the file of a pair has; None if there is none, or one of other settings. ValueError if it is damaged."""
    path = folder / file_name(*names, PAIR)
    found = _read(path) if path.exists() else Results({}, [])
    return found.all[0] if found.all and not contradictions(found.settings, settings) else None


def remove_pair(folder: Path, names: tuple[str, str]) -> None:
    """Removes the file of a pair whose result is kept elsewhere."""
    (folder / file_name(*names, PAIR)).unlink(missing_ok=True)


def _packed(results: Results) -> bytes:
    curves = {result.key: result.losses for result in results}
    curves |= {f"{result.key}/full_{name}": value for result in results for name, value in result.full.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **{_ABOUT: np.array(_about(results))}, **curves)
    return content.getvalue()


def _about(results: Results) -> str:
    described = [{name: getattr(result, name) for name in PairResult._fields[:-2]} for result in results]
    return json.dumps({"flags": results.settings, "results": described}, indent=2)


def find(folder: Path) -> Results | None:
    """`Results.read`; None where there are none yet."""
    pairs = sorted(folder.glob(f"*{PAIR}"), key=lambda path: path.stat().st_mtime_ns)
    parts = {path: _read(path) for path in (folder / CURVES, *pairs) if path.exists()}
    if not parts:
        for path in (folder / SUMMARY, folder / PICTURE):
            if path.exists():
                raise _foreign(path, f"there is no {CURVES} beside it")
        return None
    settings = next(iter(parts.values())).settings
    for path, part in parts.items():
        if differing := contradictions(settings, part.settings):
            raise _foreign(path, f"it does not fit the other results: {differing}")
    return Results(settings, list({result.names: result for part in parts.values() for result in part}.values()))


def _read(path: Path) -> Results:
    """The results in `curves.npz`, or in the file of a pair."""
    try:
        curves = read_npz(read_bytes(path, LIMITS_OF_RESULTS["most"]), path, **LIMITS_OF_RESULTS)
        about = parse_json(str(curves[_ABOUT]).encode())
        return Results(dict(about["flags"]), [_result(entry, about["flags"], curves) for entry in about["results"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _foreign(path, f"{type(error).__name__}: {reason(error)}") from error


def _result(entry: Mapping[str, Any], flags: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> PairResult:
    """A result whose parts are what they should be; else a ValueError, KeyError or TypeError."""
    key = f"{entry['problem']}/{entry['optimizer']}"
    start = f"{key}/full_"
    full = {name.removeprefix(start): value for name, value in curves.items() if name.startswith(start)}
    result = PairResult(**entry, losses=curves[key], full=full)
    problem = result.identity["problem"]
    dicts = (result.identity, result.card, result.provenance, *(result.identity[role] for role in _ROLES))
    if not all(isinstance(text, str) for text in result.names) or not all(isinstance(each, dict) for each in dicts):
        raise ValueError(f"{cut(key)} is not described")
    if not isinstance(problem["data"], str | None) or "file" not in problem:
        raise ValueError(f"data or file of {cut(key)} are missing")
    most, shape = (flags["num_runs"], flags["num_steps"]), result.losses.shape
    if result.losses.dtype != np.float32 or len(shape) != 2 or not 0 < shape[0] <= most[0] or shape[1] != most[1]:
        found = f"{result.losses.dtype} {list(shape)}"
        raise ValueError(f"the losses of {cut(key)} are {found}, expected float32 {list(most)}")
    runs = shape[0]
    shapes = {name: value.shape for name, value in full.items()}
    if full and shapes != dict.fromkeys(shapes, (runs, *shapes["step"])) | {"step": (full["step"].size,)}:
        raise ValueError(f"the measurements of {cut(key)} are of different shapes")
    seconds = result.summary["seconds_per_run"]
    statistics = summary.summarize(result.losses, seconds=None if seconds is None else runs * float(seconds))
    return result._replace(summary=statistics)


def _foreign(path: Path, why: str) -> ValueError:
    return ValueError(
        f"Received {path}, which is damaged or not of an evaluation ({why}), and is left as it is. Use {_ELSEWHERE}."
    )


def check_fit(
    folder: Path | None, found: Results, settings: Mapping[str, Any], asked: Mapping[tuple[str, str], Identity]
) -> set[tuple[str, str]]:
    """Refuses a new evaluation that does not fit what was found in a folder.

    That is, if settings differ, or a problem or an optimizer, whose identities are `asked` by their names, has the name
    of another one in the folder. Returns the names of all results in the folder.
    """
    if differing := contradictions(found.settings, settings):
        raise ValueError(
            f"Received folder {folder}, which holds an evaluation with other options ({differing}). Use the same ones "
            f"to add to it, {_ELSEWHERE}."
        )
    for names, identity in asked.items():
        for role, name in zip(_ROLES, names, strict=True):
            same = (result.identity[role] for result in found if getattr(result, role) == name)
            if differing := next(
                filter(None, (contradictions(there, known(there, identity[role])) for there in same)), ""
            ):
                raise ValueError(
                    f"Received folder {folder}, which holds results of another {role} called {name} ({differing}). "
                    f"Use {_ELSEWHERE}."
                )
    return set(found.losses)


def known(there: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without its `"start"` where the other one has none: results of earlier versions do not say it."""
    return {name: value for name, value in now.items() if name != "start" or name in there}


def contradictions(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`seed: 0 there, 1 now`; empty where the two agree."""
    return few(differences(there, now, "there", "now"))


def read_file(path: Path) -> dict[str, Any]:
    """One result without its curves, as reproduce.py writes it. ValueError if the file is damaged or something else."""
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
