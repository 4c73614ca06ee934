"""The bench: speed and memory, as ratios of what is measured side by side in one process."""

from .bench import BenchRecord, measure, read, record_path
from .curves import draw
from .measurements import GPU, Measurement
from .tables import chosen, table

__all__ = ["GPU", "BenchRecord", "Measurement", "chosen", "draw", "measure", "read", "record_path", "table"]
