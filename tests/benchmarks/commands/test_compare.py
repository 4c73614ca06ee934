"""`scalpel compare`: one method trained alone, ranked among recorded rivals; what it refuses."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import scalpel_bench
from scalpel_bench import methods
from scalpel_bench.benchmarks.execution import ExecutionOptions, code_of, describe_data
from scalpel_bench.benchmarks.records import Folder, write_manifest
from tests.benchmarks.command_line import scalpel
from tests.benchmarks.runs import conditioning, plan, record

MINE = '''
from dataclasses import dataclass
from typing import ClassVar
import torch
from scalpel_bench.methods import Method

@dataclass(frozen=True)
class Mine(Method):
    """d = g_m + λ g_a.

    Source: a test 2026.
    """
    name: ClassVar[str] = "mine"
    objectives: ClassVar[int | None] = None

    def coefficients(self, gram, state, losses):
        return torch.ones_like(gram[..., 0])
'''
ENDS = {"sum": 1.0, "pcgrad": 0.5}


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    yield f"{file}:Mine"
    methods.REGISTRY.remove("mine")
    methods.REGISTRY._files.clear()


def rivals(results: Path, code: str = "", data: dict[str, str] | None = None) -> None:
    """Records of `sum` and `pcgrad` as if they had been trained, by today's code if no other is given."""
    experiment = conditioning()
    kept = {label: experiment.methods[label] for label in ENDS}
    experiment = experiment.model_copy(update={"methods": kept})
    folder = Folder(results / experiment.name / experiment.scale)
    folder.prepare()
    seen = describe_data(experiment.task, ExecutionOptions())
    for planned in plan(experiment):
        run = planned.model_copy(update={"data": seen.model_copy(update=data or {})})
        made = record(run, 0.1 * ENDS[run.label] / (1 + run.lam), 0.3 / (1 + run.lam))
        folder.write(made.model_copy(update={"environment": {"code": code or code_of(run)}}))
    write_manifest(folder, experiment, (data or seen.model_dump())["fingerprint"])


def compare(*arguments: str, cwd: Path, status: int = 0):
    given = ["compare", *arguments, "--workers", "1", "--device", "cpu"]
    said = scalpel(*given, cwd=cwd, status=status)
    return re.sub(r"\s+", " ", said.stdout if status == 0 else said.stderr)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_method_is_trained_alone_and_ranked_among_recorded_rivals(tmp_path, mine) -> None:
    rivals(tmp_path / "rec")
    before = contents(tmp_path / "rec")
    on = ("--on", "conditioning", "--results", "rec")
    planned = compare(mine, *on, "--dry-run", cwd=tmp_path)
    assert "conditioning: 2 runs, 0 recorded already, 2 to do" in planned
    assert re.search(r"2 runs: about \S+ (seconds|minutes) on 1 at a time", planned)
    assert not (tmp_path / "compare").exists()

    said = compare(mine, *on, cwd=tmp_path)
    assert contents(tmp_path / "rec") == before
    assert "mine among 3 methods in conditioning/smoke" in said
    assert re.search(r"2 runs in \d+ s ", said)
    board = scalpel_bench.leaderboard(tmp_path / "compare")
    assert set(board.over_all["method"]) == {"sum", "pcgrad", "mine"}
    over_sum = board.over_all.set_index("method")["ratio"]
    over = board.against("mine").set_index("rival")["ratio"]
    assert over["sum"] == over_sum["mine"]
    assert over["pcgrad"] == pytest.approx(over_sum["mine"] / over_sum["pcgrad"])
    assert over["pcgrad"] > over["sum"] > 0
    assert f"{over['sum']:.3f}" in said
    assert f"{over['pcgrad']:.3f}" in said

    own = Folder(tmp_path / "compare/conditioning/smoke")
    own.pack()
    shutil.rmtree(own.runs)
    again = compare(mine, *on, cwd=tmp_path)
    assert "2 recorded already, 0 to do" in again
    assert "runs in" not in again
    recorded = compare("pcgrad", *on, cwd=tmp_path)
    assert "conditioning: pcgrad is recorded, and is not trained again" in recorded
    kept = pd.DataFrame(r.run.label for r in own.read()[0])
    assert kept[0].value_counts().to_dict() == {"sum": 2, "pcgrad": 2, "mine": 2}


def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path, mine) -> None:
    rivals(tmp_path / "rec")
    rec = ("--results", "rec")

    def refused(*arguments: str) -> str:
        line = compare(*arguments, cwd=tmp_path, status=2)
        assert line.count("scalpel: error") == 1
        return line

    assert "unknown experiment 'conditionin': did you mean conditioning" in refused(
        mine, "--on", "conditionin", *rec
    )
    assert "--on fig3a: rec has no records of it; there are conditioning/smoke" in refused(
        mine, "--on", "fig3a", *rec
    )
    assert "--on: name an experiment" in refused(mine, "--on", " , ", *rec)
    assert "unknown method 'bloopp': did you mean bloop" in refused("bloopp", "--on", "conditioning", *rec)
    assert "these are the recorded results" in refused(mine, "--on", "conditioning", *rec, "--out", "rec/")
    pairs = (tmp_path / "mine.py").read_text().replace("int | None] = None", "int | None] = 3")
    (tmp_path / "three.py").write_text(pairs.replace('"mine"', '"three"'))
    three = refused(f"{tmp_path}/three.py:Mine", "--on", "conditioning", *rec)
    methods.REGISTRY.remove("three")
    assert "conditioning: methods: three: " in three
    assert "3" in three

    rivals(tmp_path / "other", data={"name": "none", "fingerprint": "feed"})
    assert "its runs saw other data (fingerprint feed): give it with --data" in refused(
        mine, "--on", "conditioning", "--results", "other"
    )
    rivals(tmp_path / "old", code="0123456789ab")
    old = refused(mine, "--on", "conditioning/smoke", "--results", "old")
    assert "4 records are of other code" in old
    assert "`scalpel results replay old/conditioning/smoke`" in old
    assert not (tmp_path / "compare").exists()


def test_a_method_whose_runs_fail_is_told_with_its_error(tmp_path, mine) -> None:
    rivals(tmp_path / "rec")
    raises = "        if multiprocessing.parent_process():\n            raise OSError('broke')\n"
    fails = MINE.replace("        return torch", f"{raises}        return torch")
    (tmp_path / "mine.py").write_text(f"import multiprocessing\n{fails}")
    on = ["--on", "conditioning", "--results", "rec"]
    said = scalpel("compare", mine, *on, "--workers", "1", "--device", "cpu", cwd=tmp_path, status=3)
    assert "OSError: broke" in said.stderr
    assert "mine is not ranked: it has no front ratio" in said.stderr
    assert "missing: 2 runs failed" in " ".join(said.stdout.split())
    assert "could not be measured" not in said.stderr


def test_an_experiment_that_is_named_twice_is_compared_once(tmp_path, mine) -> None:
    rivals(tmp_path / "rec")
    twice = ["--on", "conditioning,conditioning/smoke", "--results", "rec"]
    said = compare(mine, *twice, "--dry-run", cwd=tmp_path)
    assert "conditioning: 2 runs, 0 recorded already, 2 to do" in said
