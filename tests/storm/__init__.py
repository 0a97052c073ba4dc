"""Scripts in a storm of faults, and beside others that work at the same time."""
