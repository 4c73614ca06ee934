"""The version of the suite: its experiments, their boxes, and the statistics of what is measured in them."""

SUITE = "2026.1"
"""It goes up where one of these changes, so that numbers of one version can be compared."""
