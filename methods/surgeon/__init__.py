"""Surgery in any training loop."""

from .graph import kept_graph
from .surgeon import Surgeon

__all__ = ["Surgeon", "kept_graph"]
