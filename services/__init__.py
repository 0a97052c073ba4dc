"""Commands that move records from source to store to destination."""
