"""Experiments: TOML files, their schema, the claims that they make, and the settings of their runs."""
