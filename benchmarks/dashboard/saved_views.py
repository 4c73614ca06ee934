"""Saved views of a sweep in W&B: its fronts and runs side by side, and its curves averaged over seeds.

Scatter plots have no categorical colour: in the first view every run has the colour of its method. In the
second, runs are grouped by cell, so that W&B draws means over seeds and nothing else, with their standard
deviations.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from ..figures import style
from .runs import ANALYSIS, FIELDS, LEADERBOARD, RELATIVE, STEP, WandbRun
from .wandb_process import CHART

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

MANY = 1000


@dataclass(frozen=True)
class SentSweep:
    """What a view is made of: the W&B runs of a sweep's records, and its analysis run."""

    runs: list[WandbRun]
    analysis: WandbRun

    @property
    def group(self) -> str:
        """The W&B group that the runs are in."""
        return str(self.analysis.start["group"])


def build(sweep: SentSweep, entity: str, project: str) -> list[Workspace]:
    """The two views, under names that are always the same for a sweep; nothing is sent."""
    from wandb_workspaces import expr
    from wandb_workspaces import workspaces as ws

    cells = {run.start["config"]["cell"]: run.start["job_type"] for run in sweep.runs}
    looks = style.looks(cells.values())
    grouped = ws.RunsetSettings(
        filters=_filter(sweep),
        groupby=[expr.Config("cell")],
        group_colors={cell: looks[label]["color"] for cell, label in cells.items()},
    )
    single = ws.RunsetSettings(
        filters=_filter(sweep),
        run_settings={
            run.id: ws.RunSettings(color=looks[run.start["job_type"]]["color"]) for run in sweep.runs
        },
    )
    views = []
    for kind, sections, runset in (("fronts", _fronts(sweep), single), ("curves", _curves(sweep), grouped)):
        view = ws.Workspace(
            entity=entity,
            project=project,
            name=f"{sweep.group}: {kind}",
            sections=sections,
            settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=MANY),
            runset_settings=runset,
        )
        view._internal_name = f"nw-{_slug(sweep, kind)}-v"
        views.append(view)
    return views


def save(view: Workspace) -> str:
    """Create the view in W&B, or bring it up to date. Returns its address.

    Raises:
        Exception: whatever the client raises where W&B cannot be reached, or refuses.
    """
    from wandb_workspaces.workspaces import internal

    with redirect_stderr(StringIO()):
        with suppress(ValueError):
            known = internal.View.from_name(view.entity, view.project, view._internal_name)
            view._internal_id = known.id
        return str(view.save().url)


def spec(view: Workspace) -> dict[str, Any]:
    """The view as W&B stores it."""
    content: dict[str, Any] = json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))
    return content


def _slug(sweep: SentSweep, kind: str) -> str:
    return hashlib.sha256(f"{sweep.analysis.id} {kind}".encode()).hexdigest()[:11]


def _filter(sweep: SentSweep) -> str:
    """The sweep's runs, at or above a λ to move; the analysis run has none.

    A group may hold runs of the same scale on other data: they are kept apart.
    """
    lowest = min(run.start["config"]["lam"] for run in sweep.runs)
    clauses = [
        f"Metric('Group') == {sweep.group!r}",
        f"(Metric('JobType') == {ANALYSIS!r} or Config('lam') >= {lowest!r})",
    ]
    data = {run.start["config"]["fingerprint"] for run in [*sweep.runs, sweep.analysis]}
    if len(data) == 1:
        clauses.insert(1, f"Config('fingerprint') == {data.pop()!r}")
    return " and ".join(clauses)


def _splits(sweep: SentSweep) -> list[str]:
    keys = {key for run in sweep.runs for row in run.history for key in row}
    return [split for split in ("test", "validation", "train") if f"{split}/main" in keys]


def _fronts(sweep: SentSweep) -> list[Any]:
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as wr

    lam, splits = wr.Config("lam"), _splits(sweep)
    labels = sweep.analysis.start["config"]["labels"]
    charts = {
        key: wr.CustomChart(
            query={"summaryTable": {"tableKey": f"{key}_table"}},
            chart_name=CHART,
            chart_fields=FIELDS,
            chart_strings={"title": chart["title"]},
        )
        for key, chart in sweep.analysis.charts.items()
    }
    relative = [chart for key, chart in charts.items() if key.startswith(RELATIVE)]
    fronts = [chart for key, chart in charts.items() if not key.startswith(RELATIVE)]
    scatters = [
        wr.ScatterPlot(
            title=f"{split}: every run, coloured by method",
            x=wr.SummaryMetric(f"{split}/aux"),
            y=wr.SummaryMetric(f"{split}/main"),
            log_x=labels["log_aux"],
            log_y=labels["log_main"],
        )
        for split in splits
    ]
    objectives = [f"{split}/{objective}" for split in splits for objective in ("main", "aux")]
    log = min(run.start["config"]["lam"] for run in sweep.runs) > 0
    over_lam = [
        wr.ScatterPlot(title=f"{key} over λ", x=lam, y=wr.SummaryMetric(key), log_x=log) for key in objectives
    ]
    columns = [wr.ParallelCoordinatesPlotColumn(metric=lam, display_name="λ", log=log)]
    columns += [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(key)) for key in objectives]
    tables = {name: wr.WeavePanelSummaryTable(table_name=name) for name in sweep.analysis.tables}
    board = tables.pop(LEADERBOARD, None)
    figures = [wr.MediaBrowser(title=key, media_keys=[key]) for key in sweep.analysis.images]
    headline = [ws.Section("Main loss relative to the sum", panels=relative, is_open=True)]
    return [
        *(headline if relative else []),
        *([ws.Section("Leaderboard", panels=[board], is_open=True)] if board else []),
        ws.Section("Fronts", panels=[*scatters, *fronts], is_open=True),
        ws.Section("λ", panels=[wr.ParallelCoordinatesPlot(columns=columns), *over_lam], is_open=True),
        ws.Section("Runs side by side", panels=[wr.RunComparer(diff_only="split")], is_open=True),
        ws.Section("Tables and figures", panels=[*tables.values(), *figures]),
    ]


def _curves(sweep: SentSweep) -> list[Any]:
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports import v2 as wr

    by_prefix: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for run in sweep.runs for row in run.history for key in row):
        prefix, _, name = key.partition("/")
        if name:
            plot = wr.LinePlot(title=key, x=STEP, y=[key], groupby_aggfunc="mean", groupby_rangefunc="stddev")
            by_prefix.setdefault(prefix, []).append(plot)
    return [ws.Section(prefix, panels=plots, is_open=True) for prefix, plots in by_prefix.items()]
