"""What is derived from the records of a sweep, and can always be made again: tables and figures."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from scalpel_bench.benchmarks.analysis import mixed_loss, verdicts
from scalpel_bench.benchmarks.analysis import tables as analysis
from scalpel_bench.benchmarks.experiments.command_line import sweep_command
from scalpel_bench.benchmarks.experiments.schema import (
    ADAPTER,
    MANIFEST,
    AnyExperiment,
    Experiment,
    MixedLossExperiment,
    NoiseExperiment,
    RatesExperiment,
    available,
    load,
)
from scalpel_bench.benchmarks.experiments.settings import AnyRun, DataRecord
from scalpel_bench.benchmarks.figures import draw as figures
from scalpel_bench.benchmarks.figures import trajectories
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records.folder import Folder, Record, none_of, write_atomically
from scalpel_bench.benchmarks.simulations import SIMULATIONS

FILE = "experiment.json"


@dataclass(frozen=True)
class Derived:
    """What a person is shown of it: a title, a table, the verdicts, and the records that were left out.

    For the report, also the records that were used, and for an experiment that compares methods its tables.
    """

    title: str
    overview: pd.DataFrame
    claims: pd.DataFrame
    left_out: list[str]
    records: int
    used: list[Record] = field(default_factory=list)
    tables: analysis.Tables | None = None


def write_manifest(
    folder: Folder, experiment: AnyExperiment, fingerprint: str | None, source: str | None = None
) -> None:
    """Write the experiment that the records belong to beside them, and the command that makes them.

    Methods and commands of earlier sweeps with otherwise equal settings stay.

    Args:
        folder: of the records.
        experiment: theirs.
        fingerprint: of their data.
        source: where these come from: embedded, hub or folder.
    """
    commands = [sweep_command(experiment, {source})]
    same = {"task", "training", "region"}
    with suppress(UserError):
        earlier, known = read_manifest(folder)
        now, then = (e.model_dump(mode="json", include=same) for e in (experiment, earlier))
        if (
            isinstance(experiment, Experiment)
            and isinstance(earlier, Experiment)
            and known == fingerprint
            and now == then
        ):
            merged = {**earlier.methods, **experiment.methods}
            experiment = experiment.model_copy(update={"methods": merged})
            commands = list(dict.fromkeys([*read_commands(folder), *commands]))
    manifest = {"experiment": experiment.model_dump(mode="json"), "data": fingerprint, "commands": commands}
    write_atomically(folder.path / FILE, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def read_manifest(folder: Folder) -> tuple[AnyExperiment, str | None]:
    """The experiment, and the fingerprint of its data.

    A sweep that states no claims is asked those of the suite's experiment of its name.

    Raises:
        UserError: the folder has none.
    """
    file = folder.path / FILE
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        experiment = ADAPTER.validate_python(manifest["experiment"], context=MANIFEST)
        data: str | None = manifest["data"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        cause = "no such file" if isinstance(error, OSError) else "not a manifest of this version"
        raise UserError(
            f"{file}: {cause}; give a folder that `scalpel sweep` wrote, such as results/fig3a/laptop"
        ) from error
    if not experiment.claims and experiment.name in available():
        with suppress(UserError):
            known = load(experiment.name, experiment.scale)
            if known.kind == experiment.kind:
                experiment = experiment.model_copy(update={"claims": known.claims})
    return experiment, data


def read_commands(folder: Folder) -> list[str]:
    """The commands of the sweeps that the manifest was written for; none in one of an earlier version."""
    manifest = json.loads((folder.path / FILE).read_text(encoding="utf-8"))
    commands = manifest.get("commands")
    return [command for command in commands if isinstance(command, str)] if isinstance(commands, list) else []


def derive(folder: Folder) -> Derived:
    """Write tables and figures beside the records.

    Raises:
        UserError: the folder is none of a sweep, or has no valid records.
    """
    experiment, fingerprint = read_manifest(folder)
    if isinstance(experiment, MixedLossExperiment):
        return _derive_mixed_loss(folder, experiment)
    records, rejected = folder.read()
    tables = None
    if not records:
        raise UserError(none_of(folder, rejected))
    found = len(records) + len(rejected)
    if not isinstance(experiment, Experiment):
        records, left_out = _of_the_sweep(records, experiment)
        rows = [{"seed": record.run.seed, **row} for record in records for row in record.trajectory]
        frame = pd.DataFrame(rows)
        _write_csv(folder, "summary", frame)
        figures.draw_simulation(folder.path / "figures", frame, experiment)
        simulation = SIMULATIONS[experiment.kind]
        overview, what = simulation.overview(frame), ""
        quantities = {int(str(seed)): simulation.quantities(of) for seed, of in frame.groupby("seed")}
        claims = verdicts.judge_simulation(experiment, quantities)
    else:
        tables = analysis.analyse(records, experiment, fingerprint)
        _write_csv(folder, "summary", tables.summary)
        _write_csv(folder, "fronts", tables.fronts)
        _write_csv(folder, "metrics", tables.metrics)
        _write_csv(folder, "attainment", tables.attainment)
        _write_csv(folder, "selected", tables.selected)
        kept = set(tables.summary["id"])
        records = [record for record in records if record.id in kept]
        _write_csv(folder, "diagnostics", tables.diagnostics)
        figures.draw(folder.path / "figures", tables, records, experiment)
        claims = verdicts.judge(experiment, tables.summary, records)
        what = ": main loss relative to sum within equal auxiliary loss, geometric mean over seeds [95 %]"
        overview, left_out = ratio_table(tables.metrics), tables.left_out
        if experiment.figure == "trajectories":
            what, overview = ": end values, mean over seeds", trajectories.overview(tables.summary)
    _write_csv(folder, "claims", claims)
    left_out = [*rejected, *left_out]
    _write_provenance(folder, records, experiment, len(left_out))
    title = f"{experiment.title} ({experiment.paper}){what}"
    return Derived(title, overview, claims, left_out, found, records, tables)


def _of_the_sweep(
    records: list[Record], experiment: NoiseExperiment | RatesExperiment
) -> tuple[list[Record], list[str]]:
    """The records of a simulation with the same settings, and a line for each other one.

    Raises:
        UserError: there are none.
    """
    planned = experiment.plan(lambda settings: DataRecord(name="none", fingerprint="0"))[0]
    kept: list[Record] = []
    left_out = []
    for record in records:
        run = record.run
        if (run.experiment, run.scale) != (experiment.name, experiment.scale):
            left_out.append(f"{record.id}: of {run.experiment} at scale {run.scale}")
        elif not _alike(run, planned):
            left_out.append(f"{record.id}: its settings are not the sweep's")
        else:
            kept.append(record)
    if not kept:
        raise UserError(f"no record belongs to {experiment.name} at scale {experiment.scale}: {left_out[0]}")
    return kept, left_out


def _alike(run: AnyRun, planned: AnyRun) -> bool:
    """Whether two simulations differ in nothing but their seed, and the last digits of a grid."""
    has, wants = (r.model_dump(exclude={"seed", "label"}) for r in (run, planned))
    return has.keys() == wants.keys() and all(
        has[key] == value
        if isinstance(value, str)
        else np.shape(has[key]) == np.shape(value) and np.allclose(has[key], value, rtol=1e-9, atol=0)
        for key, value in wants.items()
    )


def _derive_mixed_loss(folder: Folder, experiment: MixedLossExperiment) -> Derived:
    source = mixed_loss.source_of(folder, experiment)
    compared, fingerprint = read_manifest(source)
    if not isinstance(compared, Experiment):
        raise UserError(f"{source.path}: {experiment.source} compares no methods")
    records, rejected = source.read()
    tables = analysis.analyse(records, compared, fingerprint)
    fixed = next(analysis.protocols(tables.summary, compared))
    frame = mixed_loss.tabulate(fixed.runs, experiment.points)
    _write_csv(folder, "summary", frame)
    figures.draw_mixed_loss(folder.path / "figures", frame, experiment)
    used = set(fixed.runs["id"])
    left_out, found = [*rejected, *tables.left_out], len(records) + len(rejected)
    records = [record for record in records if record.id in used]
    _write_provenance(folder, records, experiment, len(left_out))
    title = f"{experiment.title} ({experiment.paper}): mean over seeds, from the runs of {source.path}"
    claims = pd.DataFrame(columns=verdicts.COLUMNS)
    return Derived(title, mixed_loss.overview(frame), claims, left_out, found, records)


def ratio_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Front ratios over all seeds, a row per protocol and method; validation is in ``metrics.csv`` alone."""
    chosen = metrics[(metrics["statistic"] == "front_ratio") & (metrics["seed"] == "all")]
    chosen = chosen[chosen["split"] != "validation"]
    cells = chosen.assign(cell=[_interval(row) for row in chosen.itertuples()])
    wide = cells.pivot_table(
        index=["protocol", "method"], columns="split", values="cell", aggfunc="first", sort=False
    )
    return wide.reset_index()


