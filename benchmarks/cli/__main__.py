"""``python -m scalpel_bench.benchmarks.cli``."""

from . import command

command()
