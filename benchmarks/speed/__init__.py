"""The bench: speed and memory, as ratios of what is measured side by side in one process."""

from scalpel_bench.benchmarks.speed.bench import BenchRecord, measure, read, record_path
from scalpel_bench.benchmarks.speed.curves import draw
from scalpel_bench.benchmarks.speed.measurements import Measurement
from scalpel_bench.benchmarks.speed.tables import chosen, table

__all__ = ["BenchRecord", "Measurement", "chosen", "draw", "measure", "read", "record_path", "table"]
