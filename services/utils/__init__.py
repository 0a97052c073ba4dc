"""What the commands share: sources, store, destinations and their plumbing."""
