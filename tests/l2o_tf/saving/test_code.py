"""Code beside weights: kept by whoever saves them, run only if it is allowed, and only as it was."""

import hashlib
import json
import py_compile
import shutil
import sys

import pytest

from l2o_tf import saving
from l2o_tf.cli import evaluate, meta_train
from l2o_tf.cli.weights import main
from l2o_tf.common import descriptions
from l2o_tf.optimizers import make_optimizer
from l2o_tf.saving import loading
from l2o_tf.saving.derived import interpolate
from problems.common import python_files
from tests import scripts

CELL = """
import pathlib
import keras

pathlib.Path({ran!r}).touch()

class Scaled(keras.layers.Layer):
    def __init__(self, scale=0.5, **options):
        super().__init__(**options)
        self.scale = scale

    def build(self, input_shape):
        self.rate = self.add_weight(name="rate", shape=[])

    def get_initial_state(self, batch_size=None):
        return []

    def call(self, inputs, states):
        return -self.scale * self.rate * inputs, states

    def get_config(self):
        return {{"scale": self.scale}}
"""


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "ran"


@pytest.fixture
def folder(tmp_path, marker, monkeypatch):
    """Weights of a stranger, whose code has not been run here."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "his").mkdir()
    (tmp_path / "his" / "cell.py").write_text(CELL.format(ran=str(marker)))
    save(tmp_path / "weights", f"{tmp_path / 'his' / 'cell.py'}:Scaled")
    shutil.rmtree(tmp_path / "his")
    marker.unlink()
    return (tmp_path / "weights").rename(tmp_path / "taken")  # elsewhere, it is another file to this process


def save(folder, kind, architecture=None):
    learned = make_optimizer(kind, architecture)
    card = {"optimizer": learned.kind, "architecture": learned.architecture}
    saving.save_weights(folder, saving.named_weights(learned), card)


def edit(folder, change):
    """Writes another card."""
    card = json.loads((folder / "optimizer.json").read_text())
    change(card)
    (folder / "optimizer.json").write_text(json.dumps(card))


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def copy_in(folder):
    (copy,) = folder.glob("*.py")
    return copy


def test_without_a_word_nothing_runs(folder, marker, tmp_path):
    copy = copy_in(folder)
    told = f"{copy.name} .SHA-256 {json.loads((folder / 'optimizer.json').read_text())['sources'][copy.name]}.*"
    with pytest.raises(ValueError, match=f"Python code beside its weights.*{told}--allow_code .*allow_code=True"):
        loading.load(str(folder))
    assert "allow_code" in scripts.refused(evaluate, f"--optimizer={folder}", f"--output_dir={tmp_path / 'out'}")
    given = (f"--initial_weights={folder}", f"--output_dir={tmp_path / 'out'}", "--problem=quadratic")
    assert "allow_code" in scripts.refused(meta_train, *given)
    assert main(["adjust", str(folder), "--factor=2", f"--output={tmp_path / 'out'}"]) == 2
    interpolate(str(folder), str(folder), 0.5, str(tmp_path / "between"))  # needs no code
    assert copy_in(tmp_path / "between").name == copy.name
    assert not marker.exists()


def test_with_it_a_folder_is_complete(folder, marker, tmp_path):
    assert loading.load(str(folder), allow_code=True).cell.scale == 0.5
    assert marker.exists()
    assert str(folder) not in sys.path  # files beside it are nobody's word
    assert main(["adjust", str(folder), "--factor=2", "--allow_code", f"--output={tmp_path / 'again'}"]) == 0
    assert copy_in(tmp_path / "again").name == copy_in(folder).name
    assert loading.load(str(tmp_path / "again"), allow_code=True).cell.scale == 1.0


def test_one_trains_further_with_a_file_of_ones_own(folder, marker, tmp_path):
    """Without a word for the folder's."""
    (tmp_path / "mine.py").write_text(CELL.format(ran=str(tmp_path / "mine")))
    kind = f"{tmp_path / 'mine.py'}:Scaled"
    loading.begin_with(make_optimizer(kind), str(folder))
    kept = (f"{copy_in(folder)}:Scaled", {"scale": 0.5})
    assert loading.architecture_of(str(folder), allow_code=True) == kept
    with pytest.raises(ValueError, match="of the architecture .*Scaled, for L2O-DM"):
        loading.begin_with(make_optimizer("L2O-DM", {"layers": []}), str(folder))
    assert not marker.exists()


