"""``scalpel new box``: the box of an experiment's fronts, proposed from recorded runs of `sum`."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

from ... import tasks
from ..analysis.box_proposal import propose
from ..analysis.protocols import REFERENCE
from ..analysis.summary import summarise
from ..experiments.schema import Experiment
from ..messages import UserError
from ..records import Folder, Record, load_sweep


def new_box(name: str, scale: str, results: Path) -> list[str]:
    """The lines of a table for the experiment's TOML, from the end points of `sum` at its own learning rate.

    It is proposed by `analysis.box_proposal.propose` from validation losses, or training losses where there
    are none; train losses have a box of their own where theirs differ. A model that was trained before sets
    no cap at its start.

    Raises:
        UserError: no runs of `sum` are recorded, or they make no front.
    """
    sweep = load_sweep(Folder(results / name / scale))
    experiment = sweep.experiment
    if not isinstance(experiment, Experiment):
        raise UserError(f"{name} compares no fronts, and needs no box")
    records = [record for record in sweep.records if record.run.label == REFERENCE]
    runs = summarise(records, experiment.aux) if records else None
    if runs is not None:
        runs = runs[runs["lr"] == experiment.training.lr]
    if runs is None or runs.empty:
        raise UserError(
            f"{sweep.folder.path} has no runs of {REFERENCE}: scalpel sweep {name} --methods {REFERENCE}"
        )
    split = "validation" if "validation_main" in runs else "train"
    box = propose(runs, _untrained(experiment, records, split), split)
    train = propose(runs, _untrained(experiment, records, "train"), "train")
    count = runs["seed"].nunique()
    lines = [f"[scales.{scale}.box]", *_written(box)]
    lines += [
        f'reason = "proposed from {split} losses of {REFERENCE} ({count} seeds)"',
        f"date = {datetime.date.today()}",
        *_alternatives(box),
    ]
    if _differs(train, box):
        lines += ["", f"[scales.{scale}.box.train]", *_written(train)]
        lines += _alternatives(train)
    rivals = sorted({record.run.label for record in sweep.records} - {REFERENCE})
    return lines + [f"# {', '.join(rivals)} had run before this box was proposed"] * bool(rivals)


def _untrained(experiment: Experiment, records: list[Record], split: str) -> float:
    """The main loss of the untrained model; infinite where it was trained before."""
    name = experiment.task["name"]
    if name in tasks.available() and tasks.get(name).pretrained:
        return math.inf
    start = next(record.trajectory[0] for record in records if record.trajectory)
    return float(start[split]["main"])


def _written(box: dict[str, Any]) -> list[str]:
    return [f"aux = {box['aux']}", f"main = {box['main']}"]


def _alternatives(box: dict[str, Any]) -> list[str]:
    return [
        f"{which} = {{ aux = {box[which]['aux']}, main = {box[which]['main']} }}"
        for which in ("tighter", "wider")
    ]


def _differs(train: dict[str, Any], box: dict[str, Any]) -> bool:
    """Whether the boxes share less than half of their auxiliary losses, or one is twice the other."""
    (a, b), (c, d) = train["aux"], box["aux"]
    shared = (min(b, d) - max(a, c)) / (max(b, d) - min(a, c))
    caps = sorted((train["main"][1], box["main"][1]))
    return bool(shared < 0.5 or caps[1] > 2 * caps[0] or train["main"][0] < box["main"][0] / 2)
