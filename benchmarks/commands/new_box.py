"""``scalpel new box``: the box of an experiment's fronts, proposed from recorded runs of `sum`."""

from __future__ import annotations

import datetime
import json
import math
import re
from pathlib import Path
from typing import Any

from ... import tasks
from ..analysis.box_proposal import propose
from ..analysis.protocols import REFERENCE
from ..analysis.summary import summarise
from ..experiments.loading import available, load, no_experiment
from ..experiments.schema import Experiment
from ..messages import UserError
from ..records import Folder, Record, has_manifest, load_sweep


def new_box(name: str, scale: str, results: Path) -> list[str]:
    """The lines of a table for the experiment's TOML, from the end points of `sum` at its own learning rate.

    It is proposed by `analysis.box_proposal.propose` from validation losses, or training losses where there
    are none; train losses have a box of their own where theirs differ. A model that was trained before sets
    no cap at its start.

    Args:
        name: of the experiment, or the user's own file, which has no box yet.
        scale: of its runs.
        results: where they are.

    Raises:
        UserError: no runs of `sum` are recorded, they make no front, or the file has a box already.
    """
    own = load(name, scale) if name.lower().endswith(".toml") else None
    if isinstance(own, Experiment) and own.box is not None:
        raise UserError(f"{name} has a box at scale {scale} already: remove it before another is proposed")
    folder = Folder(results / (own.name if own else name) / scale)
    ask = f"scalpel sweep {name} --scale {scale} --methods {REFERENCE}"
    if not has_manifest(folder):
        if own is None and name not in available():
            raise UserError(no_experiment(name))
        if not isinstance(own or load(name, scale), Experiment):
            raise UserError(f"{name} compares no fronts, and needs no box")
        raise UserError(f"{folder.path} has no runs; a box is proposed from those of {REFERENCE}: {ask}")
    sweep = load_sweep(folder)
    experiment = sweep.experiment
    if not isinstance(experiment, Experiment):
        raise UserError(f"{name} compares no fronts, and needs no box")
    records = [record for record in sweep.records if record.run.label == REFERENCE]
    runs = summarise(records, experiment.aux) if records else None
    if runs is not None:
        runs = runs[runs["lr"] == experiment.training.lr]
    if runs is None or runs.empty:
        raise UserError(f"{sweep.folder.path} has no runs of {REFERENCE}: {ask}")
    if not (runs["status"] == "completed").any():
        raise UserError(f"{sweep.folder.path}: no run of {REFERENCE} has ended; a box is proposed from those")
    split = "validation" if "validation_main" in runs else "train"
    box = propose(runs, _untrained(experiment, records, split), split)
    train = propose(runs, _untrained(experiment, records, "train"), "train")
    count = runs["seed"].nunique()
    key = scale if re.fullmatch(r"[\w-]+", scale, re.ASCII) else json.dumps(scale)
    lines = [*([""] if own else []), f"[scales.{key}.box]", *_written(box)]
    lines += [
        f'reason = "proposed from {split} losses of {REFERENCE} ({count} seed{"s" * (count > 1)})"',
        f"date = {datetime.date.today()}",
        *_alternatives(box),
    ]
    if _differs(train, box):
        lines += ["", f"[scales.{key}.box.train]", *_written(train)]
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
