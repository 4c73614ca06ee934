"""What a version of the suite freezes: experiments with their boxes, and statistics.

``python -m tests.benchmarks.frozen`` writes the file of a new version.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from scalpel_bench.benchmarks.analysis import indicators, leaderboard, statistics
from scalpel_bench.benchmarks.experiments.box import Bounds
from scalpel_bench.benchmarks.experiments.claims import EQUALITY
from scalpel_bench.benchmarks.experiments.loading import available, load
from scalpel_bench.benchmarks.experiments.suite import SUITE
from scalpel_bench.benchmarks.experiments.toml_file import read_toml

FILE = Path(__file__).parent / "suites" / f"{SUITE}.json"
FREE: dict[str, Any] = {
    **dict.fromkeys(("title", "paper", "labels", "figure", "own_question"), True),
    "methods": True,
    "claims": {"__all__": {"text", "paper"}},
    "box": {"reason", "date"},
}
"""Of an experiment: words, what figures show, and who takes part."""
TRIES = ("smoke",)
"""Scales that are no part of the suite."""


def frozen() -> dict[str, Any]:
    """A hash for each experiment over all its scales, and what the statistics say of fixed end points."""
    return {"experiments": {name: _experiment(name) for name in available()}, "statistics": _statistics()}


def _experiment(name: str) -> str:
    scales = read_toml(available()[name])["scales"].keys() - set(TRIES)
    kept = {scale: load(name, scale).model_dump(mode="json", exclude=FREE) for scale in scales}
    return hashlib.sha256(json.dumps(_short(kept), sort_keys=True).encode()).hexdigest()[:16]


def _short(value: Any) -> Any:
    """The same with nine digits of each number: the last ones of a grid depend on the machine."""
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _statistics() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    ours, theirs = draw.uniform(0.1, 1.2, size=(2, 6, 5, 2))
    box = Bounds(aux=(0.2, 1.0), main=(0.2, 1.0))
    ratios = indicators.front_ratio(ours, theirs, box)
    values = {
        "front ratio": statistics.over_seeds(list(ratios), 6, ratios=True)[:3],
        "middle ratio": leaderboard.middle_ratio([ratios[:2], ratios[2:]])[:3],
        "line ratio": indicators.line_ratio(ours, theirs, box).tolist(),
        "hypervolume": indicators.hypervolume(ours, box).tolist(),
        "auxiliary at par": indicators.aux_at_par(ours, theirs, box).tolist(),
        "IGD+": indicators.igd_plus(ours, indicators.pooled_front(theirs, box), box).tolist(),
        "conflict": indicators.conflict(ours, box).tolist(),
    }
    constants = {
        "equality within": EQUALITY,
        "level": statistics.LEVEL,
        "seeds for a verdict": statistics.SEEDS_FOR_A_VERDICT,
        "leaderboard": f"{leaderboard.SPLIT}, {leaderboard.PROTOCOL}",
    }
    return constants | {name: [round(float(v), 6) for v in of] for name, of in values.items()}


if __name__ == "__main__":
    FILE.write_text(json.dumps(frozen(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(FILE)
