"""Surgery in any training loop."""
