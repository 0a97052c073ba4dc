"""Which containers there are and where they are published: data only, read but never executed."""
