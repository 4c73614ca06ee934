"""The tables that documents may show, each made of the results' files alone; `TABLES` has the kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ...words import first_line, unknown
from .. import speed
from ..analysis import comparisons, multitask, verdicts
from ..analysis.leaderboard import SHARES, leaderboard
from ..analysis.one_rate import at_one_rate
from ..analysis.protocols import FIXED, REFERENCE, Protocol, on_grids
from ..analysis.ratio_table import over_all_seeds, ratio_table
from ..analysis.statistics import over_seeds
from ..analysis.summary import SPLITS, end_values
from ..analysis.wording import with_interval
from ..catalogue import where_recorded
from ..experiments.schema import MANIFEST, Experiment
from ..figures import style
from ..messages.errors import UserError
from . import docstrings, method_pages
from .files import read_table
from .standing import standing


def _speed(results: Path, record: str, what: str) -> pd.DataFrame:
    """Ratios of `scalpel bench`: a record's name, and which of its rows."""
    return speed.chosen(speed.read(results / "bench" / f"{record}.json"), what)


DRAWN = {"stairs": "front_ratio", "lines": "line_ratio"}
"""How fronts are drawn between their points, each with what is measured of them so."""


def _statistic(kind: str, drawn: str) -> str:
    if drawn not in DRAWN:
        raise UserError(f"{kind}: {drawn}: write one of {', '.join(DRAWN)}")
    return DRAWN[drawn]


def _ratios(results: Path, folder: str, protocol: str = FIXED, drawn: str = "stairs") -> pd.DataFrame:
    """Front ratios over seeds: a folder under the results, a protocol, and ``stairs`` or ``lines``."""
    statistic = _statistic("ratios", drawn)
    metrics = _table(results, folder, "metrics")
    _check_protocol(metrics, protocol, folder)
    metrics = metrics[metrics["protocol"] == protocol]
    wide = ratio_table(metrics, hidden=(), statistic=statistic).set_index("method")
    over = over_all_seeds(metrics, statistic)
    train = over[over["split"] == "train"].set_index("method")["value"]
    order = sorted(wide.index, key=lambda method: (pd.isna(train.get(method)), train.get(method)))
    wide = wide.loc[order, [split for split in SPLITS if split in wide]].reset_index()
    wide["method"] = [f"`{method}`" for method in wide["method"]]
    return wide


def _changes(results: Path, folder: str, protocol: str = FIXED) -> pd.DataFrame:
    """Δm, mean rank and win rate on test: a folder under the results, and a learning-rate protocol."""
    metrics = _table(results, folder, "metrics")
    _check_protocol(metrics, protocol, folder)
    table = multitask.table(metrics)
    own = table[table["protocol"] == protocol].drop(columns="protocol")
    return own.assign(method=[f"`{method}`" for method in own["method"]])


def _across(results: Path, split: str, *folders: str) -> pd.DataFrame:
    """Front ratios on a split under the experiments' own rates: a column per folder under the results."""
    columns = {}
    for folder in folders:
        ratios = _ratios(results, folder).set_index("method")
        if split not in ratios:
            raise UserError(f"{folder} has no ratios on {split}: write one of {', '.join(SPLITS)}")
        columns[f"`{folder}`"] = ratios[split]
    wide = pd.DataFrame(columns).fillna("")
    order = style.order([str(method).strip("`") for method in wide.index])
    return wide.loc[[f"`{method}`" for method in order]].rename_axis("method").reset_index()


def _found(results: Path, split: str, methods: str, *folders: str) -> pd.DataFrame:
    """Front ratios on a split of some methods, comma-separated: a row per folder under the results."""
    labels = [f"`{method}`" for method in methods.split(",")]
    wide = _across(results, split, *folders).set_index("method").reindex(labels).fillna("")
    titles = [_experiment(results, folder).title for folder in folders]
    wide.columns = [f"{name}: {title}" for name, title in zip(wide.columns, titles, strict=True)]
    return wide.T.rename_axis("experiment").reset_index()


