"""Fixtures: a method that kills its process, or hangs, a folder of records, and figures only if asked for."""

import pytest

from scalpel_bench import methods
from scalpel_bench.benchmarks.experiments.schema import Experiment
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.recorded import leave_figures_out
from tests.benchmarks.runs import conditioning

KILLER = '''
import os, threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import torch
from scalpel_bench.methods import Method

@dataclass(frozen=True)
class Killer(Method):
    """d = g_m + λ g_a, from a process that a signal ends, or that waits for ever at 0, ``times`` times.

    Source: a test 2026.
    """
    name: ClassVar[str] = "killer"
    times: int = 1
    number: int = 9
    marks: str = ""

    def coefficients(self, gram, state, losses):
        marks = Path(self.marks)
        if len(list(marks.iterdir())) < self.times:
            (marks / str(os.getpid())).touch()
            threading.Event().wait() if self.number == 0 else os.kill(os.getpid(), self.number)
        return torch.ones_like(gram[..., 0])
'''


@pytest.fixture(autouse=True)
def drawn_if_asked(request, monkeypatch) -> None:
    """Tests that look at files of figures are marked."""
    if request.node.get_closest_marker("draws") is None:
        leave_figures_out(monkeypatch)


@pytest.fixture
def folder(tmp_path) -> Folder:
    folder = Folder(tmp_path / "results")
    folder.prepare()
    return folder


@pytest.fixture
def killer(tmp_path):
    """An experiment of `sum` and of a method that kills its worker, or with ``number`` 0 hangs."""
    file = tmp_path / "killer.py"
    file.write_text(KILLER)
    (tmp_path / "marks").mkdir()

    def experiment(times: int, number: int = 9) -> Experiment:
        settings = {"name": f"{file}:Killer", "times": times, "number": number, "marks": f"{tmp_path}/marks"}
        made = conditioning(lam=[0.1, 1.0], methods={"killer": settings})
        return made.model_copy(update={"methods": {k: made.methods[k] for k in ("sum", "killer")}})

    yield experiment
    methods.REGISTRY.remove("killer")
    methods.REGISTRY._files.clear()
