"""``python -m scalpel_bench.benchmarks.cli``."""

from scalpel_bench.benchmarks.cli import main

main()
