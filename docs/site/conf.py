"""The site: the pages as they lie in the repository, and the API from docstrings (`make docs`)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx

from scalpel_bench import methods
from scalpel_bench.entries import read_folder

ROOT = Path(__file__).parents[2]

project = "Scalpel"
project_copyright = "The Scalpel maintainers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md", "examples/plugin/README.md"),
    *("docs/*.md", "docs/methods/*.md", "docs/api/*.rst"),
]
exclude_patterns = [
    ".*",
    "build",
    "data",
    "site",
    "src",
    "tests",
    "benchmarks",
    "methods",
    "tasks",
    "results/*/*",
]

myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # a line with an ellipsis is no Python
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_rtype = False
maximum_signature_line_length = 88
add_module_names = False
python_use_unqualified_type_names = True

html_theme = "pydata_sphinx_theme"
html_title = "Scalpel"
html_static_path = ["style.css"]
html_css_files = ["style.css"]
templates_path = ["templates"]
html_sidebars = {"**": ["contents.html"]}
html_copy_source = html_use_index = html_domain_indices = False
html_context = {"default_mode": "auto"}  # light or dark, as the browser says
html_theme_options = {
    "navbar_center": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "footer_end": [],
    "footer_start": ["copyright"],
}

CONTENTS = """
```{toctree}
:hidden:
:caption: Use

docs/choosing
docs/training_loop
docs/methods
docs/field
```
```{toctree}
:hidden:
:caption: Results

docs/answer
results/README
docs/leaderboard
docs/measure
docs/performance
```
```{toctree}
:hidden:
:caption: Run

docs/running
docs/experiments
docs/tasks
docs/wandb
docs/cluster
docs/promises
```
```{toctree}
:hidden:
:caption: API

docs/api/results
docs/columns
docs/api/surgeon
docs/api/methods
docs/api/tasks
```
```{toctree}
:hidden:
:caption: The project

CONTRIBUTING
examples/plugin/README
CHANGELOG
```
"""


def complete(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add what a page has on the site only: contents to the first, methods to their list and to the API."""
    if docname == root_doc:
        source[0] += CONTENTS
    if docname == "docs/methods":
        pages = "\n".join(f"methods/{name}" for name in read_folder("methods").entries)
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
    if docname == "docs/api/methods":
        for name in read_folder("methods").entries:
            source[0] += f"\n.. autoclass:: scalpel_bench.methods.{methods.get(name).__name__}\n"


def as_rst(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Docstrings have formulas: a star or a bar in them is no markup."""
    lines[:] = [re.sub(r"(``.*?``)|([*|])", lambda m: m[1] or f"\\{m[2]}", line) for line in lines]


def link_files(app: Sphinx, doctree: nodes.document) -> None:
    """Files that pages link to keep their places, and open in the browser."""
    docname = app.env.current_document.docname
    for node in list(doctree.findall(download_reference)):
        file = os.path.normpath(Path(docname).parent / node["reftarget"])
        (Path(app.outdir) / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, Path(app.outdir) / file)
        link = os.path.relpath(file, Path(docname).parent)
        node.replace_self(nodes.reference("", "", *node.children, refuri=link, internal=True))


def first_page(app: Sphinx, problem: Exception | None) -> None:
    """What opens where no page is named."""
    page = '<!doctype html><meta charset="utf-8"><title>Scalpel</title>'
    page += '<meta http-equiv="refresh" content="0; url=README.html"><a href="README.html">Scalpel</a>\n'
    (Path(app.outdir) / "index.html").write_text(page)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("doctree-read", link_files, priority=1)  # before the files are collected as downloads
    app.connect("build-finished", first_page)