def _leaderboard(results: Path, methods: str, *folders: str) -> pd.DataFrame:
    """The leaderboard over all of folders under the results: of ``all`` methods, or comma-separated ones."""
    tables = {folder: _table(results, folder, "metrics") for folder in folders}
    known = set().union(*(table["method"] for table in tables.values()))
    names = known if methods == "all" else set(methods.split(","))
    for name in sorted(names - known):
        raise UserError(f"leaderboard: {unknown('method', name, sorted(known))}")
    board = leaderboard(
        (_experiment(results, folder), table[table["method"].isin(names)]) for folder, table in tables.items()
    )
    rows = board.over_all
    told = {
        "rank": rows["rank"],
        "method": [f"`{method}`" + " \\*" * (method in board.single_points) for method in rows["method"]],
        "front ratio": [with_interval(row.ratio, row.low, row.high) for row in rows.itertuples()],
        **{f"≤ {tau:g}": [f"{share:.0%}" for share in rows[f"within_{tau:g}"]] for tau in SHARES},
        "wins": [f"{share:.0%}" for share in rows["wins"]],
        "experiments": [f"{count}/{len(board.names)}" for count in rows["experiments"]],
    }
    return pd.DataFrame(told)


def _check_split(kind: str, summary: pd.DataFrame, split: str) -> None:
    known = [name for name in SPLITS if f"{name}_main" in summary]
    if split not in known:
        raise UserError(f"{kind}: {unknown('split', split, known)}")


def _learning_rates(results: Path, folder: str, split: str = "test", drawn: str = "stairs") -> pd.DataFrame:
    """Front ratios at each learning rate by itself, of the methods that ran at several.

    A folder under the results, a split, and ``stairs`` or ``lines``.
    """
    as_lines = _statistic("learning_rates", drawn) == "line_ratio"
    summary, experiment = _table(results, folder, "summary"), _experiment(results, folder)
    _check_split("learning_rates", summary, split)
    box = experiment.box.of(split) if experiment.box else None
    summary = on_grids(summary, experiment)
    own_lam = frozenset(label for label in summary["method"].unique() if not experiment.on_grid(label))
    several = summary.groupby("method")["lr"].nunique() > 1
    rows = []
    for method in several.index[several & (several.index != REFERENCE)]:
        row = {"method": f"`{method}`"}
        for rate, runs in summary.groupby("lr"):
            pair = Protocol("", runs, runs, own_lam=own_lam).pair(method)
            ratios, _ = comparisons.front_ratios(pair, split, box)
            if as_lines and ratios and box:
                ratios = comparisons.line_ratios(pair, split, box)
            value, low, high, _ = over_seeds(list(ratios.values()), len(ratios), ratios=True)
            row[f"rate {rate:g}"] = with_interval(value, low, high, none="none")
        rows.append(row)
    return pd.DataFrame(rows)


def _one_rate(results: Path, folder: str, split: str = "test") -> pd.DataFrame:
    """Ratios where each method has one learning rate, its best: a folder under the results, and a split."""
    experiment = _experiment(results, folder)
    if experiment.box is None:
        raise UserError(f"{folder} has {comparisons.NO_BOX}")
    summary = _table(results, folder, "summary")
    _check_split("one_rate", summary, split)
    try:
        found = at_one_rate(summary, experiment, experiment.box, split)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    rows = []
    for method, own in found.groupby("method", sort=False):
        rates = ", ".join(f"{rate:g}" for rate in sorted(own["lr"].unique()))
        over = {
            words: over_seeds(own[name].tolist(), len(own), ratios=True)
            for name, words in (("front_ratio", "front ratio"), ("line_ratio", "as lines"))
        }
        cells = {words: with_interval(*told[:3], none="none") for words, told in over.items()}
        rows.append({"method": f"`{method}`", "rate": rates, **cells, "order": over["front ratio"][0]})
    return pd.DataFrame(rows).sort_values("order").drop(columns="order")


