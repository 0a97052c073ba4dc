"""The ArcGIS Online stand-in keeps the rules of the real service."""
