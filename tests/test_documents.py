"""The documents against what they speak of: recorded numbers, files that are linked, commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import methods
from benchmarks import documents

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    "README.md",
    "results/README.md",
    "CONTRIBUTING.md",
    "examples/plugin/README.md",
]


@pytest.mark.parametrize("document", ["README.md", "docs/performance.md"])
def test_the_tables_are_those_of_the_recorded_results(document: str) -> None:
    text = (ROOT / document).read_text()
    assert "<!-- end -->" in text
    assert documents.render(text, ROOT / "results") == text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_have_targets(document: str) -> None:
    text = (ROOT / document).read_text()
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    missing = [t for t in targets if not ((ROOT / document).parent / t).exists()]
    assert not missing


def test_the_readme_lists_every_method() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in methods.available() if f"| `{name}` |" not in text] == []


def test_every_command_of_the_readme_exists() -> None:
    text = (ROOT / "README.md").read_text()
    command = [sys.executable, "-m", "benchmarks.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    for command in set(re.findall(r"scalpel (\w+)", text)):
        assert re.search(rf"^  {command}\b", done.stdout, re.M), command
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets
