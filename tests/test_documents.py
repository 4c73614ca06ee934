"""The documents against what they speak of: recorded numbers, files that are linked, commands."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import methods
from benchmarks.bench import page

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    "README.md",
    "results/README.md",
    "CONTRIBUTING.md",
    "examples/plugin/README.md",
]


def test_the_front_ratios_of_the_readme_are_the_recorded_ones() -> None:
    metrics = pd.read_csv(ROOT / "results/fig3a/workstation/metrics.csv")
    chosen = metrics[(metrics["statistic"] == "front_ratio") & (metrics["seed"] == "all")]
    text = (ROOT / "README.md").read_text()
    for row in chosen.itertuples():
        cell = f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
        line = next(line for line in text.splitlines() if line.startswith(f"| `{row.method}` |"))
        assert cell in line, (row.method, row.split)


@pytest.mark.parametrize("name", ["fig4", "fig5a"])
def test_the_tables_of_recorded_results_are_the_recorded_ones(name: str) -> None:
    text = (ROOT / "results/README.md").read_text()
    section = text.split(f"## {name}:")[1].split("\n## ")[0]
    metrics = pd.read_csv(ROOT / f"results/{name}/workstation/metrics.csv")
    chosen = metrics[(metrics["statistic"] == "front_ratio") & (metrics["seed"] == "all")]
    assert len(chosen)
    for row in chosen.itertuples():
        interval = "" if pd.isna(row.low) else f" [{row.low:.3f}, {row.high:.3f}]"
        cell = "none" if pd.isna(row.value) else f"{row.value:.3f}{interval}"
        line = next(line for line in section.splitlines() if line.startswith(f"| `{row.method}` |"))
        assert cell in line, (row.method, row.split)


@pytest.mark.parametrize("document", ["README.md", "docs/performance.md"])
def test_the_tables_of_speed_are_the_recorded_ones(document: str) -> None:
    text = (ROOT / document).read_text()
    assert "<!-- bench: " in text
    assert page.render(text, ROOT / "results") == text


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
