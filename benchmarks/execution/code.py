"""Which code a run's numbers depend on."""

from __future__ import annotations

import inspect
from pathlib import Path

from ... import methods, tasks
from ..experiments.settings import AnyRun, TrainingRun
from ..records import code_identity
from ..simulations import SIMULATIONS
from ..training import train


def code_of(run: AnyRun) -> str:
    """The fingerprint of what decides a run's numbers: method, task and engine, or the simulation.

    Raises:
        ValueError: its method or task is not here.
    """
    if not isinstance(run, TrainingRun):
        return code_identity(_file(SIMULATIONS[run.kind].simulate))
    used = [_file(methods.get(name)) for name in sorted(run.methods)]
    return code_identity(_file(train), *used, _file(tasks.get(run.task["name"])))


def _file(of: object) -> Path:
    return Path(inspect.getfile(of))  # type: ignore[arg-type]
