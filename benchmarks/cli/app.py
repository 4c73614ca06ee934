"""The command line, ``scalpel``."""

from __future__ import annotations

import math
import signal
import sys
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from scalpel_bench import methods, tasks
from scalpel_bench.benchmarks import speed
from scalpel_bench.benchmarks.cli import results as cli_results
from scalpel_bench.benchmarks.commands import plan as cost
from scalpel_bench.benchmarks.commands import session, template
from scalpel_bench.benchmarks.execution.jobs import Place, default_device, default_workers
from scalpel_bench.benchmarks.experiments import schema as experiment
from scalpel_bench.benchmarks.experiments.schema import LEARNING_RATE
from scalpel_bench.benchmarks.messages import terminal
from scalpel_bench.benchmarks.messages.errors import UserError, as_user_error

app = typer.Typer(
    name="scalpel",
    help="The reproducible benchmark suite for gradient-surgery methods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(cli_results.app, name="results")


class Wandb(StrEnum):
    """Whether runs are logged to Weights & Biases."""

    disabled = "disabled"
    offline = "offline"
    online = "online"


class Sent(StrEnum):
    """Where `scalpel dashboard` puts what it sends."""

    offline = "offline"
    online = "online"


class Engine(StrEnum):
    """What executes runs."""

    local = "local"
    ray = "ray"


class Kind(StrEnum):
    """What `scalpel new` writes."""

    method = "method"
    task = "task"


class Listing(StrEnum):
    """What `scalpel list` knows."""

    methods = "methods"
    tasks = "tasks"
    experiments = "experiments"


Results = Annotated[Path, typer.Option(help="Folder for records, tables and figures.")]
Data = Annotated[str, typer.Option(help="embedded, hub, or a folder in the hub's layout.")]
Scale = Annotated[str, typer.Option(help="smoke, laptop, workstation or paper.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Number of seeds; default: the experiment's.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes; default: one per core, or per GPU.")
]
Population = Annotated[
    str, typer.Option(help="Runs that train in lock step: auto (1 on a CPU, the fastest on a GPU) or N.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; default: the GPU where there is one.")]
Retries = Annotated[int, typer.Option(min=0, help="Times that a run is tried again when its worker died.")]
CheckpointEvery = Annotated[float, typer.Option(min=0, help="Seconds between two checkpoints of a run.")]
ExecutorName = Annotated[Engine, typer.Option(help="Worker processes of this machine, or a Ray cluster.")]
Address = Annotated[
    str | None, typer.Option(help="Of a running Ray cluster, host:port; default: one of this machine's own.")
]
GpuShare = Annotated[
    float, typer.Option(min=0.01, max=1, help="What a run takes of a GPU: 0.25 puts four on each.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and stop.")]
WandbMode = Annotated[Wandb, typer.Option(envvar="WANDB_MODE", help="Log finished runs to Weights & Biases.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value, section task, method or training.")
]


@app.command("list")
def list_(what: Annotated[Listing | None, typer.Argument(help="Default: all three.")] = None) -> None:
    """List methods, tasks and experiments."""
    for listing in [what] if what else list(Listing):
        if listing == Listing.methods:
            terminal.methods(methods.REGISTRY)
        elif listing == Listing.tasks:
            terminal.listing("tasks", {n: tasks.get(n).__doc__ or "" for n in tasks.available()})
        else:
            loaded = {name: experiment.load(name, "laptop") for name in experiment.available()}
            terminal.listing("experiments", {n: f"{e.title} ({e.paper})" for n, e in loaded.items()})


@app.command()
def run(
    task: Annotated[str, typer.Option(help="Task; see `scalpel list tasks`.")],
    method: Annotated[str, typer.Option(help="Method; see `scalpel list methods`.")],
    lam: Annotated[float, typer.Option(help="Trade-off λ ≥ 0.")] = 1.0,
    rho: Annotated[
        float | None, typer.Option(help="EMA coefficient in (0, 1], for methods with an EMA.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    set_: Set = None,
    scale: Scale = "laptop",
    data: Data = "embedded",
    results: Results = Path("results"),
    device: Device = None,
    dry_run: DryRun = False,
    wandb: WandbMode = Wandb.disabled,
) -> None:
    """Train one method on one task, with the settings of the experiment that uses the task."""
    overrides = _settings(set_ or [])
    if rho is not None:
        overrides.setdefault("method", {})["rho"] = rho
    place = place_of(data, device, workers=1)
    session.run_one(task, method, lam, seed, overrides, scale, place, results, dry_run, wandb.value)


@app.command()
def sweep(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="A name, or a path to a .toml file.")],
    scale: Scale = "laptop",
    data: Data = "embedded",
    seeds: Seeds = None,
    method: Annotated[
        str | None, typer.Option("--methods", help="Comma-separated; default: the experiment's.")
    ] = None,
    lam: Annotated[str | None, typer.Option(help="Comma-separated λ; default: the experiment's.")] = None,
    lr: Annotated[
        str | None, typer.Option(help=f"Comma-separated learning rates: --axis {LEARNING_RATE}=…")
    ] = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="section.key=v1,v2,…: one more axis of the grid.")
    ] = None,
    set_: Set = None,
    results: Results = Path("results"),
    workers: Workers = None,
    population: Population = "auto",
    device: Device = None,
    executor: ExecutorName = Engine.local,
    address: Address = None,
    gpu_share: GpuShare = 1.0,
    retries: Retries = 2,
    checkpoint_every: CheckpointEvery = 60.0,
    dry_run: DryRun = False,
    wandb: WandbMode = Wandb.disabled,
) -> None:
    """Run an experiment: methods x λ x seeds x axes, then its tables and figures. Recorded runs are kept."""
    overrides = _settings(set_ or [])
    if method_settings := overrides.pop("method", None):
        raise UserError(f"--set method.{next(iter(method_settings))}: give it as --axis method.key=value")
    if seeds is not None:
        overrides["seeds"] = seeds
    if lam is not None:
        overrides["lam"] = _numbers("--lam", lam)
        if not all(0 <= value < math.inf for value in overrides["lam"]):
            raise UserError(f"--lam {lam}: λ must be finite and at least 0")
    axes = {}
    for given in [*(axis or []), *([f"{LEARNING_RATE}={lr}"] if lr is not None else [])]:
        key, separator, values = given.partition("=")
        if not separator:
            raise UserError(f"--axis {given}: write section.key=v1,v2,…")
        axes[key] = _numbers(f"--axis {key}", values)
    if len(axes.get(LEARNING_RATE, ())) == 1:
        overrides.setdefault("training", {})["lr"] = axes.pop(LEARNING_RATE)[0]
    if axes:
        overrides["axes"] = axes
    loaded = experiment.load(name, scale, overrides)
    if method is not None:
        loaded = session.with_methods(loaded, [m.strip() for m in method.split(",") if m.strip()])
    place = place_of(data, device, workers, population, checkpoint_every, executor.value, address, gpu_share)
    raise typer.Exit(session.sweep([loaded], place, results, dry_run, wandb.value, retries))


