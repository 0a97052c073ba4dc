"""Small HTTP servers that behave as the real systems do."""
