"""Whose results the tests compare each method with."""

from __future__ import annotations

ORACLES: dict[str, tuple[str, ...]] = {
    "TorchJD": (
        *("aligned_mtl", "cagrad", "config", "cosmos", "cr_mogm", "dualproj", "dwa", "fairgrad", "famo"),
        *("gls", "graddrop", "gradvac", "imtl_g", "imtl_l", "mgda", "moco", "nash_mtl", "pbi", "pcd"),
        *("pcgrad", "rlw", "stch", "sum", "uncertainty", "upgrad"),
    ),
    "LibMTL": ("gradnorm",),
    "Cooper": ("lagrangian",),
    "conflictfree": ("config_momentum",),
    "authors' code": ("bloop", "bloop_no_ema", "dynamic_barrier", "pcgrad", "sum"),
    "formula": (
        *("agem", "constrained_barrier", "cosine", "db_mtl", "gradvac_main", "metabalance"),
        *("negative_momentum", "one_sided_bloop", "reweighted_sum", "si", "single"),
    ),
}
"""Methods by what a test compares them with: an independent implementation or, where there is none, their
formula, written out on vectors. Behind every name stands a test with the mark ``compares``."""


def oracles_of(name: str) -> tuple[str, ...]:
    """What a method of the suite is compared with; nothing where no test is known."""
    return tuple(oracle for oracle, names in ORACLES.items() if name in names)