@app.command()
def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPERIMENT]...", help="Default: all.")
    ] = None,
    scale: Scale = "laptop",
    data: Data = "embedded",
    seeds: Seeds = None,
    results: Results = Path("results"),
    workers: Workers = None,
    population: Population = "auto",
    device: Device = None,
    executor: ExecutorName = Engine.local,
    address: Address = None,
    gpu_share: GpuShare = 1.0,
    retries: Retries = 2,
    checkpoint_every: CheckpointEvery = 60.0,
    dry_run: DryRun = False,
    wandb: WandbMode = Wandb.disabled,
) -> None:
    """Run the paper's experiments at one scale, and draw its figures."""
    overrides = {} if seeds is None else {"seeds": seeds}
    loaded = [experiment.load(name, scale, overrides) for name in names or experiment.available()]
    place = place_of(data, device, workers, population, checkpoint_every, executor.value, address, gpu_share)
    raise typer.Exit(session.sweep(loaded, place, results, dry_run, wandb.value, retries))


@app.command()
def plan(
    name: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="A name, or a path to a .toml file.")],
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
    place = place_of(data, device, None, gpu_share=gpu_share)
    slots = place.workers if gpus is None else max(1, int(gpus / gpu_share))
    table, total = cost.estimate(experiment.load(name, scale), place, slots, steps_per_epoch)
    terminal.table(f"{name} at scale {scale}", table)
    terminal.say(total)