def assigned(kind):
    def change(card):
        entry = ["*", kind or card["optimizer"], card["architecture"]]
        card |= {"optimizer": "assigned", "architecture": {"assignments": [entry]}}

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda card, file: card.update(optimizer=f"{file}:Scaled"), "no copy"),
        (lambda card, file: card.update(optimizer=f"../his/{file.name}:Scaled"), "no copy"),
        (lambda card, file: card.update(optimizer=f"{file}:Scaled", sources={file.name: digest(file)}), "no copy"),
        (lambda card, file: card.pop("sources"), "no copy .* repeat the command"),
        (lambda card, file: assigned(f"{file}:Scaled")(card), "no copy"),
        (lambda card, file: assigned(None)(card), "allow_code"),
        (lambda card, file: card.update(sources=dict.fromkeys(card["sources"], 64 * "0")), "not that of the code"),
    ],
)
def test_another_file_does_not_run(folder, marker, tmp_path, change, says):
    (tmp_path / "his").mkdir()
    content = CELL.format(ran=str(marker)) + "evil = True"
    file = tmp_path / "his" / python_files.copy_name(tmp_path / "evil.py", content.encode())
    file.write_text(content)
    edit(folder, lambda card: change(card, file))
    with pytest.raises(ValueError, match=says):
        loading.load(str(folder), allow_code=says != "allow_code")
    assert not marker.exists()


def test_where_a_copy_lies_is_no_way_around(folder, marker, tmp_path):
    """Neither a link to another file, nor a folder that is called as a file is."""
    copy = copy_in(folder)
    (tmp_path / "x.py").write_bytes(copy.read_bytes())
    there = shutil.copytree(folder, tmp_path / "x.py:y")
    copy.unlink()
    copy.symlink_to(tmp_path / "x.py")
    for hostile in (there, folder):
        with pytest.raises(ValueError, match="no copy"):
            loading.load(str(hostile), allow_code=True)
    assert not marker.exists()


def test_changed_code_does_not_run(folder, marker):
    copy = copy_in(folder)
    copy.write_text(copy.read_text() + "\n")
    with pytest.raises(ValueError, match="SHA-256 .* not that of the code that these weights were trained with"):
        loading.load(str(folder), allow_code=True)
    with pytest.raises(ValueError, match="a copy that was changed"):
        make_optimizer(f"{copy}:Scaled")
    assert not marker.exists()


def test_compiled_code_beside_it_does_not_run(folder, tmp_path):
    copy, evil = copy_in(folder), tmp_path / "evil.py"
    evil.write_text(CELL.format(ran=str(tmp_path / "evil")))
    there = folder / "__pycache__" / f"{copy.stem}.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(evil), str(there), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    loading.load(str(folder), allow_code=True)
    assert not (tmp_path / "evil").exists()


def test_what_ran_is_kept_though_the_file_has_changed(tmp_path, marker, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path / "cell.py"
    file.write_text(CELL.format(ran=str(marker)))
    ran = file.read_bytes()
    learned = make_optimizer(f"{file}:Scaled")
    file.write_text("changed while it was at work")
    card = {"optimizer": learned.kind, "architecture": learned.architecture}
    saving.save_weights(tmp_path / "run", saving.named_weights(learned), card)
    assert copy_in(tmp_path / "run").read_bytes() == ran == python_files.source(file)


@pytest.mark.parametrize(
    ("kind", "architecture", "files"),
    [
        ("L2O-DM", None, []),
        ("a.py:C", {}, ["a.py:C"]),
        ("assigned", {"assignments": [["x", "adam"], ["*", "a.py:C", {}]]}, ["a.py:C"]),
        ("assigned", {"assignments": [["*", "assigned", {"assignments": [["*", "b.py", {}]]}]]}, ["b.py"]),
    ],
)
def test_the_files_of_a_description(kind, architecture, files):
    assert descriptions.files(kind, architecture) == files


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        (None, {}),
        ("assigned", {}),
        ("assigned", {"assignments": ["abcd"]}),
        ("assigned", {"assignments": 1001 * [["x", "adam"]]}),
    ],
)
def test_what_describes_nothing(kind, architecture):
    with pytest.raises(ValueError, match="^Received"):
        descriptions.files(kind, architecture)
