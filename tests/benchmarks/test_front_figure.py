"""The figure of fronts: auxiliary loss to the right, main loss upwards, in all that is drawn."""

import pandas as pd
from matplotlib.figure import Figure
from scalpel_bench.benchmarks.analysis.tables import analyse
from scalpel_bench.benchmarks.report.derive import read_manifest

from scalpel_bench.benchmarks.figures import draw as figures
from scalpel_bench.benchmarks.figures import style
from scalpel_bench.benchmarks.records import Folder
from tests.benchmarks.recorded import recorded


def points(frame: pd.DataFrame, aux: str, main: str) -> set[tuple[float, float]]:
    return set(zip(frame[aux], frame[main], strict=True))


def test_end_points_fronts_and_paths_are_at_auxiliary_and_main_loss(tmp_path, monkeypatch) -> None:
    folder = Folder(recorded(tmp_path))
    experiment, fingerprint = read_manifest(folder)
    records, _ = folder.read()
    tables = analyse(records, experiment, fingerprint)
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: drawn.setdefault(file.stem, figure))
    figures.draw(tmp_path, tables, records, experiment)
    train, test = drawn["fronts"].axes
    assert (train.get_xlabel(), train.get_ylabel()) == (experiment.labels.aux, experiment.labels.main)
    runs = tables.summary[(tables.summary["lr"] == 0.1) & (tables.summary["method"] == "bloop")]
    fronts = tables.fronts[(tables.fronts["protocol"] == "fixed") & (tables.fronts["method"] == "bloop")]
    (path,) = [r for r in records if r.id == runs[runs["seed"] == 0].iloc[-1]["id"]]
    for axes, split in ((train, "train"), (test, "test")):
        lines = [line for line in axes.lines if line.get_color() == style.look("bloop")["color"]]
        shown = [set(zip(*line.get_data(), strict=True)) for line in lines]
        assert points(runs, f"{split}_aux", f"{split}_main") in shown
        assert {(row[split]["aux"], row[split]["main"]) for row in path.trajectory} in shown
        for _, own in fronts[fronts["split"] == split].groupby("seed"):
            assert points(own, "aux", "main") in shown
