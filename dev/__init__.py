"""Stand-ins for the outside world, for local use, the demo and the tests."""
