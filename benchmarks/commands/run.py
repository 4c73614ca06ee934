"""``scalpel run``: a sweep of one run, and its end values."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ... import methods, tasks
from ..dashboard import Tracker
from ..execution import ExecutionOptions, Job, describe_data, execute_all, get_task
from ..experiments.from_file import TRAINING
from ..experiments.loading import available, load
from ..experiments.schema import Experiment
from ..experiments.settings import Training, TrainingRun
from ..experiments.toml_file import merge, read_toml
from ..messages import UserError, as_user_error, explain, terminal
from ..records import Folder, Record
from .finished_jobs import collect, tell_failures
from .planning import check_experiment, recorded


def run(
    of: TrainingRun, options: ExecutionOptions, results: Path, dry_run: bool, wandb: str, retries: int = 2
) -> int:
    """Train one run, unless it is recorded, and show its end values. Returns the exit status.

    Args:
        of: what to train.
        options: how it is executed.
        results: its record comes under ``run/<scale>`` there.
        dry_run: whether to stop when it is said what would be run.
        wandb: disabled, offline or online.
        retries: how often it is tried again when its worker died.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Folder(results / "run" / of.scale)
    job = Job(of, folder, folder.stamp(of.id))
    known = recorded({folder: folder.content()}).get(of.id)
    already = ", recorded already" if known else ""
    terminal.say(f"{job.title} on {of.data.name}, scale {of.scale}{already}: {job.file}")
    if dry_run:
        return 0
    if known:
        _show(known)
        return 0
    folder.prepare()
    steps = of.training.epochs * get_task(of.task, options).steps_per_epoch
    with (
        Tracker(wandb, results) as tracker,
        terminal.Steps(steps, of.label) as bar,
        closing(execute_all([(job,)], options, retries, bar.update)) as runs,
    ):
        ended = collect(runs, tracker)
        done = ended.last.record if ended.last else None
        bar.update(done.trajectory[-1]["step"] if done and done.trajectory else 0)
    if done:
        _show(done)
    return tell_failures(ended)


def single_run(
    task: str,
    method: str,
    lam: float,
    seed: int,
    overrides: dict[str, Any],
    scale: str,
    options: ExecutionOptions,
) -> TrainingRun:
    """A run of one method on one task, with the settings of the experiment that uses the task, if one does.

    Args:
        task: a name, or a file.
        method: a name, or a file.
        lam: trade-off λ, or the bound of a loss where the method takes one.
        seed: a number.
        overrides: settings by section, ``task``, ``method`` and ``training``.
        scale: of the experiment.
        options: what data it is to see.

    Raises:
        UserError: an unknown name, a bad value, or data that is not there.
    """
    for key, option in (("name", "--method"), ("lam", "--lam")):
        if key in overrides.get("method", {}):
            raise UserError(f"--set method.{key}: give it with {option}")
    with as_user_error():
        name = tasks.get(task).name
        settings = methods.create(method, lam=lam, **overrides.get("method", {})).settings
    label = settings["name"]
    sections = {key: value for key, value in overrides.items() if key != "method"}
    chosen = {"methods": {label: settings}}
    if known := _experiment_of(name, scale):
        experiment = load(known, scale, {**sections, **chosen})
    else:
        experiment = _unstated(task, scale, {**sections, **chosen})
    assert isinstance(experiment, Experiment)
    check_experiment(experiment, options)
    return TrainingRun(
        experiment="run",
        scale=scale,
        label=label,
        task=experiment.task,
        data=describe_data(experiment.task, options),
        method=settings,
        lam=lam,
        seed=seed,
        training=experiment.training,
    )


def _experiment_of(task: str, scale: str) -> str | None:
    """The first experiment of the suite that uses a task, with this scale if any; None where none does."""
    stated = {name: read_toml(file) for name, file in available().items()}
    using = [name for name, own in stated.items() if own.get("task", {}).get("name") == task]
    with_scale = [name for name in using if scale in stated[name].get("scales", {})]
    return next(iter(with_scale or using), None)


def _unstated(task: str, scale: str, given: dict[str, Any]) -> Experiment:
    """A task that no experiment of the suite uses: its own settings, the training of a new experiment.

    Raises:
        UserError: an unknown key, or a bad value.
    """
    stated = {"title": task, "seeds": 1, "lam": [1.0], "task": {"name": task}, "training": TRAINING}
    found = {**merge(stated, given), "name": "run", "scale": scale}
    try:
        experiment = Experiment.model_validate(found)
    except ValidationError as error:
        raise UserError(explain(error, known=Training.model_fields)) from error
    training = experiment.training
    terminal.say(
        f"no experiment of the suite uses {experiment.task['name']}: {training.epochs} epochs of "
        f"{training.optimizer} at lr {training.lr:g}; --set training.key=value changes that"
    )
    return experiment


def _show(record: Record) -> None:
    if not record.trajectory:
        return
    last = record.trajectory[-1]
    splits = [split for split in ("train", "validation", "test") if split in last]
    terminal.table("end values", pd.DataFrame([{"split": split, **last[split]} for split in splits]))