def _verdicts(results: Path, *folders: str) -> pd.DataFrame:
    """Verdicts on the claims of folders under the results, a column per learning-rate protocol."""
    told = [_table(results, folder, "claims").assign(runs=f"`{folder}`") for folder in folders]
    if not any(map(len, told)):
        raise UserError(f"{', '.join(folders)}: no claims, so no verdicts")
    claims = verdicts.corrected(pd.concat(told))
    tables = []
    for runs, own in claims.groupby("runs", sort=False):
        rows = verdicts.side_by_side(own)
        texts = dict(zip(own["id"], own["text"], strict=True))
        rows.insert(0, "claim", [texts[identity] for identity in rows["id"]])
        rows.insert(1, "of", rows["paper"])
        rows["runs"] = runs
        tables.append(rows.drop(columns=["id", "paper", "scale", "data", "only"], errors="ignore"))
    together = pd.concat(tables).fillna("")
    last = ["seeds", "runs"]
    return together[[name for name in together if name not in last] + last]


def _settings(summary: pd.DataFrame) -> list[str]:
    """By what cells of runs are told apart: method, λ, and the learning rate where there are several."""
    return ["method", "lam", *(["lr"] if summary["lr"].nunique() > 1 else [])]


def _ends(results: Path, folder: str) -> pd.DataFrame:
    """Losses at the end of training, mean over seeds, a row per method, λ and learning rate."""
    summary = _table(results, folder, "summary")
    settings = _settings(summary)
    mean = end_values(summary, settings)
    losses = [str(name) for name in mean if name not in settings]
    mean["lam"] = [f"{lam:.3g}" for lam in mean["lam"]]
    mean["method"] = [f"`{method}`" for method in mean["method"]]
    return mean.rename(columns={"lam": "λ"} | {name: name.replace("_", " ") for name in losses}).map(
        lambda cell: f"{cell:.3f}" if isinstance(cell, float) else cell
    )


def _metric(results: Path, folder: str, split: str, metric: str) -> pd.DataFrame:
    """A metric at the end of training: median over seeds and range, by method, λ and rate, least first."""
    summary = _table(results, folder, "summary")
    column = f"{split}_{metric}"
    if column not in summary:
        raise UserError(f"{folder} has no {metric} on {split}")
    settings = _settings(summary)
    over = summary.groupby(settings)[column]
    found = pd.DataFrame(
        {"median": over.median(), "low": over.min(), "high": over.max(), "ended": over.count()}
    )
    found = found.sort_values("median").reset_index()
    return pd.DataFrame(
        {
            "method": [f"`{method}`" for method in found["method"]],
            "λ": [f"{lam:g}" for lam in found["lam"]],
            **({"rate": [f"{rate:g}" for rate in found["lr"]]} if "lr" in settings else {}),
            f"{split} {metric}": [
                f"{row.median:.1e} [{row.low:.1e}, {row.high:.1e}]" for row in found.itertuples()
            ],
            "seeds": found["ended"],
        }
    )


def _runs(results: Path, *folders: str) -> pd.DataFrame:
    """What was run: a row per folder under the results, with the command."""
    rows = []
    for folder in folders:
        told = _json(results / folder / "provenance.json")
        commits = sorted({str(environment.get("commit")) for environment in told["environments"]})
        rows.append(
            {
                "folder": f"`{folder}`",
                "runs": ", ".join(f"{count} {status}" for status, count in told["runs"].items()),
                "core-hours of training": f"{told['train_seconds'] / 3600:.2f}",
                "commit": ", ".join(commits),
                "command": "<br>".join(f"`{command}`" for command in told["commands"]),
            }
        )
    return pd.DataFrame(rows)


