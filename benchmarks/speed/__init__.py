"""The bench: speed and memory, as ratios of what is measured side by side in one process."""

from .bench import BenchRecord, measure, read, record_path
from .curves import draw
from .measurements import Measurement
from .tables import chosen, table

__all__ = ["BenchRecord", "Measurement", "chosen", "draw", "measure", "read", "record_path", "table"]
