"""Surgery in any training loop."""

from scalpel_bench.methods.surgeon.graph import kept_graph
from scalpel_bench.methods.surgeon.surgeon import Surgeon

__all__ = ["Surgeon", "kept_graph"]
