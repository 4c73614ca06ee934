"""The version of the suite: what it freezes, and where it is told."""

import json
import tomllib
from pathlib import Path

from scalpel_bench.benchmarks.experiments.suite import SUITE
from scalpel_bench.benchmarks.records import environment
from tests.benchmarks.frozen import FILE, frozen

ROOT = Path(__file__).parents[3]


def test_a_version_is_frozen() -> None:
    assert FILE.exists(), f"suite {SUITE} is new: `python -m tests.benchmarks.frozen` writes {FILE.name}"
    then, now = json.loads(FILE.read_text()), json.loads(json.dumps(frozen()))
    differ = {
        f"{kind}: {name}"
        for kind in then
        for name in then[kind].keys() | now[kind].keys()
        if then[kind].get(name) != now[kind].get(name)
    }
    assert not differ, (
        f"{', '.join(sorted(differ))}: not as in suite {SUITE}. Numbers of one version must be comparable: "
        "give SUITE in benchmarks/experiments/suite.py a new version, and write its file with "
        "`python -m tests.benchmarks.frozen`"
    )


def test_new_records_tell_the_version() -> None:
    assert environment("cpu")["suite"] == SUITE


def test_versions_of_the_package_are_equal_wherever_they_stand() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
