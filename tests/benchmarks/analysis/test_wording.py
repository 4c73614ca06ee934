"""How values are written with their intervals."""

import math

import pytest

from scalpel_bench.benchmarks.analysis.wording import with_interval


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ((0.9134, 0.9056, 0.9204), "0.913 [0.906, 0.920]"),
        ((0.9134, None, None), "0.913"),
        ((0.9134, math.nan, math.nan), "0.913"),
        ((None, None, None), "none"),
        ((math.nan, 0.1, 0.2), "none"),
        ((0.0, 0.0, 0.5), "0.000 [0.000, 0.500]"),
        ((1.234e-12, 1e-13, 0.2), "1.2e-12 [1.0e-13, 0.200]"),
        ((-0.0001, -0.5, 0.5), "-1.0e-04 [-0.500, 0.500]"),
    ],
)
def test_a_value_with_its_interval(given: tuple, written: str) -> None:
    assert with_interval(*given, none="none") == written
