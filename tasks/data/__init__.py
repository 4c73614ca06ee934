"""Where data comes from: the hub, a folder in the hub's layout, or embedded in the dependencies."""

from scalpel_bench.tasks.data.batches import epochs, full_batches
from scalpel_bench.tasks.data.source import Data, DataError, check_source, open_hub
from scalpel_bench.tasks.data.splits import carve, with_validation

__all__ = [
    "Data",
    "DataError",
    "carve",
    "check_source",
    "epochs",
    "full_batches",
    "open_hub",
    "with_validation",
]
