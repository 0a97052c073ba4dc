"""README against code."""
