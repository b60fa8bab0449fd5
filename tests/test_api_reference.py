"""`make docs`: the public API first, a page for every module, no warning, equations as they were written."""

import inspect
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

import l2o_tf
from docs.api import build

HEADINGS = {"Arguments:", "Attributes:", "Call arguments:", "Example:", "Raises:", "Returns:"}
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    command = [sys.executable, "-W", "error", "-m", "docs.api.build", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def docstrings(page: Path) -> str:
    """HTML of all docstrings of a page, without the links."""
    found = re.findall(r'<div class="docstring">(.*?)</div>\s*\n', page.read_text(), re.DOTALL)
    return unescape(re.sub(r"</?(a|span)\b[^>]*>", "", "\n".join(found)))


def test_every_module_has_a_page(folder):
    sources = [path.relative_to(ROOT) for package in ("l2o_tf", "problems") for path in (ROOT / package).rglob("*.py")]
    pages = {
        path.parent.with_suffix(".html") if path.stem == "__init__" else path.with_suffix(".html")
        for path in sources
        if path.stem != "__main__" and (ROOT / path).with_name("__init__.py").exists()
    }
    assert {path.relative_to(folder) for path in folder.rglob("*.html")} == {*pages, Path("index.html")}


def test_the_first_page_is_the_public_api(folder):
    assert 'url=./l2o_tf.html"' in (folder / "index.html").read_text()
    text = (folder / "l2o_tf.html").read_text()
    names = build.public_names(l2o_tf)
    assert {"list_pretrained", "load", "LearnedOptimizer"} <= set(names)
    names = [name for name in names if not inspect.ismodule(getattr(l2o_tf, name))]  # modules have their own pages
    assert not [name for name in names if f'id="{name}"' not in text]


def test_equations_are_code(folder):
    assert "<pre><code>g_t         = ∇f(θ_t; batch_t)\nΔθ_t, s_t+1 =" in docstrings(
        folder / "l2o_tf" / "unrolling" / "unroll.html"
    )


def test_the_markup_of_docstrings_is_understood(folder):
    """No heading but those of Google's style: pdoc makes one of a sentence before an indented block."""
    for page in folder.rglob("*.html"):
        text = docstrings(page)
        headings = set(re.findall(r"<h6[^>]*>(.*?)</h6>", text))
        assert headings <= HEADINGS, page
        prose = re.sub(r"<(pre|code)>.*?</\1>", "", text, flags=re.DOTALL)
        assert not re.findall(r"====|::|``|\*\*<strong>", prose), page