@app.command()
def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders such as results/fig3a/laptop.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="The page; default: report.html in the folder, or above several.")
    ] = None,
) -> None:
    """Make the tables and figures of recorded runs again, and one page to compare them in."""
    session.report_all(paths, output)


@app.command()
def dashboard(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH]...", help="Default: all folders under results.")
    ] = None,
    wandb: Annotated[
        Sent, typer.Option(envvar="WANDB_MODE", help="Send to W&B, or write files for `wandb sync`.")
    ] = Sent.online,
    project: Annotated[str | None, typer.Option(help="W&B project; default: scalpel.")] = None,
    entity: Annotated[str | None, typer.Option(help="W&B user or team; default: the account's.")] = None,
    results: Results = Path("results"),
) -> None:
    """Send recorded runs to Weights & Biases, with their tables, figures and saved views."""
    from scalpel_bench.benchmarks.dashboard import push

    raise typer.Exit(push(paths or [], results, wandb.value, project, entity))


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A method or task, a plugin's too, or path/to/file.py:Class.")],
) -> None:
    """Check a method or a task against the contract, and say in words what fails."""
    problems = session.check(name)
    terminal.checks(name, problems)
    raise typer.Exit(2 if any(problems.values()) else 0)


@app.command()
def new(
    kind: Annotated[Kind, typer.Argument(help="What to write.")],
    name: Annotated[str, typer.Argument(help="Its name, such as my_method.")],
    folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path(),
) -> None:
    """Write a commented template of a method or a task, and its test, which runs at once."""
    for line in template.write(kind.value, name, folder):
        terminal.say(line)


@app.command()
def bench(
    full: Annotated[bool, typer.Option("--full", help="More sizes, methods and models: an hour.")] = False,
    part: Annotated[str, typer.Option(help="Measure only these parts again, such as ab.")] = "",
    device: Device = None,
    results: Results = Path("results"),
) -> None:
    """Measure speed and memory: ratios beside their targets, recorded under results/bench."""
    chosen = device or default_device()
    session.check_device(chosen)
    rows = []
    with terminal.console.status("measuring") as status:
        for row in speed.measure(results, chosen, full, part):
            rows.append(row)
            status.update(row.figure)
    terminal.table("ratios of medians, measured in turns on one thread", speed.table(rows))
    terminal.say(f"record: {speed.record_path(results, full, chosen != 'cpu')}")


def main() -> None:
    """Entry point: a `UserError` becomes one line and its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except UserError as error:
        terminal.error(str(error))
        sys.exit(error.status)


def place_of(
    data: str,
    device: str | None,
    workers: int | None,
    population: str = "auto",
    checkpoint_every: float = 60.0,
    executor: str = "local",
    address: str | None = None,
    gpu_share: float = 1.0,
) -> Place:
    """Where runs are executed.

    Raises:
        UserError: there is no such data or device.
    """
    chosen = device or default_device()
    if population != "auto" and not (population.isascii() and population.isdigit() and int(population)):
        raise UserError(f"--population {population}: write auto, or a number of runs of at least 1")
    if address is not None and executor != "ray":
        raise UserError("--address is of a Ray cluster: give --executor ray too")
    with as_user_error():
        tasks.check_source(data)
    if executor == "local":
        session.check_device(chosen)
    slots = workers or default_workers(chosen, gpu_share)
    return Place(
        data,
        chosen,
        slots,
        None if population == "auto" else int(population),
        checkpoint_every=checkpoint_every,
        executor=executor,
        address=address,
        gpu_share=gpu_share,
    )


def _numbers(flag: str, text: str) -> list[float]:
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"{flag}: the grid is empty")
    try:
        return [float(part) for part in parts]
    except ValueError as error:
        raise UserError(f"{flag}: {error}") from error


def _settings(given: list[str]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for setting in given:
        path, separator, text = setting.partition("=")
        section, _, key = path.partition(".")
        if not separator or section not in ("task", "method", "training") or not key:
            raise UserError(f"--set {setting}: write task.key=value, method.key=value or training.key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        overrides.setdefault(section, {})[key] = value
    return overrides


if __name__ == "__main__":
    main()
