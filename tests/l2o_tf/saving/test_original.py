"""The original program's files, and files that try to do more than hold weights."""

import os
import pickle
import sys
import tracemalloc
import types
from collections import defaultdict

import numpy as np
import pytest

from l2o_tf import saving
from tests.l2o_tf.saving.samples import Call, assert_equal, original_tree, some_weights

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def fake_dill(monkeypatch):
    """The functions that files written by dill name, so that such files can be made without it."""
    module = types.ModuleType("dill._dill")
    for name in ("_create_array", "_load_type", "_import_module", "_get_attr"):
        function = types.FunctionType((lambda: None).__code__, {}, name)
        function.__module__, function.__qualname__ = module.__name__, name
        setattr(module, name, function)
    monkeypatch.setitem(sys.modules, "dill", types.ModuleType("dill"))
    monkeypatch.setitem(sys.modules, "dill._dill", module)
    return module


class TestImport:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
    def test_pickle(self, tmp_path, protocol, dtype):
        weights = some_weights(dtype)
        (tmp_path / "cw.l2l-0").write_bytes(pickle.dumps(original_tree(weights), protocol))
        imported = saving.import_original(tmp_path / "cw.l2l-0")
        assert_equal(imported, {name: value.astype(np.float32) for name, value in weights.items()})

    def test_plain_dicts_scalars_and_names_of_numpy_1(self, tmp_path):
        data = pickle.dumps({"a": {"w": np.ones([2, 2], np.float32), "b": np.float32(0.5)}}, 2)
        assert b"numpy._core." in data
        (tmp_path / "w").write_bytes(data.replace(b"numpy._core.", b"numpy.core."))
        expected = {"a/w": np.ones([2, 2], np.float32), "a/b": np.float32(0.5)}
        assert_equal(saving.import_original(tmp_path / "w"), expected)

    @pytest.mark.parametrize("old_module_name", [False, True])
    @pytest.mark.parametrize("by_attribute", [False, True])
    def test_names_of_dill(self, tmp_path, fake_dill, by_attribute, old_module_name):
        value = np.arange(6, dtype=np.float32).reshape(3, 2)
        make, args, state = value.__reduce__()
        if by_attribute:
            make = Call(fake_dill._get_attr, Call(fake_dill._import_module, "numpy.core.multiarray"), "_reconstruct")
        array = Call(fake_dill._create_array, make, args, state, None)
        tree = {"linear": Call(dict, {"w": array}), "empty": Call(defaultdict, Call(fake_dill._load_type, "DictType"))}
        data = pickle.dumps(tree, 2)
        (tmp_path / "cw.l2l-0").write_bytes(data.replace(b"dill._dill", b"dill.dill") if old_module_name else data)
        assert_equal(saving.import_original(tmp_path / "cw.l2l-0"), {"linear/w": value})

    def test_npz(self, tmp_path):
        np.savez(tmp_path / "dm.npz", **some_weights(np.float64))
        assert_equal(saving.import_original(tmp_path / "dm.npz"), some_weights())

    @pytest.mark.parametrize("suffix", ["", ".npz"])
    def test_cut_in_half(self, tmp_path, suffix):
        path = tmp_path / f"cw{suffix}"
        np.savez(path, **some_weights()) if suffix else path.write_bytes(pickle.dumps(original_tree(some_weights())))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match="Received .*cw"):
            saving.import_original(path)

    @pytest.mark.parametrize(
        "content",
        [
            {},
            [1.0],
            {"a": 1.0},
            {"a": {"w": [1.0]}},
            {"a": {"w": np.array([1])}},
            {"a": {"w": np.array([np.nan], np.float32)}},
            {"a": {"w/x": np.ones([1], np.float32)}},
            {"a": {"w": np.array([None])}},
            {"a": {"w": np.array(["x"])}},
        ],
        ids=str,
    )
    def test_content_that_is_no_weights(self, tmp_path, content):
        (tmp_path / "w").write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match="Received"):
            saving.import_original(tmp_path / "w")


