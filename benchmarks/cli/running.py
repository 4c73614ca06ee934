"""Commands that train: one run, a sweep, the paper, and what a sweep would cost."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..messages import UserError, terminal
from . import parsing
from .names import complete_experiment, complete_method, complete_methods, complete_task
from .options import (
    Data,
    Device,
    DryRun,
    Experiment,
    GpuShare,
    Results,
    Retries,
    RunSet,
    RunTimeout,
    Scale,
    SweepOptions,
    SweepSet,
    Wandb,
    with_shared_options,
)

if TYPE_CHECKING:
    from ..experiments.loading import AnyExperiment


def run(
    task: Annotated[
        str, typer.Option(help="See `scalpel list tasks`; or file.py:Class.", autocompletion=complete_task)
    ],
    method: Annotated[
        str,
        typer.Option(help="See `scalpel list methods`; or file.py:Class.", autocompletion=complete_method),
    ],
    lam: Annotated[float, typer.Option(help="Trade-off λ ≥ 0, or the bound of a loss.")] = 1.0,
    rho: Annotated[
        float | None, typer.Option(help="EMA coefficient in (0, 1], for methods with an EMA.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Decides the start and the batches.")] = 0,
    set_: RunSet = None,
    scale: Scale = "laptop",
    data: Data = "embedded",
    results: Results = Path("results"),
    device: Device = None,
    retries: Retries = 2,
    run_timeout: RunTimeout = None,
    dry_run: DryRun = False,
    wandb: Wandb = "disabled",
) -> None:
    """Train one method on one task, with the settings of the suite's experiment that uses it, if one does."""
    from ..commands import run as command

    overrides = parsing.settings(set_ or [])
    if rho is not None:
        overrides.setdefault("method", {})["rho"] = rho
    options = parsing.execution_options(data, device, workers=1, run_timeout=run_timeout)
    task, method = parsing.checked(task, "task"), parsing.checked(method, "method")
    chosen = command.single_run(task, method, lam, seed, overrides, scale, options)
    raise typer.Exit(command.run(chosen, options, results, dry_run, wandb, retries))


@with_shared_options
def sweep(
    name: Experiment,
    options: SweepOptions,
    method: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help="Comma-separated; default: the experiment's.",
            autocompletion=complete_methods,
        ),
    ] = None,
    lam: Annotated[str | None, typer.Option(help="Comma-separated λ; default: the experiment's.")] = None,
    lr: Annotated[
        str | None, typer.Option(help="Comma-separated learning rates: --axis training.lr=…")
    ] = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="section.key=v1,v2,…: one more axis of the grid.")
    ] = None,
    set_: SweepSet = None,
) -> None:
    """Run an experiment: methods x λ x seeds x axes, then its tables and figures. Recorded runs are kept."""
    from ..commands import planning
    from ..commands import sweep as command
    from ..experiments.settings import LEARNING_RATE

    overrides: dict[str, Any] = {**parsing.settings(set_ or []), **options.overrides}
    if method_settings := overrides.pop("method", None):
        raise UserError(f"--set method.{next(iter(method_settings))}: give it as --axis method.key=value")
    if lam is not None:
        overrides["lam"] = parsing.numbers("--lam", lam)
        if not all(0 <= value < math.inf for value in overrides["lam"]):
            raise UserError(f"--lam {lam}: λ must be finite and at least 0")
    axes = parsing.axes(axis or [])
    if lr is not None:
        if LEARNING_RATE in axes:
            raise UserError(
                f"--lr {lr}: --axis {LEARNING_RATE} gives learning rates, too; leave one of them out"
            )
        axes[LEARNING_RATE] = [*parsing.numbers("--lr", lr)]
    experiment = _overridden(name, options.scale, overrides, axes)
    if method is not None:
        own = getattr(experiment, "methods", ())
        words = [word.strip() for word in method.split(",") if word.strip()]
        labels = [parsing.checked(word, "method", own) for word in words]
        experiment = planning.with_methods(experiment, labels)
    execution = options.execution()
    status = command.sweep(
        [experiment], execution, options.results, options.dry_run, options.wandb, options.retries
    )
    raise typer.Exit(status)


