"""``scalpel new experiment``: a commented TOML file that runs as it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ... import methods, tasks
from ..experiments.from_file import TRAINING
from ..experiments.loading import available
from ..messages import UserError, as_user_error

METHODS = {"sum": "{}", "pcgrad": "{}", "dynamic_barrier": "{}", "bloop": "{ rho = 0.01 }"}
"""What is compared unless the user says otherwise: of the paper's methods, those that the task allows."""

_FILE = """\
# `scalpel sweep {file}` runs this experiment: every method at every λ and seed.
# Results go to results/{name}/laptop. All keys: docs/experiments.md

title = {title}  # above figures, and in the page
seeds = 3  # 0, 1, 2: at equal seed all methods have the same start and batches; verdicts on claims take 6
# λ, the weight of the auxiliary loss: evenly in the logarithm, and 0; a list such as [0.1, 1.0] does, too
lam = {{ low = 0.1, high = 10.0, count = 7, zero = true }}

[task]  # what is trained: a task's name, or a file's class, its path from the folder of this file
name = {task}
{settings}

[methods]  # what is compared (`scalpel list methods`); a method's settings stand in its table
{methods}
# mine = {{ name = "my_idea.py:MyIdea" }}  # a method of your own, under the label that figures show

[training]
optimizer = "{optimizer}"  # or "sgd" (Nesterov), or "adamw" with weight_decay = 0.01
lr = {lr}  # try a tenth of it for a large network
schedule = "constant"  # or "cosine", to zero at the last step
epochs = {epochs}  # passes over the training split
evaluations = {evaluations}  # of every split in training, evenly spaced; the start is one more

[labels]  # of the axes; write the units, too
main = "main loss"
aux = "auxiliary loss"

# What you expect; the runs answer it: supported, contradicted or inconclusive.
# [[claims]]
# id = "bloop-better"
# text = "Bloop's front is better than the sum's on test losses"
# kind = "better"
# method = "bloop"
# than = ["sum"]
# split = "test"  # or "validation", "train"
# margin = 0.01  # by at least 1 %

# A scale has keys that replace those above; `--scale` chooses one, laptop unless it is given.
[scales.laptop]

[scales.smoke]  # a try in seconds
seeds = 1
lam = [0.1, 1.0]
training = {{ epochs = 2, evaluations = 2 }}
"""

_NEXT = (
    "next: run the plain sum alone, let its losses propose the box that fronts are compared in, then run all"
)


def new_experiment(of: str, folder: Path) -> list[str]:
    """Write the file beside the user's own; returns lines that say what was written and what to do next.

    Args:
        of: the task, by name or as ``path/to/file.py:Class``.
        folder: where to write; the file is called after the task.

    Raises:
        UserError: there is no such task, or a file is in the way.
    """
    with as_user_error():
        task = tasks.create(of)
    name = f"{task.name.removesuffix('_task')}_experiment"
    path = folder / f"{name}.toml"
    if path.exists():
        raise UserError(f"{path} exists already")
    if name in available():
        raise UserError(f"there is an experiment {name!r} already")
    text = _FILE.format(
        file=path.name,
        name=name,
        title=_written(task.name.replace("_", " ").capitalize()),
        task=_written(_from(of, folder)),
        settings=_settings(task),
        methods="\n".join(f"{label} = {METHODS[label]}" for label in _allowed(task)),
        **TRAINING,
    )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return [
        f"wrote {path}",
        _NEXT,
        f"scalpel sweep {path} --methods sum",
        f"scalpel new box {path} >> {path}",
        f"scalpel sweep {path}",
    ]


def _from(of: str, folder: Path) -> str:
    """The task with the path of its file as it is from the experiment's folder."""
    file, separator, class_name = of.rpartition(":")
    return f"{os.path.relpath(file, folder)}:{class_name}" if separator else of


def _settings(task: tasks.Task) -> str:
    """The task's settings with their defaults, each commented out."""
    own = {key: value for key, value in task.settings.items() if key not in ("name", "origin")}
    stated = {key: value for key, value in own.items() if value is not None}
    return (
        "\n".join(f"# {key} = {_written(value)}" for key, value in stated.items()) or "# it has no settings"
    )


def _allowed(task: tasks.Task) -> list[str]:
    """Those of `METHODS` that are defined for as many losses as the task has."""
    return [name for name in METHODS if methods.get(name).objectives in (None, len(task.objectives))]


def _written(value: Any) -> str:
    """A value in a TOML file."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