def _simulation(results: Path, what: str) -> pd.DataFrame:
    """How often simulated verdicts are right and wrong: the ``levels`` of equal methods, or the ``power``."""
    file = results / "simulate" / "verdicts.csv"
    if not file.exists():
        raise UserError(f"{file} does not exist: `scalpel simulate verdicts` makes it")
    try:
        rows = pd.read_csv(file)
        shown = rows[["noise_of", "effect", "noise", "seeds", "protocol"]]
    except (ValueError, KeyError) as error:
        raise UserError(f"{file} is damaged: `scalpel simulate verdicts` makes it again") from error
    if shown.duplicated().any():
        raise UserError(f"{file} has rows twice: `scalpel simulate verdicts` makes it again")
    if what not in ("levels", "power"):
        raise UserError(f"simulation: {what}: write levels or power")
    power = what == "power"
    rows = rows[(rows["effect"] > 0) == power]
    less = [f"{effect:.0%} less main loss" for effect in rows["effect"]]
    equal = [f"equal, {times:g} × the noise" for times in rows["noise"]]
    rows = rows.assign(method=less if power else equal)
    rows["noise of"] = [f"`{name}`" for name in rows["noise_of"]]
    rows["told"] = [_power(row) if power else _levels(row) for row in rows.itertuples()]
    rows["seeds"] = [f"{count} seeds" if power else count for count in rows["seeds"]]
    down, across = ("protocol", "seeds") if power else ("seeds", "protocol")
    keys = ["noise of", "method", down]
    order = rows[keys].drop_duplicates()
    wide = rows.set_index([*keys, across])["told"].unstack(across)[list(rows[across].unique())]
    return wide.loc[list(order.itertuples(index=False, name=None))].reset_index()


def _levels(row: Any) -> str:
    return f"{100 * row.supported:.1f} / {100 * row.contradicted:.1f} / {100 * row.coverage:.0f}"


def _power(row: Any) -> str:
    none = f" ({row.no_conflict:.0%} no conflict)" if row.no_conflict >= 0.005 else ""
    return f"{row.supported:.0%}{none}"


def _docstrings(results: Path, what: str) -> str:
    """The docstring of a method, or those of all ``tasks``."""
    return (docstrings.of_tasks() if what == "tasks" else docstrings.of_method(what)) + "\n"


def _methods(results: Path, which: str, pages: str | None = None) -> pd.DataFrame:
    """A row for each of ``all`` methods: its class, in how many sweeps it is recorded, its oracles.

    Names link to pages in a folder beside the document, if one is named; `fill` writes these.
    """
    if which != "all":
        raise UserError(f"methods: {which}: write all")
    return docstrings.table_of_methods(where_recorded(results), pages)


TABLES: dict[str, Callable[..., pd.DataFrame | str]] = {
    "bench": _speed,
    "ratios": _ratios,
    "changes": _changes,
    "across": _across,
    "found": _found,
    "leaderboard": _leaderboard,
    "learning_rates": _learning_rates,
    "one_rate": _one_rate,
    "verdicts": _verdicts,
    "ends": _ends,
    "metric": _metric,
    "runs": _runs,
    "simulation": _simulation,
    "docstrings": _docstrings,
    "methods": _methods,
    "standing": standing,
    "cost": method_pages.cost,
}
"""The kinds of tables, with the words that each takes."""


def _table(results: Path, folder: str, name: str) -> pd.DataFrame:
    path = results / folder
    try:
        return read_table(path, name)
    except FileNotFoundError as error:
        raise UserError(f"{path}/{name}.csv does not exist: `scalpel report {path}` makes it") from error
    except ValueError as error:
        raise UserError(f"{path}/{name}.csv is damaged: `scalpel report {path}` makes it again") from error


def _check_protocol(metrics: pd.DataFrame, protocol: str, folder: str) -> None:
    if protocol not in (known := metrics["protocol"].unique()):
        raise UserError(f"{folder}: {unknown('learning-rate protocol', protocol, known)}")


def _experiment(results: Path, folder: str) -> Experiment:
    file = results / folder / "experiment.json"
    try:
        return Experiment.model_validate(_json(file)["experiment"], context=MANIFEST)
    except (KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{file} states no experiment: {type(error).__name__}") from error


def _json(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise UserError(f"{file} does not exist: `scalpel report {file.parent}` makes it")
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is damaged ({first_line(error)})") from error
    return content
