"""What is derived from the records of a sweep, and can always be made again: tables and figures."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from benchmarks import analysis, figures, mixed_loss, trajectories
from benchmarks.errors import UserError
from benchmarks.experiment import ADAPTER, MANIFEST, AnyExperiment, Experiment, MixedLossExperiment
from benchmarks.records import Folder, Record, write_atomically
from benchmarks.simulations import SIMULATIONS

FILE = "experiment.json"


@dataclass(frozen=True)
class Derived:
    """What a person is shown of it: a title, a table, and the records that were left out.

    For the report, also the records that were used, and for an experiment that compares methods its tables.
    """

    title: str
    overview: pd.DataFrame
    left_out: list[str]
    records: list[Record] = field(default_factory=list)
    tables: analysis.Tables | None = None


def write_manifest(folder: Folder, experiment: AnyExperiment, fingerprint: str | None) -> None:
    """Write the experiment that the records belong to beside them.

    Methods of an earlier sweep with otherwise equal settings stay.
    """
    with suppress(UserError):
        earlier, known = read_manifest(folder)
        same = {"task", "training", "region"}
        if (
            isinstance(experiment, Experiment)
            and isinstance(earlier, Experiment)
            and known == fingerprint
            and earlier.model_dump(include=same) == experiment.model_dump(include=same)
        ):
            merged = {**earlier.methods, **experiment.methods}
            experiment = experiment.model_copy(update={"methods": merged})
    manifest = {"experiment": experiment.model_dump(mode="json"), "data": fingerprint}
    write_atomically(folder.path / FILE, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def read_manifest(folder: Folder) -> tuple[AnyExperiment, str | None]:
    """The experiment, and the fingerprint of its data.

    Raises:
        UserError: the folder has none.
    """
    file = folder.path / FILE
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        return ADAPTER.validate_python(manifest["experiment"], context=MANIFEST), manifest["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = "no such file" if isinstance(error, OSError) else "not a manifest of this version"
        raise UserError(
            f"{file}: {cause}; give a folder that `scalpel sweep` wrote, such as results/fig3a/laptop"
        ) from error


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
        raise UserError(_none_of(folder, rejected))
    if not isinstance(experiment, Experiment):
        rows = [{"seed": record.run.seed, **row} for record in records for row in record.trajectory]
        frame = pd.DataFrame(rows)
        _write_csv(folder, "summary", frame)
        figures.draw_simulation(folder.path / "figures", frame, experiment)
        overview, what, left_out = SIMULATIONS[experiment.kind].overview(frame), "", list[str]()
    else:
        tables = analysis.analyse(records, experiment, fingerprint)
        if tables.summary.empty:
            raise UserError(_none_of(folder, [*rejected, *tables.left_out]))
        _write_csv(folder, "summary", tables.summary)
        _write_csv(folder, "fronts", tables.fronts)
        _write_csv(folder, "metrics", tables.metrics)
        kept = set(tables.summary["id"])
        records = [record for record in records if record.id in kept]
        figures.draw(folder.path / "figures", tables, records, experiment)
        what = ": main loss relative to sum at equal auxiliary loss, mean [95 % interval] over seeds"
        overview, left_out = ratio_table(tables.metrics), tables.left_out
        if experiment.figure == "trajectories":
            what, overview = ": end values, mean over seeds", trajectories.overview(tables.summary)
    _write_provenance(folder, records)
    title = f"{experiment.title} ({experiment.paper}){what}"
    return Derived(title, overview, [*rejected, *left_out], records, tables)


def _none_of(folder: Folder, left_out: list[str]) -> str:
    more = f": {len(left_out)} left out, the first: {left_out[0]}" if left_out else ""
    return f"{folder.runs}: no valid records{more}"


def _derive_mixed_loss(folder: Folder, experiment: MixedLossExperiment) -> Derived:
    source = mixed_loss.source_of(folder, experiment)
    compared, fingerprint = read_manifest(source)
    if not isinstance(compared, Experiment):
        raise UserError(f"{source.path}: {experiment.source} compares no methods")
    records, rejected = source.read()
    tables = analysis.analyse(records, compared, fingerprint)
    if tables.summary.empty:
        raise UserError(_none_of(source, [*rejected, *tables.left_out]))
    fixed = next(analysis.protocols(tables.summary, compared))
    frame = mixed_loss.tabulate(fixed.runs, experiment.points)
    _write_csv(folder, "summary", frame)
    figures.draw_mixed_loss(folder.path / "figures", frame, experiment)
    used = set(fixed.runs["id"])
    records = [record for record in records if record.id in used]
    _write_provenance(folder, records)
    title = f"{experiment.title} ({experiment.paper}): mean over seeds, from the runs of {source.path}"
    return Derived(title, mixed_loss.overview(frame), [*rejected, *tables.left_out], records)


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
        return "no common range"
    return f"{row.value:.3f}" if pd.isna(row.low) else f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"


def _write_csv(folder: Folder, name: str, frame: pd.DataFrame) -> None:
    write_atomically(folder.path / f"{name}.csv", frame.to_csv(index=False, float_format="%.8g"))


def _write_provenance(folder: Folder, records: list[Record]) -> None:
    """Where the numbers come from: data, environments, and how the runs ended."""
    environments = Counter(json.dumps(record.environment, sort_keys=True) for record in records)
    runs = [record.run.model_dump(mode="json", include={"data"}) for record in records]
    provenance = {
        "runs": dict(Counter(record.status for record in records)),
        "data": sorted(
            {f"{run['data']['name']} {run['data']['fingerprint']}" for run in runs if "data" in run}
        ),
        "environments": [{**json.loads(text), "runs": count} for text, count in environments.most_common()],
        "train_seconds": round(sum(record.timings.get("train", 0.0) for record in records), 1),
    }
    write_atomically(folder.path / "provenance.json", json.dumps(provenance, indent=1) + "\n")
