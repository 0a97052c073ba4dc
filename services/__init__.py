"""Commands that move records from source to store to destination."""

__version__ = "0.1.0"
