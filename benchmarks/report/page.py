"""The report: one page that loads nothing else, over the records of any number of sweeps."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..analysis import multitask
from ..analysis.analyses import Analysis, TrainingAnalysis
from ..analysis.leaderboard import Leaderboard
from ..analysis.summary import SPLITS
from ..figures.style import looks, order, title
from ..messages import UserError
from ..records import Record, check_replaceable, write_atomically
from . import page_board, page_data, page_tables
from .files import FIGURES, provenance_of

_SYMBOLS = {
    "supported": "✓",
    "contradicted": "✗",
    "inconclusive": "?",
    "depends on the measure": "±",
    "no conflict here": "–",
    "a miniature": "∘",
}


def write_page(
    path: Path, analyses: list[Analysis], refused: list[str], board: Leaderboard | None = None
) -> None:
    """Write the page.

    Args:
        path: an ``.html`` file; its folder is made.
        analyses: one section each, in the paper's order; their files have been written.
        refused: a line for each folder of which nothing could be used.
        board: their leaderboard, if there is one; shown where it ranks over more than one experiment.

    Raises:
        UserError: the file cannot be written, or is a folder, a device or a pipe.
    """
    check_replaceable(path)
    analyses = sorted(analyses, key=lambda a: a.experiment.place)
    seen = looks(record.run.label for analysis in analyses for record in analysis.records)
    sections, blocks = [], []
    for index, analysis in enumerate(analyses):
        section = _section(analysis, f"e{index}")
        sections.append(section)
        if isinstance(analysis, TrainingAnalysis):
            block, section["notice"] = page_data.block(analysis, seen, page_data.NUMBERS // len(analyses))
            section["quiet"] = any(method["quiet"] for method in block["methods"])
            own = {"id": section["id"], "title": analysis.experiment.title, "place": section["place"]}
            blocks.append(own | block)
    claims = page_tables.of_all(analyses)
    answered, unanswered = page_tables.by_answer(page_tables.by_claim(claims))
    html = _render(
        sections=sections,
        answered=answered,
        unanswered=unanswered,
        why_not=page_tables.counted(unanswered),
        protocols=page_tables.protocols(claims),
        columns=page_tables.columns,
        board=page_board.section(board) if board and len(board.shared[1]) > 1 else None,
        symbols=_SYMBOLS,
        notices=_mixtures(sections),
        refused=refused,
        totals=Counter({r.id: r.status for analysis in analyses for r in analysis.runs}.values()),
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
    script = "".join(map(_asset, ("plot.js", "sweep.js", "page.js", "gallery.js")))
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


def _section(analysis: Analysis, anchor: str) -> dict[str, Any]:
    experiment, records, folder = analysis.experiment, analysis.records, analysis.sweep.folder.path
    compares = isinstance(analysis, TrainingAnalysis)
    figure = analysis.compared.figure if isinstance(analysis, TrainingAnalysis) else experiment.kind
    ratios = page_tables.ratios(analysis.metrics) if isinstance(analysis, TrainingAnalysis) else []
    provenance = provenance_of(analysis)
    seeds = len({record.run.seed for record in records})
    measured = {split for table in ratios for row in table["rows"] for split in row["cells"]}
    return {
        "id": anchor,
        "name": f"{experiment.name}, {experiment.scale}",
        "experiment": experiment,
        "compares": compares,
        "relative": isinstance(analysis, TrainingAnalysis) and len(analysis.relative_curves) > 0,
        "data": provenance["data"],
        "seeds": seeds,
        "place": " · ".join(
            filter(None, (experiment.paper, experiment.scale, f"{seeds} seed{'s' * (seeds != 1)}"))
        ),
        "notice": "",
        "quiet": False,
        "no_front": analysis.no_front if isinstance(analysis, TrainingAnalysis) else "",
        "endings": Counter(record.status for record in analysis.runs),
        "by_method": _endings(records),
        "unfinished": [_unfinished(record) for record in analysis.runs if record.status != "completed"],
        "left_out": analysis.sweep.not_counted,
        "ratios": ratios,
        "splits": [split for split in SPLITS if split in measured],
        "overview": None if compares else analysis.overview.to_dict("split"),
        "changes": multitask.table(analysis.metrics).to_dict("split")
        if isinstance(analysis, TrainingAnalysis)
        else None,
        "parallel": _image(folder / FIGURES / "parallel.png"),
        "image": "" if figure == "fronts" else _image(folder / FIGURES / f"{figure}.png"),
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
        notices.append(
            f"sections differ in scale ({', '.join(scales)}); only the leaderboard is over all of them"
        )
    for name in sorted({section["experiment"].name for section in sections}):
        own = [section["data"] for section in sections if section["experiment"].name == name]
        if any(data != own[0] for data in own):
            listed = sorted({line for data in own for line in data})
            notices.append(f"sections of {name} differ in data ({', '.join(listed)}); nothing is averaged")
    return notices
