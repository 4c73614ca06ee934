"""Networks, and norms of their layers."""
