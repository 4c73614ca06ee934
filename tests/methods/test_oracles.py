"""The list of oracles against the tests that do the comparing."""

import importlib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from scalpel_bench.benchmarks.catalogue import ORACLES
from scalpel_bench.entries import read_folder

PACKAGES = {"TorchJD": "torchjd", "LibMTL": "LibMTL", "Cooper": "cooper", "conflictfree": "conflictfree"}


@cache
def compared() -> dict[str, set[str]]:
    """The methods that tests with the mark ``compares`` name, by oracle."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        text = file.read_text()
        if "mark.compares(" not in text:
            continue
        for value in vars(importlib.import_module(f"{__package__}.{file.stem}")).values():
            for mark in getattr(value, "pytestmark", ()):
                if mark.name == "compares":
                    oracle, *names = mark.args
                    package = PACKAGES.get(oracle, "")
                    assert package in text, f"{file.name} does not know {package}"
                    found[oracle] |= set(names)
    return found


@pytest.mark.parametrize("oracle", [oracle for oracle in ORACLES if oracle != "formula"])
def test_the_list_names_what_tests_compare(oracle: str) -> None:
    assert sorted(ORACLES[oracle]) == sorted(compared()[oracle])


def test_every_other_method_is_compared_with_its_formula() -> None:
    elsewhere = {name for oracle, names in ORACLES.items() if oracle != "formula" for name in names}
    others = read_folder("methods").entries.keys() - elsewhere
    assert others == set(ORACLES["formula"])
    assert others <= compared()["formula"]
    assert compared().keys() == ORACLES.keys()
