from benchmarks import house


def test_two_packages_and_what_they_import(tmp_path, capsys):
    sources = {
        "l2o_tf/__init__.py": 'exports({"load": "l2o_tf.a.one:load"})\n',
        "l2o_tf/a/__init__.py": "",
        "l2o_tf/a/one.py": "import numpy\nfrom l2o_tf.a import two\n",
        "l2o_tf/a/two.py": "def f():\n    from problems.base import x\n",
        "problems/__init__.py": "",
        "problems/base.py": "x = 1\n",
        "evaluate.py": "import l2o_tf\n",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    house.main(tmp_path)
    told = capsys.readouterr().out.splitlines()
    assert told[1].split() == ["l2o_tf", "1", "files", "1", "lines"]
    assert told[-3:] == [
        "7 lines, 7 files, 3 packages",
        "4 arrows between modules, 4 modules with one importer",
        "3 arrows between packages",
    ]
