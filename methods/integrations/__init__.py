"""Surgery inside other libraries' training loops; each module imports its library, this package none."""
