"""The documents name only what exists: files behind links, flags, make targets. Nothing here imports TensorFlow."""

import ast
import functools
import re
from pathlib import Path

import pytest
from absl import flags

from l2o_tf.cli import console, evaluate, meta_train
from l2o_tf.cli.config import GONE

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), *(ROOT / "experiments").glob("*.md")])
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9_]*)")
OTHERS = {"flagfile", "help", "helpfull", "logdir", "dist", "inplace"}  # of absl, TensorBoard, pytest and Jupyter
OTHERS |= {"xla_backend_optimization_level", "xla_cpu_prefer_vector_width"}  # of XLA
EARLIER = {"plot"}  # of commands that had them once


def links(text: str) -> list[str]:
    """Targets of relative links, without their anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [t.split("#")[0] for t in targets if not t.startswith(("http", "#", "mailto:"))]


def headings(text: str) -> set[str]:
    """Anchors as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def defined_flags(source: str) -> set[str]:
    """Names given to `flags.DEFINE_*` or `add_argument`, and options of `Config`, which become flags."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and re.search("DEFINE_|add_argument", ast.unparse(node.func)) and node.args:
            names |= {node.args[0].value.removeprefix("--")} if isinstance(node.args[0], ast.Constant) else set()
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            names |= {field.target.id for field in node.body if isinstance(field, ast.AnnAssign)}
    return names


@functools.cache
def all_flags() -> set[str]:
    sources = [
        *ROOT.glob("*.py"),
        *(path for name in ("l2o_tf", "benchmarks", "problems") for path in (ROOT / name).rglob("*.py")),
    ]
    return OTHERS.union(*(defined_flags(path.read_text()) for path in sources))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    text = document.read_text()
    assert not [link for link in links(text) if not (document.parent / link).exists()]
    anchored = re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", text)
    targets = [((document.parent / file) if file else document, anchor) for file, anchor in anchored]
    assert not [anchor for target, anchor in targets if anchor not in headings(target.read_text())]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_exist(document):
    """What was written down earlier may name flags that were there then."""
    known = all_flags() | (GONE.keys() | EARLIER if document.name in ("CHANGELOG.md", "LOG.md") else set())
    assert not set(FLAG.findall(document.read_text())) - known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_and_scripts_exist(document):
    code = document.read_text()
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", code, re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = re.findall(r"\w*python3? ([\w/]+\.py)", code) + re.findall(r"--flagfile=([\w/]+\.flags)", code)
    assert not [path for path in used if not (ROOT / path).exists()]


def test_every_option_is_in_the_glossary():
    text = (ROOT / "docs" / "glossary.md").read_text()
    options = defined_flags((ROOT / "l2o_tf" / "cli" / "config.py").read_text())
    assert "unroll_length" in options
    assert not options - set(FLAG.findall(text))


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.flags")), ids=lambda path: path.stem)
def test_recipes_are_configurations(recipe, tmp_path, monkeypatch):
    """That is, meta_train.py takes each of them, from any folder, but for those of evaluate.py."""
    monkeypatch.chdir(tmp_path)
    values = flags.FlagValues()
    script = evaluate if recipe.stem.endswith("_evaluate") else meta_train
    script.define_flags(values)
    console.parse([script.__name__, f"--flagfile=recipes/{recipe.name}"], values, script.__name__)
    assert script is evaluate or meta_train.requested(values)


def test_the_readers_read():
    assert links("[a](b.md) [c](https://d) [e](f.md#g) [h](#i)") == ["b.md", "f.md"]
    assert headings("# A, b: `c`\n\n## From x to y") == {"a-b-c", "from-x-to-y"}
    source = "flags.DEFINE_integer('steps', 1, '')\nparser.add_argument('--list')\nclass Config:\n    seed: int = 0"
    assert defined_flags(source) == {"steps", "list", "seed"}
    assert FLAG.findall("`--seed=3`, --no-go, a--b") == ["seed", "no"]
