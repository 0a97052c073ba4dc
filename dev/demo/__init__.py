"""The whole way, source to both destinations, on this machine and without an account."""
