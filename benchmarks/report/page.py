"""The report: one page, whole in itself, over the records of any number of sweeps."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scalpel_bench.benchmarks.analysis.tables import SPLITS
from scalpel_bench.benchmarks.experiments.schema import AnyExperiment, Experiment
from scalpel_bench.benchmarks.figures.style import order, title
from scalpel_bench.benchmarks.messages.errors import UserError
from scalpel_bench.benchmarks.records.folder import Folder, Record, write_atomically
from scalpel_bench.benchmarks.report import page_data, page_tables
from scalpel_bench.benchmarks.report.derive import Derived, read_manifest

_SYMBOLS = {"supported": "✓", "not supported": "✗", "inconclusive": "?"}


@dataclass(frozen=True)
class Source:
    """A folder of records and what was derived from them."""

    folder: Folder
    derived: Derived


def write(path: Path, sources: list[Source], refused: list[str]) -> None:
    """Write the page.

    Args:
        path: an ``.html`` file; its folder is made.
        sources: one section each, in this order.
        refused: a line for each folder of which nothing could be used.

    Raises:
        UserError: the file cannot be written.
    """
    sections, blocks, notices = [], [], []
    for index, source in enumerate(sources):
        experiment, _ = read_manifest(source.folder)
        section = _section(source, experiment, f"e{index}")
        sections.append(section)
        if isinstance(experiment, Experiment) and source.derived.tables is not None:
            budget = page_data.NUMBERS // len(sources)
            block, notice = page_data.block(source.derived.tables, source.derived.used, experiment, budget)
            blocks.append({"id": section["id"], **block})
            notices += [f"{section['name']}: {notice}"] if notice else []
    claims = pd.concat(
        [
            source.derived.claims.assign(experiment=section["experiment"].name)
            for source, section in zip(sources, sections, strict=True)
        ]
    )
    html = _render(
        sections=sections,
        claims=page_tables.by_claim(claims),
        protocols=page_tables.protocols(claims),
        symbols=_SYMBOLS,
        notices=[*notices, *_mixtures(sections)],
        refused=refused,
        totals=Counter({r.id: r.status for source in sources for r in source.derived.used}.values()),
        left_out=sum(len(section["left_out"]) for section in sections),
        data=Markup(_json(blocks)),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written: {error.strerror}") from error
    write_atomically(path, html)


def _render(**values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("scalpel_bench.benchmarks.report", "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["short"] = _short
    script = _asset("plot.js") + _asset("page.js")
    return environment.get_template("page.html.jinja").render(
        style=Markup(_asset("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


def _asset(name: str) -> str:
    return (resources.files("scalpel_bench.benchmarks.report") / "assets" / name).read_text(encoding="utf-8")


def _json(data: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def _section(source: Source, experiment: AnyExperiment, anchor: str) -> dict[str, Any]:
    derived, folder = source.derived, source.folder.path
    records = derived.used
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    compares = isinstance(experiment, Experiment)
    figure = experiment.figure if isinstance(experiment, Experiment) else experiment.kind
    ratios = [] if derived.tables is None else page_tables.ratios(derived.tables.metrics)
    measured = {split for table in ratios for row in table["rows"] for split in row["cells"]}
    return {
        "id": anchor,
        "name": f"{experiment.name}, {experiment.scale}",
        "experiment": experiment,
        "compares": compares,
        "data": provenance["data"],
        "seeds": len({record.run.seed for record in records}),
        "endings": Counter(record.status for record in records),
        "by_method": _endings(records),
        "unfinished": [_unfinished(record) for record in records if record.status != "completed"],
        "left_out": derived.left_out,
        "ratios": ratios,
        "splits": [split for split in SPLITS if split in measured],
        "overview": None if compares else derived.overview.to_dict("split"),
        "image": "" if figure == "fronts" else _image(folder / "figures" / f"{figure}.png"),
        "commands": provenance["commands"],
        "provenance": provenance,
        "settings": json.dumps(experiment.model_dump(mode="json"), indent=1, ensure_ascii=False),
    }


def _endings(records: list[Record]) -> list[dict[str, Any]]:
    counts: dict[str, Counter[str]] = {}
    for record in records:
        counts.setdefault(record.run.label, Counter())[record.status] += 1
    return [{"title": title(label), "counts": counts[label]} for label in order(list(counts))]


def _unfinished(record: Record) -> dict[str, Any]:
    diverged = f"a loss or a parameter was not finite at step {record.diverged_at}"
    return {
        "title": title(record.run.label),
        "lam": getattr(record.run, "lam", None),
        "seed": record.run.seed,
        "status": record.status,
        "why": record.reason or (diverged if record.status == "diverged" else "no reason recorded"),
        "id": record.id,
    }


def _image(file: Path) -> str:
    """The figure as a data URI; nothing where it was not drawn."""
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode() if file.exists() else ""


def _short(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mixtures(sections: list[dict[str, Any]]) -> list[str]:
    """What the sections do not share, and what is therefore averaged over none of them."""
    notices = []
    scales = sorted({section["experiment"].scale for section in sections})
    if len(scales) > 1:
        notices.append(f"sections differ in scale ({', '.join(scales)}); nothing is averaged over them")
    for name in sorted({section["experiment"].name for section in sections}):
        own = [section["data"] for section in sections if section["experiment"].name == name]
        if any(data != own[0] for data in own):
            listed = sorted({line for data in own for line in data})
            notices.append(f"sections of {name} differ in data ({', '.join(listed)}); nothing is averaged")
    return notices
