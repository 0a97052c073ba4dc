"""Scripts killed at every request boundary."""
