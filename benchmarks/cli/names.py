"""What the suite knows by name, told without importing it: PyTorch takes seconds."""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from typer import Context

from ...entries import plugins
from ...registry import broken, catalogue
from ..catalogue import described, where_recorded

METHOD_COLUMNS = {"method": None, "source": 22, "λ": None, "evaluated": 9, "oracle": 12}
"""The heads of `methods`, each with the most characters that a line of it has."""


def methods(results: Path) -> list[Sequence[str]]:
    """What each method does, its source, what λ means to it, in how many sweeps it is recorded, its oracles.

    Raises:
        UserError: an archive of records under ``results`` cannot be read.
    """
    rows: list[Sequence[str]] = []
    for method in described(where_recorded(results)).values():
        notes = "; ".join([*method.needs, *([method.origin] if method.origin else [])])
        does = f"{method.name}\n{method.summary}" + (f" ({notes})" if notes else "")
        sources = "; ".join(", arXiv:".join(filter(None, (work.who, work.arxiv))) for work in method.sources)
        rows.append((does, sources, method.lam, method.evaluated, ", ".join(method.oracles)))
    return rows


def tasks() -> list[Sequence[str]]:
    """What each task trains, and the plugin that it comes with: only its import tells."""
    if plugins("tasks"):
        importlib.import_module("scalpel_bench.tasks").REGISTRY.classes()
    return [(name, entry.summary, entry.origin or "") for name, entry in catalogue("tasks").items()]


def unusable() -> list[str]:
    """Why some methods and tasks cannot be used."""
    return [reason for package in ("methods", "tasks") for reason in broken(package).values()]


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


def complete_new(context: Context, begun: str) -> list[str]:
    """What an experiment may be written of, and a box of; the name of anything else is new."""
    known = {"experiment": complete_task, "box": complete_experiment}.get(context.params.get("kind", ""))
    return known(begun) if known else []


def complete_methods(begun: str) -> list[str]:
    """Names separated by commas, the last of them begun; none twice."""
    before, comma, last = begun.rpartition(",")
    return [before + comma + name for name in complete_method(last) if name not in before.split(",")]


def complete_method(begun: str) -> list[str]:
    """The methods whose names begin so."""
    return [name for name in catalogue("methods") if name.startswith(begun)]


def complete_task(begun: str) -> list[str]:
    """The tasks whose names begin so."""
    return [name for name in catalogue("tasks") if name.startswith(begun)]


def complete_either(begun: str) -> list[str]:
    """The methods and tasks whose names begin so."""
    return [*complete_method(begun), *complete_task(begun)]