class TestHostilePickle:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_command_does_not_run(self, tmp_path, protocol):
        marker, path = tmp_path / "ran", tmp_path / "cw.l2l-0"
        tree = original_tree(some_weights())
        tree["evil"]["w"] = Call(os.system, f"touch {marker}")
        path.write_bytes(pickle.dumps(tree, protocol))
        with pytest.raises(ValueError, match=r"asks for (posix|nt).system, which .* was not run"):
            saving.import_original(path)
        assert not marker.exists()

    @pytest.mark.parametrize(
        "function",
        [eval, getattr, __import__, open, np.load, np.save, np.asarray, defaultdict.copy],
        ids=lambda function: function.__qualname__,
    )
    def test_other_functions_are_unknown(self, tmp_path, function):
        (tmp_path / "w").write_bytes(pickle.dumps({"a": {"w": Call(function, "print")}}))
        with pytest.raises(ValueError, match="was not run"):
            saving.import_original(tmp_path / "w")

    def test_dill_gives_no_way_around(self, tmp_path, fake_dill):
        marker = tmp_path / "ran"
        system = Call(fake_dill._get_attr, Call(fake_dill._import_module, "os"), "system")
        for evil in (
            Call(fake_dill._create_array, system, (f"touch {marker}",), None),
            Call(fake_dill._get_attr, dict, "fromkeys"),
            Call(fake_dill._load_type, "CodeType"),
        ):
            (tmp_path / "w").write_bytes(pickle.dumps({"a": {"w": evil}}))
            with pytest.raises(ValueError, match="asks for"):
                saving.import_original(tmp_path / "w")
        assert not marker.exists()

    @pytest.mark.parametrize(
        "name", ["numpy.core.multiarray\n_reconstruct", "numpy\nndarray", "numpy\ndtype", "builtins\ndict"]
    )
    @pytest.mark.parametrize("state", ["(dS'__call__'\nI1\ns", "(N(dS'__call__'\nI1\nst"])
    def test_one_file_cannot_spoil_the_next(self, tmp_path, name, state):
        # Opcodes: push the global, push a dict (or a pair of None and a dict) as its state, BUILD, STOP.
        (tmp_path / "evil").write_bytes(f"c{name}\n{state}b.".encode())
        with pytest.raises(ValueError, match="cannot be read as weights"):
            saving.import_original(tmp_path / "evil")
        (tmp_path / "good").write_bytes(pickle.dumps(original_tree(some_weights()), 2))
        assert_equal(saving.import_original(tmp_path / "good"), some_weights())


def laughs(depth):
    """Tuples of pairs of the one before: 2^depth in all, in a file of some hundred bytes."""
    found = ()
    for _ in range(depth):
        found = (found, found)
    return found


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps({"a": dict.fromkeys(map(str, range(70)), np.zeros(2**18, np.float32))}), "67,108,864 bytes"),
        (b"N" * 100_002 + b".", "100,000 operations"),
        (b"Nr\xff\xff\xff\x7f.", "no attribute 'items'"),  # a memo of 2^31 entries, which stays one of one
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little"), "expected 1099511627776 bytes"),
        (b"]\x81.", "the operation EMPTY_LIST"),
        (b"}" + pickle.dumps(laughs(60), 2)[2:-1] + b"}s.", "something else than a dict by name"),
        (b"cnumpy\ndtype\n" + pickle.dumps(laughs(60), 2)[2:-1] + b"\x85R.", "no attribute 'items'"),
    ],
    ids=["one array", "operations", "memo", "bytes", "list", "hash", "dtype"],
)
def test_a_small_file_takes_little(tmp_path, content, says):
    (tmp_path / "w").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"cannot be read as weights of .*{says}") as caught:
            saving.import_original(tmp_path / "w")
        assert tracemalloc.get_traced_memory()[1] < 20e6 + 10 * len(content)
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1000
