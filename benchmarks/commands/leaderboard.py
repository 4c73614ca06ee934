"""``scalpel leaderboard``: methods ranked over recorded sweeps, and one method against the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..analysis import Analysis, TrainingAnalysis, analyse
from ..analysis.leaderboard import PROTOCOL, RULE, SEEDS, SPLIT, Leaderboard, of_analyses, seeds_of
from ..analysis.wording import with_interval
from ..experiments.schema import Experiment
from ..experiments.suite import SUITE
from ..messages import UserError, terminal
from ..records import Folder, has_manifest, load_sweep
from .finished_jobs import warn_of_failed

TRY = "smoke"
"""A scale that only tries whether all runs."""
CONTROLS = ("step_of", "second_moment")
"""What a method may take from another one in training: then it is a control, and nothing to train with."""


def load_board(paths: Sequence[Path]) -> Leaderboard:
    """The leaderboard of recorded sweeps.

    Args:
        paths: folders of sweeps, such as ``results/fig5a/workstation``, or folders that hold such ones; none
            for those under ``results`` that are more than a try and have no controls.

    Raises:
        UserError: a folder has no records, an experiment stands there twice, or nothing can be ranked.
    """
    if not paths:
        return _by_default(Path("results"))
    folders = [folder for path in paths for folder in recorded_in(path)]
    return _ranked([analyse(load_sweep(folder)) for folder in folders])


def _by_default(results: Path) -> Leaderboard:
    """The leaderboard of a folder of results: of its sweeps that are more than a try and have no controls.

    Those at scale smoke, those in which a method has fewer than `SEEDS` seeds, and those that take a method
    apart are left out, and counted.

    Raises:
        UserError: there are no records, or no such sweep.
    """
    analyses = [analyse(load_sweep(folder)) for folder in recorded_in(results)]
    seeds = {a: seeds_of(a.compared, a.metrics) for a in analyses if isinstance(a, TrainingAnalysis)}
    ranked = [
        a
        for a, count in seeds.items()
        if count >= SEEDS and a.experiment.scale != TRY and not _has_controls(a.compared)
    ]
    others = [a.sweep.folder.path for a, count in seeds.items() if count and a not in ranked]
    if others and not ranked:
        raise UserError(
            f"{results}: none of its sweeps has {SEEDS} seeds of every method and no controls, at a scale "
            f"other than {TRY}; to rank them, name folders, such as {others[0]}"
        )
    if others:
        terminal.warn(
            f"left out: {len(others)} of {len(others) + len(ranked)} sweeps, of scale {TRY}, with fewer than "
            f"{SEEDS} seeds of a method, or with controls; to rank them, name their folders"
        )
    return _ranked(ranked)


def _ranked(analyses: Sequence[Analysis]) -> Leaderboard:
    """The leaderboard of sweeps, and a line about each of which runs failed.

    Raises:
        UserError: an experiment stands there twice, or nothing can be ranked.
    """
    for analysis in analyses:
        warn_of_failed(analysis.sweep)
    return of_analyses(analyses)


def _has_controls(experiment: Experiment) -> bool:
    """Whether it takes a method apart, so that not all that it compares are methods."""
    own = (settings.get("training", {}) for settings in experiment.methods.values())
    return any(key in training for training in own for key in CONTROLS)


def recorded_in(path: Path) -> list[Folder]:
    """The folder of a sweep, or those under a folder of results that hold records.

    Raises:
        UserError: there are none.
    """
    if has_manifest(folder := Folder(path)):
        return [folder]
    if not (found := sweeps_in(path)):
        raise UserError(f"{path}: no records; give results, or folders such as results/fig5a/workstation")
    return found


def sweeps_in(results: Path) -> list[Folder]:
    """The folders of recorded sweeps under a folder of results, ``<experiment>/<scale>``, sorted."""
    found = [Folder(inside) for inside in sorted(results.glob("*/*"))]
    return [folder for folder in found if folder.has_records and has_manifest(folder)]


def show_board(board: Leaderboard, each: bool) -> None:
    """Show who ranks where over all, and with ``each`` in every experiment."""
    methods, names = board.shared
    terminal.say(f"suite {SUITE}; front ratios on {SPLIT} losses, protocol {PROTOCOL}; below 1 is better")
    count = f"{len(methods)} methods in {len(names)} of {len(board.names)} experiments"
    terminal.table(f"over all: {count}", _shown(board.over_all, board))
    terminal.say(f"experiments: {', '.join(names)}")
    terminal.say(RULE)
    _explain_intervals(board.over_all)
    if board.unranked:
        told = ", ".join(f"{method} ({count})" for method, count in board.unranked.items())
        terminal.say(f"not over all, with the number of their experiments: {told}")
    if board.left_out:
        terminal.say(f"left out: {', '.join(board.left_out)}")
    if each:
        for name, rows in board.by_experiment.groupby("experiment", sort=False):
            terminal.table(str(name), _shown(rows, board))
    _explain_marks(board, set(board.cells["method"]) if each else set(methods))


def show_method(board: Leaderboard, method: str) -> None:
    """Show a method's row, and its ratio to each rival.

    Raises:
        UserError: it has no front ratios.
    """
    row = board.row(method)
    _, names = board.shared_with(method)
    terminal.table(f"{method} among {row['of'].item()} methods in {', '.join(names)}", _shown(row, board))
    rows = board.against(method)
    shown = pd.DataFrame(
        {
            f"{method} over": [_marked(rival, board) for rival in rows["rival"]],
            "front ratio": _intervals(rows),
            "wins": _percent(rows["wins"]),
            "of": [f"{count}/{len(board.names)}" for count in rows["experiments"]],
        }
    )
    terminal.table("paired by seed, over the experiments that both have; below 1 is better", shown)
    _explain_intervals(rows)
    _explain_marks(board, {method, *rows["rival"]})


def _shown(rows: pd.DataFrame, board: Leaderboard) -> pd.DataFrame:
    """Columns that 80 characters hold."""
    return pd.DataFrame(
        {
            "rank": rows["rank"],
            "method": [_marked(method, board) for method in rows["method"]],
            "front ratio": _intervals(rows),
            "≤ 1": _percent(rows["within_1"]),
            "wins": _percent(rows["wins"]),
            "of": [f"{count}/{len(board.names)}" for count in rows["experiments"]],
        }
    )


def _explain_intervals(rows: pd.DataFrame) -> None:
    if rows["low"].isna().any():
        terminal.say(f"no interval where an experiment has fewer than {SEEDS} seeds")


def _explain_marks(board: Leaderboard, shown: set[str]) -> None:
    if shown & board.single_points:
        terminal.say("* λ is no trade-off to it: its front is one point")


def _marked(method: str, board: Leaderboard) -> str:
    return f"{method} *" if method in board.single_points else method


def _intervals(rows: pd.DataFrame) -> list[str]:
    return [with_interval(row.ratio, row.low, row.high) for row in rows.itertuples()]


def _percent(shares: pd.Series[float]) -> list[str]:
    return ["" if pd.isna(share) else f"{share:.0%}" for share in shares]
