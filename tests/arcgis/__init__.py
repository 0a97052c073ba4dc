"""Tests with Esri's own client, which lives in an environment of its own: `make test-arcgis`."""
