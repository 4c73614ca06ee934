"""Ids of runs never change: records of years are found by them."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from scalpel_bench.benchmarks.experiments.settings import AnyRun, Run

RUN: TypeAdapter[AnyRun] = TypeAdapter(Run)
ARCHIVES = sorted((Path(__file__).parents[3] / "results").glob("*/*/runs.*jsonl.xz"))

TRAINING: dict[str, Any] = {
    "kind": "training",
    "experiment": "fig3a",
    "scale": "laptop",
    "label": "bloop",
    "task": {"name": "smooth_mlp", "widths": [256, 128], "batch_size": 256},
    "data": {"name": "digits", "fingerprint": "0123456789abcdef"},
    "method": {"name": "bloop", "rho": 0.01},
    "lam": 0.1,
    "seed": 3,
    "training": {"optimizer": "sgd", "lr": 1.0, "epochs": 20},
}
OPTIONS = {"channels_last": True, "bf16": True, "compile": True}
CONTROLS = {
    "optimizer": "adamw",
    "weight_decay": 0.1,
    "second_moment": "gradient",
    "step_of": {"name": "bloop", "rho": 0.1},
}
COMMON: dict[str, Any] = {"scale": "smoke", "seed": 1, "dimension": 10}
NOISE = {**COMMON, "kind": "noise", "experiment": "fig2", "sigmas": [0.1, 1], "rhos": [1.0], "draws": 100}
RATES = {**COMMON, "kind": "rates", "experiment": "theorem2", "etas": [0.01], "horizon": 12, "replicas": 4}


def identity(settings: dict[str, Any], **training: Any) -> str:
    if training:
        settings = {**settings, "training": {**settings["training"], **training}}
    return RUN.validate_python(settings).id


def test_ids_are_these() -> None:
    assert identity(TRAINING) == "8e9c90c489b9cb89"
    assert identity(TRAINING, **OPTIONS) == "cebe643f99ae277d"
    assert identity(TRAINING, **CONTROLS) == "d03ec22355d2fc0c"
    assert identity(NOISE) == "1f76505f86f0ced1"
    assert identity(RATES) == "9e206dbc0baf04d8"


@pytest.mark.parametrize(
    "same",
    [
        {"label": "another", "axes": {"training.lr": 1.0}},
        {"training": {**TRAINING["training"], **dict.fromkeys(OPTIONS, False)}},
        {"training": {**TRAINING["training"], "lr": 1, "momentum": 0.9, "schedule": "constant"}},
        {"training": {**TRAINING["training"], "weight_decay": None, "step_of": None}},
        {"training": {**TRAINING["training"], "second_moment": "direction"}},
    ],
)
def test_what_changes_no_number_changes_no_id(same: dict[str, Any]) -> None:
    assert identity({**TRAINING, **same}) == identity(TRAINING)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"lam": 0.2},
        {"scale": "paper"},
        {"experiment": "fig3b"},
        {"task": {**TRAINING["task"], "batch_size": 128}},
        {"method": {"name": "bloop", "rho": 0.1}},
        {"data": {"name": "digits", "fingerprint": "f" * 16}},
        *({"training": {**TRAINING["training"], option: True}} for option in OPTIONS),
        {"training": {**TRAINING["training"], "step_of": {"name": "bloop"}}},
    ],
)
def test_what_may_change_a_number_changes_the_id(other: dict[str, Any]) -> None:
    assert identity({**TRAINING, **other}) != identity(TRAINING)


def test_recorded_runs_have_the_ids_of_their_settings() -> None:
    assert len(ARCHIVES) > 10
    for archive in ARCHIVES:
        with lzma.open(archive) as lines:
            record = json.loads(next(lines))
        assert identity(record["run"]) == record["id"], archive
