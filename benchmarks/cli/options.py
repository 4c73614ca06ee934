"""Options that several commands have in common, each written once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from .names import complete_experiment
from .parsing import execution_options

if TYPE_CHECKING:
    from ..execution import ExecutionOptions

Experiment = Annotated[
    str,
    typer.Argument(
        metavar="EXPERIMENT", help="A name, or a path to a .toml file.", autocompletion=complete_experiment
    ),
]
Results = Annotated[Path, typer.Option(help="Folder for records, tables and figures.")]
Data = Annotated[str, typer.Option(help="embedded, hub, or a folder in the hub's layout.")]
Scale = Annotated[str, typer.Option(help="smoke, laptop, workstation, paper, or an experiment's own.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Number of seeds; default: the experiment's.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; default: the GPU where there is one.")]
GpuShare = Annotated[
    float, typer.Option(min=0.01, max=1, help="Share of a GPU that a run takes: 0.25 puts four on each.")
]
Retries = Annotated[int, typer.Option(min=0, help="Times that a run is tried again when its worker died.")]
RunTimeout = Annotated[
    float | None,
    typer.Option(
        min=1,
        help="Seconds without a step (on Ray: since it was submitted) after which a run is ended "
        "as failed; default: none.",
    ),
]
CheckpointEvery = Annotated[float, typer.Option(min=0, help="Seconds between two checkpoints of a run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be run, and stop.")]
Wandb = Annotated[
    Literal["disabled", "offline", "online"],
    typer.Option(envvar="WANDB_MODE", help="Log finished runs to Weights & Biases."),
]
RunSet = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value, section task, method or training.")
]
SweepSet = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value, section task or training.")
]


@dataclass(frozen=True)
class SweepOptions:
    """The options of whatever runs experiments."""

    scale: Scale = "laptop"
    data: Data = "embedded"
    seeds: Seeds = None
    results: Results = Path("results")
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; default: one per core, or per GPU.")
    ] = None
    population: Annotated[
        str,
        typer.Option(
            help="Runs that train in lock step: N, or auto: 1 on a CPU and with Ray, else the fastest."
        ),
    ] = "auto"
    device: Device = None
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Worker processes of this machine, or a Ray cluster.")
    ] = "local"
    address: Annotated[
        str | None,
        typer.Option(help="Of a running Ray cluster, host:port; default: one of this machine's own."),
    ] = None
    gpu_share: GpuShare = 1.0
    retries: Retries = 2
    run_timeout: RunTimeout = None
    checkpoint_every: CheckpointEvery = 60.0
    dry_run: DryRun = False
    wandb: Wandb = "disabled"

    @property
    def overrides(self) -> dict[str, Any]:
        """What they change in an experiment."""
        return {} if self.seeds is None else {"seeds": self.seeds}

    def execution(self) -> ExecutionOptions:
        """How runs are executed.

        Raises:
            UserError: there is no such data or device, or options contradict each other.
        """
        names = inspect.signature(execution_options).parameters
        return execution_options(**{name: getattr(self, name) for name in names})


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter that is a dataclass stands for the options that are its fields."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind) and isinstance(kind, type):
            groups[parameter.name] = kind
            own = get_type_hints(kind, include_extras=True)
            parameters += [
                parameter.replace(name=field.name, annotation=own[field.name], default=field.default)
                for field in fields(kind)
            ]
        else:
            parameters.append(parameter.replace(annotation=kind))

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        command(**given, **made)

    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    wrapper.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper
