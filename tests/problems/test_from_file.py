"""Problems by `path/to/file.py:function`."""

import sys

import numpy as np
import pytest

from problems import PROBLEMS, make_problem
from problems.base import make_seed
from problems.common.python_files import digests

FILE = """
import keras
import numpy as np
from problems import make_problem
import neighbour

def mine():
    return make_problem("quadratic", batch_size=2)

def parts():
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(1)])
    return model, "mse", (np.ones([5, 3]), np.ones([5]))

def modes(mode, data_options, size=2):
    assert data_options.data == "embedded"
    return make_problem("quadratic", batch_size=size, num_dims={"train": 3, "test": 4}[mode])

def named():
    return keras.Sequential([keras.Input([28, 28, 1]), keras.layers.Flatten(), keras.layers.Dense(10)]), "mse", "mnist"

def spirals(mode):
    return parts()

def asks(mode, data_options):
    return parts()

def needs(size):
    return mine()

def fails():
    return 1 / neighbour.ZERO

def model():
    return parts()[0]

def pair():
    return 1, 2

def unbuilt():
    return keras.Sequential([keras.layers.Dense(1)]), *parts()[1:]

constant = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour.py").write_text("ZERO = 0")
    (tmp_path / "own.py").write_text(FILE)
    (tmp_path / "broken.py").write_text("import no_such_module")
    (tmp_path / "wrong.py").write_text("def f(:")
    return tmp_path / "own.py"


def test_the_name_of_a_data_set_stands_for_the_part_that_is_asked_for(file, monkeypatch):
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    asked = []

    def read(name, split, data_dir):
        asked.append((name, split, data_dir))
        return np.zeros([3, 28, 28, 1], np.uint8), np.zeros([3, 10])

    monkeypatch.setattr("problems.keras.data._from_tfds", read)
    for options in ({"mode": "test"}, {"mode": "train"}, {"mode": "train", "split": "test", "data_dir": "there"}):
        problem = make_problem(f"{file}:named", **options)
    assert (problem.data.name, problem.data.split) == ("mnist", "test")
    assert asked == [("mnist", "test", None), ("mnist", "train", None), ("mnist", "test", "there")]


def test_a_split_that_nobody_asks_for_is_refused(file):
    """Else one would choose by the very data that one reports."""
    for name in ("mine", "parts", "spirals"):
        with pytest.raises(ValueError, match="Received --split=held_out .* has no parameter `data_options`"):
            make_problem(f"{file}:{name}", mode="test", split="held_out")
    assert make_problem(f"{file}:modes", data="embedded", split="test").name.endswith("modes")
    assert make_problem(f"{file}:spirals", mode="test").data.split == "test"
    assert make_problem(f"{file}:parts", mode="test").data.split == "all"
    for split, found in (("original", "test"), ("held_out", "held_out"), ("train", "train")):
        assert make_problem(f"{file}:asks", mode="test", split=split).data.split == found


def test_a_problem(file):
    problem = make_problem(f"{file}:mine")
    assert problem.name == f"{file}:mine"
    assert list(problem.init(make_seed(0))[0]) == ["x"]


def test_a_model_with_loss_and_data(file):
    problem = make_problem(f"{file}:parts")
    assert (problem.name, problem.data.name, problem.data.size) == (f"{file}:parts", "parts", 5)
    assert len(problem.init(make_seed(0))[0]) == 2


def test_mode_data_and_options(file):
    for mode, size in (("train", 3), ("test", 4)):
        problem = make_problem(f"{file}:modes", mode=mode, data="embedded", size=7)
        assert problem.init(make_seed(0))[0]["x"].shape == [7, size]


def test_a_relative_path(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    monkeypatch.setitem(PROBLEMS, "other", PROBLEMS["simple"])
    assert make_problem("own.py:mine").name == "own.py:mine"
    assert make_problem("./own.py:mine").name == "./own.py:mine"


def test_a_file_is_run_once(file):
    counter = file.with_name("counter.py")
    counter.write_text(FILE + f"\nwith open({str(file.with_name('log'))!r}, 'a') as log:\n    log.write('run')")
    for name in ("mine", "parts", "mine"):
        make_problem(f"{counter}:{name}")
    assert file.with_name("log").read_text() == "run"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own.py", r"own.py', which names nothing in the file, expected path/to/file.py:function"),
        ("own.py:", r"own.py:', which names nothing"),
        ("other.py:mine", r"there is no file .*other.py"),
        (
            "own.py:mien",
            r"expected path/to/file.py:function with one of the functions \['asks', 'fails', 'mine', .*'unbuilt'\]",
        ),
        ("own.py:constant", "with one of the functions"),
        ("own.py:needs", r"whose function needs \['size'\]; give its arguments defaults"),
        ("own.py:fails", "whose function raised ZeroDivisionError: division by zero"),
        ("own.py:model", "whose function returns a Sequential, expected a Problem or .model, loss, dataset."),
        ("own.py:pair", "whose function returns a tuple of 2, expected"),
        ("own.py:unbuilt", "which was never built"),
        ("broken.py:f", "Received .*broken.py, which raised ModuleNotFoundError: No module named"),
        ("wrong.py:f", "Received .*wrong.py, which raised SyntaxError"),
    ],
)
def test_what_cannot_be_had(file, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_problem(f"{file.parent}/{name}")
    assert "\n" not in str(caught.value)


def test_an_option_that_the_function_does_not_have(file):
    with pytest.raises(ValueError, match="Received option 'sise' .*did you mean size"):
        make_problem(f"{file}:modes", sise=3)


def test_a_changed_file_is_told_from_the_one_before(file):
    name = f"{file}:mine"
    before = digests([name, "mnist", "no/file.py:f"])
    assert list(before) == [name]
    assert digests([name]) == before
    file.write_text(FILE + "\n# other")
    assert digests([name]) != before
    assert np.char.str_len(before[name]) == 16
