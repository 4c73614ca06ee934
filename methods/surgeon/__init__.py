"""Surgery in any training loop."""

from .graph import kept_graph
from .surgeon import Memory, Surgeon

__all__ = ["Memory", "Surgeon", "kept_graph"]
