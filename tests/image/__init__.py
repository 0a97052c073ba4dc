"""The image and the compose file, as far as a machine without a Docker engine can run them."""
