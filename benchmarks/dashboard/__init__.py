"""A view of records in Weights & Biases."""
