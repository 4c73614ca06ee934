"""Where and in which order runs are executed."""