def _interval(row: Any) -> str:
    if pd.isna(row.value):
        return "none"
    return f"{row.value:.3f}" if pd.isna(row.low) else f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"


def _write_csv(folder: Folder, name: str, frame: pd.DataFrame) -> None:
    write_atomically(folder.path / f"{name}.csv", frame.to_csv(index=False, float_format="%.8g"))


def _write_provenance(
    folder: Folder, records: list[Record], experiment: AnyExperiment, left_out: int
) -> None:
    """Where the numbers come from: command, data, environments, how the runs ended, how many do not count."""
    environments = Counter(json.dumps(record.environment, sort_keys=True) for record in records)
    runs = [record.run.model_dump(mode="json", include={"data"}) for record in records]
    sources = {record.data_source for record in records}
    provenance = {
        "commands": read_commands(folder) or [sweep_command(experiment, sources)],
        "runs": dict(Counter(record.status for record in records)),
        "left_out": left_out,
        "data": sorted(
            {f"{run['data']['name']} {run['data']['fingerprint']}" for run in runs if "data" in run}
        ),
        "environments": [{**json.loads(text), "runs": count} for text, count in environments.most_common()],
        "train_seconds": round(sum(record.timings.get("train", 0.0) for record in records), 1),
    }
    write_atomically(folder.path / "provenance.json", json.dumps(provenance, indent=1) + "\n")
