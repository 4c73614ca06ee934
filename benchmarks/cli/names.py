"""What the suite knows by name, told without importing it: PyTorch takes seconds."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path


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