def _overridden(
    name: str, scale: str, overrides: dict[str, Any], axes: dict[str, list[int | float]]
) -> AnyExperiment:
    """An experiment as a command changes it: a single learning rate is the fixed one, and the only one.

    Raises:
        UserError: it cannot be read, or a setting is changed that is an axis.
    """
    from ..experiments.loading import load
    from ..experiments.settings import LEARNING_RATE

    stated = {f"{section}.{key}" for section in ("task", "training") for key in overrides.get(section, ())}
    if LEARNING_RATE in stated & axes.keys():
        raise UserError(f"--set {LEARNING_RATE}: --lr or --axis gives one, too; leave one of them out")
    others = axes
    if single := len(axes.get(LEARNING_RATE, ())) == 1:
        others = {axis: values for axis, values in axes.items() if axis != LEARNING_RATE}
        overrides = overrides | {"training": {**overrides.get("training", {}), "lr": axes[LEARNING_RATE][0]}}
    experiment = load(name, scale, overrides | ({"axes": others} if others else {}))
    own = {*getattr(experiment, "axes", ())}
    if taken := sorted(stated & own):
        raise UserError(
            f"--set {taken[0]}: the experiment has an axis of it: give --axis {taken[0]}=VALUE instead"
        )
    return load(name, scale, overrides | {"axes": axes}) if single and LEARNING_RATE in own else experiment


def compare(
    method: Annotated[
        str, typer.Argument(help="A name, or path/to/file.py:Class.", autocompletion=complete_method)
    ],
    on: Annotated[
        str,
        typer.Option(
            help="Recorded experiments, comma-separated: fig3a, or fig3a/released of several scales."
        ),
    ],
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of the recorded runs, only read; default: those that came with the suite."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the method's runs, beside copies of its rivals'.")
    ] = Path("compare"),
    data: Data = "embedded",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; default: one per core, or per GPU.")
    ] = None,
    device: Device = None,
    dry_run: DryRun = False,
) -> None:
    """Train one method alone, and rank it among the recorded runs of its rivals."""
    from ..catalogue import shipped_results
    from ..commands import compare as command

    names = [name.strip().rstrip("/") for name in on.split(",") if name.strip()]
    if not names:
        raise UserError("--on: name an experiment, such as fig3a")
    method = parsing.checked(method, "method")
    options = parsing.execution_options(data, device, workers)
    raise typer.Exit(command.compare(method, names, results or shipped_results(), out, options, dry_run))


@with_shared_options
def reproduce(
    options: SweepOptions,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXPERIMENT]...", help="Default: all of the paper.", autocompletion=complete_experiment
        ),
    ] = None,
) -> None:
    """Run the paper's experiments at one scale, in its order, and draw each figure when its runs end."""
    from ..commands import sweep as command
    from ..experiments.loading import available, check_scale, load

    check_scale(options.scale, names or available())
    loaded = [load(name, options.scale, options.overrides) for name in names or available()]
    called = Counter(experiment.name for experiment in loaded)
    if twice := [name for name, count in called.items() if count > 1]:
        raise UserError(
            f"{twice[0]}: given twice, or two files are called so, whose records would share a folder"
        )
    if not names:
        loaded = [experiment for experiment in loaded if not experiment.own_question]
    execution = options.execution()
    status = command.sweep(
        loaded, execution, options.results, options.dry_run, options.wandb, options.retries, brief=True
    )
    raise typer.Exit(status)


def plan(
    name: Experiment,
    scale: Scale = "paper",
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs (on the CPU: processes) of the sweep; default: as here.")
    ] = None,
    data: Data = "embedded",
    steps_per_epoch: Annotated[
        int | None, typer.Option(min=1, help="Of the sweep's data, to measure on embedded data.")
    ] = None,
    device: Device = None,
    gpu_share: GpuShare = 1.0,
) -> None:
    """Say what a sweep will cost in hours, memory and disk, from steps measured on this machine."""
    from ..commands import plan as command
    from ..execution.options import on_gpus
    from ..experiments.loading import load

    options = parsing.execution_options(data, device, None, gpu_share=gpu_share)
    share = gpu_share if options.device.startswith("cuda") else 1.0
    slots = options.workers if gpus is None else max(1, on_gpus(gpus, share))
    table, total = command.estimate(load(name, scale), options, slots, steps_per_epoch)
    terminal.table(f"{name} at scale {scale}", table)
    terminal.say(total)
