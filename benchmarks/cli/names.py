"""What the suite knows by name, told without importing it: PyTorch takes seconds."""

from __future__ import annotations

import importlib
import re
import tomllib
from importlib import resources
from pathlib import Path

from ...entries import plugins
from ...registry import broken, catalogue

METHOD_COLUMNS = ("name", "what it does", "source", "properties")


def methods() -> dict[str, tuple[str, str, str]]:
    """What each method does, its source, and its properties."""
    _load_plugins("methods")
    shown = {}
    for name, entry in catalogue("methods").items():
        source = re.search(r"Source: (.+?\d{4})", " ".join(entry.doc.split()))
        properties = sorted(word.replace("_", " ") for word in entry.attributes.get("properties", ()))
        if objectives := entry.attributes.get("objectives"):
            properties.append(f"K = {objectives}")
        if entry.origin:
            properties.append(entry.origin)
        shown[name] = entry.summary, source[1] if source else "", ", ".join(properties)
    return shown


def tasks() -> dict[str, tuple[str, str]]:
    """What each task trains, and the plugin that it comes with."""
    _load_plugins("tasks")
    return {name: (entry.summary, entry.origin or "") for name, entry in catalogue("tasks").items()}


def unusable() -> list[str]:
    """Why some methods and tasks cannot be used."""
    return [reason for package in ("methods", "tasks") for reason in broken(package).values()]


def _load_plugins(package: str) -> None:
    """Only its import tells what an installed plugin does, and whether it can be used."""
    if plugins(package):
        importlib.import_module(f"scalpel_bench.{package}").REGISTRY.classes()


def experiments() -> dict[str, str]:
    """The experiments of the suite, each with its title and where it is in the paper."""
    folder = Path(str(resources.files("scalpel_bench.benchmarks"))) / "experiments"
    stated = {
        file.stem: tomllib.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.toml"))
    }
    return {name: f"{keys['title']} ({keys['paper']})" for name, keys in stated.items()}


def complete_experiment(begun: str) -> list[str]:
    """The experiments whose names begin so."""
    return [name for name in experiments() if name.startswith(begun)]


def complete_method(begun: str) -> list[str]:
    """The methods whose names begin so."""
    return [name for name in catalogue("methods") if name.startswith(begun)]


def complete_task(begun: str) -> list[str]:
    """The tasks whose names begin so."""
    return [name for name in catalogue("tasks") if name.startswith(begun)]
