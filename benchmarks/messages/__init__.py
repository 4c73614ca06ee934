"""What a person is told: errors in one line, and what the terminal shows."""
