"""The command line, ``scalpel``: options and messages."""

from scalpel_bench.benchmarks.cli.app import main

__all__ = ["main"]
