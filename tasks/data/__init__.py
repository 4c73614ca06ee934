"""Where data comes from: the hub, a folder in the hub's layout, or embedded in the dependencies.

Images have a room of their own, `tasks.data.images`.
"""

from .batches import crop_flip, epochs, full_batches, on_device
from .multilabel import LABELS, load_yeast
from .source import Data, DataError, cache_folder, check_source, list_files, open_hub
from .splits import carve, fixed_order, with_validation
from .text import SPECIALISED, load_text
from .tokens import (
    BEGIN,
    END,
    PAD,
    SIDES,
    SMALLEST_VOCABULARY,
    TokenisedPairs,
    load_pairs,
    padded,
)

__all__ = [
    "BEGIN",
    "END",
    "LABELS",
    "PAD",
    "SIDES",
    "SMALLEST_VOCABULARY",
    "SPECIALISED",
    "Data",
    "DataError",
    "TokenisedPairs",
    "cache_folder",
    "carve",
    "check_source",
    "crop_flip",
    "epochs",
    "fixed_order",
    "full_batches",
    "list_files",
    "load_pairs",
    "load_text",
    "load_yeast",
    "on_device",
    "open_hub",
    "padded",
    "with_validation",
]
